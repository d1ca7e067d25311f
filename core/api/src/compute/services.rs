//! `os-services`: each host's `nova-compute`. 2.11 adds `forced_down`; 2.53 changes them by uuid.

use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::hosts::{self, Host, ServiceChange};
use canopy_authz::actions::compute as actions;
use canopy_types::{Error, Result};
use http::Method;
use serde_json::{Value, json};

const BINARY: &str = "nova-compute";
const WITH_FORCED_DOWN: Microversion = v(2, 11);
const BY_NAME_UNTIL: Microversion = v(2, 52);

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
            .action(actions::SERVICES_LIST),
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
        "id": host.row.number,
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

pub(super) fn status(host: &Host) -> &'static str {
    if host.row.closed.is_some() { "disabled" } else { "enabled" }
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
