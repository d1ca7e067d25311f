//! A project's tags.

use super::render;
use crate::request::{Reply, Req};
use canopy_app::identity::{self, ProjectChange, ProjectTags};
use canopy_types::{Error, Result};

fn change(tags: ProjectTags) -> ProjectChange {
    ProjectChange { tags: Some(tags), ..ProjectChange::default() }
}

fn shown(req: &Req, project: &identity::Project) -> Result<Reply> {
    let tags = project.tags.iter().cloned().map(Into::into).collect();
    Reply::json(200, &render::list(req, "tags", tags, None))
}

/// Of a body that a schema has checked.
pub fn named(body: &serde_json::Value) -> Vec<String> {
    body.as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

pub async fn list(req: Req) -> Result<Reply> {
    let project = identity::project(&req.app, req.ctx()?, req.param("project_id")).await?;
    shown(&req, &project)
}

pub async fn replace(req: Req) -> Result<Reply> {
    let project = identity::update_project(
        &req.app,
        req.ctx()?,
        req.param("project_id"),
        change(ProjectTags::Set(named(&req.json["tags"]))),
    )
    .await?;
    shown(&req, &project)
}

pub async fn clear(req: Req) -> Result<Reply> {
    identity::update_project(
        &req.app,
        req.ctx()?,
        req.param("project_id"),
        change(ProjectTags::Set(Vec::new())),
    )
    .await?;
    Ok(Reply::empty(204))
}

pub async fn check(req: Req) -> Result<Reply> {
    let project = identity::project(&req.app, req.ctx()?, req.param("project_id")).await?;
    let tag = req.param("tag");
    if project.tags.iter().any(|own| own == tag) {
        return Ok(Reply::empty(204));
    }
    Err(identity::absent_tag(tag))
}

pub async fn add(req: Req) -> Result<Reply> {
    let tag = req.param("tag");
    let plain = |c: char| c == ',' || c == '/' || c.is_control();
    if tag.is_empty() || tag.chars().count() > 255 || tag.contains(plain) {
        return Err(Error::bad_request(
            "identity.project_tag",
            "A tag has 1 to 255 characters, none of them a comma, a slash or a control character.",
        ));
    }
    identity::update_project(
        &req.app,
        req.ctx()?,
        req.param("project_id"),
        change(ProjectTags::Add(tag.to_owned())),
    )
    .await?;
    let own = format!("{}{}", req.base, req.path);
    Ok(Reply::empty(201).header("location", &own))
}

pub async fn remove(req: Req) -> Result<Reply> {
    identity::update_project(
        &req.app,
        req.ctx()?,
        req.param("project_id"),
        change(ProjectTags::Remove(req.param("tag").to_owned())),
    )
    .await?;
    Ok(Reply::empty(204))
}
