//! Subnets: IPv4 in full.

use super::{change_needs, errors, event, ipv4, networks, provider, refund, scope, service_port};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::network as actions;
use canopy_store::listing::Listing;
use canopy_store::networks::{self as network_rows, Network};
use canopy_store::subnets::{self as rows, Pool, Route, Subnet};
use canopy_store::{Conn, hosts, ports};
use canopy_types::{Error, NetworkId, ProjectId, Result, SubnetId, Timestamp};
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Subnets of one network.
pub const MAX_SUBNETS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// The first address.
    Default,
    None,
    Ip(Ipv4Addr),
}

#[derive(Clone, Debug)]
pub struct NewSubnet {
    pub project_id: Option<ProjectId>,
    pub network_id: NetworkId,
    pub name: String,
    pub description: String,
    pub cidr: Ipv4Net,
    pub gateway: Gateway,
    pub enable_dhcp: bool,
    pub dns_nameservers: Vec<IpAddr>,
    pub host_routes: Vec<Route>,
    pub allocation_pools: Option<Vec<Pool>>,
}

#[derive(Clone, Debug, Default)]
pub struct SubnetChange {
    pub name: Option<String>,
    pub description: Option<String>,
    /// `Some(None)` takes the gateway away.
    pub gateway_ip: Option<Option<Ipv4Addr>>,
    pub enable_dhcp: Option<bool>,
    pub dns_nameservers: Option<Vec<IpAddr>>,
    pub host_routes: Option<Vec<Route>>,
    pub allocation_pools: Option<Vec<Pool>>,
}

fn target(subnet: &Subnet, network: &Network) -> Target {
    Target::in_project(&subnet.project_id).id(subnet.id).public(network.shared)
}

/// A subnet is to see for its owner, its network's owner, and everybody on a shared network.
fn sides(subnet: &Subnet, network: &Network) -> [Target; 2] {
    [target(subnet, network), networks::target(network)]
}

/// The subnet, if the caller may see it.
async fn visible(app: &App, ctx: &Ctx, id: SubnetId) -> Result<(Subnet, Network)> {
    let found = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let Some(subnet) = rows::get(c, id).await? else { return Ok(None) };
                let network = network_rows::get(c, subnet.network_id).await?;
                Ok(network.map(|network| (subnet, network)))
            })
        })
        .await?;
    found
        .filter(|(subnet, network)| access::seen(app, ctx, actions::SUBNETS_SHOW, &sides(subnet, network)))
        .ok_or_else(|| errors::subnet_not_found(id))
}

/// A subnet is changed by its owner or by its network's.
fn may_change(
    app: &App,
    ctx: &Ctx,
    action: canopy_authz::Action,
    subnet: &Subnet,
    network: &Network,
) -> Result<()> {
    if access::allowed(app, ctx, action, &networks::target(network).public(false)) {
        return Ok(());
    }
    change_needs(app, ctx, action, &target(subnet, network).public(false))
}

pub async fn list(app: &App, ctx: &Ctx, mut listing: Listing) -> Result<Vec<Subnet>> {
    listing.scope = scope(app, ctx, actions::SUBNETS_LIST)?;
    let read = |part: Listing| {
        app.store.read(move |c| {
            Box::pin(async move {
                let subnets = rows::list(c, &part).await?;
                let networks =
                    network_rows::of_ids(c, subnets.iter().map(|subnet| subnet.network_id)).await?;
                let beside = |subnet: Subnet| {
                    networks.get(&subnet.network_id).cloned().map(|network| (subnet, network))
                };
                Ok(subnets.into_iter().filter_map(beside).collect())
            })
        })
    };
    let mut may = access::Rows::default();
    let listed = access::readable(
        &listing,
        |(subnet, _): &(Subnet, Network)| subnet.id.to_string(),
        read,
        |(subnet, network)| {
            sides(subnet, network).iter().any(|side| may.allowed(app, ctx, actions::SUBNETS_SHOW, side))
        },
    );
    Ok(listed.await?.into_iter().map(|(subnet, _)| subnet).collect())
}

pub async fn show(app: &App, ctx: &Ctx, id: SubnetId) -> Result<Subnet> {
    visible(app, ctx, id).await.map(|(subnet, _)| subnet)
}

