//! Domains.

use super::{body, render, schemas};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, DomainChange, NewDomain};
use canopy_types::Result;
use serde_json::json;

pub async fn list(req: Req) -> Result<Reply> {
    let mut domains = identity::domains(&req.app, req.ctx()?).await?;
    let enabled = req.query.flag("enabled")?;
    domains.retain(|domain| {
        req.query.get("name").is_none_or(|name| name == domain.name)
            && enabled.is_none_or(|on| on == domain.enabled)
    });
    let items = domains.iter().map(|domain| render::domain(&req, domain)).collect();
    Reply::json(200, &render::list(&req, "domains", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let domain = identity::domain(&req.app, req.ctx()?, req.param("domain_id")).await?;
    Reply::json(200, &json!({"domain": render::domain(&req, &domain)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["domain"];
    let new = NewDomain {
        name: body::text(asked, "name").unwrap_or_default(),
        description: body::text(asked, "description").unwrap_or_default(),
        enabled: asked["enabled"].as_bool().unwrap_or(true),
        extra: schemas::extra(asked, schemas::domain_fields),
    };
    let domain = identity::create_domain(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"domain": render::domain(&req, &domain)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let asked = &req.json["domain"];
    let change = DomainChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        enabled: asked["enabled"].as_bool(),
        extra: schemas::extra(asked, schemas::domain_fields),
    };
    let domain = identity::update_domain(&req.app, req.ctx()?, req.param("domain_id"), change).await?;
    Reply::json(200, &json!({"domain": render::domain(&req, &domain)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_domain(&req.app, req.ctx()?, req.param("domain_id")).await?;
    Ok(Reply::empty(204))
}
