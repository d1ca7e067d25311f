//! Ports.

use super::addresses::{self, WantedIp};
use super::service_port::insert_with_mac;
use super::{change_needs, errors, event, networks, refund, scope, security_groups};
use crate::{App, Ctx, access};
use canopy_authz::actions::network as actions;
use canopy_authz::{Action, Target};
use canopy_store::listing::Listing;
use canopy_store::networks::{self as network_rows, Network};
use canopy_store::ports::{self as rows, DHCP_OWNER, Port, SERVER_OWNER};
use canopy_store::{Conn, hosts, subnets};
use canopy_types::{Error, NetworkId, PortId, ProjectId, Result, SecurityGroupId, Timestamp};

pub use super::addresses::{MAX_FIXED_IPS, WantedIp as FixedIp, parse_ip, parse_mac};

#[derive(Clone, Debug)]
pub struct NewPort {
    pub project_id: Option<ProjectId>,
    pub network_id: NetworkId,
    pub name: String,
    pub description: String,
    /// As [`parse_mac`] gives it.
    pub mac: Option<String>,
    pub admin_state_up: bool,
    pub device_id: String,
    pub device_owner: String,
    /// `None` is as the network has it.
    pub port_security: Option<bool>,
    /// `None` is the project's default group.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// `None` is any address; an empty list is none.
    pub fixed_ips: Option<Vec<WantedIp>>,
}

#[derive(Clone, Debug, Default)]
pub struct PortChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub admin_state_up: Option<bool>,
    pub device_id: Option<String>,
    pub device_owner: Option<String>,
    pub port_security: Option<bool>,
    pub security_groups: Option<Vec<SecurityGroupId>>,
    pub fixed_ips: Option<Vec<WantedIp>>,
}

fn target(port: &Port) -> Target {
    Target::in_project(&port.project_id).id(port.id)
}

/// A port is its owner's and its network's owner's to see.
fn sides(port: &Port, network: &Network) -> [Target; 2] {
    [target(port), networks::target(network).public(false)]
}

/// The port, if the caller may see it.
pub(super) async fn visible(app: &App, ctx: &Ctx, id: PortId) -> Result<(Port, Network)> {
    let found = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let Some(port) = rows::get(c, id).await? else { return Ok(None) };
                let network = network_rows::get(c, port.network_id).await?;
                Ok(network.map(|network| (port, network)))
            })
        })
        .await?;
    found
        .filter(|(port, network)| access::seen(app, ctx, actions::PORTS_SHOW, &sides(port, network)))
        .ok_or_else(|| errors::port_not_found(id))
}

fn may_change(app: &App, ctx: &Ctx, action: Action, port: &Port, network: &Network) -> Result<()> {
    if access::allowed(app, ctx, action, &networks::target(network).public(false)) {
        return Ok(());
    }
    change_needs(app, ctx, action, &target(port))
}

/// Whether the caller may see which host a port is on.
pub fn shows_binding(app: &App, ctx: &Ctx) -> bool {
    access::allowed(app, ctx, actions::PORTS_SHOW_BINDING, &super::anywhere())
}

pub async fn list(app: &App, ctx: &Ctx, mut listing: Listing) -> Result<Vec<Port>> {
    listing.scope = scope(app, ctx, actions::PORTS_LIST)?;
    if !shows_binding(app, ctx) && listing.filters.iter().any(|f| f.attribute.name == "binding:host_id") {
        // What is not shown is not to be guessed either.
        return Err(errors::disallowed("get_port:binding:host_id"));
    }
    let read = |part: Listing| {
        app.store.read(move |c| {
            Box::pin(async move {
                let ports = rows::list(c, &part).await?;
                let networks = network_rows::of_ids(c, ports.iter().map(|port| port.network_id)).await?;
                let beside =
                    |port: Port| networks.get(&port.network_id).cloned().map(|network| (port, network));
                Ok(ports.into_iter().filter_map(beside).collect())
            })
        })
    };
    let mut may = access::Rows::default();
    let listed = access::readable(
        &listing,
        |(port, _): &(Port, Network)| port.id.to_string(),
        read,
        |(port, network)| {
            sides(port, network).iter().any(|side| may.allowed(app, ctx, actions::PORTS_SHOW, side))
        },
    );
    Ok(listed.await?.into_iter().map(|(port, _)| port).collect())
}

