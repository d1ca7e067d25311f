//! `os-services`: each host's `nova-compute`. 2.11 adds `forced_down`; 2.53 changes them by uuid.

use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{COMPUTE, Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::hosts::{self, Host, ServiceChange};
use canopy_authz::actions::compute as actions;
use canopy_types::{Error, HostId, Result};
use http::Method;
use serde_json::{Value, json};

const BINARY: &str = "nova-compute";
const WITH_FORCED_DOWN: Microversion = v(2, 11);
const BY_NAME_UNTIL: Microversion = v(2, 52);

const BY_ID: Microversion = v(2, 53);

const QUERY: &[(Microversion, &[&str])] = &[(v(2, 75), &["host", "binary"])];
const CHANGED: &[(Microversion, Schema)] = &[(BY_ID, || {
    let status = json!({"enum": ["enabled", "disabled"]});
    let properties =
        json!({"status": status, "disabled_reason": schema::name(), "forced_down": {"type": "boolean"}});
    schema::object(properties, &[])
})];
const NAMED: &[(Microversion, Schema)] = &[(v(2, 1), || named(json!({}), &[]))];
const REASON: &[(Microversion, Schema)] =
    &[(v(2, 1), || named(json!({"disabled_reason": schema::name()}), &["disabled_reason"]))];
const FORCED: &[(Microversion, Schema)] = &[(v(2, 1), || {
    named(
        json!({"forced_down": {"enum": [true, false, "true", "false", "True", "False", "1", "0"]}}),
        &["forced_down"],
    )
})];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    let change = |path, summary, from, schemas, handler| {
        route(Method::PUT, path, summary, handler)
            .action(actions::SERVICES_UPDATE)
            .versions(from, BY_NAME_UNTIL)
            .json(schemas)
            .answers(&[200], &[404])
    };
    let (enable, disable) = ("/v2.1/os-services/enable", "/v2.1/os-services/disable");
    let (reason, down) = ("/v2.1/os-services/disable-log-reason", "/v2.1/os-services/force-down");
    vec![
        route(Method::GET, "/v2.1/os-services", "List compute services", handler!(list))
            .action(actions::SERVICES_LIST)
            .query(QUERY),
        route(Method::PUT, "/v2.1/os-services/{service_id}", "Change a service", handler!(update))
            .action(actions::SERVICES_UPDATE)
            .versions(BY_ID, COMPUTE.max)
            .json(CHANGED)
            .answers(&[200], &[404]),
        change(enable, "Let a host take new servers", v(2, 1), NAMED, handler!(enabled)),
        change(disable, "Keep new servers from a host", v(2, 1), NAMED, handler!(disabled)),
        change(reason, "Keep new servers from a host, and say why", v(2, 1), REASON, handler!(disabled)),
        change(down, "Count a host as down", WITH_FORCED_DOWN, FORCED, handler!(forced_down)),
    ]
}

fn named(extra: Value, required: &[&str]) -> Value {
    let host = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9._-]*$"});
    let mut properties = json!({"host": host, "binary": schema::text(255)});
    for (name, value) in extra.as_object().into_iter().flatten() {
        properties[name] = value.clone();
    }
    schema::object(properties, &[&["host", "binary"], required].concat())
}

fn view(req: &Req, host: &Host) -> Value {
    let mut view = json!({
        "id": id(req, host),
        "binary": BINARY,
        "host": host.row.name,
        "zone": host.zone,
        "status": status(host),
        "state": state(host),
        "updated_at": host.row.seen_at.micros_naive(),
        "disabled_reason": reason(host),
    });
    if req.version >= WITH_FORCED_DOWN {
        view["forced_down"] = json!(host.row.forced_down);
    }
    view
}

/// A number, and since 2.53 the id that the host has everywhere.
pub(super) fn id(req: &Req, host: &Host) -> Value {
    if req.version >= BY_ID { json!(host.row.id) } else { json!(host.row.number) }
}

pub(super) fn is_enabled(host: &Host) -> bool {
    host.row.closed.is_none()
}

