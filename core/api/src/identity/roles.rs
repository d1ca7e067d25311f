//! Roles, and who holds which role where.

use super::{body, projects, render, schemas};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, Actor, Assignment, NewRole, Reach, RoleChange};
use canopy_types::Result;
use serde_json::json;

pub async fn roles(req: Req) -> Result<Reply> {
    let mut roles = identity::roles(&req.app, req.ctx()?).await?;
    // Those of the whole cloud, or those of one domain.
    let domain = req.query.get("domain_id").filter(|id| !id.is_empty());
    roles.retain(|role| {
        role.domain_id.as_ref().map(|id| id.as_str()) == domain
            && req.query.get("name").is_none_or(|name| name == role.name)
    });
    let items = roles.iter().map(|role| render::role(&req, role)).collect();
    Reply::json(200, &render::list(&req, "roles", items, None))
}

pub async fn role(req: Req) -> Result<Reply> {
    let role = identity::role(&req.app, req.ctx()?, req.param("role_id")).await?;
    Reply::json(200, &json!({"role": render::role(&req, &role)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["role"];
    let new = NewRole {
        name: body::text(asked, "name").unwrap_or_default(),
        domain_id: body::text(asked, "domain_id"),
        description: body::text(asked, "description").unwrap_or_default(),
        extra: schemas::extra(asked, schemas::role_fields),
    };
    let role = identity::create_role(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"role": render::role(&req, &role)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let asked = &req.json["role"];
    if asked.get("domain_id").is_some() {
        let present = identity::role(&req.app, req.ctx()?, req.param("role_id")).await?;
        projects::fixed(asked, "domain_id", present.domain_id.as_ref().map(|id| id.as_str()))?;
    }
    let change = RoleChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        extra: schemas::extra(asked, schemas::role_fields),
    };
    let role = identity::update_role(&req.app, req.ctx()?, req.param("role_id"), change).await?;
    Reply::json(200, &json!({"role": render::role(&req, &role)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_role(&req.app, req.ctx()?, req.param("role_id")).await?;
    Ok(Reply::empty(204))
}

/// Where the path says.
fn reach(req: &Req) -> Reach {
    match (req.param("project_id"), req.param("domain_id")) {
        ("", "") => Reach::System,
        ("", domain) => Reach::Domain(domain.into()),
        (project, _) => Reach::Project(project.into()),
    }
}

/// Who the path says.
fn actor(req: &Req) -> Actor {
    match req.param("group_id") {
        "" => Actor::User(req.param("user_id").into()),
        group => Actor::Group(group.into()),
    }
}

/// Whether the path is about what the projects below inherit.
fn inherited(req: &Req) -> bool {
    req.path.contains("/OS-INHERIT/")
}

fn assignment(req: &Req) -> Assignment {
    Assignment {
        actor: actor(req),
        reach: reach(req),
        role_id: req.param("role_id").into(),
        inherited: inherited(req),
    }
}

pub async fn granted(req: Req) -> Result<Reply> {
    let (actor, reach, inherited) = (actor(&req), reach(&req), inherited(&req));
    let roles = identity::grants_on(&req.app, req.ctx()?, &actor, &reach, inherited).await?;
    let items = roles.iter().map(|role| render::role(&req, role)).collect();
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
