//! Keystone's unified limits: registered limits are the defaults of all projects, limits those of one project
//! or domain. They are the rows that quota sets show; a domain's or parent's limit bounds the sum of all below.
//!
//! What Canopy counts is always registered. Beside that an operator may register `class:<resource class>` for
//! what flavors ask for.

use super::question::default_limit;
use super::sets::new_limit;
use crate::identity::catalog;
use crate::{App, Ctx, access, identity};
use canopy_authz::{Action, Target, actions::identity as actions};
use canopy_store::quota::{Book, limits as rows};
use canopy_types::quota::{COUNTABLES, class_of};
use canopy_types::{Error, ProjectId, Result};
use std::collections::BTreeMap;

/// A limit for all who have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub id: String,
    pub service_id: String,
    /// As keystone's clients name it.
    pub resource_name: String,
    /// In units of the resource's name; −1 is none.
    pub default_limit: i64,
    pub description: Option<String>,
    /// Here.
    resource: String,
    /// Set while running, not only configured.
    set: bool,
}

/// A project's or a domain's own limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub id: String,
    pub project_id: Option<String>,
    pub domain_id: Option<String>,
    pub service_id: String,
    pub resource_name: String,
    pub resource_limit: i64,
    pub description: Option<String>,
}

/// A validated request for one of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of a limit: whose.
    pub project_id: Option<String>,
    pub domain_id: Option<String>,
    pub service_id: String,
    pub region_id: Option<String>,
    pub resource_name: String,
    pub limit: i64,
    pub description: Option<String>,
}

/// What a list shows; absent is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub service_id: Option<String>,
    pub region_id: Option<String>,
    pub resource_name: Option<String>,
    pub project_id: Option<String>,
    pub domain_id: Option<String>,
}

/// Name here, service type, and ours per unit, of a resource as keystone's clients name it.
fn known(unified: &str) -> Option<(String, &'static str, i64)> {
    let found = COUNTABLES.iter().find(|countable| countable.unified == unified);
    if let Some(countable) = found {
        return Some((countable.name.to_owned(), countable.service, countable.unit));
    }
    class_of(unified).map(|_| (unified.to_owned(), "compute", 1))
}

/// The other way round.
fn shown(resource: &str) -> (String, &'static str, i64) {
    COUNTABLES.iter().find(|countable| countable.name == resource).map_or_else(
        || (resource.to_owned(), "compute", 1),
        |countable| (countable.unified.to_owned(), countable.service, countable.unit),
    )
}

fn to_units(limit: i64, unit: i64) -> i64 {
    if limit < 0 { -1 } else { limit / unit }
}

fn from_units(limit: i64, unit: i64) -> i64 {
    if limit < 0 { -1 } else { limit.saturating_mul(unit) }
}

fn service_id(kind: &'static str) -> String {
    catalog::id(&["service", kind])
}

fn absent(what: &str, id: &str) -> Error {
    let id: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::not_found("identity.limit_not_found", format!("Could not find {what} for {id}."))
}

async fn all(app: &App) -> Result<Vec<Registered>> {
    let set = app.store.read(|c| Box::pin(async move { rows::defaults(c).await })).await?;
    let described: BTreeMap<&str, &rows::Default> =
        set.iter().map(|default| (default.resource.as_str(), default)).collect();
    let defaults = set.iter().map(|default| (default.resource.clone(), default.limit)).collect();
    let book = Book { defaults, ..Book::default() };
    let mut names: Vec<&str> = COUNTABLES.iter().map(|countable| countable.name).collect();
    names.extend(set.iter().map(|default| default.resource.as_str()).filter(|name| class_of(name).is_some()));
    let registered = |name: &str| {
        let (resource_name, service, unit) = shown(name);
        Registered {
            id: catalog::id(&["registered_limit", name]),
            service_id: service_id(service),
            resource_name,
            default_limit: to_units(default_limit(&app.settings, &book, name), unit),
            description: described.get(name).and_then(|default| default.description.clone()),
            resource: name.to_owned(),
            set: described.contains_key(name),
        }
    };
    Ok(names.into_iter().map(registered).collect())
}

