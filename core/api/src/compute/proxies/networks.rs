//! `/os-networks` and `/os-tenant-networks`: networks as nova shows those that are another service's.

use super::{UNTIL, absent_as};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Service};
use crate::version::v;
use canopy_app::network::errors;
use canopy_app::network::networks as cases;
use canopy_app::network::rows::{Listing, Network, Scope};
use canopy_app::{App, Ctx};
use canopy_authz::{Action, actions::network as actions};
use canopy_types::Result;
use http::Method;
use serde_json::{Map, Value, json};

/// What nova kept of networks of its own. Of another service's it knows the id and the name.
const OWN: [&str; 9] =
    ["cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6"];
/// Of these it told admins only.
const OWN_TO_ADMINS: [&str; 21] = [
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted",
    "injected",
    "bridge",
    "vlan",
    "vpn_public_address",
    "vpn_public_port",
    "vpn_private_address",
    "dhcp_start",
    "project_id",
    "host",
    "bridge_interface",
    "multi_host",
    "priority",
    "rxtx_base",
    "mtu",
    "dhcp_server",
    "enable_dhcp",
    "share_address",
];

pub fn routes() -> Vec<Route> {
    let route = |path: &'static str, summary, action: Action, handler: Handler| {
        let route = Route::new(Service::Compute, Method::GET, path, summary, handler);
        let route = route.action(action).versions(v(2, 1), UNTIL);
        if path.ends_with('}') { route.answers(&[200], &[404]) } else { route }
    };
    let (list, show) = (actions::NETWORKS_LIST, actions::NETWORKS_SHOW);
    vec![
        route("/v2.1/os-networks", "List networks", list, handler!(list_all)),
        route("/v2.1/os-networks/{id}", "Show a network", show, handler!(show_one)),
        route("/v2.1/os-tenant-networks", "List a project's networks", list, handler!(list_short)),
        route("/v2.1/os-tenant-networks/{id}", "Show a project's network", show, handler!(show_short)),
    ]
}

/// The first page: nova has no words for another.
async fn listed(app: &App, ctx: &Ctx) -> Result<Vec<Network>> {
    cases::list(app, ctx, Listing::all(Scope::All)).await
}

async fn found(app: &App, ctx: &Ctx, id: &str) -> Result<Network> {
    let absent = absent_as("Network not found");
    let id = id.parse().map_err(|_| absent(errors::network_not_found(id)))?;
    cases::show(app, ctx, id).await.map_err(absent)
}

fn full(network: &Network, to_admin: bool) -> Value {
    let to_admins = if to_admin { OWN_TO_ADMINS.as_slice() } else { &[] };
    let unknown = OWN.iter().chain(to_admins).map(|name| ((*name).to_owned(), Value::Null));
    let mut view: Map<String, Value> = unknown.collect();
    view.insert("id".into(), json!(network.id));
    view.insert("label".into(), json!(network.name));
    view.into()
}

fn short(network: &Network) -> Value {
    json!({"id": network.id, "label": network.name, "cidr": "None"})
}

async fn list_all(req: Req) -> Result<Reply> {
    let to_admin = cases::shows_provider(&req.app, req.ctx()?);
    let networks: Vec<Value> =
        listed(&req.app, req.ctx()?).await?.iter().map(|network| full(network, to_admin)).collect();
    Reply::json(200, &json!({ "networks": networks }))
}

async fn show_one(req: Req) -> Result<Reply> {
    let to_admin = cases::shows_provider(&req.app, req.ctx()?);
    Reply::json(
        200,
        &json!({"network": full(&found(&req.app, req.ctx()?, req.param("id")).await?, to_admin)}),
    )
}

async fn list_short(req: Req) -> Result<Reply> {
    let networks: Vec<Value> = listed(&req.app, req.ctx()?).await?.iter().map(short).collect();
    Reply::json(200, &json!({ "networks": networks }))
}

async fn show_short(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"network": short(&found(&req.app, req.ctx()?, req.param("id")).await?)}))
}