pub async fn create(app: &App, ctx: &Ctx, wanted: Vec<NewSubnet>) -> Result<Vec<Subnet>> {
    super::check_bulk(wanted.len())?;
    let now = app.now();
    let mut owners = Vec::with_capacity(wanted.len());
    let mut made: Vec<Subnet> = Vec::with_capacity(wanted.len());
    let mut shaped: BTreeMap<NetworkId, Network> = BTreeMap::new();
    for one in wanted {
        let network = networks::visible(app, ctx, one.network_id).await?;
        let owner = super::owner(app, ctx, actions::SUBNETS_CREATE, one.project_id.as_ref())?;
        // A subnet shapes the whole network: only who owns that may add one.
        change_needs(app, ctx, actions::SUBNETS_CREATE, &networks::target(&network).public(false))?;
        made.push(decide(one, owner.clone(), now)?);
        owners.push(owner);
        shaped.insert(network.id, network);
    }
    let owner = super::one_owner(&owners)?;
    realisable(app, shaped, &made).await?;
    super::charge(app, ctx, &owner, ("subnet", "subnets"), made.len(), "subnet.create", move |c| {
        let made = made.clone();
        Box::pin(async move {
            for subnet in &made {
                insert(c, subnet, now).await?;
            }
            Ok(made)
        })
    })
    .await
}

/// Refuses what the network backend says that it cannot realise: these networks with their subnets, and these in place of
/// those of the same ids.
async fn realisable(app: &App, networks: BTreeMap<NetworkId, Network>, changed: &[Subnet]) -> Result<()> {
    let ids: Vec<NetworkId> = networks.keys().copied().collect();
    let mut subnets = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let mut all = Vec::new();
                for id in ids {
                    all.extend(rows::of_network(c, id).await?);
                }
                Ok(all)
            })
        })
        .await?;
    subnets.retain(|subnet| !changed.iter().any(|other| other.id == subnet.id));
    subnets.extend_from_slice(changed);
    let specs = networks.values().map(|network| provider::as_it_would_be(network, &subnets));
    provider::validate(app, specs.collect()).await
}

/// The subnet as it will be, if it makes sense by itself.
fn decide(wanted: NewSubnet, project_id: ProjectId, now: Timestamp) -> Result<Subnet> {
    let id = SubnetId::random();
    let net = wanted.cidr;
    let gateway = match wanted.gateway {
        Gateway::Default => ipv4::default_gateway(net),
        Gateway::None => None,
        Gateway::Ip(ip) => Some(ip),
    };
    if let Some(gateway) = gateway {
        ipv4::check_gateway(net, gateway)?;
    }
    check_dhcp(net, wanted.enable_dhcp)?;
    let allocation_pools = match &wanted.allocation_pools {
        Some(pools) => ipv4::check_pools(net, pools, gateway)?,
        None => ipv4::default_pools(net, gateway),
    };
    ipv4::check_nameservers(id, &wanted.dns_nameservers)?;
    ipv4::check_routes(id, &wanted.host_routes)?;
    Ok(Subnet {
        id,
        network_id: wanted.network_id,
        project_id,
        name: wanted.name,
        description: wanted.description,
        cidr: IpNet::V4(net),
        gateway_ip: gateway.map(IpAddr::V4),
        enable_dhcp: wanted.enable_dhcp,
        dns_nameservers: wanted.dns_nameservers,
        host_routes: wanted.host_routes,
        allocation_pools,
        revision: 0,
        created_at: now,
        updated_at: now,
    })
}

fn check_dhcp(net: Ipv4Net, enable_dhcp: bool) -> Result<()> {
    if enable_dhcp && net.prefix_len() >= 31 {
        return Err(errors::invalid(
            "Subnet has a prefix length that is incompatible with DHCP service enabled",
        ));
    }
    Ok(())
}

