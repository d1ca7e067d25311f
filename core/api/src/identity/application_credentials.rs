//! Application credentials and access rules.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, AccessRule, NewCredential, RoleRef, RuleRef, Shown};
use canopy_types::{Error, Result, Timestamp};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let mut found = identity::credentials(&req.app, req.ctx()?, req.param("user_id")).await?;
    found.retain(|one| req.query.get("name").is_none_or(|name| name == one.credential.name));
    let items = found.iter().map(|one| shown(&req.base, one)).collect();
    Reply::json(200, &render::list(&req, "application_credentials", items, None))
}

pub async fn show(req: Req) -> Result<Reply> {
    let (user, id) = (req.param("user_id"), req.param("application_credential_id"));
    let found = identity::credential(&req.app, req.ctx()?, user, id).await?;
    Reply::json(200, &json!({"application_credential": shown(&req.base, &found)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["application_credential"];
    let new = NewCredential {
        name: body::text(asked, "name").unwrap_or_default(),
        description: body::text(asked, "description").unwrap_or_default(),
        secret: body::secret(asked, "secret")?.flatten(),
        expires_at: expires_at(asked)?,
        roles: role_refs(&asked["roles"]),
        unrestricted: asked["unrestricted"].as_bool().unwrap_or(false),
        // As keystone keeps them, an empty list is none: clients send one for a credential without rules.
        rules: asked["access_rules"]
            .as_array()
            .filter(|rules| !rules.is_empty())
            .map(|rules| rules.iter().map(rule_ref).collect()),
    };
    let (made, secret) = identity::create_credential(&req.app, req.ctx()?, req.param("user_id"), new).await?;
    let mut body = shown(&req.base, &made);
    body["secret"] = json!(secret.0);
    Reply::json(201, &json!({"application_credential": body}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    let (user, id) = (req.param("user_id"), req.param("application_credential_id"));
    identity::delete_credential(&req.app, req.ctx()?, user, id).await?;
    Ok(Reply::empty(204))
}

pub async fn rules(req: Req) -> Result<Reply> {
    let user = req.param("user_id");
    let mut found = identity::access_rules(&req.app, req.ctx()?, user).await?;
    let asked = |name: &str, value: &str| req.query.get(name).is_none_or(|wanted| wanted == value);
    found.retain(|rule| {
        asked("service", &rule.service) && asked("method", &rule.method) && asked("path", &rule.path)
    });
    let items = found.iter().map(|rule| linked_rule(&req.base, user, rule)).collect();
    Reply::json(200, &render::list(&req, "access_rules", items, None))
}

pub async fn rule(req: Req) -> Result<Reply> {
    let user = req.param("user_id");
    let found = identity::access_rule(&req.app, req.ctx()?, user, req.param("access_rule_id")).await?;
    Reply::json(200, &json!({"access_rule": linked_rule(&req.base, user, &found)}))
}

pub async fn delete_rule(req: Req) -> Result<Reply> {
    let (user, id) = (req.param("user_id"), req.param("access_rule_id"));
    identity::delete_access_rule(&req.app, req.ctx()?, user, id).await?;
    Ok(Reply::empty(204))
}

/// A time in a body; null and absent are `None`.
pub fn expires_at(asked: &Value) -> Result<Option<Timestamp>> {
    let Some(text) = asked["expires_at"].as_str() else { return Ok(None) };
    // keystone takes a time without a zone as UTC.
    let at = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")));
    at.map(Some).ok_or_else(|| {
        Error::bad_request(
            "identity.expires_at",
            "Invalid input for field/attribute expires_at. Use a time such as 2030-01-31T12:00:00Z.",
        )
    })
}

/// Roles by id or name; `None` when none are given.
pub fn role_refs(list: &Value) -> Option<Vec<RoleRef>> {
    let items = list.as_array()?.iter();
    Some(
        items
            .map(|role| match (body::text(role, "id"), body::text(role, "name")) {
                (Some(id), _) => RoleRef::Id(id),
                (None, name) => RoleRef::Name(name.unwrap_or_default()),
            })
            .collect(),
    )
}

fn rule_ref(rule: &Value) -> RuleRef {
    match body::text(rule, "id") {
        Some(id) => RuleRef::Id(id),
        None => RuleRef::New {
            service: body::text(rule, "service").unwrap_or_default(),
            method: body::text(rule, "method").unwrap_or_default(),
            path: body::text(rule, "path").unwrap_or_default(),
        },
    }
}

pub fn rule_of(rule: &AccessRule) -> Value {
    json!({"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path})
}

fn linked_rule(base: &str, user: &str, rule: &AccessRule) -> Value {
    let mut value = rule_of(rule);
    let user = crate::links::escape(user);
    value["links"] = json!({"self": render::link(base, &format!("users/{user}/access_rules/{}", rule.id))});
    value
}

fn shown(base: &str, shown: &Shown) -> Value {
    let one = &shown.credential;
    let roles: Vec<Value> =
        shown.roles.iter().map(|role| json!({"id": role.id, "name": role.name, "domain_id": null})).collect();
    let path = format!("users/{}/application_credentials/{}", one.user_id, one.id);
    let mut value = json!({
        "id": one.id, "name": one.name, "user_id": one.user_id, "project_id": one.project_id,
        "description": (!one.description.is_empty()).then_some(&one.description),
        "expires_at": one.expires_at.map(Timestamp::micros_naive), "unrestricted": one.unrestricted,
        "roles": roles, "system": null, "links": {"self": render::link(base, &path)},
    });
    if let Some(rules) = &one.rules {
        value["access_rules"] = rules.iter().map(rule_of).collect();
    }
    value
}
