//! Plugins while the cloud serves: `/plugins` are the installed ones, `/plugin-slots` what serves each kind.

use crate::body::{Bound, collect};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use canopy_app::plugins::MAX_PACKAGE;
use canopy_app::plugins::{kind, manage, shown, slot::Demotion};
use canopy_authz::actions::canopy as policy;
use canopy_types::{Error, Kind, Result};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a package may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(120);
/// And how long one that is refused is listened to.
const REFUSED: Duration = Duration::from_secs(10);

const CONFIG: &[(Microversion, Schema)] = &[(v(0, 0), || {
    json!({"type": "object", "required": ["config"], "additionalProperties": false,
        "properties": {"config": {"type": "object"}}})
})];
const CHOICE: &[(Microversion, Schema)] = &[(v(0, 0), || {
    json!({"type": "object", "required": ["plugin"], "additionalProperties": false, "properties": {
        "plugin": {"type": "string", "pattern": "^([0-9a-f]{64}|start|built-in)$",
            "description": "The id of an installed plugin; start is the configuration file's; built-in is none"},
        "config": {"type": "object"}}})
})];
const DEMOTION: &[(Microversion, Schema)] = &[(v(0, 0), || {
    json!({"type": "object", "required": ["faults", "window_seconds"], "additionalProperties": false, "properties": {
        "faults": {"type": "integer", "minimum": 0, "maximum": 1000},
        "window_seconds": {"type": "integer", "minimum": 1, "maximum": 86_400}}})
})];

pub(super) fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Native, method, path, summary, handler);
    let get = |path, summary, handler| {
        route(Method::GET, path, summary, handler).action(policy::PLUGINS_SHOW).answers(&[200], &[404])
    };
    vec![
        get("/plugins", "Installed plugins, and what serves each kind", handler!(list)).answers(&[200], &[]),
        route(
            Method::POST,
            "/plugins",
            "Install a plugin: its plugin.toml with the component's bytes right after it, as application/octet-stream",
            handler!(install),
        )
        .action(policy::PLUGINS_INSTALL)
        .stream()
        .answers(&[200, 201], &[409, 413, 415, 503]),
        get("/plugins/{plugin_id}", "One installed plugin", handler!(show)),
        route(
            Method::DELETE,
            "/plugins/{plugin_id}",
            "Remove an installed plugin that serves nothing",
            handler!(remove),
        )
        .action(policy::PLUGINS_REMOVE)
        .answers(&[204], &[404, 409]),
        route(
            Method::PUT,
            "/plugins/{plugin_id}/config",
            "Settings of an installed plugin, checked by its schema; in force at once where it is",
            handler!(configure),
        )
        .action(policy::PLUGINS_CONFIGURE)
        .json(CONFIG)
        .answers(&[200], &[404, 409]),
        get("/plugin-slots/{kind}", "What serves a kind, and what did before", handler!(slot)),
        get("/plugin-slots/{kind}/stats", "Calls, times, faults and memory in this controller", handler!(stats)),
        get("/plugin-slots/{kind}/differences", "Where the shadow would have answered otherwise", handler!(differences)),
        get("/plugin-log", "Who did what with plugins, and their faults", handler!(log)).answers(&[200], &[404]),
        route(
            Method::PUT,
            "/plugin-slots/{kind}/active",
            "Put a plugin in force, without a pause and without a restart",
            handler!(activate),
        )
        .action(policy::PLUGINS_ACTIVATE)
        .json(CHOICE)
        .answers(&[200], &[404, 409]),
        route(
            Method::POST,
            "/plugin-slots/{kind}/rollback",
            "Put back in force what was before",
            handler!(roll_back),
        )
        .action(policy::PLUGINS_ACTIVATE)
        .answers(&[200], &[404, 409]),
        route(
            Method::PUT,
            "/plugin-slots/{kind}/shadow",
            "Ask an installed plugin beside the one in force, and compare",
            handler!(set_shadow),
        )
        .action(policy::PLUGINS_SHADOW)
        .json(CHOICE)
        .answers(&[200], &[404, 409]),
        route(Method::DELETE, "/plugin-slots/{kind}/shadow", "Ask no shadow any more", handler!(no_shadow))
            .action(policy::PLUGINS_SHADOW)
            .answers(&[200], &[404, 409]),
        route(
            Method::PUT,
            "/plugin-slots/{kind}/demotion",
            "After how many faults within which time the plugin in force is taken out; 0 faults: never",
            handler!(demotion),
        )
        .action(policy::PLUGINS_CONFIGURE)
        .json(DEMOTION)
        .answers(&[200], &[404, 409]),
    ]
}

