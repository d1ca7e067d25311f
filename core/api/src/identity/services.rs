//! The catalog's services, endpoints and regions, one by one. They are what this server offers, so they are
//! shown and not edited.

use super::render;
use crate::request::{Reply, Req};
use canopy_app::identity::catalog::{self, Endpoint, Service};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let mut services = catalog::services(&req.app, req.ctx()?, &req.base)?;
    services.retain(|service| matches(&req, "type", service.kind) && matches(&req, "name", service.name));
    let items = services.iter().map(|service| shown(&req.base, service)).collect();
    Reply::json(200, &render::list(&req, "services", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let service = catalog::service(&req.app, req.ctx()?, &req.base, req.param("service_id"))?;
    Reply::json(200, &json!({"service": shown(&req.base, &service)}))
}

pub async fn endpoints(req: Req) -> Result<Reply> {
    let mut endpoints = catalog::endpoints(&req.app, req.ctx()?, &req.base)?;
    endpoints.retain(|(service, endpoint)| {
        matches(&req, "service_id", &service.id)
            && matches(&req, "interface", endpoint.interface)
            && matches(&req, "region_id", &endpoint.region)
    });
    let items = endpoints.iter().map(|pair| shown_endpoint(&req.base, pair)).collect();
    Reply::json(200, &render::list(&req, "endpoints", items, None))
}

pub async fn endpoint(req: Req) -> Result<Reply> {
    let pair = catalog::endpoint(&req.app, req.ctx()?, &req.base, req.param("endpoint_id"))?;
    Reply::json(200, &json!({"endpoint": shown_endpoint(&req.base, &pair)}))
}

pub async fn regions(req: Req) -> Result<Reply> {
    let mut items = vec![region_of(&req)];
    // The only region stands at the top.
    items.retain(|_| req.query.get("parent_region_id").is_none_or(str::is_empty));
    Reply::json(200, &render::list(&req, "regions", items, None))
}

pub async fn region(req: Req) -> Result<Reply> {
    let id = req.param("region_id");
    if id != req.app.settings.region {
        let shown: String = id.chars().take(255).collect();
        return Err(Error::not_found(
            "identity.region_not_found",
            format!("Could not find region: {shown}."),
        ));
    }
    Reply::json(200, &json!({"region": region_of(&req)}))
}

fn matches(req: &Req, filter: &str, value: &str) -> bool {
    req.query.get(filter).is_none_or(|wanted| wanted.is_empty() || wanted == value)
}

fn shown(base: &str, service: &Service) -> Value {
    json!({
        "id": service.id, "name": service.name, "type": service.kind, "description": "", "enabled": true,
        "links": {"self": render::link(base, &format!("services/{}", service.id))},
    })
}

fn shown_endpoint(base: &str, (service, endpoint): &(Service, Endpoint)) -> Value {
    json!({
        "id": endpoint.id, "service_id": service.id, "interface": endpoint.interface,
        "region": endpoint.region, "region_id": endpoint.region, "url": endpoint.url, "enabled": true,
        "links": {"self": render::link(base, &format!("endpoints/{}", endpoint.id))},
    })
}

fn region_of(req: &Req) -> Value {
    let id = &req.app.settings.region;
    json!({
        "id": id, "description": "", "parent_region_id": null,
        "links": {"self": render::link(&req.base, &format!("regions/{}", crate::links::escape(id)))},
    })
}
