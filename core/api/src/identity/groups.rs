//! Groups and their members.

use super::{body, projects, render, schemas};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, GroupChange, GroupFilter, NewGroup};
use canopy_types::Result;
use serde_json::json;

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).unwrap_or_default().to_owned();
    let filter = GroupFilter { domain_id: text("domain_id"), name: text("name") };
    let (groups, more) = identity::groups(&req.app, req.ctx()?, filter, req.query.page()?).await?;
    let next = groups.last().filter(|_| more).map(|group| group.id.0.clone());
    let items = groups.iter().map(|group| render::group(&req, group)).collect();
    Reply::json(200, &render::list(&req, "groups", items, next))
}

pub async fn show(req: Req) -> Result<Reply> {
    let group = identity::group(&req.app, req.ctx()?, req.param("group_id")).await?;
    Reply::json(200, &json!({"group": render::group(&req, &group)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["group"];
    let new = NewGroup {
        name: body::text(asked, "name").unwrap_or_default(),
        domain_id: body::text(asked, "domain_id"),
        description: body::text(asked, "description").unwrap_or_default(),
        extra: schemas::extra(asked, schemas::group_fields),
    };
    let group = identity::create_group(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"group": render::group(&req, &group)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (asked, id) = (&req.json["group"], req.param("group_id"));
    if asked.get("domain_id").is_some() {
        let present = identity::group(&req.app, req.ctx()?, id).await?;
        projects::fixed(asked, "domain_id", present.domain_id.as_str())?;
    }
    let change = GroupChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        extra: schemas::extra(asked, schemas::group_fields),
    };
    let group = identity::update_group(&req.app, req.ctx()?, id, change).await?;
    Reply::json(200, &json!({"group": render::group(&req, &group)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_group(&req.app, req.ctx()?, req.param("group_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn members(req: Req) -> Result<Reply> {
    let users = identity::members(&req.app, req.ctx()?, req.param("group_id")).await?;
    let items = users.iter().map(|user| render::user(&req, user)).collect();
    Reply::json(200, &render::list(&req, "users", items, None))
}

pub async fn of_user(req: Req) -> Result<Reply> {
    let mut groups = identity::groups_of_user(&req.app, req.ctx()?, req.param("user_id")).await?;
    groups.retain(|group| req.query.get("name").is_none_or(|name| name == group.name));
    let items = groups.iter().map(|group| render::group(&req, group)).collect();
    Reply::json(200, &render::list(&req, "groups", items, None))
}

pub async fn has_member(req: Req) -> Result<Reply> {
    let (group, user) = (req.param("group_id"), req.param("user_id"));
    identity::has_member(&req.app, req.ctx()?, group, user).await?;
    Ok(Reply::empty(204))
}

pub async fn add_member(req: Req) -> Result<Reply> {
    let (group, user) = (req.param("group_id"), req.param("user_id"));
    identity::add_member(&req.app, req.ctx()?, group, user).await?;
    Ok(Reply::empty(204))
}

pub async fn remove_member(req: Req) -> Result<Reply> {
    let (group, user) = (req.param("group_id"), req.param("user_id"));
    identity::remove_member(&req.app, req.ctx()?, group, user).await?;
    Ok(Reply::empty(204))
}
