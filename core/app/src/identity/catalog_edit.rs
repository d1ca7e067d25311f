//! Changing the catalog: what an operator puts beside the services that are built in, which stay.

use super::catalog::{Endpoint, Region, Service, absent, built_in, chosen, everything};
use super::indexed::Indexed;
use super::rows::catalog as stored;
use super::{lookup, projects, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Action, Target, actions::identity as actions};
use canopy_types::{Error, ProjectId, Result, UserId};
use std::sync::Arc;

/// Rows of each kind.
const MAX_ROWS: usize = 2_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionChange {
    pub description: Option<String>,
    /// `Some(None)` puts it at the top.
    pub parent_id: Option<Option<String>>,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceChange {
    pub kind: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointChange {
    pub service_id: Option<String>,
    pub interface: Option<String>,
    pub region_id: Option<Option<String>>,
    /// A new endpoint's region is made when it is not there, as keystone does for the field's older name.
    pub makes_region: bool,
    pub url: Option<String>,
    pub enabled: Option<bool>,
}

/// Asks, and gives the newest catalog.
async fn begin(app: &App, ctx: &Ctx, action: Action, id: &str) -> Result<Arc<Indexed>> {
    access::require(app, ctx, action, &Target::default().id(id))?;
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory)
}

fn fixed(app: &App, id: &str) -> Result<()> {
    let ours = built_in(&app.settings.region, "");
    let is = |entry: &super::catalog::Entry| {
        entry.service.id == id || entry.endpoints.iter().any(|endpoint| endpoint.id == id)
    };
    if id == app.settings.region || ours.iter().any(is) {
        return Err(Error::forbidden(
            "identity.catalog_built_in",
            "You are not authorized to perform the requested action: this is what the server itself offers, set by \
             its configuration.",
        ));
    }
    Ok(())
}

fn full(count: usize) -> Result<()> {
    if count < MAX_ROWS {
        return Ok(());
    }
    Err(Error::forbidden("identity.catalog_full", format!("The catalog holds at most {MAX_ROWS} of these.")))
}

fn known_region(app: &App, directory: &Indexed, id: &str) -> bool {
    id == app.settings.region || directory.regions().iter().any(|region| region.id == id)
}

enum Change {
    Region(Region),
    RegionGone(Vec<String>),
    Service(Service),
    ServiceGone(String),
    /// With a region that it makes.
    Endpoint(Endpoint, Option<Region>),
    EndpointGone(String),
}

async fn write(app: &App, name: &'static str, subject: &str, change: Change) -> Result<()> {
    let (now, subject, change) = (app.now(), subject.to_owned(), Arc::new(change));
    app.store
        .write(name, move |c| {
            let (subject, change) = (subject.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, name, &subject).await?;
                match &*change {
                    Change::Region(region) => stored::put_region(c, region).await,
                    Change::Service(service) => stored::put_service(c, service).await,
                    Change::Endpoint(endpoint, region) => {
                        if let Some(region) = region {
                            stored::put_region(c, region).await?;
                        }
                        stored::put_endpoint(c, endpoint).await
                    }
                    Change::ServiceGone(id) => stored::delete_service(c, id).await,
                    Change::EndpointGone(id) => stored::delete_endpoint(c, id).await,
                    Change::RegionGone(ids) => {
                        for id in ids {
                            stored::delete_region(c, id).await?;
                        }
                        Ok(())
                    }
                }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// `id` is made up where none is given.
pub async fn create_region(app: &App, ctx: &Ctx, id: Option<String>, change: RegionChange) -> Result<Region> {
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| UserId::random().0);
    let directory = begin(app, ctx, actions::REGIONS_CREATE, &id).await?;
    if lookup(&id).is_none() || id.chars().count() > 255 || id.chars().any(char::is_control) {
        return Err(Error::bad_request(
            "identity.region_id",
            "The id of a region has 1 to 255 characters, none of them a control character.",
        ));
    }
    full(directory.regions().len())?;
    if known_region(app, &directory, &id) {
        return Err(Error::conflict(
            "identity.duplicate",
            format!("Conflict occurred attempting to store region - Duplicate ID, {id}."),
        ));
    }
    let parent_id = change.parent_id.flatten();
    if let Some(parent) = &parent_id
        && !known_region(app, &directory, parent)
    {
        return Err(absent("region", parent));
    }
    let region = Region { id, description: change.description.unwrap_or_default(), parent_id };
    write(app, "identity.region.create", &region.id, Change::Region(region.clone())).await?;
    Ok(region)
}

pub async fn update_region(app: &App, ctx: &Ctx, id: &str, change: RegionChange) -> Result<Region> {
    let directory = begin(app, ctx, actions::REGIONS_UPDATE, id).await?;
    fixed(app, id)?;
    let found = directory.regions().iter().find(|region| region.id == id);
    let mut region = found.cloned().ok_or_else(|| absent("region", id))?;
    if let Some(parent) = change.parent_id {
        if let Some(parent) = &parent {
            if !known_region(app, &directory, parent) {
                return Err(absent("region", parent));
            }
            if below(&directory, id).contains(parent) {
                return Err(Error::bad_request(
                    "identity.region_loop",
                    format!("Region {id} cannot be below itself."),
                ));
            }
        }
        region.parent_id = parent;
    }
    region.description = change.description.unwrap_or(region.description);
    write(app, "identity.region.update", id, Change::Region(region.clone())).await?;
    Ok(region)
}

/// A region and all below it.
fn below(directory: &Indexed, id: &str) -> Vec<String> {
    let mut found = vec![id.to_owned()];
    let mut at = 0;
    while let Some(parent) = found.get(at).cloned() {
        let children = directory.regions().iter().filter(|r| r.parent_id.as_ref() == Some(&parent));
        let new: Vec<String> = children.map(|r| r.id.clone()).filter(|id| !found.contains(id)).collect();
        found.extend(new);
        at += 1;
    }
    found
}

/// With those below it, unless an endpoint is in one of them.
pub async fn delete_region(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let directory = begin(app, ctx, actions::REGIONS_DELETE, id).await?;
    fixed(app, id)?;
    if !known_region(app, &directory, id) {
        return Err(absent("region", id));
    }
    let gone = below(&directory, id);
    if directory.endpoints().iter().any(|e| e.region_id.as_ref().is_some_and(|region| gone.contains(region)))
    {
        return Err(Error::forbidden(
            "identity.region_in_use",
            format!(
                "Unable to delete region {id} because it or its child regions have associated endpoints."
            ),
        ));
    }
    write(app, "identity.region.delete", id, Change::RegionGone(gone)).await
}

pub async fn create_service(app: &App, ctx: &Ctx, new: ServiceChange) -> Result<Service> {
    let directory = begin(app, ctx, actions::SERVICES_CREATE, "").await?;
    full(directory.services().len())?;
    let service = Service {
        id: UserId::random().0,
        kind: new.kind.unwrap_or_default(),
        name: new.name.unwrap_or_default(),
        description: new.description.unwrap_or_default(),
        enabled: new.enabled.unwrap_or(true),
    };
    write(app, "identity.service.create", &service.id, Change::Service(service.clone())).await?;
    Ok(service)
}

pub async fn update_service(app: &App, ctx: &Ctx, id: &str, change: ServiceChange) -> Result<Service> {
    let directory = begin(app, ctx, actions::SERVICES_UPDATE, id).await?;
    fixed(app, id)?;
    let found = directory.services().iter().find(|service| service.id == id);
    let mut service = found.cloned().ok_or_else(|| absent("service", id))?;
    service.kind = change.kind.unwrap_or(service.kind);
    service.name = change.name.unwrap_or(service.name);
    service.description = change.description.unwrap_or(service.description);
    service.enabled = change.enabled.unwrap_or(service.enabled);
    write(app, "identity.service.update", id, Change::Service(service.clone())).await?;
    Ok(service)
}

/// With its endpoints.
pub async fn delete_service(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let directory = begin(app, ctx, actions::SERVICES_DELETE, id).await?;
    fixed(app, id)?;
    if !directory.services().iter().any(|service| service.id == id) {
        return Err(absent("service", id));
    }
    write(app, "identity.service.delete", id, Change::ServiceGone(id.to_owned())).await
}

/// What an endpoint names must be there: keystone answers 400.
fn check_endpoint(
    app: &App,
    directory: &Indexed,
    endpoint: &Endpoint,
    new_region: Option<&Region>,
) -> Result<()> {
    let bad = |what: &str, id: &str| {
        let shown: String = id.chars().take(255).collect();
        Error::bad_request("identity.endpoint", format!("Could not find {what}: {shown}."))
    };
    let service = &endpoint.service_id;
    if !everything(app, directory, "").iter().any(|entry| entry.service.id == *service) {
        return Err(bad("service", service));
    }
    match &endpoint.region_id {
        Some(region) if new_region.is_none() && !known_region(app, directory, region) => {
            Err(bad("region", region))
        }
        _ => Ok(()),
    }
}

/// The region that an endpoint brings with it.
fn new_region(
    app: &App,
    ctx: &Ctx,
    directory: &Indexed,
    endpoint: &EndpointChange,
) -> Result<Option<Region>> {
    match &endpoint.region_id {
        Some(Some(id)) if endpoint.makes_region && !known_region(app, directory, id) => {
            access::require(app, ctx, actions::REGIONS_CREATE, &Target::default().id(id))?;
            full(directory.regions().len())?;
            Ok(Some(Region { id: id.clone(), description: String::new(), parent_id: None }))
        }
        _ => Ok(None),
    }
}

pub async fn create_endpoint(app: &App, ctx: &Ctx, new: EndpointChange) -> Result<Endpoint> {
    let directory = begin(app, ctx, actions::ENDPOINTS_CREATE, "").await?;
    full(directory.endpoints().len())?;
    let region = new_region(app, ctx, &directory, &new)?;
    let endpoint = Endpoint {
        id: UserId::random().0,
        service_id: new.service_id.unwrap_or_default(),
        interface: new.interface.unwrap_or_default(),
        region_id: new.region_id.flatten(),
        url: new.url.unwrap_or_default(),
        enabled: new.enabled.unwrap_or(true),
    };
    check_endpoint(app, &directory, &endpoint, region.as_ref())?;
    let change = Change::Endpoint(endpoint.clone(), region);
    write(app, "identity.endpoint.create", &endpoint.id, change).await?;
    Ok(endpoint)
}

pub async fn update_endpoint(app: &App, ctx: &Ctx, id: &str, change: EndpointChange) -> Result<Endpoint> {
    let directory = begin(app, ctx, actions::ENDPOINTS_UPDATE, id).await?;
    fixed(app, id)?;
    let found = directory.endpoints().iter().find(|endpoint| endpoint.id == id);
    let mut endpoint = found.cloned().ok_or_else(|| absent("endpoint", id))?;
    let region = new_region(app, ctx, &directory, &change)?;
    endpoint.service_id = change.service_id.unwrap_or(endpoint.service_id);
    endpoint.interface = change.interface.unwrap_or(endpoint.interface);
    endpoint.region_id = change.region_id.unwrap_or(endpoint.region_id);
    endpoint.url = change.url.unwrap_or(endpoint.url);
    endpoint.enabled = change.enabled.unwrap_or(endpoint.enabled);
    check_endpoint(app, &directory, &endpoint, region.as_ref())?;
    write(app, "identity.endpoint.update", id, Change::Endpoint(endpoint.clone(), region)).await?;
    Ok(endpoint)
}

pub async fn delete_endpoint(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let directory = begin(app, ctx, actions::ENDPOINTS_DELETE, id).await?;
    fixed(app, id)?;
    if !directory.endpoints().iter().any(|endpoint| endpoint.id == id) {
        return Err(absent("endpoint", id));
    }
    write(app, "identity.endpoint.delete", id, Change::EndpointGone(id.to_owned())).await
}

/// Project and endpoint of a choice, which must both be there.
async fn pair(
    app: &App,
    ctx: &Ctx,
    action: Action,
    project: &str,
    endpoint: &str,
    base: &str,
) -> Result<(Arc<Indexed>, ProjectId, Endpoint)> {
    let directory = begin(app, ctx, action, project).await?;
    let known = lookup(project).and_then(|id| directory.project(&id.into()));
    let id = known.ok_or_else(|| projects::absent(project))?.id.clone();
    let mut all = everything(app, &directory, base).into_iter().flat_map(|entry| entry.endpoints);
    let found = all.find(|found| found.id == endpoint).ok_or_else(|| absent("endpoint", endpoint))?;
    Ok((directory, id, found))
}

/// The endpoints that were chosen for a project.
pub async fn chosen_endpoints(app: &App, ctx: &Ctx, project: &str, base: &str) -> Result<Vec<Endpoint>> {
    let directory = begin(app, ctx, actions::PROJECT_ENDPOINTS_LIST, project).await?;
    let known = lookup(project).and_then(|id| directory.project(&id.into()));
    let id = known.ok_or_else(|| projects::absent(project))?.id.clone();
    let Some(chosen) = chosen(&directory, &id) else { return Ok(Vec::new()) };
    let all = everything(app, &directory, base).into_iter().flat_map(|entry| entry.endpoints);
    Ok(all.filter(|endpoint| chosen.has(endpoint)).collect())
}

/// The projects that an endpoint was chosen for.
pub async fn choosing_projects(
    app: &App,
    ctx: &Ctx,
    endpoint: &str,
) -> Result<Vec<canopy_store::identity::Project>> {
    let directory = begin(app, ctx, actions::PROJECT_ENDPOINTS_LIST, endpoint).await?;
    let mut all = everything(app, &directory, "").into_iter().flat_map(|entry| entry.endpoints);
    if !all.any(|found| found.id == endpoint) {
        return Err(absent("endpoint", endpoint));
    }
    Ok(directory.choosing(endpoint).into_iter().cloned().collect())
}

pub async fn has_chosen(app: &App, ctx: &Ctx, project: &str, endpoint: &str) -> Result<()> {
    let (directory, id, endpoint) =
        pair(app, ctx, actions::PROJECT_ENDPOINTS_SHOW, project, endpoint, "").await?;
    if directory.shown_to(&id).is_some_and(|chosen| chosen.contains(&endpoint.id)) {
        return Ok(());
    }
    Err(Error::not_found(
        "identity.project_endpoint_not_found",
        format!("Endpoint {} not found in project {project}", endpoint.id),
    ))
}

pub async fn choose(app: &App, ctx: &Ctx, project: &str, endpoint: &str, add: bool) -> Result<()> {
    let action = if add { actions::PROJECT_ENDPOINTS_ADD } else { actions::PROJECT_ENDPOINTS_REMOVE };
    let (_, id, endpoint) = pair(app, ctx, action, project, endpoint, "").await?;
    let now = app.now();
    app.store
        .write("identity.project_endpoint", move |c| {
            let (id, endpoint) = (id.clone(), endpoint.id.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.project_endpoint", id.as_str()).await?;
                if add {
                    return stored::show_to(c, &id, &endpoint).await;
                }
                if stored::show_no_more(c, &id, &endpoint).await? {
                    return Ok(());
                }
                Err(Error::not_found(
                    "identity.project_endpoint_not_found",
                    format!("Endpoint {endpoint} not found in project {id}"),
                ))
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
