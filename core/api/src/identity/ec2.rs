//! EC2 keys of users (OS-EC2).

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, Ec2Key};
use canopy_types::Result;
use serde_json::{Value, json};

fn shown(req: &Req, key: &Ec2Key) -> Value {
    let path = format!("users/{}/credentials/OS-EC2/{}", key.user_id, key.access);
    json!({
        "access": key.access, "secret": key.secret.0, "user_id": key.user_id, "tenant_id": key.project_id,
        "trust_id": null, "links": {"self": render::link(&req.base, &path)},
    })
}

pub async fn list(req: Req) -> Result<Reply> {
    let keys = identity::all_ec2(&req.app, req.ctx()?, req.param("user_id")).await?;
    let items = keys.iter().map(|key| shown(&req, key)).collect();
    Reply::json(200, &render::list(&req, "credentials", items, None))
}

pub async fn create(req: Req) -> Result<Reply> {
    let project = body::text(&req.json, "tenant_id").unwrap_or_default();
    let key = identity::create_ec2(&req.app, req.ctx()?, req.param("user_id"), &project).await?;
    Reply::json(201, &json!({"credential": shown(&req, &key)}))
}

pub async fn show(req: Req) -> Result<Reply> {
    let key = identity::ec2(&req.app, req.ctx()?, req.param("user_id"), req.param("access")).await?;
    Reply::json(200, &json!({"credential": shown(&req, &key)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_ec2(&req.app, req.ctx()?, req.param("user_id"), req.param("access")).await?;
    Ok(Reply::empty(204))
}
