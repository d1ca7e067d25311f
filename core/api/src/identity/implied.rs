//! Which role implies which.

use super::render;
use crate::request::{Reply, Req};
use canopy_app::identity::{self, Implication, Role};
use canopy_types::Result;
use serde_json::{Value, json};

fn named(base: &str, role: &Role) -> Value {
    json!({"id": role.id, "name": role.name,
        "links": {"self": render::link(base, &format!("roles/{}", role.id))}})
}

fn rule(base: &str, rule: &Implication) -> Value {
    let implied: Vec<Value> = rule.implied.iter().map(|role| named(base, role)).collect();
    json!({"prior_role": named(base, &rule.prior), "implies": implied})
}

/// One prior role with one that it implies.
fn one(req: &Req, status: u16, rule: &Implication) -> Result<Reply> {
    let implied = rule.implied.first().map(|role| named(&req.base, role));
    Reply::json(
        status,
        &json!({
            "role_inference": {"prior_role": named(&req.base, &rule.prior), "implies": implied},
            "links": {"self": format!("{}{}", req.base, req.path)},
        }),
    )
}

pub async fn all(req: Req) -> Result<Reply> {
    let rules = identity::implications(&req.app, req.ctx()?).await?;
    let items = rules.iter().map(|found| rule(&req.base, found)).collect();
    Reply::json(200, &render::list(&req, "role_inferences", items, None))
}

pub async fn of_role(req: Req) -> Result<Reply> {
    let found = identity::implications_of(&req.app, req.ctx()?, req.param("role_id")).await?;
    Reply::json(
        200,
        &json!({
            "role_inference": rule(&req.base, &found),
            "links": {"self": format!("{}{}", req.base, req.path)},
        }),
    )
}

pub async fn show(req: Req) -> Result<Reply> {
    let (prior, implied) = (req.param("role_id"), req.param("implied_role_id"));
    let found = identity::implication(&req.app, req.ctx()?, prior, implied).await?;
    one(&req, 200, &found)
}

pub async fn check(req: Req) -> Result<Reply> {
    let (prior, implied) = (req.param("role_id"), req.param("implied_role_id"));
    identity::implication(&req.app, req.ctx()?, prior, implied).await?;
    Ok(Reply::empty(204))
}

pub async fn create(req: Req) -> Result<Reply> {
    let (prior, implied) = (req.param("role_id"), req.param("implied_role_id"));
    let made = identity::imply(&req.app, req.ctx()?, prior, implied).await?;
    one(&req, 201, &made)
}

pub async fn delete(req: Req) -> Result<Reply> {
    let (prior, implied) = (req.param("role_id"), req.param("implied_role_id"));
    identity::imply_no_more(&req.app, req.ctx()?, prior, implied).await?;
    Ok(Reply::empty(204))
}