async fn insert(conn: &mut Conn, subnet: &Subnet, now: Timestamp) -> Result<()> {
    let id = subnet.network_id;
    let network = network_rows::lock(conn, id, now).await?.ok_or_else(|| errors::network_not_found(id))?;
    let others = rows::of_network(conn, id).await?;
    if others.len() >= MAX_SUBNETS {
        return Err(errors::invalid(format!("a network has at most {MAX_SUBNETS} subnets")));
    }
    if others.iter().any(|other| overlap(other.cidr, subnet.cidr)) {
        return Err(errors::invalid(format!(
            "Requested subnet with cidr: {} for network: {id} overlaps with another subnet",
            subnet.cidr
        )));
    }
    hosts::touch_network(conn, id).await?;
    rows::insert(conn, subnet).await?;
    if subnet.enable_dhcp {
        service_port::serve(conn, &network, subnet, now).await?;
    }
    event(conn, now, "subnet.create", &subnet.project_id, subnet.id).await
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

pub async fn update(app: &App, ctx: &Ctx, id: SubnetId, change: SubnetChange) -> Result<Subnet> {
    let (subnet, network) = visible(app, ctx, id).await?;
    may_change(app, ctx, actions::SUBNETS_UPDATE, &subnet, &network)?;
    if let IpNet::V4(net) = subnet.cidr {
        let would_be = changed(&subnet, net, change.clone())?;
        realisable(app, BTreeMap::from([(network.id, network)]), &[would_be]).await?;
    }
    let now = app.now();
    app.store
        .write("subnet.update", move |c| {
            let change = change.clone();
            Box::pin(async move { apply(c, id, change, now).await })
        })
        .await
}

async fn apply(conn: &mut Conn, id: SubnetId, change: SubnetChange, now: Timestamp) -> Result<Subnet> {
    let absent = || errors::subnet_not_found(id);
    let network_id = rows::get(conn, id).await?.ok_or_else(absent)?.network_id;
    let network = network_rows::lock(conn, network_id, now).await?.ok_or_else(absent)?;
    // As it is now that nobody else changes it.
    let before = rows::get(conn, id).await?.ok_or_else(absent)?;
    let IpNet::V4(net) = before.cidr else { return Err(ipv4::no_ipv6()) };
    let mut subnet = changed(&before, net, change)?;
    if let Some(gateway) = subnet.gateway_ip.filter(|ip| before.gateway_ip != Some(*ip))
        && ports::used_addresses(conn, id).await?.contains(&gateway)
    {
        return Err(Error::conflict(
            "network.GatewayIpInUse",
            format!("Current gateway ip {gateway} already in use by a port. Unable to update."),
        ));
    }
    subnet.revision = before.revision + 1;
    subnet.updated_at = now;
    hosts::touch_network(conn, network_id).await?;
    rows::save(conn, &subnet).await?;
    match (before.enable_dhcp, subnet.enable_dhcp) {
        (false, true) => service_port::serve(conn, &network, &subnet, now).await?,
        (true, false) => service_port::leave(conn, &subnet, now).await?,
        _ => {}
    }
    event(conn, now, "subnet.update", &subnet.project_id, id).await?;
    Ok(subnet)
}

/// The subnet with the change, if that makes sense.
fn changed(before: &Subnet, net: Ipv4Net, change: SubnetChange) -> Result<Subnet> {
    let mut subnet = before.clone();
    subnet.name = change.name.unwrap_or(subnet.name);
    subnet.description = change.description.unwrap_or(subnet.description);
    subnet.enable_dhcp = change.enable_dhcp.unwrap_or(subnet.enable_dhcp);
    subnet.dns_nameservers = change.dns_nameservers.unwrap_or(subnet.dns_nameservers);
    subnet.host_routes = change.host_routes.unwrap_or(subnet.host_routes);
    if let Some(gateway) = change.gateway_ip {
        if let Some(gateway) = gateway {
            ipv4::check_gateway(net, gateway)?;
        }
        subnet.gateway_ip = gateway.map(IpAddr::V4);
    }
    check_dhcp(net, subnet.enable_dhcp)?;
    let gateway = match subnet.gateway_ip {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    };
    let pools = change.allocation_pools.unwrap_or_else(|| subnet.allocation_pools.clone());
    subnet.allocation_pools = ipv4::check_pools(net, &pools, gateway)?;
    ipv4::check_nameservers(subnet.id, &subnet.dns_nameservers)?;
    ipv4::check_routes(subnet.id, &subnet.host_routes)?;
    Ok(subnet)
}

pub async fn delete(app: &App, ctx: &Ctx, id: SubnetId) -> Result<()> {
    let (subnet, network) = visible(app, ctx, id).await?;
    may_change(app, ctx, actions::SUBNETS_DELETE, &subnet, &network)?;
    let now = app.now();
    app.store
        .write("subnet.delete", move |c| {
            let subnet = subnet.clone();
            Box::pin(async move { remove(c, subnet, now).await })
        })
        .await
        .map_err(|e| super::or_gone(e, || errors::subnet_in_use(id)))
}

async fn remove(conn: &mut Conn, subnet: Subnet, now: Timestamp) -> Result<()> {
    let absent = || errors::subnet_not_found(subnet.id);
    refund(conn, &subnet.project_id, "subnets", 1).await?;
    network_rows::lock(conn, subnet.network_id, now).await?.ok_or_else(absent)?;
    if ports::subnet_in_use(conn, subnet.id).await? {
        return Err(errors::subnet_in_use(subnet.id));
    }
    hosts::touch_network(conn, subnet.network_id).await?;
    service_port::leave(conn, &subnet, now).await?;
    if !rows::delete(conn, subnet.id).await? {
        return Err(absent());
    }
    event(conn, now, "subnet.delete", &subnet.project_id, subnet.id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cidr: &str) -> NewSubnet {
        NewSubnet {
            project_id: None,
            network_id: NetworkId::random(),
            name: String::new(),
            description: String::new(),
            cidr: cidr.parse().unwrap(),
            gateway: Gateway::Default,
            enable_dhcp: true,
            dns_nameservers: vec![],
            host_routes: vec![],
            allocation_pools: None,
        }
    }

    fn made(wanted: NewSubnet) -> Result<Subnet> {
        decide(wanted, "p".into(), Timestamp(0))
    }

    #[test]
    fn unasked_a_subnet_has_its_first_address_as_gateway_and_gives_the_rest() {
        let subnet = made(wanted("10.0.0.0/28")).unwrap();
        assert_eq!(subnet.gateway_ip.unwrap().to_string(), "10.0.0.1");
        assert_eq!(ipv4::size(&subnet.allocation_pools), 13);
        let none = made(NewSubnet { gateway: Gateway::None, ..wanted("10.0.0.0/28") }).unwrap();
        assert_eq!((none.gateway_ip, ipv4::size(&none.allocation_pools)), (None, 14));
    }

    #[test]
    fn dhcp_needs_room() {
        assert_eq!(made(wanted("10.0.0.0/31")).unwrap_err().code, "network.InvalidInput");
        assert!(made(NewSubnet { enable_dhcp: false, ..wanted("10.0.0.0/31") }).is_ok());
        assert!(made(wanted("10.0.0.0/30")).is_ok());
    }

    #[test]
    fn a_change_is_checked_against_what_stays() {
        let before = made(wanted("10.0.0.0/28")).unwrap();
        let net: Ipv4Net = "10.0.0.0/28".parse().unwrap();
        let change = |gateway: &str| SubnetChange {
            gateway_ip: Some(Some(gateway.parse().unwrap())),
            ..SubnetChange::default()
        };
        let code = |change| changed(&before, net, change).map_err(|e| e.code);
        assert_eq!(code(change("10.0.0.5")).unwrap_err(), "network.GatewayConflictWithAllocationPools");
        assert_eq!(code(change("10.0.1.1")).unwrap_err(), "network.InvalidInput");
        let moved = SubnetChange {
            allocation_pools: Some(vec![Pool {
                start: "10.0.0.8".parse().unwrap(),
                end: "10.0.0.9".parse().unwrap(),
            }]),
            ..change("10.0.0.5")
        };
        assert_eq!(changed(&before, net, moved).unwrap().gateway_ip.unwrap().to_string(), "10.0.0.5");
        let gone = SubnetChange { gateway_ip: Some(None), ..SubnetChange::default() };
        assert_eq!(changed(&before, net, gone).unwrap().gateway_ip, None);
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(overlap(net("10.0.0.0/16"), net("10.0.5.0/24")));
        assert!(overlap(net("10.0.5.0/24"), net("10.0.0.0/16")));
        assert!(!overlap(net("10.0.4.0/24"), net("10.0.5.0/24")));
    }
}
