//! Domains, roles, and who holds which role where.

use super::render;
use crate::request::{Reply, Req};
use canopy_app::identity::{self, Assignment, Reach};
use canopy_types::Result;
use serde_json::json;

pub async fn domains(req: Req) -> Result<Reply> {
    let mut domains = identity::domains(&req.app, req.ctx()?).await?;
    let enabled = req.query.flag("enabled")?;
    domains.retain(|domain| {
        req.query.get("name").is_none_or(|name| name == domain.name)
            && enabled.is_none_or(|on| on == domain.enabled)
    });
    let items = domains.iter().map(|domain| render::domain(&req.base, domain)).collect();
    Reply::json(200, &render::list(&req, "domains", items, None))
}

pub async fn domain(req: Req) -> Result<Reply> {
    let domain = identity::domain(&req.app, req.ctx()?, req.param("domain_id")).await?;
    Reply::json(200, &json!({"domain": render::domain(&req.base, &domain)}))
}

pub async fn roles(req: Req) -> Result<Reply> {
    let mut roles = identity::roles(&req.app, req.ctx()?).await?;
    // All roles are global: none belongs to a domain.
    let domain = req.query.get("domain_id").is_some_and(|id| !id.is_empty());
    roles.retain(|role| !domain && req.query.get("name").is_none_or(|name| name == role.name));
    let items = roles.iter().map(|role| render::role(&req.base, role)).collect();
    Reply::json(200, &render::list(&req, "roles", items, None))
}

pub async fn role(req: Req) -> Result<Reply> {
    let role = identity::role(&req.app, req.ctx()?, req.param("role_id")).await?;
    Reply::json(200, &json!({"role": render::role(&req.base, &role)}))
}

/// Where the path says.
fn reach(req: &Req) -> Reach {
    match (req.param("project_id"), req.param("domain_id")) {
        ("", "") => Reach::System,
        ("", domain) => Reach::Domain(domain.into()),
        (project, _) => Reach::Project(project.into()),
    }
}

fn assignment(req: &Req) -> Assignment {
    Assignment {
        user_id: req.param("user_id").into(),
        reach: reach(req),
        role_id: req.param("role_id").into(),
    }
}

pub async fn granted(req: Req) -> Result<Reply> {
    let roles = identity::grants_on(&req.app, req.ctx()?, req.param("user_id"), &reach(&req)).await?;
    let items = roles.iter().map(|role| render::role(&req.base, role)).collect();
    Reply::json(200, &render::list(&req, "roles", items, None))
}

pub async fn check(req: Req) -> Result<Reply> {
    identity::has_grant(&req.app, req.ctx()?, assignment(&req)).await?;
    Ok(Reply::empty(204))
}

pub async fn grant(req: Req) -> Result<Reply> {
    identity::grant(&req.app, req.ctx()?, assignment(&req)).await?;
    Ok(Reply::empty(204))
}

pub async fn revoke(req: Req) -> Result<Reply> {
    identity::revoke_grant(&req.app, req.ctx()?, assignment(&req)).await?;
    Ok(Reply::empty(204))
}
