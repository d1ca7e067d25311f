//! Trusts: OS-TRUST.

use super::application_credentials::{expires_at, role_refs};
use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, NewTrust, ShownTrust, TrustFilter};
use canopy_types::{Result, Timestamp};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let filter = TrustFilter { trustor_id: text("trustor_user_id"), trustee_id: text("trustee_user_id") };
    let found = identity::trusts(&req.app, req.ctx()?, &filter).await?;
    let items = found.iter().map(|one| brief(&req.base, one)).collect();
    Reply::json(200, &render::list(&req, "trusts", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let found = identity::trust(&req.app, req.ctx()?, req.param("trust_id")).await?;
    Reply::json(200, &json!({"trust": whole(&req, &found)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["trust"];
    let text = |name: &str| body::text(asked, name).unwrap_or_default();
    let new = NewTrust {
        trustor_id: text("trustor_user_id"),
        trustee_id: text("trustee_user_id"),
        project_id: text("project_id"),
        impersonation: asked["impersonation"].as_bool().unwrap_or(false),
        expires_at: expires_at(asked)?,
        remaining_uses: asked["remaining_uses"].as_i64(),
        roles: role_refs(&asked["roles"]).unwrap_or_default(),
        allow_redelegation: asked["allow_redelegation"].as_bool().unwrap_or(false),
        redelegation_count: asked["redelegation_count"].as_i64(),
    };
    let made = identity::create_trust(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"trust": whole(&req, &made)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_trust(&req.app, req.ctx()?, req.param("trust_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn roles(req: Req) -> Result<Reply> {
    let roles = identity::trust_roles(&req.app, req.ctx()?, req.param("trust_id")).await?;
    let items = roles.iter().map(|role| render::role(&req, role)).collect();
    Reply::json(200, &render::list(&req, "roles", items, None))
}

pub async fn role(req: Req) -> Result<Reply> {
    let (id, role) = (req.param("trust_id"), req.param("role_id"));
    let role = identity::trust_role(&req.app, req.ctx()?, id, role).await?;
    Reply::json(200, &json!({"role": render::role(&req, &role)}))
}

/// As in a list: without the roles.
fn brief(base: &str, shown: &ShownTrust) -> Value {
    let trust = &shown.trust;
    let mut value = json!({
        "id": trust.id, "trustor_user_id": trust.trustor_id, "trustee_user_id": trust.trustee_id,
        "project_id": trust.project_id, "impersonation": trust.impersonation,
        "expires_at": trust.expires_at.map(Timestamp::micros_z), "remaining_uses": trust.remaining_uses,
        "redelegation_count": trust.redelegation_count, "deleted_at": null,
        "links": {"self": render::link(base, &format!("OS-TRUST/trusts/{}", trust.id))},
    });
    if let Some(parent) = &trust.redelegated_id {
        value["redelegated_trust_id"] = json!(parent);
    }
    value
}

fn whole(req: &Req, shown: &ShownTrust) -> Value {
    let base = &req.base;
    let mut value = brief(base, shown);
    value["roles"] = shown.roles.iter().map(|role| render::role(req, role)).collect();
    let roles = render::link(base, &format!("OS-TRUST/trusts/{}/roles", shown.trust.id));
    value["roles_links"] = json!({"self": roles, "next": null, "previous": null});
    value
}
