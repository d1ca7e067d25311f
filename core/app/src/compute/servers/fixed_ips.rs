//! One address more or less on an interface that a server has, as nova's first versions ask for it.

use super::change::{check, permit};
use super::interfaces::of;
use super::list::find;
use crate::network::ports::{self as cases, FixedIp, PortChange};
use crate::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::ports::Port;
use canopy_store::subnets;
use canopy_types::server::rules::{self, Rule};
use canopy_types::{Error, NetworkId, Result, ServerId};
use std::net::IpAddr;

/// One more address of the network, of the first of its subnets that has one free.
pub async fn add_fixed_ip(app: &App, ctx: &Ctx, id: ServerId, network: NetworkId) -> Result<()> {
    let edit = (&rules::ATTACH_INTERFACE, actions::SERVERS_ATTACH_INTERFACE);
    let ports = ports(app, ctx, id, edit).await?;
    let port = ports.into_iter().find(|port| port.network_id == network).ok_or_else(|| not_on(id))?;
    let subnets = app.store.read(move |c| Box::pin(subnets::of_network(c, network))).await?;
    let mut refusal = not_on(id);
    for subnet in subnets {
        let mut wanted = kept(&port, |_| true);
        wanted.push(FixedIp { subnet_id: Some(subnet.id), ip: None });
        match change(app, ctx, &port, wanted).await {
            // The next subnet may have one.
            Err(error) if error.code == "network.IpAddressGenerationFailure" => {
                refusal = Error::bad_request(error.code, error.message);
            }
            outcome => return outcome,
        }
    }
    Err(refusal)
}

pub async fn remove_fixed_ip(app: &App, ctx: &Ctx, id: ServerId, address: IpAddr) -> Result<()> {
    let edit = (&rules::DETACH_INTERFACE, actions::SERVERS_DETACH_INTERFACE);
    let ports = ports(app, ctx, id, edit).await?;
    let has_it = |port: &Port| port.fixed_ips.iter().any(|one| one.ip == address);
    let port = ports.into_iter().find(has_it).ok_or_else(|| {
        Error::bad_request("server.no_fixed_ip", format!("Instance {id} doesn't have fixed IP '{address}'."))
    })?;
    change(app, ctx, &port, kept(&port, |ip| ip != address)).await
}

/// Also for one who has no such network: it is the request that is wrong.
pub fn not_on(id: ServerId) -> Error {
    Error::bad_request("server.no_network", format!("Network could not be found for instance {id}."))
}

/// The server's, for a caller who may do this to it as it is now.
async fn ports(app: &App, ctx: &Ctx, id: ServerId, (rule, policy): (&Rule, Action)) -> Result<Vec<Port>> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, policy)?;
    check(&server, rule, may)?;
    of(app, id).await
}

fn kept(port: &Port, keeps: impl Fn(IpAddr) -> bool) -> Vec<FixedIp> {
    let kept = port.fixed_ips.iter().filter(|one| keeps(one.ip));
    kept.map(|one| FixedIp { subnet_id: Some(one.subnet_id), ip: Some(one.ip) }).collect()
}

async fn change(app: &App, ctx: &Ctx, port: &Port, wanted: Vec<FixedIp>) -> Result<()> {
    let change = PortChange { fixed_ips: Some(wanted), ..PortChange::default() };
    cases::update(app, ctx, port.id, change).await.map(|_| ())
}