fn dry_run(req: &Req) -> Result<bool> {
    Ok(req.query.flag("dry_run")?.unwrap_or(false))
}

fn wanted(req: &mut Req) -> (String, Option<Value>) {
    let config = req.json.get_mut("config").map(Value::take);
    (req.json["plugin"].as_str().unwrap_or_default().to_owned(), config)
}

async fn list(req: Req) -> Result<Reply> {
    Reply::json(200, &shown::list(&req.app, req.ctx()?).await?)
}

async fn install(mut req: Req) -> Result<Reply> {
    let body = req.stream.take().unwrap_or_default();
    let arrival = match may_send(&req) {
        Ok(arrival) => arrival,
        Err(error) => {
            // Read to its end, within bounds: a client that is cut off while it sends never sees the answer.
            let _ = collect(Bound::larger(0, REFUSED), body).await;
            return Err(error);
        }
    };
    let bytes = collect(Bound::larger(MAX_PACKAGE, ARRIVAL), body).await?;
    let (document, new) = manage::install(&req.app, req.ctx()?, arrival, bytes, dry_run(&req)?).await?;
    Reply::json(if new { 201 } else { 200 }, &json!({ "plugin": document }))
}

fn may_send(req: &Req) -> Result<manage::Arrival> {
    let arrival = manage::begin_install(&req.app, req.ctx()?)?;
    let media = req.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/octet-stream") {
        return Ok(arrival);
    }
    Err(Error::new(
        Kind::UnsupportedMediaType,
        "plugin.media_type",
        "Unsupported Content-Type: send plugin.toml and the component after it as application/octet-stream.",
    ))
}

async fn show(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"plugin": shown::show(&req.app, req.ctx()?, req.param("plugin_id")).await?}))
}

async fn remove(req: Req) -> Result<Reply> {
    manage::remove(&req.app, req.ctx()?, req.param("plugin_id")).await?;
    Ok(Reply::empty(204))
}

async fn configure(mut req: Req) -> Result<Reply> {
    let config = req.json["config"].take();
    let id = req.param("plugin_id");
    let document = manage::configure(&req.app, req.ctx()?, id, config, dry_run(&req)?).await?;
    Reply::json(200, &json!({ "plugin": document }))
}

async fn slot(req: Req) -> Result<Reply> {
    Reply::json(200, &shown::show_slot(&req.app, req.ctx()?, kind(req.param("kind"))?)?)
}

async fn stats(req: Req) -> Result<Reply> {
    Reply::json(200, &shown::stats(&req.app, req.ctx()?, kind(req.param("kind"))?)?)
}

async fn differences(req: Req) -> Result<Reply> {
    let page = req.query.page()?;
    Reply::json(200, &shown::differences(&req.app, req.ctx()?, kind(req.param("kind"))?, page).await?)
}

async fn log(req: Req) -> Result<Reply> {
    let of = req.query.get("kind").map(kind).transpose()?;
    let plugin = req.query.get("plugin").map(str::to_owned);
    let page = req.query.page()?;
    Reply::json(200, &shown::log(&req.app, req.ctx()?, of, plugin, page).await?)
}

async fn activate(mut req: Req) -> Result<Reply> {
    let (plugin, config) = wanted(&mut req);
    let (kind, dry_run) = (kind(req.param("kind"))?, dry_run(&req)?);
    Reply::json(200, &manage::activate(&req.app, req.ctx()?, kind, &plugin, config, dry_run).await?)
}

async fn roll_back(req: Req) -> Result<Reply> {
    let (kind, dry_run) = (kind(req.param("kind"))?, dry_run(&req)?);
    Reply::json(200, &manage::roll_back(&req.app, req.ctx()?, kind, dry_run).await?)
}

async fn set_shadow(mut req: Req) -> Result<Reply> {
    let (plugin, config) = wanted(&mut req);
    let (kind, dry_run) = (kind(req.param("kind"))?, dry_run(&req)?);
    let wanted = Some((plugin.as_str(), config));
    Reply::json(200, &manage::set_shadow(&req.app, req.ctx()?, kind, wanted, dry_run).await?)
}

async fn no_shadow(req: Req) -> Result<Reply> {
    let (kind, dry_run) = (kind(req.param("kind"))?, dry_run(&req)?);
    Reply::json(200, &manage::set_shadow(&req.app, req.ctx()?, kind, None, dry_run).await?)
}

async fn demotion(req: Req) -> Result<Reply> {
    let number = |name: &str| req.json[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let demotion = Demotion { faults: number("faults"), window_seconds: number("window_seconds") };
    let kind = kind(req.param("kind"))?;
    Reply::json(200, &manage::set_demotion(&req.app, req.ctx()?, kind, demotion).await?)
}
