//! The ports of servers: planned before a server's transaction, made in it, given back with the server.
//!
//! These functions do not raise the host's revision: the server that comes or goes does. Ports made here are
//! charged by the caller together with the server; [`release_server_ports`] gives the charge back.

use super::addresses::{self, WantedIp};
use super::service_port::insert_with_mac;
use super::{event, networks, ports as port_cases, refund, security_groups};
use crate::{App, Ctx, access};
use canopy_authz::actions::network as actions;
use canopy_store::listing::{Listing, Scope};
use canopy_store::networks::Network;
use canopy_store::ports::{self as rows, Port, SERVER_OWNER};
use canopy_store::{Conn, subnets};
use canopy_types::{Error, HostId, NetworkId, PortId, ProjectId, Result, ServerId, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Interfaces of one server.
pub const MAX_INTERFACES: usize = 16;

/// One interface as a client asks for it: a port, or a network and perhaps an address in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    pub network: Option<NetworkId>,
    pub port: Option<PortId>,
    pub fixed_ip: Option<IpAddr>,
    /// By which the guest finds it.
    pub tag: Option<String>,
}

/// One interface, looked up and allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    pub network_id: NetworkId,
    pub tag: Option<String>,
    given: Option<PortId>,
    fixed_ip: Option<IpAddr>,
    port_security: bool,
}

impl PortPlan {
    /// The client's own port: it is bound, not made, and not charged.
    pub fn is_given(&self) -> bool {
        self.given.is_some()
    }
}

/// Checks what a client asks for. Refusals are the ones that nova gives.
pub async fn plan_ports(app: &App, ctx: &Ctx, requests: &[NetworkRequest]) -> Result<Vec<PortPlan>> {
    if requests.len() > MAX_INTERFACES {
        return Err(Error::bad_request(
            "server.interfaces",
            format!("A server has at most {MAX_INTERFACES} interfaces, not {}.", requests.len()),
        ));
    }
    let mut plans: Vec<PortPlan> = Vec::with_capacity(requests.len());
    for request in requests {
        let plan = match (request.port, request.network) {
            (Some(port), _) => plan_port(app, ctx, port).await?,
            (None, Some(network)) => {
                let absent = |e: Error| Error::bad_request(e.code, e.message);
                let network = networks::visible(app, ctx, network).await.map_err(absent)?;
                plan_network(app, &network, request.fixed_ip).await?
            }
            (None, None) => {
                return Err(Error::bad_request(
                    "server.interface",
                    "A network entry needs a uuid or a port.",
                ));
            }
        };
        if plan.is_given() && plans.iter().any(|before| before.given == plan.given) {
            return Err(still_in_use(plan.given));
        }
        plans.push(PortPlan { tag: request.tag.clone(), ..plan });
    }
    Ok(plans)
}

/// The one network that the caller's project can use. `required` (`networks: auto`) refuses to go without.
pub async fn plan_auto(app: &App, ctx: &Ctx, required: bool) -> Result<Vec<PortPlan>> {
    let project = access::project(ctx)?.clone();
    access::require(app, ctx, actions::PORTS_CREATE, &canopy_authz::Target::in_project(&project))?;
    let mut listing = Listing::all(Scope::Project(project));
    listing.limit = Some(2);
    let networks = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::networks::list(c, &listing).await }))
        .await?;
    match networks.as_slice() {
        [] if required => Err(Error::bad_request(
            "server.no_network",
            "networks 'auto' needs exactly one network: networks are not made for a server. Create a network with \
             a subnet, or use 'none'.",
        )),
        [] => Ok(Vec::new()),
        [network] => Ok(vec![plan_network(app, network, None).await?]),
        _ => Err(Error::conflict(
            "server.network_ambiguous",
            "Multiple possible networks found, use a Network ID to be more specific.",
        )),
    }
}

async fn plan_network(app: &App, network: &Network, fixed_ip: Option<IpAddr>) -> Result<PortPlan> {
    let id = network.id;
    let subnets = app.store.read(move |c| Box::pin(async move { subnets::of_network(c, id).await })).await?;
    if subnets.is_empty() {
        return Err(Error::bad_request(
            "network.NetworkRequiresSubnet",
            format!("Network {id} requires a subnet in order to boot instances on."),
        ));
    }
    if let Some(ip) = fixed_ip {
        addresses::check(id, &subnets, &[WantedIp { subnet_id: None, ip: Some(ip) }])?;
    }
    Ok(PortPlan { network_id: id, tag: None, given: None, fixed_ip, port_security: network.port_security })
}

async fn plan_port(app: &App, ctx: &Ctx, id: PortId) -> Result<PortPlan> {
    let (port, _) = port_cases::visible(app, ctx, id)
        .await
        .map_err(|e| Error::bad_request(e.code, format!("Port id {id} could not be found.")))?;
    if ctx.who.project_id() != Some(&port.project_id) {
        return Err(Error::bad_request(
            "network.PortNotUsable",
            format!("Port {id} not usable for this instance."),
        ));
    }
    if !port.device_id.is_empty() {
        return Err(still_in_use(Some(id)));
    }
    if port.fixed_ips.is_empty() {
        return Err(Error::bad_request(
            "network.PortRequiresFixedIP",
            format!("Port {id} requires a FixedIP in order to be used."),
        ));
    }
    Ok(PortPlan {
        network_id: port.network_id,
        tag: None,
        given: Some(id),
        fixed_ip: None,
        port_security: port.port_security,
    })
}