fn fits(filter: &Filter, service_id: &str, resource_name: &str) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    // No limit is of one region only.
    filter.region_id.is_none()
        && is(&filter.service_id, service_id)
        && is(&filter.resource_name, resource_name)
}

pub async fn registered(app: &App, ctx: &Ctx, filter: &Filter) -> Result<Vec<Registered>> {
    access::require(app, ctx, actions::REGISTERED_LIMITS_LIST, &Target::default())?;
    let mut all = all(app).await?;
    all.retain(|one| fits(filter, &one.service_id, &one.resource_name));
    Ok(all)
}

async fn find_registered(app: &App, ctx: &Ctx, action: Action, id: &str) -> Result<Registered> {
    access::require(app, ctx, action, &Target::default().id(id))?;
    all(app).await?.into_iter().find(|one| one.id == id).ok_or_else(|| absent("registered limit", id))
}

pub async fn show_registered(app: &App, ctx: &Ctx, id: &str) -> Result<Registered> {
    find_registered(app, ctx, actions::REGISTERED_LIMITS_SHOW, id).await
}

/// The resource that a request means, with ours per unit; a name that nothing counts is refused.
fn meant(app: &App, wanted: &Wanted) -> Result<(String, i64)> {
    let bad = |text: String| Error::bad_request("identity.limit", text);
    if wanted.region_id.as_deref().is_some_and(|region| region != app.settings.region) {
        return Err(bad(format!("There is one region, {}: leave region_id out.", app.settings.region)));
    }
    let name: String = wanted.resource_name.chars().take(64).collect();
    let found =
        known(&wanted.resource_name).filter(|(_, service, _)| service_id(service) == wanted.service_id);
    let (resource, _, unit) = found.ok_or_else(|| {
        let names: Vec<&str> = COUNTABLES.iter().map(|countable| countable.unified).collect();
        bad(format!(
            "This service counts no {name}. Counted are {}, and class:<resource class> by compute.",
            names.join(", ")
        ))
    })?;
    Ok((resource, unit))
}

pub async fn register(app: &App, ctx: &Ctx, wanted: Vec<Wanted>) -> Result<Vec<Registered>> {
    access::require(app, ctx, actions::REGISTERED_LIMITS_CREATE, &Target::default())?;
    let mut defaults = Vec::with_capacity(wanted.len());
    for one in wanted {
        let (resource, unit) = meant(app, &one)?;
        let limit = from_units(one.limit, unit);
        defaults.push(rows::Default { resource, limit, description: one.description });
    }
    let names: Vec<String> = defaults.iter().map(|default| default.resource.clone()).collect();
    app.store
        .write("quota.register", move |c| {
            let defaults = defaults.clone();
            Box::pin(async move {
                let there = rows::defaults(c).await?;
                for default in &defaults {
                    if there.iter().any(|other| other.resource == default.resource) {
                        return Err(Error::conflict(
                            "identity.duplicate",
                            format!(
                                "Conflict occurred attempting to store registered_limit - Duplicate entry for {}.",
                                shown(&default.resource).0
                            ),
                        ));
                    }
                    rows::set_default(c, default).await?;
                }
                Ok(())
            })
        })
        .await?;
    let all = all(app).await?;
    Ok(all.into_iter().filter(|one| names.contains(&one.resource)).collect())
}

pub async fn change_registered(
    app: &App,
    ctx: &Ctx,
    id: &str,
    limit: Option<i64>,
    description: Option<String>,
) -> Result<Registered> {
    let found = find_registered(app, ctx, actions::REGISTERED_LIMITS_UPDATE, id).await?;
    let unit = shown(&found.resource).2;
    let default = rows::Default {
        resource: found.resource.clone(),
        limit: from_units(limit.unwrap_or(found.default_limit), unit),
        description,
    };
    app.store
        .write("quota.register", move |c| {
            let default = default.clone();
            Box::pin(async move { rows::set_default(c, &default).await })
        })
        .await?;
    all(app).await?.into_iter().find(|one| one.id == id).ok_or_else(|| absent("registered limit", id))
}

