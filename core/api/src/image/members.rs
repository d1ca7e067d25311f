//! Whom an image is shared with.

use super::id;
use super::images::ANY;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::schema::text;
use canopy_app::image::{self, Member};
use canopy_authz::actions::image as actions;
use canopy_types::{Error, ProjectId, Result};
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Image, method, path, summary, handler);
    let (all, one) = ("/v2/images/{id}/members", "/v2/images/{id}/members/{member_id}");
    vec![
        route(Method::GET, all, "List an image's members", handler!(list))
            .action(actions::MEMBERS_LIST)
            .answers(&[200], &[404]),
        route(Method::POST, all, "Share an image with a project", handler!(create))
            .action(actions::MEMBERS_CREATE)
            .json(&[(ANY, create_schema)])
            .answers(&[200], &[404, 409, 413]),
        route(Method::GET, one, "Show a member of an image", handler!(show))
            .action(actions::MEMBERS_SHOW)
            .answers(&[200], &[404]),
        route(Method::PUT, one, "Accept or reject a shared image", handler!(update))
            .action(actions::MEMBERS_UPDATE)
            .json(&[(ANY, update_schema)])
            .answers(&[200], &[404]),
        route(Method::DELETE, one, "Stop sharing an image with a project", handler!(delete))
            .action(actions::MEMBERS_DELETE)
            .answers(&[204], &[404]),
    ]
}

fn create_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"member": {"type": "string", "minLength": 1, "maxLength": 255}},
        "required": ["member"],
    })
}

fn update_schema() -> Value {
    json!({"type": "object", "properties": {"status": text(255)}, "required": ["status"]})
}

/// A member as glance's v2 shows it; its schema is beside the image's.
fn view(member: &Member) -> Value {
    json!({
        "image_id": member.image_id.to_string(),
        "member_id": member.project_id.as_str(),
        "status": member.status.as_str(),
        "created_at": member.created_at.seconds_z(),
        "updated_at": member.updated_at.seconds_z(),
        "schema": "/v2/schemas/member",
    })
}

fn member(req: &Req) -> ProjectId {
    ProjectId(req.param("member_id").to_owned())
}

async fn list(req: Req) -> Result<Reply> {
    let members = image::members(&req.app, req.ctx()?, id(&req)?).await?;
    let members: Vec<Value> = members.iter().map(view).collect();
    Reply::json(200, &json!({"members": members, "schema": "/v2/schemas/members"}))
}

async fn create(req: Req) -> Result<Reply> {
    let project = req.json["member"].as_str().unwrap_or_default();
    let made = image::add_member(&req.app, req.ctx()?, id(&req)?, ProjectId(project.to_owned())).await?;
    Reply::json(200, &view(&made))
}

async fn show(req: Req) -> Result<Reply> {
    Reply::json(200, &view(&image::member(&req.app, req.ctx()?, id(&req)?, member(&req)).await?))
}

async fn update(req: Req) -> Result<Reply> {
    let status = req.json["status"].as_str().and_then(|status| status.parse().ok()).ok_or_else(|| {
        Error::bad_request("image.member_status", "Status must be one of pending, accepted, rejected.")
    })?;
    let id = id(&req)?;
    let updated = image::set_member_status(&req.app, req.ctx()?, id, member(&req), status).await?;
    Reply::json(200, &view(&updated))
}

async fn delete(req: Req) -> Result<Reply> {
    image::remove_member(&req.app, req.ctx()?, id(&req)?, member(&req)).await?;
    Ok(Reply::empty(204))
}
