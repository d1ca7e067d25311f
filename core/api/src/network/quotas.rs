//! `/v2.0/quotas`: what projects may have of networks, subnets and ports.

use super::{delete, get, put};
use crate::handler;
use crate::request::{Reply, Req, parse_bool};
use crate::route::{Route, Schema};
use crate::version::{Microversion, v};
use canopy_app::access;
use canopy_app::network::errors::bad_attribute;
use canopy_app::quota::sets::{self, Asked, Change, Check, Line};
use canopy_authz::{Action, actions::network as actions};
use canopy_types::{Error, Kind, Result};
use serde_json::{Map, Value, json};

const UPDATE: &[(Microversion, Schema)] = &[(v(0, 0), update_schema)];

pub fn routes() -> Vec<Route> {
    vec![
        get("/v2.0/quotas", actions::QUOTAS_LIST, "List projects with quotas of their own", handler!(list)),
        get("/v2.0/quotas/{id}", actions::QUOTAS_SHOW, "Show a project's quotas", handler!(show)),
        get(
            "/v2.0/quotas/{id}/default",
            actions::QUOTAS_DEFAULTS,
            "Show the quotas of a project that has none of its own",
            handler!(defaults),
        ),
        get(
            "/v2.0/quotas/{id}/details",
            actions::QUOTAS_SHOW,
            "Show a project's quotas and usage",
            handler!(details),
        ),
        get(
            "/v2.0/quotas/{id}/details.json",
            actions::QUOTAS_SHOW,
            "Show a project's quotas and usage",
            handler!(details),
        ),
        put(
            "/v2.0/quotas/{id}",
            actions::QUOTAS_UPDATE,
            UPDATE,
            "Change a project's quotas",
            handler!(update),
        ),
        delete(
            "/v2.0/quotas/{id}",
            actions::QUOTAS_DELETE,
            "Put a project's quotas back to the defaults",
            handler!(reset),
        ),
    ]
}

fn asked(action: Action) -> Asked {
    Asked { service: "network", action }
}

/// Each countable with neutron's name for it.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    sets::resources("network").map(|countable| (countable.name, countable.unified))
}

pub fn update_schema() -> Value {
    let mut properties: Map<String, Value> =
        names().map(|(_, shown)| (shown.to_owned(), json!({}))).collect();
    for name in ["force", "check_limit", "tenant_id", "project_id"] {
        properties.insert(name.to_owned(), json!({}));
    }
    json!({"type": "object", "properties": {"quota": {"type": "object", "properties": properties}}})
}

fn view(lines: &[Line], value: impl Fn(&Line) -> Value) -> Map<String, Value> {
    let line = |name: &str| lines.iter().find(|line| line.resource == name);
    names().filter_map(|(name, shown)| Some((shown.to_owned(), value(line(name)?)))).collect()
}

fn limits(lines: &[Line]) -> Map<String, Value> {
    view(lines, |line| line.limit.into())
}

/// neutron's shape and words.
fn as_neutron(error: Error) -> Error {
    match error.kind {
        Kind::NotFound => Error::not_found("network.TenantQuotaNotFound", error.message),
        Kind::BadRequest if error.code == "quota.limit" => {
            Error::bad_request("network.InvalidQuotaValue", error.message)
        }
        _ => error,
    }
}

pub async fn list(req: Req) -> Result<Reply> {
    let listed = sets::list(&req.app, req.ctx()?, asked(actions::QUOTAS_LIST)).await?;
    let quotas: Vec<Value> = listed
        .into_iter()
        .map(|(project, lines)| {
            let mut quota = limits(&lines);
            quota.insert("project_id".to_owned(), project.as_str().into());
            quota.insert("tenant_id".to_owned(), project.as_str().into());
            Value::Object(quota)
        })
        .collect();
    Reply::json(200, &json!({ "quotas": quotas }))
}

pub async fn show(req: Req) -> Result<Reply> {
    let (id, ctx) = (req.param("id"), req.ctx()?);
    // Which project a token is for, as old clients ask it.
    if id == "tenant" || id == "project" {
        let project = access::project(ctx)?;
        return Reply::json(200, &json!({"tenant": {"tenant_id": project, "project_id": project}}));
    }
    let lines = sets::show(&req.app, ctx, asked(actions::QUOTAS_SHOW), id, None).await.map_err(as_neutron)?;
    Reply::json(200, &json!({ "quota": limits(&lines) }))
}

pub async fn details(req: Req) -> Result<Reply> {
    let asked = asked(actions::QUOTAS_SHOW);
    let lines = sets::show(&req.app, req.ctx()?, asked, req.param("id"), None).await.map_err(as_neutron)?;
    let view = view(&lines, |line| json!({"limit": line.limit, "used": line.used, "reserved": 0}));
    Reply::json(200, &json!({ "quota": view }))
}

pub async fn defaults(req: Req) -> Result<Reply> {
    let asked = asked(actions::QUOTAS_DEFAULTS);
    let lines = sets::defaults(&req.app, req.ctx()?, asked, req.param("id")).await.map_err(as_neutron)?;
    Reply::json(200, &json!({ "quota": limits(&lines) }))
}

fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| parse_bool(value.as_str()?))
}

/// The limits that a body names, and how to check them.
fn wanted(body: &Value) -> Result<(Vec<Change>, Check)> {
    let bad = |text: &str| Error::bad_request("network.HTTPBadRequest", text);
    let quota = body
        .get("quota")
        .and_then(Value::as_object)
        .ok_or_else(|| bad("Unable to find 'quota' in request body"))?;
    let (mut changes, mut check) = (Vec::new(), Check::Sense);
    for (name, value) in quota {
        match name.as_str() {
            "tenant_id" | "project_id" | "force" => {}
            "check_limit" if flag(value) == Some(true) => check = Check::Used,
            "check_limit" => {}
            _ => {
                let (resource, _) = names().find(|(_, shown)| shown == name).ok_or_else(|| {
                    let name: String = name.chars().take(64).collect();
                    bad(&format!("Unrecognized attribute(s) '{name}'"))
                })?;
                let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                let limit =
                    number.filter(|limit| (-1..=i64::from(i32::MAX)).contains(limit)).ok_or_else(|| {
                        bad_attribute(name, format!("a limit is a number from -1 to {}", i32::MAX))
                    })?;
                changes.push(Change { resource, limit });
            }
        }
    }
    Ok((changes, check))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (app, ctx, id) = (&req.app, req.ctx()?, req.param("id"));
    let asked = asked(actions::QUOTAS_UPDATE);
    let lines = match wanted(&req.json) {
        Ok((changes, check)) => sets::set(app, ctx, asked, id, None, changes, check).await,
        // Who may not hears that first.
        Err(error) => sets::set(app, ctx, asked, id, None, Vec::new(), Check::Sense).await.and(Err(error)),
    };
    Reply::json(200, &json!({ "quota": limits(&lines.map_err(as_neutron)?) }))
}

pub async fn reset(req: Req) -> Result<Reply> {
    let asked = asked(actions::QUOTAS_DELETE);
    sets::reset(&req.app, req.ctx()?, asked, req.param("id"), None).await.map_err(as_neutron)?;
    Ok(Reply::empty(204))
}