pub async fn show(app: &App, ctx: &Ctx, id: PortId) -> Result<Port> {
    visible(app, ctx, id).await.map(|(port, _)| port)
}

pub async fn create(app: &App, ctx: &Ctx, wanted: Vec<NewPort>) -> Result<Vec<Port>> {
    super::check_bulk(wanted.len())?;
    let mut owners = Vec::with_capacity(wanted.len());
    let mut planned = Vec::with_capacity(wanted.len());
    for one in wanted {
        let network = networks::visible(app, ctx, one.network_id).await?;
        owners.push(super::owner(app, ctx, actions::PORTS_CREATE, one.project_id.as_ref())?);
        check_new(app, ctx, &one, &network)?;
        let port_security = one.port_security.unwrap_or(network.port_security);
        check_groups(app, ctx, one.security_groups.as_deref(), port_security).await?;
        planned.push((one, port_security));
    }
    let owner = super::one_owner(&owners)?;
    let (now, project) = (app.now(), owner.clone());
    super::charge(app, ctx, &owner, ("port", "ports"), planned.len(), "port.create", move |c| {
        let (planned, project) = (planned.clone(), project.clone());
        Box::pin(async move {
            let mut made = Vec::with_capacity(planned.len());
            for (one, port_security) in planned {
                made.push(insert(c, one, port_security, &project, now).await?);
            }
            Ok(made)
        })
    })
    .await
}

/// What only the network's owner may choose, and what nobody may.
fn check_new(app: &App, ctx: &Ctx, wanted: &NewPort, network: &Network) -> Result<()> {
    check_owner(&wanted.device_owner)?;
    let named_ip = wanted.fixed_ips.iter().flatten().any(|ip| ip.ip.is_some());
    let secured = wanted.port_security.is_some_and(|on| on != network.port_security);
    for (asked, action, rule) in [
        (wanted.mac.is_some(), actions::PORTS_CHOOSE_MAC, "create_port:mac_address"),
        (named_ip, actions::PORTS_CHOOSE_IP, "create_port:fixed_ips:ip_address"),
        (secured, actions::PORTS_SET_SECURITY, "create_port:port_security_enabled"),
    ] {
        if asked && !may_choose(app, ctx, action, network) {
            return Err(errors::disallowed(rule));
        }
    }
    Ok(())
}

/// Whether the caller may choose what is the network owner's to choose.
fn may_choose(app: &App, ctx: &Ctx, action: Action, network: &Network) -> bool {
    access::allowed(app, ctx, action, &networks::target(network))
}

/// A port of a server or of a service is one because the server or the network has it.
fn check_owner(device_owner: &str) -> Result<()> {
    if device_owner.starts_with("compute:") || device_owner.starts_with("network:") {
        return Err(errors::invalid(format!(
            "device_owner '{device_owner}' is set when a server or a network takes the port: leave it out"
        )));
    }
    Ok(())
}

async fn check_groups(
    app: &App,
    ctx: &Ctx,
    groups: Option<&[SecurityGroupId]>,
    port_security: bool,
) -> Result<()> {
    let Some(groups) = groups else { return Ok(()) };
    if !port_security && !groups.is_empty() {
        return Err(port_security_needed());
    }
    security_groups::check(app, ctx, groups).await
}

fn port_security_needed() -> Error {
    Error::bad_request(
        "network.PortSecurityAndIPRequiredForSecurityGroups",
        "Port security must be enabled and port must have an IP address in order to use security groups.",
    )
}