pub(super) fn status(host: &Host) -> &'static str {
    if is_enabled(host) { "enabled" } else { "disabled" }
}

pub(super) fn state(host: &Host) -> &'static str {
    if host.up { "up" } else { "down" }
}

pub(super) fn reason(host: &Host) -> Option<&str> {
    host.row.closed.as_deref().filter(|reason| !reason.is_empty())
}

async fn list(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::SERVICES_LIST).await?;
    let wanted = |host: &&Host| {
        req.query.get("host").is_none_or(|name| name == host.row.name)
            && req.query.get("binary").is_none_or(|binary| binary == BINARY)
    };
    let services: Vec<Value> = all.iter().filter(wanted).map(|host| view(&req, host)).collect();
    Reply::json(200, &json!({ "services": services }))
}

async fn change(req: Req, change: ServiceChange, mut answer: Value) -> Result<Reply> {
    let (host, binary) = (&req.json["host"], &req.json["binary"]);
    let host = host.as_str().unwrap_or_default();
    if binary != BINARY {
        return Err(Error::not_found(
            "service.not_found",
            format!("Could not find binary {} on host {host}.", binary.as_str().unwrap_or_default()),
        ));
    }
    hosts::change_service(&req.app, req.ctx()?, host, change).await?;
    answer["host"] = json!(host);
    answer["binary"] = json!(BINARY);
    Reply::json(200, &json!({ "service": answer }))
}

/// The changes that a body asks for, each by itself.
fn asked(body: &Value) -> Result<Vec<ServiceChange>> {
    let bad = |message: &str| Err(Error::bad_request("service.update", message));
    let (reason, mut changes) = (body["disabled_reason"].as_str().map(str::to_owned), Vec::new());
    match body["status"].as_str() {
        Some("disabled") => changes.push(ServiceChange::Disable(reason)),
        _ if reason.is_some() => {
            return bad("Specifying disabled_reason requires that status is 'disabled'.");
        }
        Some(_) => changes.push(ServiceChange::Enable),
        None => {}
    }
    changes.extend(body["forced_down"].as_bool().map(ServiceChange::ForceDown));
    if changes.is_empty() {
        return bad("No updates were requested. Fields 'status' or 'forced_down' should be specified.");
    }
    Ok(changes)
}

async fn update(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::SERVICES_UPDATE).await?;
    let asked_id = req.param("service_id");
    let shown: String = asked_id.chars().take(64).collect();
    let id: HostId =
        asked_id.parse().map_err(|_| Error::bad_request("service.id", format!("Invalid uuid {shown}")))?;
    let host = all.into_iter().find(|host| host.row.id == id).ok_or_else(|| {
        Error::not_found("service.not_found", format!("Service {shown} could not be found."))
    })?;
    for change in asked(&req.json)? {
        hosts::change_service(&req.app, req.ctx()?, &host.row.name, change).await?;
    }
    let all = hosts::all(&req.app, req.ctx()?, actions::SERVICES_UPDATE).await?;
    let changed = all.iter().find(|host| host.row.id == id);
    let changed = changed.ok_or_else(|| hosts::no_service(&host.row.name))?;
    Reply::json(200, &json!({ "service": view(&req, changed) }))
}

async fn enabled(req: Req) -> Result<Reply> {
    change(req, ServiceChange::Enable, json!({"status": "enabled"})).await
}

async fn disabled(req: Req) -> Result<Reply> {
    let reason = req.json["disabled_reason"].as_str().map(str::to_owned);
    let mut answer = json!({"status": "disabled"});
    if let Some(reason) = &reason {
        answer["disabled_reason"] = json!(reason);
    }
    change(req, ServiceChange::Disable(reason), answer).await
}

async fn forced_down(req: Req) -> Result<Reply> {
    let wanted = &req.json["forced_down"];
    let down = wanted.as_bool().or_else(|| crate::request::parse_bool(wanted.as_str()?)).unwrap_or(false);
    change(req, ServiceChange::ForceDown(down), json!({"forced_down": down})).await
}
