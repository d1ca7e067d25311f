//! The service catalog: what this server offers, and what an operator put beside it. Ids of what is built in
//! are digests, so they are the same on every server and after every restart without being stored.

pub use super::catalogs::Catalog;
use super::endpoint_groups::describes;
use super::indexed::Indexed;
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::identity as actions};
pub use canopy_store::identity::catalog::{Endpoint, Region, Service};
use canopy_store::identity::endpoint_groups::EndpointGroup;
use canopy_types::{Error, ProjectId, Result};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;

/// Type, name, path.
const SERVICES: [(&str, &str, &str); 5] = [
    ("compute", "nova", "/compute/v2.1"),
    ("identity", "keystone", "/identity/v3"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
];

/// A service with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub service: Service,
    pub endpoints: Vec<Endpoint>,
}

/// Services of ours, at `scheme://authority` as the client reached us.
pub fn built_in(region: &str, base: &str) -> Vec<Entry> {
    SERVICES
        .into_iter()
        .map(|(kind, name, path)| {
            let service = Service {
                id: id(&["service", kind]),
                kind: kind.to_owned(),
                name: name.to_owned(),
                description: String::new(),
                enabled: true,
            };
            let endpoint = |interface: &str| Endpoint {
                id: id(&["endpoint", region, kind, interface]),
                service_id: service.id.clone(),
                interface: interface.to_owned(),
                region_id: Some(region.to_owned()),
                url: format!("{base}{path}"),
                enabled: true,
            };
            Entry { endpoints: ["public", "internal", "admin"].map(endpoint).to_vec(), service }
        })
        .collect()
}

/// All services with all their endpoints, also those that are disabled.
pub(super) fn everything(app: &App, directory: &Indexed, base: &str) -> Vec<Entry> {
    let mut entries = built_in(&app.settings.region, base);
    let stored = directory.services().iter();
    entries.extend(stored.map(|service| Entry { service: service.clone(), endpoints: Vec::new() }));
    for endpoint in directory.endpoints() {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.service.id == endpoint.service_id) {
            entry.endpoints.push(endpoint.clone());
        }
    }
    entries
}

/// What a token for `project`, or for none, is told: what is enabled, and where endpoints were chosen for
/// the project, only these. Placeholders for the project in stored URLs are filled in.
pub fn catalog(app: &App, base: &str, project: Option<&ProjectId>) -> Arc<Catalog> {
    let directory = app.identity.view().directory;
    directory.catalogs.of(base, project, || visible(app, &directory, base, project))
}

fn visible(app: &App, directory: &Indexed, base: &str, project: Option<&ProjectId>) -> Vec<Entry> {
    let chosen = project.and_then(|project| chosen(directory, project));
    let mut entries = everything(app, directory, base);
    entries.retain(|entry| entry.service.enabled);
    for entry in &mut entries {
        entry
            .endpoints
            .retain(|endpoint| endpoint.enabled && chosen.as_ref().is_none_or(|chosen| chosen.has(endpoint)));
        for endpoint in &mut entry.endpoints {
            if let Some(project) = project.filter(|_| endpoint.url.contains("_id)s")) {
                for name in ["%(project_id)s", "%(tenant_id)s", "$(project_id)s", "$(tenant_id)s"] {
                    endpoint.url = endpoint.url.replace(name, project.as_str());
                }
            }
        }
        // What needs a project is nothing without one.
        entry.endpoints.retain(|endpoint| !endpoint.url.contains("(project_id)s"));
        entry.endpoints.retain(|endpoint| !endpoint.url.contains("(tenant_id)s"));
    }
    if chosen.is_some() {
        entries.retain(|entry| !entry.endpoints.is_empty());
    }
    entries
}

/// The endpoints chosen for a project, one by one and by groups.
pub(super) struct Chosen<'a> {
    ids: Option<&'a HashSet<String>>,
    groups: Vec<&'a EndpointGroup>,
}

