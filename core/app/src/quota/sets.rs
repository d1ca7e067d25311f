//! What a project may use and does use of a service's resources, as nova's quota sets, neutron's quotas,
//! glance's usage and compute's limits show and set it. All of them are views of the same rows.

use super::question::{default_limit, limit};
use crate::{App, Ctx, access, identity};
use canopy_authz::{Action, Target};
use canopy_store::quota::{Book, limits as rows};
use canopy_types::quota::{COUNTABLES, Countable};
use canopy_types::{Error, ProjectId, Result, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A service's action on quotas of a project.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The service's type, whose resources are meant.
    pub service: &'static str,
    pub action: Action,
}

/// A resource of a project, or of one user in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub resource: &'static str,
    /// −1 is none.
    pub limit: i64,
    pub used: i64,
}

/// A new limit of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub resource: &'static str,
    pub limit: i64,
}

/// How a change is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// What is used already must fit.
    Used,
    /// Only what makes sense by itself.
    Sense,
}

pub fn resources(service: &str) -> impl Iterator<Item = &'static Countable> {
    COUNTABLES.iter().filter(move |countable| countable.service == service)
}

fn target(project: &str) -> Target {
    Target { id: project.to_owned(), ..Target::in_project(&ProjectId(project.to_owned())) }
}

/// Who may not is told so before whether there is such a project.
async fn allowed(app: &App, ctx: &Ctx, asked: Asked, project: &str) -> Result<ProjectId> {
    access::require(app, ctx, asked.action, &target(project))?;
    match identity::projects::find(app, project).await? {
        Some(found) => Ok(found.id),
        None => {
            let shown: String = project.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(Error::not_found("quota.no_project", format!("Project ID {shown} is not a valid project.")))
        }
    }
}

async fn book(app: &App, project: &ProjectId, user: Option<&UserId>) -> Result<Book> {
    let project = project.clone();
    let users: BTreeSet<UserId> = user.cloned().into_iter().collect();
    app.store
        .read(move |c| Box::pin(async move { canopy_store::quota::book(c, &project, None, &users).await }))
        .await
}

fn lines(app: &App, service: &str, book: &Book, user: Option<&UserId>) -> Vec<Line> {
    let line = |countable: &'static Countable| {
        let own = limit(&app.settings, book, countable.name);
        let used = book.used.get(countable.name).copied().unwrap_or(0);
        let Some(user) = user.filter(|_| countable.by_user) else {
            return Line { resource: countable.name, limit: own, used };
        };
        let key = (user.to_string(), countable.name.to_owned());
        let held = book.held.iter().filter(|((of, _, resource), _)| *of == key.0 && *resource == key.1);
        let limit = book.user_limits.get(&key).copied().unwrap_or(own);
        Line { resource: countable.name, limit, used: held.map(|(_, n)| n).sum() }
    };
    resources(service).map(line).collect()
}

/// Limits and usage of a project, or of one user in it.
pub async fn show(
    app: &App,
    ctx: &Ctx,
    asked: Asked,
    project: &str,
    user: Option<&UserId>,
) -> Result<Vec<Line>> {
    let project = allowed(app, ctx, asked, project).await?;
    let book = book(app, &project, user).await?;
    Ok(lines(app, asked.service, &book, user))
}

/// What a project has that has no limits of its own.
pub async fn defaults(app: &App, ctx: &Ctx, asked: Asked, project: &str) -> Result<Vec<Line>> {
    let project = allowed(app, ctx, asked, project).await?;
    let book = book(app, &project, None).await?;
    Ok(of_defaults(app, asked.service, &book))
}

fn of_defaults(app: &App, service: &str, book: &Book) -> Vec<Line> {
    let line = |countable: &'static Countable| Line {
        resource: countable.name,
        limit: default_limit(&app.settings, book, countable.name),
        used: 0,
    };
    resources(service).map(line).collect()
}

/// The defaults of all projects.
pub async fn class(app: &App, ctx: &Ctx, asked: Asked) -> Result<Vec<Line>> {
    access::require(app, ctx, asked.action, &Target::default())?;
    class_of(app, asked.service).await
}

async fn class_of(app: &App, service: &str) -> Result<Vec<Line>> {
    let set = app.store.read(|c| Box::pin(async move { rows::defaults(c).await })).await?;
    let defaults = set.into_iter().map(|default| (default.resource, default.limit)).collect();
    Ok(of_defaults(app, service, &Book { defaults, ..Book::default() }))
}

/// Changes the defaults of all projects; verdicts that were given on the old ones stand.
pub async fn set_class(app: &App, ctx: &Ctx, asked: Asked, changes: Vec<Change>) -> Result<Vec<Line>> {
    access::require(app, ctx, asked.action, &Target::default())?;
    app.store
        .write("quota.class", move |c| {
            let changes = changes.clone();
            Box::pin(async move {
                for change in changes {
                    let resource = change.resource.to_owned();
                    let default = rows::Default { resource, limit: change.limit, description: None };
                    rows::set_default(c, &default).await?;
                }
                Ok(())
            })
        })
        .await?;
    class_of(app, asked.service).await
}

