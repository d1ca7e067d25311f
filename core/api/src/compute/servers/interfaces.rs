//! `/servers/{id}/os-interface`: the ports of a server. 2.49 names them to the guest, and 2.70 shows the names.

use super::schema::tag;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::schema::{object, uuid};
use crate::version::{Microversion, v};
use canopy_app::compute::servers;
use canopy_app::network::{NetworkRequest, rows::Port};
use canopy_authz::actions::compute as policy;
use canopy_types::{Error, PortId, Result, ServerId};
use http::Method;
use serde_json::{Value, json};

/// 2.49 adds the tag.
const ATTACH: &[(Microversion, Schema)] =
    &[(v(2, 1), || attach_schema(false)), (v(2, 49), || attach_schema(true))];

const SHOWS_TAGS: Microversion = v(2, 70);

pub fn routes() -> Vec<Route> {
    const ALL: &str = "/v2.1/servers/{server_id}/os-interface";
    const ONE: &str = "/v2.1/servers/{server_id}/os-interface/{port_id}";
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    vec![
        route(Method::GET, ALL, "List a server's interfaces", handler!(list))
            .action(policy::SERVERS_LIST_INTERFACES)
            .answers(&[200], &[404]),
        route(Method::POST, ALL, "Give a server one more interface", handler!(attach))
            .action(policy::SERVERS_ATTACH_INTERFACE)
            .json(ATTACH)
            .answers(&[200], &[404, 409]),
        route(Method::GET, ONE, "Show an interface of a server", handler!(show))
            .action(policy::SERVERS_SHOW_INTERFACE)
            .answers(&[200], &[404]),
        route(Method::DELETE, ONE, "Take an interface off a server", handler!(detach))
            .action(policy::SERVERS_DETACH_INTERFACE)
            .answers(&[202], &[404, 409]),
    ]
}

fn attach_schema(tagged: bool) -> Value {
    let ip = json!({"type": "string", "maxLength": 45, "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]});
    let fixed = object(json!({ "ip_address": ip }), &["ip_address"]);
    let mut properties = json!({
        "net_id": uuid(),
        "port_id": uuid(),
        "fixed_ips": {"type": "array", "minItems": 1, "maxItems": 1, "items": fixed},
    });
    if tagged {
        properties["tag"] = tag();
    }
    object(json!({ "interfaceAttachment": object(properties, &[]) }), &["interfaceAttachment"])
}

fn id(req: &Req) -> Result<ServerId> {
    req.id("server_id", servers::absent)
}

fn port_id(req: &Req) -> Result<PortId> {
    req.id("port_id", |id| canopy_app::network::errors::port_not_found(id))
}

fn shape(req: &Req, port: &Port, tag: Option<&str>) -> Value {
    let addresses = port.fixed_ips.iter().map(|a| json!({"subnet_id": a.subnet_id, "ip_address": a.ip}));
    let mut shown = json!({
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": addresses.collect::<Vec<_>>(),
    });
    if req.version >= SHOWS_TAGS {
        shown["tag"] = json!(tag);
    }
    shown
}

async fn list(req: Req) -> Result<Reply> {
    let ports = servers::interfaces(&req.app, req.ctx()?, id(&req)?).await?;
    let shown = ports.iter().map(|(port, tag)| shape(&req, port, tag.as_deref()));
    Reply::json(200, &json!({"interfaceAttachments": shown.collect::<Vec<_>>()}))
}

async fn show(req: Req) -> Result<Reply> {
    let (port, tag) = servers::interface(&req.app, req.ctx()?, id(&req)?, port_id(&req)?).await?;
    Reply::json(200, &json!({ "interfaceAttachment": shape(&req, &port, tag.as_deref()) }))
}

/// The schema has looked at the shapes.
fn wanted(body: &Value) -> Result<NetworkRequest> {
    let bad = |what: &str| Error::bad_request("server.interface", what);
    let network = body["net_id"].as_str().map(str::parse).transpose();
    let port = body["port_id"].as_str().map(str::parse).transpose();
    let fixed_ip = body["fixed_ips"][0]["ip_address"].as_str().map(str::parse).transpose();
    let (Ok(network), Ok(port), Ok(fixed_ip)) = (network, port, fixed_ip) else {
        return Err(bad(
            "Invalid input for interfaceAttachment: ids are UUIDs, ip_address is an IP address.",
        ));
    };
    let wanted = NetworkRequest { network, port, fixed_ip, tag: body["tag"].as_str().map(str::to_owned) };
    match (wanted.network, wanted.port, wanted.fixed_ip) {
        (Some(_), Some(_), _) => Err(bad("Must not input both network_id and port_id")),
        (None, _, Some(_)) => Err(bad("Must input network_id when request IP address")),
        _ => Ok(wanted),
    }
}

async fn attach(req: Req) -> Result<Reply> {
    let wanted = wanted(&req.json["interfaceAttachment"])?;
    let tag = wanted.tag.clone();
    let port = servers::attach(&req.app, req.ctx()?, id(&req)?, wanted).await?;
    Reply::json(200, &json!({ "interfaceAttachment": shape(&req, &port, tag.as_deref()) }))
}

async fn detach(req: Req) -> Result<Reply> {
    servers::detach(&req.app, req.ctx()?, id(&req)?, port_id(&req)?).await?;
    Ok(Reply::empty(202))
}