fn still_in_use(port: Option<PortId>) -> Error {
    let port = port.map(|id| id.to_string()).unwrap_or_default();
    Error::conflict("network.PortInUse", format!("Port {port} is still in use."))
}

/// Makes or binds a server's ports, in the order of its interfaces. Fails as a whole: no address left is
/// `network.IpAddressGenerationFailure`, a port taken meanwhile `network.PortInUse`.
pub async fn create_server_ports(
    conn: &mut Conn,
    server: ServerId,
    host: Option<HostId>,
    project: &ProjectId,
    plans: &[PortPlan],
    now: Timestamp,
) -> Result<Vec<PortId>> {
    let mut made = Vec::with_capacity(plans.len());
    for (plan, place) in plans.iter().zip(0_i64..) {
        made.push(match plan.given {
            Some(id) => bind(conn, id, server, host, now).await?,
            // Interfaces are read back by age: each is a microsecond younger than the one before.
            None => make(conn, plan, server, host, project, Timestamp(now.0.saturating_add(place))).await?,
        });
    }
    Ok(made)
}

async fn bind(
    conn: &mut Conn,
    id: PortId,
    server: ServerId,
    host: Option<HostId>,
    now: Timestamp,
) -> Result<PortId> {
    let gone = || Error::bad_request("network.PortNotFound", format!("Port id {id} could not be found."));
    let mut port = rows::lock(conn, id, now).await?.ok_or_else(gone)?;
    if !port.device_id.is_empty() {
        return Err(still_in_use(Some(id)));
    }
    port.device_id = server.to_string();
    port.device_owner = SERVER_OWNER.into();
    port.host_id = host;
    port.owned_by_server = false;
    rows::save(conn, &port).await?;
    event(conn, now, "port.update", &port.project_id, id).await?;
    Ok(id)
}

async fn make(
    conn: &mut Conn,
    plan: &PortPlan,
    server: ServerId,
    host: Option<HostId>,
    project: &ProjectId,
    now: Timestamp,
) -> Result<PortId> {
    let security_groups = if plan.port_security {
        vec![security_groups::ensure_default(conn, project, now).await?.id]
    } else {
        Vec::new()
    };
    let mut port = Port {
        id: PortId::random(),
        network_id: plan.network_id,
        project_id: project.clone(),
        name: String::new(),
        description: String::new(),
        mac: String::new(),
        admin_state_up: true,
        status: "DOWN".into(),
        device_id: server.to_string(),
        device_owner: SERVER_OWNER.into(),
        owned_by_server: true,
        host_id: host,
        port_security: plan.port_security,
        security_groups,
        revision: 1,
        created_at: now,
        updated_at: now,
        fixed_ips: Vec::new(),
        host_name: None,
    };
    insert_with_mac(conn, &mut port, None).await?;
    let subnets = subnets::of_network(conn, plan.network_id).await?;
    let wanted = plan.fixed_ip.map(|ip| [WantedIp { subnet_id: None, ip: Some(ip) }]);
    let wanted = wanted.as_ref().map(<[WantedIp; 1]>::as_slice);
    addresses::give(conn, plan.network_id, &subnets, port.id, wanted).await.map_err(|error| {
        match (error.code, plan.fixed_ip) {
            ("network.IpAddressAlreadyAllocated", Some(ip)) => Error::bad_request(
                "network.FixedIpAlreadyInUse",
                format!("Fixed IP address {ip} is already in use on instance."),
            ),
            _ => error,
        }
    })?;
    event(conn, now, "port.create", project, port.id).await?;
    Ok(port.id)
}

/// Deletes the ports that were made with these servers and takes the servers off the clients' own.
pub async fn release_server_ports(conn: &mut Conn, servers: &[ServerId], now: Timestamp) -> Result<()> {
    let mut ports = rows::of_any_server(conn, servers).await?;
    // In one order, as several are locked.
    ports.sort_unstable_by_key(|port| port.id);
    let mut owned: BTreeMap<&ProjectId, usize> = BTreeMap::new();
    for port in ports.iter().filter(|port| port.owned_by_server) {
        *owned.entry(&port.project_id).or_default() += 1;
    }
    for (project, count) in owned {
        refund(conn, project, "ports", count).await?;
    }
    for port in &ports {
        let_go(conn, port, now).await?;
    }
    Ok(())
}

/// The same for one of them; one that the server has not is no error.
pub async fn release_server_port(
    conn: &mut Conn,
    server: ServerId,
    id: PortId,
    now: Timestamp,
) -> Result<()> {
    let Some(port) = rows::of_server(conn, server).await?.into_iter().find(|port| port.id == id) else {
        return Ok(());
    };
    if port.owned_by_server {
        refund(conn, &port.project_id, "ports", 1).await?;
    }
    let_go(conn, &port, now).await
}

async fn let_go(conn: &mut Conn, port: &Port, now: Timestamp) -> Result<()> {
    if port.owned_by_server {
        rows::delete(conn, port.id).await?;
        return event(conn, now, "port.delete", &port.project_id, port.id).await;
    }
    let Some(mut port) = rows::lock(conn, port.id, now).await? else { return Ok(()) };
    port.device_id = String::new();
    port.device_owner = String::new();
    port.host_id = None;
    port.status = "DOWN".into();
    rows::save(conn, &port).await?;
    event(conn, now, "port.update", &port.project_id, port.id).await
}

/// `ACTIVE` or `DOWN`, as the server's guest runs or not.
pub async fn set_ports_status(conn: &mut Conn, server: ServerId, status: &str) -> Result<()> {
    rows::set_server_status(conn, server, status).await.map(|_| ())
}