/// Sets limits of a project, or of one user in it; what is not named stays.
pub async fn set(
    app: &App,
    ctx: &Ctx,
    asked: Asked,
    project: &str,
    user: Option<&UserId>,
    changes: Vec<Change>,
    check: Check,
) -> Result<Vec<Line>> {
    let project = allowed(app, ctx, asked, project).await?;
    let before = book(app, &project, user).await?;
    let of_project = lines(app, asked.service, &before, None);
    let now = lines(app, asked.service, &before, user);
    let highest = match user {
        Some(_) => BTreeMap::new(),
        None => {
            let project = project.clone();
            app.store
                .read(move |c| Box::pin(async move { rows::highest_of_users(c, &project).await }))
                .await?
        }
    };
    for change in &changes {
        let line = |lines: &[Line]| lines.iter().copied().find(|line| line.resource == change.resource);
        let (Some(own), Some(current)) = (line(&of_project), line(&now)) else { continue };
        let most = user.map(|_| own.limit).unwrap_or(-1);
        let least = highest.get(change.resource).copied().unwrap_or(-1);
        sensible(change, current, least, most, check)?;
    }
    let (written, user_in) = (project.clone(), user.cloned());
    app.store
        .write("quota.set", move |c| {
            let (project, user, changes) = (written.clone(), user_in.clone(), changes.clone());
            Box::pin(async move {
                for Change { resource, limit } in changes {
                    match &user {
                        Some(user) if canopy_types::quota::by_user(resource) => {
                            rows::set_user(c, &project, user, resource, limit).await?;
                        }
                        Some(_) => {}
                        None => rows::set(c, &new_limit(project.as_str(), resource, limit, None)).await?,
                    }
                }
                Ok(())
            })
        })
        .await?;
    let book = book(app, &project, user).await?;
    Ok(lines(app, asked.service, &book, user))
}

/// A limit with an id of its own.
pub(super) fn new_limit(
    holder: &str,
    resource: &str,
    hard_limit: i64,
    description: Option<String>,
) -> rows::Limit {
    rows::Limit {
        // 32 hex digits, as keystone's ids.
        id: ProjectId::random().0,
        holder: holder.to_owned(),
        resource: resource.to_owned(),
        hard_limit,
        description,
    }
}

/// nova's rules, in its words.
fn sensible(change: &Change, now: Line, least: i64, most: i64, check: Check) -> Result<()> {
    let Change { resource, limit } = change;
    let bad = |text: String| Err(Error::bad_request("quota.limit", text));
    if limit >= &0 && check == Check::Used && *limit < now.used {
        return bad(format!(
            "Quota limit {limit} for {resource} must be greater than or equal to already used and reserved {}.",
            now.used
        ));
    }
    // No limit is above all numbers.
    let number = |limit: i64| if limit < 0 { i64::MAX } else { limit };
    if number(*limit) > number(most) {
        return bad(format!("Quota limit {limit} for {resource} must be less than or equal to {most}."));
    }
    if least >= 0 && number(*limit) < least {
        return bad(format!("Quota limit {limit} for {resource} must be greater than or equal to {least}."));
    }
    Ok(())
}

/// Back to the defaults: of a project with its users, or of one user.
pub async fn reset(app: &App, ctx: &Ctx, asked: Asked, project: &str, user: Option<&UserId>) -> Result<()> {
    let project = allowed(app, ctx, asked, project).await?;
    let user = user.cloned();
    let names: Vec<&'static str> = resources(asked.service).map(|countable| countable.name).collect();
    app.store
        .write("quota.reset", move |c| {
            let (project, user, names) = (project.clone(), user.clone(), names.clone());
            Box::pin(async move {
                match user {
                    Some(user) => rows::remove_user(c, &project, &user).await,
                    None => rows::remove_all(c, project.as_str(), &names).await,
                }
            })
        })
        .await
}

/// Projects that have limits of their own on the service's resources, with all of these.
pub async fn list(app: &App, ctx: &Ctx, asked: Asked) -> Result<Vec<(ProjectId, Vec<Line>)>> {
    access::require(app, ctx, asked.action, &Target::default())?;
    let limits = app.store.read(|c| Box::pin(async move { rows::list(c, None, None).await })).await?;
    let names: BTreeSet<&str> = resources(asked.service).map(|countable| countable.name).collect();
    let holders: BTreeSet<String> = limits
        .into_iter()
        .filter(|limit| names.contains(limit.resource.as_str()))
        .map(|limit| limit.holder)
        .collect();
    let mut listed = Vec::new();
    for holder in holders {
        // A domain has limits, and nothing of its own.
        let Some(project) = identity::projects::find(app, &holder).await? else { continue };
        let book = book(app, &project.id, None).await?;
        listed.push((project.id, lines(app, asked.service, &book, None)));
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_fits_what_is_used_the_project_and_its_users() {
        let now = Line { resource: "cores", limit: 10, used: 4 };
        let ok = |limit, least, most, check| {
            sensible(&Change { resource: "cores", limit }, now, least, most, check).is_ok()
        };
        assert!(ok(4, -1, -1, Check::Used) && ok(-1, -1, -1, Check::Used));
        assert!(!ok(3, -1, -1, Check::Used) && ok(3, -1, -1, Check::Sense));
        assert!(ok(9, -1, 9, Check::Used) && !ok(10, -1, 9, Check::Used) && !ok(-1, -1, 9, Check::Used));
        assert!(!ok(5, 6, -1, Check::Used) && ok(6, 6, -1, Check::Used) && ok(-1, 6, -1, Check::Used));
    }
}
