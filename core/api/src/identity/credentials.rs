//! Credentials of other kinds that users keep here.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, CredentialChange, Opened};
use canopy_types::Result;
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).unwrap_or_default();
    let found = identity::all_kept(&req.app, req.ctx()?, text("user_id"), text("type")).await?;
    let items = found.iter().map(|one| shown(&req.base, one)).collect();
    Reply::json(200, &render::list(&req, "credentials", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let found = identity::kept(&req.app, req.ctx()?, req.param("credential_id")).await?;
    Reply::json(200, &json!({"credential": shown(&req.base, &found)}))
}

fn change(asked: &Value) -> Result<CredentialChange> {
    Ok(CredentialChange {
        user_id: body::text(asked, "user_id"),
        project_id: asked.get("project_id").map(|id| id.as_str().map(str::to_owned)),
        kind: body::text(asked, "type"),
        blob: body::secret(asked, "blob")?.flatten(),
    })
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["credential"];
    body::needed(asked, "blob")?;
    let made = identity::keep(&req.app, req.ctx()?, change(asked)?).await?;
    Reply::json(201, &json!({"credential": shown(&req.base, &made)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let id = req.param("credential_id");
    let changed = identity::keep_changed(&req.app, req.ctx()?, id, change(&req.json["credential"])?).await?;
    Reply::json(200, &json!({"credential": shown(&req.base, &changed)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::keep_no_more(&req.app, req.ctx()?, req.param("credential_id")).await?;
    Ok(Reply::empty(204))
}

fn shown(base: &str, opened: &Opened) -> Value {
    let one = &opened.credential;
    json!({
        "id": one.id, "user_id": one.user_id, "project_id": one.project_id, "type": one.kind,
        "blob": opened.blob.0, "links": {"self": render::link(base, &format!("credentials/{}", one.id))},
    })
}