/// Back to what is configured; a class is then without a limit.
pub async fn unregister(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let found = find_registered(app, ctx, actions::REGISTERED_LIMITS_DELETE, id).await?;
    let resource = found.resource.clone();
    app.store
        .write("quota.unregister", move |c| {
            let resource = resource.clone();
            Box::pin(async move {
                if !rows::list(c, None, Some(&resource)).await?.is_empty() {
                    return Err(Error::forbidden(
                        "identity.limit_in_use",
                        "Unable to delete the registered limit: projects have limits of it. Delete these first.",
                    ));
                }
                rows::remove_default(c, &resource).await.map(|_| ())
            })
        })
        .await
}

async fn view(app: &App, limit: rows::Limit) -> Result<Limit> {
    let (resource_name, service, unit) = shown(&limit.resource);
    let project = identity::projects::find(app, &limit.holder).await?.is_some();
    Ok(Limit {
        id: limit.id,
        project_id: project.then(|| limit.holder.clone()),
        domain_id: (!project).then_some(limit.holder),
        service_id: service_id(service),
        resource_name,
        resource_limit: to_units(limit.hard_limit, unit),
        description: limit.description,
    })
}

fn holder_target(holder: &str) -> Target {
    Target {
        id: holder.to_owned(),
        domain_id: holder.to_owned(),
        ..Target::in_project(&ProjectId(holder.to_owned()))
    }
}

/// The caller's own project's or domain's, or all of them to those who may see any.
pub async fn limits(app: &App, ctx: &Ctx, filter: &Filter) -> Result<Vec<Limit>> {
    access::require(app, ctx, actions::LIMITS_LIST, &Target::default())?;
    let everywhere = access::allowed(app, ctx, actions::LIMITS_SHOW, &holder_target("*"));
    let rows = app.store.read(|c| Box::pin(async move { rows::list(c, None, None).await })).await?;
    let mut limits = Vec::new();
    for row in rows {
        if !everywhere && !access::allowed(app, ctx, actions::LIMITS_SHOW, &holder_target(&row.holder)) {
            continue;
        }
        let limit = view(app, row).await?;
        let is = |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
        if fits(filter, &limit.service_id, &limit.resource_name)
            && is(&filter.project_id, &limit.project_id)
            && is(&filter.domain_id, &limit.domain_id)
        {
            limits.push(limit);
        }
    }
    Ok(limits)
}

async fn find_limit(app: &App, ctx: &Ctx, action: Action, id: &str) -> Result<rows::Limit> {
    let key = identity::lookup(id).unwrap_or_default().to_owned();
    let found = app.store.read(move |c| Box::pin(async move { rows::get(c, &key).await })).await?;
    let holder = found.as_ref().map(|limit| limit.holder.as_str()).unwrap_or_default();
    access::require(app, ctx, action, &Target { id: id.to_owned(), ..holder_target(holder) })?;
    found.ok_or_else(|| absent("limit", id))
}

pub async fn show_limit(app: &App, ctx: &Ctx, id: &str) -> Result<Limit> {
    view(app, find_limit(app, ctx, actions::LIMITS_SHOW, id).await?).await
}

/// All of them, or none.
pub async fn create(app: &App, ctx: &Ctx, wanted: Vec<Wanted>) -> Result<Vec<Limit>> {
    access::require(app, ctx, actions::LIMITS_CREATE, &Target::default())?;
    let mut made = Vec::with_capacity(wanted.len());
    for one in wanted {
        let (resource, unit) = meant(app, &one)?;
        if !all(app).await?.iter().any(|registered| registered.resource == resource) {
            return Err(Error::forbidden(
                "identity.no_registered_limit",
                format!("No registered limit of {resource}: register one first."),
            ));
        }
        let holder = holder(app, &one).await?;
        let limit = from_units(one.limit, unit);
        within_above(app, &holder, &resource, limit).await?;
        made.push(new_limit(&holder, &resource, limit, one.description));
    }
    let written = made.clone();
    app.store
        .write("quota.limit", move |c| {
            let made = written.clone();
            Box::pin(async move {
                for limit in &made {
                    if !rows::list(c, Some(&limit.holder), Some(&limit.resource)).await?.is_empty() {
                        return Err(Error::conflict(
                            "identity.duplicate",
                            "Conflict occurred attempting to store limit - Duplicate entry: change the one there is.",
                        ));
                    }
                    rows::set(c, limit).await?;
                }
                Ok(())
            })
        })
        .await?;
    let mut views = Vec::with_capacity(made.len());
    for limit in made {
        views.push(view(app, limit).await?);
    }
    Ok(views)
}

