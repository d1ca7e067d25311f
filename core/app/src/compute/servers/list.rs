//! Reading servers.

use super::matching::Matching;
use crate::access;
use crate::compute::hosts;
use crate::{App, Ctx};
use canopy_authz::{Target, actions::compute as actions};
use canopy_store::hosts::Named;
use canopy_store::ports::{ServerAddress, ServerPorts};
use canopy_store::servers::{Filter, ServerRow};
use canopy_types::{Error, HostId, Page, Result, ServerGroupId, ServerId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Where a server runs.
#[derive(Clone, Debug)]
pub struct Runs {
    pub name: String,
    pub health: Health,
}

/// How a host is, as nova tells it of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Its agent has not been heard.
    Unknown,
    /// An operator says so.
    Down,
    Maintenance,
}

impl Health {
    fn of(host: &Named, now: Timestamp) -> Self {
        match (host.forced_down, &host.closed) {
            (true, _) => Self::Down,
            (_, Some(_)) => Self::Maintenance,
            _ if hosts::is_heard(host.seen_at, now) => Self::Up,
            _ => Self::Unknown,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Unknown => "UNKNOWN",
            Self::Down => "DOWN",
            Self::Maintenance => "MAINTENANCE",
        }
    }
}

/// A server as a reader gets it.
pub struct Listed {
    pub server: Arc<ServerRow>,
    /// For those who may see anything of it.
    pub host: Option<Runs>,
    /// Whether the caller may see `OS-EXT-SRV-ATTR:…`: where it runs, and what its owner keeps to itself.
    pub shows_extended: bool,
    /// Whether the caller may see how the host is.
    pub shows_host_status: bool,
    /// Whether the caller may see a flavor's extra specs.
    pub shows_extra_specs: bool,
    pub ports: ServerPorts,
    /// Known of a server that is shown alone.
    pub groups: Vec<ServerGroupId>,
}

/// The answer for an id that does not exist or is not the caller's to see.
pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("server.not_found", format!("Instance {shown} could not be found."))
}

/// A live server that the caller may read.
pub async fn find(app: &App, ctx: &Ctx, id: ServerId) -> Result<ServerRow> {
    look_up(app, ctx, id, false).await.map(Arc::unwrap_or_clone)
}

/// The same, or a deleted one's tombstone.
pub async fn find_any(app: &App, ctx: &Ctx, id: ServerId) -> Result<ServerRow> {
    look_up(app, ctx, id, true).await.map(Arc::unwrap_or_clone)
}

async fn look_up(app: &App, ctx: &Ctx, id: ServerId, deleted: bool) -> Result<Arc<ServerRow>> {
    let recent = app.store.recent();
    let found = app.store.read(move |c| Box::pin(async move { recent.of(c, &[id]).await })).await?.pop();
    let server = found.ok_or_else(|| absent(&id.to_string()))?;
    access::require_on(
        app,
        ctx,
        actions::SERVERS_SHOW,
        actions::SERVERS_SHOW,
        &super::target(&server),
        || absent(&id.to_string()),
    )?;
    if server.deleted_at.is_some() && !deleted { Err(absent(&id.to_string())) } else { Ok(server) }
}

/// Whether the caller may see where on its host a server runs, as far as guests are told apart there.
pub async fn may_see_topology(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_TOPOLOGY, &super::target(&server))
}

pub async fn show(app: &App, ctx: &Ctx, id: ServerId) -> Result<Listed> {
    let server = look_up(app, ctx, id, false).await?;
    let mut listed = complete(app, ctx, vec![server], true).await?;
    listed.pop().ok_or_else(|| absent(&id.to_string()))
}

/// The caller's servers, or every project's for those allowed (`all_projects`), with all that belongs to them.
pub async fn list(
    app: &App,
    ctx: &Ctx,
    filter: Filter,
    matching: &Matching,
    all_projects: bool,
    page: Page,
) -> Result<Vec<Listed>> {
    let servers = rows(app, ctx, filter, matching, all_projects, page).await?;
    complete(app, ctx, servers, false).await
}