impl Chosen<'_> {
    pub fn has(&self, endpoint: &Endpoint) -> bool {
        self.ids.is_some_and(|ids| ids.contains(&endpoint.id))
            || self.groups.iter().any(|group| describes(&group.filters, endpoint))
    }
}

/// `None` where nothing was chosen: then all are shown.
pub(super) fn chosen<'a>(directory: &'a Indexed, project: &'a ProjectId) -> Option<Chosen<'a>> {
    let chosen =
        Chosen { ids: directory.shown_to(project), groups: directory.groups_shown_to(project).collect() };
    (chosen.ids.is_some() || !chosen.groups.is_empty()).then_some(chosen)
}

/// The same, for who may look at it piece by piece.
pub async fn services(app: &App, ctx: &Ctx, base: &str) -> Result<Vec<Service>> {
    access::require(app, ctx, actions::SERVICES_LIST, &Target::default())?;
    Ok(fresh(app, base).await?.into_iter().map(|entry| entry.service).collect())
}

pub async fn service(app: &App, ctx: &Ctx, base: &str, id: &str) -> Result<Service> {
    access::require(app, ctx, actions::SERVICES_SHOW, &Target::default().id(id))?;
    let mut services = fresh(app, base).await?.into_iter().map(|entry| entry.service);
    services.find(|service| service.id == id).ok_or_else(|| absent("service", id))
}

pub async fn endpoints(app: &App, ctx: &Ctx, base: &str) -> Result<Vec<Endpoint>> {
    access::require(app, ctx, actions::ENDPOINTS_LIST, &Target::default())?;
    Ok(fresh(app, base).await?.into_iter().flat_map(|entry| entry.endpoints).collect())
}

pub async fn endpoint(app: &App, ctx: &Ctx, base: &str, id: &str) -> Result<Endpoint> {
    access::require(app, ctx, actions::ENDPOINTS_SHOW, &Target::default().id(id))?;
    let mut all = fresh(app, base).await?.into_iter().flat_map(|entry| entry.endpoints);
    all.find(|endpoint| endpoint.id == id).ok_or_else(|| absent("endpoint", id))
}

async fn fresh(app: &App, base: &str) -> Result<Vec<Entry>> {
    app.identity.catch_up(&app.store).await?;
    Ok(everything(app, &app.identity.view().directory, base))
}

/// Every region; the server's own first.
pub async fn regions(app: &App) -> Result<Vec<Region>> {
    app.identity.catch_up(&app.store).await?;
    let own = Region { id: app.settings.region.clone(), description: String::new(), parent_id: None };
    let directory = app.identity.view().directory;
    let others = directory.regions().iter().filter(|region| region.id != own.id).cloned();
    Ok(std::iter::once(own.clone()).chain(others).collect())
}

pub async fn region(app: &App, id: &str) -> Result<Region> {
    regions(app).await?.into_iter().find(|region| region.id == id).ok_or_else(|| absent("region", id))
}

pub(super) fn absent(what: &str, id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("identity.catalog_not_found", format!("Could not find {what}: {shown}."))
}

/// 32 hex digits.
pub(crate) fn id(parts: &[&str]) -> String {
    let digest = Sha256::digest(format!("canopy catalog {parts:?}"));
    canopy_types::hex(&digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_distinct_and_urls_follow_the_base() {
        let (a, b) = (built_in("RegionOne", "http://a:1"), built_in("RegionOne", "https://b"));
        let ids = |entries: &[Entry]| -> Vec<String> {
            entries
                .iter()
                .flat_map(|e| e.endpoints.iter().map(|e| e.id.clone()).chain([e.service.id.clone()]))
                .collect()
        };
        assert_eq!(ids(&a), ids(&b));
        let distinct: std::collections::BTreeSet<String> = ids(&a).into_iter().collect();
        assert_eq!(distinct.len(), 20);
        assert!(distinct.iter().all(|id| id.len() == 32));
        assert_eq!(b[1].endpoints[0].url, "https://b/identity/v3");
        assert_ne!(ids(&a), ids(&built_in("RegionTwo", "http://a:1")));
    }
}
