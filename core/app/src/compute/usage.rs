//! What servers have used of vCPUs, memory and disk over a span of time, from their rows and tombstones.

use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::compute as actions};
use canopy_store::servers::{self, ServerRow};
use canopy_types::time::SECOND;
use canopy_types::{Error, Kind, Page, ProjectId, Result, ServerId, Timestamp};
use std::collections::BTreeMap;

/// Servers read at once.
const PAGE: i64 = 1_000;
/// Servers that one answer is about at most.
const MOST: usize = 100_000;

/// Characters of a project's id.
const MAX_ID: usize = 64;

/// From, until.
pub type Span = (Timestamp, Timestamp);

#[derive(Clone, Debug)]
pub struct ServerUsage {
    pub server: ServerRow,
    /// Within the span.
    pub hours: f64,
    /// Since it was launched, whole seconds.
    pub uptime: i64,
}

#[derive(Clone, Debug, Default)]
pub struct ProjectUsage {
    pub hours: f64,
    pub vcpu_hours: f64,
    pub mib_hours: f64,
    pub gib_hours: f64,
    pub servers: Vec<ServerUsage>,
}

/// What was read, and the last server of a page after which there may be more.
type Usages = (BTreeMap<ProjectId, ProjectUsage>, Option<ServerId>);

/// Of every project that had servers then, or of a page of those servers.
pub async fn list(app: &App, ctx: &Ctx, span: Span, page: Option<Page>) -> Result<Usages> {
    access::require(app, ctx, actions::USAGE_LIST, &Target::default())?;
    read(app, span, None, page).await
}

/// Of one project, which need not have had any.
pub async fn show(
    app: &App,
    ctx: &Ctx,
    span: Span,
    project: ProjectId,
    page: Option<Page>,
) -> Result<(ProjectUsage, Option<ServerId>)> {
    access::require(app, ctx, actions::USAGE_SHOW, &Target::in_project(&project))?;
    // No project has such an id, and not every database takes the text.
    if project.as_str().len() > MAX_ID || project.as_str().contains('\0') {
        return Ok((ProjectUsage::default(), None));
    }
    let (mut usages, last) = read(app, span, Some(project.clone()), page).await?;
    Ok((usages.remove(&project).unwrap_or_default(), last))
}

/// The number of the server that a page begins after.
async fn place(app: &App, project: Option<&ProjectId>, marker: &str) -> Result<i64> {
    let found = match marker.parse() {
        Ok(id) => app.store.read(move |c| Box::pin(servers::get(c, id))).await?,
        Err(_) => None,
    };
    let found = found.filter(|server| project.is_none_or(|project| server.project_id == *project));
    found.map(|server| server.number).ok_or_else(|| {
        let shown: String = marker.chars().take(64).collect();
        Error::bad_request("page.marker", format!("marker [{shown}] not found"))
    })
}

async fn read(app: &App, span: Span, project: Option<ProjectId>, page: Option<Page>) -> Result<Usages> {
    if span.0 > span.1 {
        return Err(Error::bad_request(
            "usage.span",
            "Invalid start time. The start time cannot occur after the end time.",
        ));
    }
    let now = app.now();
    let mut usages: BTreeMap<ProjectId, ProjectUsage> = BTreeMap::new();
    let (mut after, mut seen) = (0, 0);
    if let Some(marker) = page.as_ref().and_then(|page| page.marker.as_deref()) {
        after = place(app, project.as_ref(), marker).await?;
    }
    let most = page.as_ref().map_or(PAGE, Page::size);
    loop {
        let project = project.clone();
        let rows = app
            .store
            .read(move |c| {
                Box::pin(
                    async move { servers::launched_within(c, span, project.as_ref(), after, most).await },
                )
            })
            .await?;
        let Some(last) = rows.last() else { return Ok((usages, None)) };
        let (id, full) = (last.id, i64::try_from(rows.len()).is_ok_and(|count| count == most));
        after = last.number;
        seen += rows.len();
        if seen > MOST {
            return Err(Error::new(
                Kind::BadRequest,
                "usage.too_many",
                format!("More than {MOST} servers ran then. Ask for a shorter time or one project."),
            ));
        }
        for server in rows {
            let Some(launched) = server.launched_at else { continue };
            let usage = usages.entry(server.project_id.clone()).or_default();
            let hours = hours(span, launched, server.deleted_at, now);
            let flavor = &server.flavor;
            usage.hours += hours;
            usage.vcpu_hours += hours * float(flavor.vcpus);
            usage.mib_hours += hours * float(flavor.memory_mib);
            usage.gib_hours += hours * float(flavor.root_gib.saturating_add(flavor.ephemeral_gib));
            let uptime = (server.deleted_at.unwrap_or(now).0 - launched.0).max(0) / SECOND;
            usage.servers.push(ServerUsage { server, hours, uptime });
        }
        if page.is_some() {
            return Ok((usages, full.then_some(id)));
        }
    }
}

/// How much of its life lies within the span and is not yet to come.
fn hours(span: Span, launched: Timestamp, deleted: Option<Timestamp>, now: Timestamp) -> f64 {
    let from = span.0.0.max(launched.0);
    let until = span.1.0.min(deleted.unwrap_or(now).0).min(now.0);
    float((until - from).max(0)) / float(3_600 * SECOND)
}

#[expect(clippy::cast_precision_loss, reason = "amounts and spans are far below 2^53")]
fn float(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_within_the_span_and_the_past_counts() {
        let at = |hours: i64| Timestamp(hours * 3_600 * SECOND);
        for (launched, deleted, now, expected) in [
            (0, None, 100, 10.0),
            (15, None, 100, 5.0),
            (15, Some(17), 100, 2.0),
            (0, Some(12), 100, 2.0),
            (0, None, 13, 3.0),
            (19, Some(30), 100, 1.0),
            (25, None, 100, 0.0),
        ] {
            let found = hours((at(10), at(20)), at(launched), deleted.map(at), at(now));
            assert!((found - expected).abs() < 1e-9, "{launched} {deleted:?} {now}: {found}");
        }
    }
}
