//! Projects.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, NewProject, ProjectChange, ProjectFilter};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).unwrap_or_default().to_owned();
    let filter = ProjectFilter {
        domain_id: text("domain_id"),
        name: text("name"),
        parent_id: text("parent_id"),
        enabled: req.query.flag("enabled")?,
    };
    // A domain that acts as a project is a thing that there is none of.
    if req.query.flag("is_domain")? == Some(true) {
        return Reply::json(200, &render::list(&req, "projects", Vec::new(), None));
    }
    let (projects, more) = identity::projects(&req.app, req.ctx()?, filter, req.query.page()?).await?;
    let next = projects.last().filter(|_| more).map(|project| project.id.0.clone());
    let items = projects.iter().map(|project| render::project(&req.base, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, next))
}

pub async fn show(req: Req) -> Result<Reply> {
    let project = identity::project(&req.app, req.ctx()?, req.param("project_id")).await?;
    Reply::json(200, &json!({"project": render::project(&req.base, &project)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["project"];
    let new = NewProject {
        name: body::text(asked, "name").unwrap_or_default(),
        domain_id: body::text(asked, "domain_id"),
        parent_id: body::text(asked, "parent_id"),
        description: body::text(asked, "description").unwrap_or_default(),
        enabled: asked["enabled"].as_bool().unwrap_or(true),
    };
    let project = identity::create_project(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"project": render::project(&req.base, &project)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (asked, id) = (&req.json["project"], req.param("project_id"));
    if asked.get("domain_id").is_some() || asked.get("parent_id").is_some() {
        let present = identity::project(&req.app, req.ctx()?, id).await?;
        fixed(asked, "domain_id", present.domain_id.as_str())?;
        fixed(asked, "parent_id", &present.parent_id)?;
    }
    let change = ProjectChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        enabled: asked["enabled"].as_bool(),
    };
    let project = identity::update_project(&req.app, req.ctx()?, id, change).await?;
    Reply::json(200, &json!({"project": render::project(&req.base, &project)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_project(&req.app, req.ctx()?, req.param("project_id")).await?;
    Ok(Reply::empty(204))
}

/// Refuses a change to what never changes; naming the present value is fine.
pub fn fixed(asked: &Value, name: &str, present: &str) -> Result<()> {
    match asked.get(name) {
        Some(value) if value != present => {
            Err(Error::bad_request("identity.immutable", format!("{name} cannot be changed.")))
        }
        _ => Ok(()),
    }
}