async fn insert(
    conn: &mut Conn,
    wanted: NewPort,
    port_security: bool,
    project: &ProjectId,
    now: Timestamp,
) -> Result<Port> {
    let security_groups = match wanted.security_groups {
        Some(groups) => {
            security_groups::hold(conn, &groups).await?;
            groups
        }
        None if port_security => vec![security_groups::ensure_default(conn, project, now).await?.id],
        None => Vec::new(),
    };
    let mut port = Port {
        id: PortId::random(),
        network_id: wanted.network_id,
        project_id: project.clone(),
        name: wanted.name,
        description: wanted.description,
        mac: String::new(),
        admin_state_up: wanted.admin_state_up,
        status: "DOWN".into(),
        device_id: wanted.device_id,
        device_owner: wanted.device_owner,
        owned_by_server: false,
        host_id: None,
        port_security,
        security_groups,
        revision: 1,
        created_at: now,
        updated_at: now,
        fixed_ips: Vec::new(),
        host_name: None,
    };
    insert_with_mac(conn, &mut port, wanted.mac.as_deref()).await?;
    let subnets = subnets::of_network(conn, port.network_id).await?;
    addresses::give(conn, port.network_id, &subnets, port.id, wanted.fixed_ips.as_deref()).await?;
    event(conn, now, "port.create", project, port.id).await?;
    rows::get(conn, port.id).await?.ok_or_else(|| errors::port_not_found(port.id))
}

pub async fn update(app: &App, ctx: &Ctx, id: PortId, change: PortChange) -> Result<Port> {
    let (port, network) = visible(app, ctx, id).await?;
    may_change(app, ctx, actions::PORTS_UPDATE, &port, &network)?;
    let named_ip = change.fixed_ips.iter().flatten().any(|ip| ip.ip.is_some_and(|ip| !has(&port, ip)));
    if named_ip && !may_choose(app, ctx, actions::PORTS_CHOOSE_IP, &network) {
        return Err(errors::disallowed("update_port:fixed_ips:ip_address"));
    }
    let secured = change.port_security.is_some_and(|on| on != port.port_security);
    if secured && !may_choose(app, ctx, actions::PORTS_SET_SECURITY, &network) {
        return Err(errors::disallowed("update_port:port_security_enabled"));
    }
    if let Some(groups) = &change.security_groups {
        security_groups::check(app, ctx, groups).await?;
    }
    let now = app.now();
    app.store
        .write("port.update", move |c| {
            let change = change.clone();
            Box::pin(async move { apply(c, id, change, now).await })
        })
        .await
}

fn has(port: &Port, ip: std::net::IpAddr) -> bool {
    port.fixed_ips.iter().any(|address| address.ip == ip)
}

async fn apply(conn: &mut Conn, id: PortId, change: PortChange, now: Timestamp) -> Result<Port> {
    let before = rows::lock(conn, id, now).await?.ok_or_else(|| errors::port_not_found(id))?;
    let port = changed(&before, &change)?;
    security_groups::hold(conn, change.security_groups.as_deref().unwrap_or_default()).await?;
    if let Some(host) = port.host_id {
        hosts::touch(conn, host).await?;
    }
    rows::save(conn, &port).await?;
    if let Some(wanted) = &change.fixed_ips {
        let subnets = subnets::of_network(conn, port.network_id).await?;
        addresses::change(conn, port.network_id, &subnets, id, &before.fixed_ips, wanted).await?;
    }
    event(conn, now, "port.update", &port.project_id, id).await?;
    rows::get(conn, id).await?.ok_or_else(|| errors::port_not_found(id))
}

/// The port with the change, if it may have it.
fn changed(before: &Port, change: &PortChange) -> Result<Port> {
    if before.device_owner == DHCP_OWNER {
        return Err(service_port_in_use(before));
    }
    let mut port = before.clone();
    let set = |field: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            field.clone_from(value);
        }
    };
    set(&mut port.name, &change.name);
    set(&mut port.description, &change.description);
    set(&mut port.device_id, &change.device_id);
    set(&mut port.device_owner, &change.device_owner);
    port.admin_state_up = change.admin_state_up.unwrap_or(port.admin_state_up);
    port.port_security = change.port_security.unwrap_or(port.port_security);
    if (&port.device_id, &port.device_owner) != (&before.device_id, &before.device_owner) {
        if before.device_owner == SERVER_OWNER {
            return Err(server_port_in_use(before));
        }
        check_owner(&port.device_owner)?;
    }
    if let Some(groups) = &change.security_groups {
        if !port.port_security && !groups.is_empty() {
            return Err(port_security_needed());
        }
        port.security_groups.clone_from(groups);
    }
    if !port.port_security && !port.security_groups.is_empty() {
        return Err(Error::conflict(
            "network.PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until security group \
             is removed.",
        ));
    }
    Ok(port)
}