/// The project or domain that a limit is to be of.
async fn holder(app: &App, wanted: &Wanted) -> Result<String> {
    match (&wanted.project_id, &wanted.domain_id) {
        (Some(project), None) => match identity::projects::find(app, project).await? {
            Some(project) => Ok(project.id.0),
            None => Err(absent("project", project)),
        },
        (None, Some(domain)) => {
            let key = domain.clone();
            let exists = app
                .store
                .read(move |c| Box::pin(async move { identity::projects::domain_exists(c, &key).await }))
                .await?;
            if exists { Ok(domain.clone()) } else { Err(absent("domain", domain)) }
        }
        _ => Err(Error::bad_request("identity.limit", "Name either project_id or domain_id.")),
    }
}

/// A limit above another's own limit would promise what cannot be had.
async fn within_above(app: &App, holder: &str, resource: &str, limit: i64) -> Result<()> {
    let project = ProjectId(holder.to_owned());
    let book = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::quota::usage(c, &project).await }))
        .await?;
    let number = |limit: i64| if limit < 0 { i64::MAX } else { limit };
    for above in book.above.iter().filter(|above| above.id != holder) {
        let Some(most) = above.limits.get(resource).filter(|most| number(limit) > number(**most)) else {
            continue;
        };
        return Err(Error::forbidden(
            "identity.limit_above_parent",
            format!(
                "Invalid resource limit: {limit} of {resource} is more than the limit {most} of {} above it.",
                above.id
            ),
        ));
    }
    Ok(())
}

pub async fn change(
    app: &App,
    ctx: &Ctx,
    id: &str,
    limit: Option<i64>,
    description: Option<String>,
) -> Result<Limit> {
    let found = find_limit(app, ctx, actions::LIMITS_UPDATE, id).await?;
    let unit = shown(&found.resource).2;
    let hard_limit = limit.map_or(found.hard_limit, |limit| from_units(limit, unit));
    within_above(app, &found.holder, &found.resource, hard_limit).await?;
    let changed = rows::Limit { hard_limit, description: description.or(found.description.clone()), ..found };
    let written = changed.clone();
    app.store
        .write("quota.limit", move |c| {
            let limit = written.clone();
            Box::pin(async move { rows::set(c, &limit).await })
        })
        .await?;
    view(app, changed).await
}

pub async fn delete(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let found = find_limit(app, ctx, actions::LIMITS_DELETE, id).await?;
    app.store
        .write("quota.limit", move |c| {
            let found = found.clone();
            Box::pin(async move { rows::remove(c, &found.holder, &found.resource).await.map(|_| ()) })
        })
        .await
}

pub fn model(app: &App, ctx: &Ctx) -> Result<(&'static str, &'static str)> {
    access::require(app, ctx, actions::LIMITS_MODEL, &Target::default())?;
    Ok((
        "strict_two_level",
        "This model requires project hierarchy never exceeds a depth of two as keystone's clients know it; here a \
         limit of a domain or a project bounds the usage of everything below it, at any depth.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_countable_has_one_unified_name_and_units_go_both_ways() {
        for countable in &COUNTABLES {
            let (name, service, unit) = known(countable.unified).unwrap();
            assert_eq!((name.as_str(), service), (countable.name, countable.service));
            assert_eq!(shown(&name), (countable.unified.to_owned(), countable.service, unit));
            assert_eq!(to_units(from_units(7, unit), unit), 7);
            assert_eq!(to_units(from_units(-1, unit), unit), -1);
        }
        assert_eq!(known("class:CUSTOM_GPU").unwrap().0, "class:CUSTOM_GPU");
        // That is `cores`.
        assert_eq!(known("class:VCPU").unwrap().0, "cores");
        assert!(known("volumes").is_none() && known("class:DISK_GB").is_none());
    }
}