/// The same servers without what stands in other tables.
pub async fn rows(
    app: &App,
    ctx: &Ctx,
    mut filter: Filter,
    matching: &Matching,
    all_projects: bool,
    page: Page,
) -> Result<Vec<Arc<ServerRow>>> {
    let project = access::project(ctx)?;
    access::require(app, ctx, actions::SERVERS_LIST, &Target::in_project(project))?;
    if all_projects {
        access::require(app, ctx, actions::SERVERS_LIST_ALL, &Target::default())?;
    } else {
        filter.project_id = Some(project.clone());
    }
    if !access::allowed(app, ctx, actions::SERVERS_SHOW_HOST, &Target::default()) {
        // As in nova: who may not see hosts cannot ask by host either.
        filter.host = None;
        if filter.sort.iter().any(|(key, _)| *key == canopy_store::servers::Sort::Host) {
            return Err(Error::forbidden(
                "server.sort_by_host",
                "Only administrators can sort servers by their hosts.",
            ));
        }
    }
    let read = |page: Page| {
        let (filter, recent) = (filter.clone(), app.store.recent());
        app.store.read(move |c| {
            Box::pin(async move { canopy_store::servers::list(c, &recent, &filter, &page).await })
        })
    };
    let mut may = access::Rows::default();
    access::readable(
        &page,
        |server: &Arc<ServerRow>| server.id.to_string(),
        read,
        |server| {
            matching.holds(server) && may.allowed(app, ctx, actions::SERVERS_SHOW, &super::target(server))
        },
    )
    .await
}

/// Addresses by network of one server.
pub async fn addresses(app: &App, ctx: &Ctx, id: ServerId) -> Result<Vec<ServerAddress>> {
    Ok(show(app, ctx, id).await?.ports.addresses)
}

/// Adds what stands in other tables, in one statement each whatever the number of servers. With `alone` there is
/// one server, and its group is told too.
async fn complete(app: &App, ctx: &Ctx, servers: Vec<Arc<ServerRow>>, alone: bool) -> Result<Vec<Listed>> {
    let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
    let (mut extended, mut status) = (access::Rows::default(), access::Rows::default());
    let shows: Vec<(bool, bool)> = servers
        .iter()
        .map(|server| super::target(server))
        .map(|target| {
            let extended = extended.allowed(app, ctx, actions::SERVERS_SHOW_EXTENDED, &target);
            (extended, status.allowed(app, ctx, actions::SERVERS_SHOW_HOST_STATUS, &target))
        })
        .collect();
    let shows_extra_specs = crate::compute::flavors::may_show(app, ctx);
    let shown = servers.iter().zip(&shows).filter(|(_, (extended, status))| *extended || *status);
    let wanted: BTreeSet<HostId> = shown.filter_map(|(server, _)| server.host_id).collect();
    let wanted: Vec<HostId> = wanted.into_iter().collect();
    let (mut ports, rows, group) = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let ports = canopy_store::ports::of_servers(c, &ids).await?;
                let rows = canopy_store::hosts::named(c, &wanted).await?;
                let group = match ids.first().filter(|_| alone) {
                    Some(id) => canopy_store::server_groups::of_server(c, *id).await?,
                    None => None,
                };
                Ok((ports, rows, group))
            })
        })
        .await?;
    let now = app.now();
    let runs =
        rows.into_iter().map(|(id, host)| (id, Runs { health: Health::of(&host, now), name: host.name }));
    let runs: HashMap<HostId, Runs> = runs.collect();
    Ok(servers
        .into_iter()
        .zip(shows)
        .map(|(server, (shows_extended, shows_host_status))| Listed {
            shows_extended,
            shows_host_status,
            shows_extra_specs,
            host: server.host_id.and_then(|id| runs.get(&id).cloned()),
            ports: ports.remove(&server.id).unwrap_or_default(),
            groups: group.into_iter().collect(),
            server,
        })
        .collect())
}