fn service_port_in_use(port: &Port) -> Error {
    errors::port_in_use(
        port.id,
        port.network_id,
        &port.device_id,
        "It serves the network's DHCP and goes with its last subnet that has DHCP.",
    )
}

fn server_port_in_use(port: &Port) -> Error {
    errors::port_in_use(port.id, port.network_id, &port.device_id, "Delete the server first.")
}

pub async fn delete(app: &App, ctx: &Ctx, id: PortId) -> Result<()> {
    let (port, network) = visible(app, ctx, id).await?;
    may_change(app, ctx, actions::PORTS_DELETE, &port, &network)?;
    let now = app.now();
    app.store
        .write("port.delete", move |c| {
            let project = port.project_id.clone();
            Box::pin(async move { remove(c, id, &project, now).await })
        })
        .await
}

async fn remove(conn: &mut Conn, id: PortId, project: &ProjectId, now: Timestamp) -> Result<()> {
    refund(conn, project, "ports", 1).await?;
    let port = rows::lock(conn, id, now).await?.ok_or_else(|| errors::port_not_found(id))?;
    match port.device_owner.as_str() {
        DHCP_OWNER => return Err(service_port_in_use(&port)),
        SERVER_OWNER => return Err(server_port_in_use(&port)),
        _ => {}
    }
    rows::delete(conn, id).await?;
    event(conn, now, "port.delete", project, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(owner: &str) -> Port {
        Port {
            id: PortId::random(),
            network_id: NetworkId::random(),
            project_id: "p".into(),
            name: "n".into(),
            description: String::new(),
            mac: "fa:16:3e:00:00:01".into(),
            admin_state_up: true,
            status: "DOWN".into(),
            device_id: if owner.is_empty() { String::new() } else { "d".into() },
            device_owner: owner.into(),
            owned_by_server: false,
            host_id: None,
            port_security: true,
            security_groups: vec![SecurityGroupId::random()],
            revision: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            fixed_ips: vec![],
            host_name: None,
        }
    }

    fn code(owner: &str, change: &PortChange) -> Result<Port, &'static str> {
        changed(&port(owner), change).map_err(|e| e.code)
    }

    #[test]
    fn nobody_makes_a_port_a_servers_or_takes_one_from_it() {
        let claim = PortChange { device_owner: Some("compute:nova".into()), ..PortChange::default() };
        assert_eq!(code("", &claim).unwrap_err(), "network.InvalidInput");
        let take = PortChange { device_id: Some(String::new()), ..PortChange::default() };
        assert_eq!(code(SERVER_OWNER, &take).unwrap_err(), "network.PortInUse");
        let named =
            PortChange { device_id: Some("d".into()), name: Some("x".into()), ..PortChange::default() };
        assert_eq!(code(SERVER_OWNER, &named).unwrap().name, "x");
        assert_eq!(code(DHCP_OWNER, &PortChange::default()).unwrap_err(), "network.PortInUse");
    }

    #[test]
    fn port_security_goes_only_without_groups() {
        let off = PortChange { port_security: Some(false), ..PortChange::default() };
        assert_eq!(code("", &off).unwrap_err(), "network.PortSecurityPortHasSecurityGroup");
        let both = PortChange { security_groups: Some(vec![]), ..off.clone() };
        assert!(!code("", &both).unwrap().port_security);
        let groups = PortChange { security_groups: Some(vec![SecurityGroupId::random()]), ..off };
        assert_eq!(code("", &groups).unwrap_err(), "network.PortSecurityAndIPRequiredForSecurityGroups");
    }
}
