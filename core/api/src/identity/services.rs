//! The catalog's services, endpoints and regions, one by one. What the server itself offers is shown and not
//! edited; an operator's own entries stand beside it.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::catalog::{self, Endpoint, Region, Service};
use canopy_app::identity::{self, EndpointChange, RegionChange, ServiceChange};
use canopy_types::Result;
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let mut services = catalog::services(&req.app, req.ctx()?, &req.base).await?;
    services.retain(|service| matches(&req, "type", &service.kind) && matches(&req, "name", &service.name));
    let items = services.iter().map(|service| shown(&req.base, service)).collect();
    Reply::json(200, &render::list(&req, "services", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let service = catalog::service(&req.app, req.ctx()?, &req.base, req.param("service_id")).await?;
    Reply::json(200, &json!({"service": shown(&req.base, &service)}))
}

fn service_change(asked: &Value) -> ServiceChange {
    ServiceChange {
        kind: body::text(asked, "type"),
        name: asked.get("name").map(|name| name.as_str().unwrap_or_default().to_owned()),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        enabled: asked["enabled"].as_bool(),
    }
}

pub async fn create(req: Req) -> Result<Reply> {
    let change = service_change(&req.json["service"]);
    let service = identity::create_service(&req.app, req.ctx()?, change).await?;
    Reply::json(201, &json!({"service": shown(&req.base, &service)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let change = service_change(&req.json["service"]);
    let service = identity::update_service(&req.app, req.ctx()?, req.param("service_id"), change).await?;
    Reply::json(200, &json!({"service": shown(&req.base, &service)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_service(&req.app, req.ctx()?, req.param("service_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn endpoints(req: Req) -> Result<Reply> {
    let mut endpoints = catalog::endpoints(&req.app, req.ctx()?, &req.base).await?;
    endpoints.retain(|endpoint| {
        matches(&req, "service_id", &endpoint.service_id)
            && matches(&req, "interface", &endpoint.interface)
            && matches(&req, "region_id", endpoint.region_id.as_deref().unwrap_or_default())
            && matches(&req, "region", endpoint.region_id.as_deref().unwrap_or_default())
    });
    let items = endpoints.iter().map(|endpoint| shown_endpoint(&req.base, endpoint)).collect();
    Reply::json(200, &render::list(&req, "endpoints", items, None))
}

pub async fn endpoint(req: Req) -> Result<Reply> {
    let found = catalog::endpoint(&req.app, req.ctx()?, &req.base, req.param("endpoint_id")).await?;
    Reply::json(200, &json!({"endpoint": shown_endpoint(&req.base, &found)}))
}

fn endpoint_change(asked: &Value) -> EndpointChange {
    // `region` is the older name.
    let region = asked.get("region_id").or_else(|| asked.get("region"));
    EndpointChange {
        service_id: body::text(asked, "service_id"),
        interface: body::text(asked, "interface"),
        region_id: region.map(|id| id.as_str().map(str::to_owned)),
        makes_region: asked.get("region_id").is_none(),
        url: body::text(asked, "url"),
        enabled: asked["enabled"].as_bool(),
    }
}

pub async fn create_endpoint(req: Req) -> Result<Reply> {
    let change = endpoint_change(&req.json["endpoint"]);
    let made = identity::create_endpoint(&req.app, req.ctx()?, change).await?;
    Reply::json(201, &json!({"endpoint": shown_endpoint(&req.base, &made)}))
}

pub async fn update_endpoint(req: Req) -> Result<Reply> {
    let change = endpoint_change(&req.json["endpoint"]);
    let changed = identity::update_endpoint(&req.app, req.ctx()?, req.param("endpoint_id"), change).await?;
    Reply::json(200, &json!({"endpoint": shown_endpoint(&req.base, &changed)}))
}

pub async fn delete_endpoint(req: Req) -> Result<Reply> {
    identity::delete_endpoint(&req.app, req.ctx()?, req.param("endpoint_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn regions(req: Req) -> Result<Reply> {
    let mut regions = catalog::regions(&req.app).await?;
    regions
        .retain(|region| matches(&req, "parent_region_id", region.parent_id.as_deref().unwrap_or_default()));
    let items = regions.iter().map(|region| shown_region(&req.base, region)).collect();
    Reply::json(200, &render::list(&req, "regions", items, None))
}

pub async fn region(req: Req) -> Result<Reply> {
    let region = catalog::region(&req.app, req.param("region_id")).await?;
    Reply::json(200, &json!({"region": shown_region(&req.base, &region)}))
}

fn region_change(asked: &Value) -> RegionChange {
    RegionChange {
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        parent_id: asked.get("parent_region_id").map(|id| id.as_str().map(str::to_owned)),
    }
}

/// With an id in the path (PUT) or in the body, or none.
pub async fn create_region(req: Req) -> Result<Reply> {
    let asked = &req.json["region"];
    let named = Some(req.param("region_id").to_owned()).filter(|id| !id.is_empty());
    let id = named.or_else(|| body::text(asked, "id"));
    let made = identity::create_region(&req.app, req.ctx()?, id, region_change(asked)).await?;
    Reply::json(201, &json!({"region": shown_region(&req.base, &made)}))
}

pub async fn update_region(req: Req) -> Result<Reply> {
    let change = region_change(&req.json["region"]);
    let changed = identity::update_region(&req.app, req.ctx()?, req.param("region_id"), change).await?;
    Reply::json(200, &json!({"region": shown_region(&req.base, &changed)}))
}

pub async fn delete_region(req: Req) -> Result<Reply> {
    identity::delete_region(&req.app, req.ctx()?, req.param("region_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn chosen(req: Req) -> Result<Reply> {
    let found = identity::chosen_endpoints(&req.app, req.ctx()?, req.param("project_id"), &req.base).await?;
    let items = found.iter().map(|endpoint| shown_endpoint(&req.base, endpoint)).collect();
    Reply::json(200, &render::list(&req, "endpoints", items, None))
}

pub async fn choosing(req: Req) -> Result<Reply> {
    let found = identity::choosing_projects(&req.app, req.ctx()?, req.param("endpoint_id")).await?;
    let items = found.iter().map(|project| render::project(&req, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, None))
}

pub async fn has_chosen(req: Req) -> Result<Reply> {
    let (project, endpoint) = (req.param("project_id"), req.param("endpoint_id"));
    identity::has_chosen(&req.app, req.ctx()?, project, endpoint).await?;
    Ok(Reply::empty(204))
}

pub async fn choose(req: Req) -> Result<Reply> {
    let (project, endpoint) = (req.param("project_id"), req.param("endpoint_id"));
    identity::choose(&req.app, req.ctx()?, project, endpoint, true).await?;
    Ok(Reply::empty(204))
}

pub async fn choose_no_more(req: Req) -> Result<Reply> {
    let (project, endpoint) = (req.param("project_id"), req.param("endpoint_id"));
    identity::choose(&req.app, req.ctx()?, project, endpoint, false).await?;
    Ok(Reply::empty(204))
}

fn matches(req: &Req, filter: &str, value: &str) -> bool {
    req.query
        .get(filter)
        .is_none_or(|wanted| wanted == value || wanted.is_empty() && filter != "parent_region_id")
}

fn shown(base: &str, service: &Service) -> Value {
    json!({
        "id": service.id, "name": service.name, "type": service.kind, "description": service.description,
        "enabled": service.enabled,
        "links": {"self": render::link(base, &format!("services/{}", service.id))},
    })
}

pub fn shown_endpoint(base: &str, endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id, "service_id": endpoint.service_id, "interface": endpoint.interface,
        "region": endpoint.region_id, "region_id": endpoint.region_id, "url": endpoint.url,
        "enabled": endpoint.enabled,
        "links": {"self": render::link(base, &format!("endpoints/{}", endpoint.id))},
    })
}

fn shown_region(base: &str, region: &Region) -> Value {
    json!({
        "id": region.id, "description": region.description, "parent_region_id": region.parent_id,
        "links": {"self": render::link(base, &format!("regions/{}", crate::links::escape(&region.id)))},
    })
}
