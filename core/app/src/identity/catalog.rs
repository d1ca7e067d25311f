//! The service catalog: what works, and where. Ids are digests, so they are the same on every server and
//! after every restart without being stored.

use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::identity as actions};
use canopy_types::{Error, Result};
use sha2::{Digest, Sha256};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: String,
    pub kind: &'static str,
    pub name: &'static str,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: String,
    pub interface: &'static str,
    pub region: String,
    pub url: String,
}

/// Type, name, path.
const SERVICES: [(&str, &str, &str); 5] = [
    ("compute", "nova", "/compute/v2.1"),
    ("identity", "keystone", "/identity/v3"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
];

/// `base` is `scheme://authority`, as the client reached us.
pub fn catalog(region: &str, base: &str) -> Vec<Service> {
    SERVICES
        .into_iter()
        .map(|(kind, name, path)| Service {
            id: id(&["service", kind]),
            kind,
            name,
            endpoints: ["public", "internal", "admin"]
                .into_iter()
                .map(|interface| Endpoint {
                    id: id(&["endpoint", region, kind, interface]),
                    interface,
                    region: region.to_owned(),
                    url: format!("{base}{path}"),
                })
                .collect(),
        })
        .collect()
}

/// The same, for who may look at it piece by piece.
pub fn services(app: &App, ctx: &Ctx, base: &str) -> Result<Vec<Service>> {
    access::require(app, ctx, actions::SERVICES_LIST, &Target::default())?;
    Ok(catalog(&app.settings.region, base))
}

pub fn service(app: &App, ctx: &Ctx, base: &str, id: &str) -> Result<Service> {
    access::require(app, ctx, actions::SERVICES_SHOW, &Target::default().id(id))?;
    let mut services = catalog(&app.settings.region, base).into_iter();
    services.find(|service| service.id == id).ok_or_else(|| absent("service", id))
}

/// Each endpoint with its service.
pub fn endpoints(app: &App, ctx: &Ctx, base: &str) -> Result<Vec<(Service, Endpoint)>> {
    access::require(app, ctx, actions::ENDPOINTS_LIST, &Target::default())?;
    Ok(pairs(app, base))
}

pub fn endpoint(app: &App, ctx: &Ctx, base: &str, id: &str) -> Result<(Service, Endpoint)> {
    access::require(app, ctx, actions::ENDPOINTS_SHOW, &Target::default().id(id))?;
    pairs(app, base).into_iter().find(|(_, e)| e.id == id).ok_or_else(|| absent("endpoint", id))
}

fn pairs(app: &App, base: &str) -> Vec<(Service, Endpoint)> {
    let of = |service: Service| {
        let endpoints = service.endpoints.clone();
        endpoints.into_iter().map(move |endpoint| (service.clone(), endpoint))
    };
    catalog(&app.settings.region, base).into_iter().flat_map(of).collect()
}

fn absent(what: &str, id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("identity.catalog_not_found", format!("Could not find {what}: {shown}."))
}

/// 32 hex digits.
fn id(parts: &[&str]) -> String {
    let digest = Sha256::digest(format!("canopy catalog {parts:?}"));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_distinct_and_urls_follow_the_base() {
        let (a, b) = (catalog("RegionOne", "http://a:1"), catalog("RegionOne", "https://b"));
        let ids = |services: &[Service]| -> Vec<String> {
            services
                .iter()
                .flat_map(|s| s.endpoints.iter().map(|e| e.id.clone()).chain([s.id.clone()]))
                .collect()
        };
        assert_eq!(ids(&a), ids(&b));
        let distinct: std::collections::BTreeSet<String> = ids(&a).into_iter().collect();
        assert_eq!(distinct.len(), 20);
        assert!(distinct.iter().all(|id| id.len() == 32));
        assert_eq!(b[1].endpoints[0].url, "https://b/identity/v3");
        assert_ne!(ids(&a), ids(&catalog("RegionTwo", "http://a:1")));
    }
}
