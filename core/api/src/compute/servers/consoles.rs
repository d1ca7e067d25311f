//! Consoles that are joined from outside: until 2.5 by an action a protocol, since then by one resource.

use super::actions::action;
use crate::console::link;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Schema, Service};
use crate::schema::object;
use crate::version::{COMPUTE, Microversion, v};
use canopy_app::compute::{consoles, servers};
use canopy_authz::actions::compute as policy;
use canopy_types::{ConsoleKind, Error, Result};
use consoles::Asked;
use http::Method;
use serde_json::{Value, json};

/// What a token is worth is told of every type of console; before, of one that no guest here has.
const EVERY_TYPE: Microversion = v(2, 31);

const VNC: &[(Microversion, Schema)] = &[(v(2, 1), || of_type("os-getVNCConsole", &["novnc", "xvpvnc"]))];
const SERIAL: &[(Microversion, Schema)] = &[(v(2, 1), || of_type("os-getSerialConsole", &["serial"]))];
const SPICE: &[(Microversion, Schema)] = &[(v(2, 1), || of_type("os-getSPICEConsole", &["spice-html5"]))];
const RDP: &[(Microversion, Schema)] = &[(v(2, 1), || of_type("os-getRDPConsole", &["rdp-html5"]))];
/// 2.8 adds MKS.
const CREATE: &[(Microversion, Schema)] = &[(v(2, 6), || create(false)), (v(2, 8), || create(true))];

fn of_type(key: &str, types: &[&str]) -> Value {
    object(json!({ key: object(json!({"type": {"type": "string", "enum": types}}), &["type"]) }), &[key])
}

fn create(mks: bool) -> Value {
    let mut protocols = vec!["vnc", "spice", "serial", "rdp"];
    let mut types = vec!["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"];
    if mks {
        protocols.push("mks");
        types.push("webmks");
    }
    let fields = json!({
        "protocol": {"type": "string", "enum": protocols},
        "type": {"type": "string", "enum": types},
    });
    object(json!({"remote_console": object(fields, &["protocol", "type"])}), &["remote_console"])
}

pub fn routes() -> Vec<Route> {
    let old = |key, summary, schemas, handler: Handler| {
        action(key, summary, policy::SERVERS_REMOTE_CONSOLE, schemas, &[200], handler)
            .versions(v(2, 1), v(2, 5))
    };
    vec![
        old("os-getVNCConsole", "Get access to a server's screen", VNC, handler!(vnc)),
        old("os-getSerialConsole", "Get access to a server's serial port", SERIAL, handler!(serial)),
        old("os-getSPICEConsole", "Get access to a server's screen by SPICE", SPICE, handler!(spice)),
        old("os-getRDPConsole", "Get access to a server's screen by RDP", RDP, handler!(rdp)),
        Route::new(
            Service::Compute,
            Method::POST,
            "/v2.1/servers/{server_id}/remote-consoles",
            "Get access to a server's console",
            handler!(remote_console),
        )
        .versions(v(2, 6), COMPUTE.max)
        .action(policy::SERVERS_REMOTE_CONSOLE)
        .json(CREATE)
        .answers(&[200], &[404, 409]),
        Route::new(
            Service::Compute,
            Method::GET,
            "/v2.1/os-console-auth-tokens/{console_token}",
            "Show what a console's token joins",
            handler!(auth_token),
        )
        .action(policy::CONSOLE_AUTH_TOKENS_SHOW)
        .answers(&[200], &[404]),
    ]
}

/// What a protocol and a type of it, both in nova's words, stand for.
fn asked(protocol: &str, kind: &str) -> Asked {
    match (protocol, kind) {
        ("vnc", "novnc") => Asked::Kind(ConsoleKind::Novnc),
        ("serial", "serial") => Asked::Kind(ConsoleKind::Serial),
        ("vnc" | "serial", other) => Asked::Invalid(other.to_owned()),
        (_, other) => Asked::Unavailable(other.to_owned()),
    }
}

async fn access(req: Req, protocol: &str, kind: &str) -> Result<String> {
    let id = req.id("server_id", servers::absent)?;
    let verb = format!("get_{protocol}_console");
    let ticket = consoles::create(&req.app, req.ctx()?, id, &verb, asked(protocol, kind)).await?;
    Ok(link(&req, &ticket))
}

async fn old(req: Req, key: &str, protocol: &str) -> Result<Reply> {
    let kind = req.json[key]["type"].as_str().unwrap_or_default().to_owned();
    let url = access(req, protocol, &kind).await?;
    Reply::json(200, &json!({"console": {"type": kind, "url": url}}))
}

async fn vnc(req: Req) -> Result<Reply> {
    old(req, "os-getVNCConsole", "vnc").await
}

async fn serial(req: Req) -> Result<Reply> {
    old(req, "os-getSerialConsole", "serial").await
}

async fn spice(req: Req) -> Result<Reply> {
    old(req, "os-getSPICEConsole", "spice").await
}

async fn rdp(req: Req) -> Result<Reply> {
    old(req, "os-getRDPConsole", "rdp").await
}

async fn remote_console(req: Req) -> Result<Reply> {
    let wanted = &req.json["remote_console"];
    let text = |key: &str| wanted[key].as_str().unwrap_or_default().to_owned();
    let (protocol, kind) = (text("protocol"), text("type"));
    let url = access(req, &protocol, &kind).await?;
    Reply::json(200, &json!({"remote_console": {"protocol": protocol, "type": kind, "url": url}}))
}

async fn auth_token(req: Req) -> Result<Reply> {
    let (server, host) = consoles::show(&req.app, req.ctx()?, req.param("console_token")).await?;
    if req.version < EVERY_TYPE {
        return Err(Error::unauthorized("The requested console type details are not accessible"));
    }
    // Guests listen on no port, which nova's shape has no word for.
    let console = json!({"instance_uuid": server, "host": host, "port": 0, "internal_access_path": null});
    Reply::json(200, &json!({ "console": console }))
}
