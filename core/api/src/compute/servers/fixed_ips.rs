//! `addFixedIp` and `removeFixedIp`; gone since 2.44, as the network API does the same.

use super::actions::action;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema};
use crate::schema::object;
use crate::version::{Microversion, v};
use canopy_app::compute::servers;
use canopy_authz::actions::compute as policy;
use canopy_types::{Error, Result};
use serde_json::json;
use std::net::IpAddr;

const UNTIL: Microversion = v(2, 43);
const ADD: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let network = json!({"type": ["string", "integer"], "minLength": 1, "maxLength": 255});
    object(json!({"addFixedIp": object(json!({ "networkId": network }), &["networkId"])}), &["addFixedIp"])
})];
const REMOVE: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let ip = json!({"type": "string", "maxLength": 45, "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]});
    object(json!({"removeFixedIp": object(json!({ "address": ip }), &["address"])}), &["removeFixedIp"])
})];

pub fn routes() -> Vec<Route> {
    vec![
        action(
            "addFixedIp",
            "Give a server one more address of a network",
            policy::SERVERS_ATTACH_INTERFACE,
            ADD,
            &[202],
            handler!(add),
        )
        .versions(v(2, 1), UNTIL),
        action(
            "removeFixedIp",
            "Take an address off a server",
            policy::SERVERS_DETACH_INTERFACE,
            REMOVE,
            &[202],
            handler!(remove),
        )
        .versions(v(2, 1), UNTIL),
    ]
}

async fn add(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let named = req.json["addFixedIp"]["networkId"].as_str().unwrap_or_default();
    let network = named.parse().map_err(|_| servers::not_on(id))?;
    servers::add_fixed_ip(&req.app, req.ctx()?, id, network).await?;
    Ok(Reply::empty(202))
}

async fn remove(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let address: IpAddr = req.json["removeFixedIp"]["address"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::bad_request("server.address", "address must be an IP address."))?;
    servers::remove_fixed_ip(&req.app, req.ctx()?, id, address).await?;
    Ok(Reply::empty(202))
}
