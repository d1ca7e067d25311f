//! Networks and ports as a host's agent and a server's addresses need them: few statements, whatever the
//! number of ports.

use crate::ports::{self, COLUMNS, DHCP_OWNER, Port, SERVER_OWNER, port};
use crate::rows::{self, Columns, places};
use crate::store::db;
use crate::{Conn, networks, subnets};
use canopy_agent_api::{FixedIp, HostRoute, NetworkSpec, PortSpec, SubnetSpec};
use canopy_types::{HostId, NetworkId, Result, SecurityGroupId, ServerId, SubnetId};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// One address of a server, as its `addresses` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub network: String,
    pub ip: IpAddr,
    pub mac: String,
}

impl ServerAddress {
    /// 4 or 6.
    pub fn version(&self) -> u8 {
        if self.ip.is_ipv4() { 4 } else { 6 }
    }
}

/// Every network with a port on `host`: its subnets, its service port, and its ports on that host.
pub async fn specs_for_host(conn: &mut Conn, host: HostId) -> Result<Vec<NetworkSpec>> {
    let networks = networks::on_host(conn, host).await?;
    let all_subnets = subnets::on_host(conn, host).await?;
    let sql = format!(
        "SELECT {COLUMNS}, COALESCE((SELECT s.hostname FROM servers s WHERE s.id = ports.device_id), '') AS hostname \
         FROM ports WHERE ports.host_id = $1 OR (ports.device_owner = $2 AND ports.network_id IN \
         (SELECT p.network_id FROM ports p WHERE p.host_id = $1)) ORDER BY ports.id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(host.to_string())
        .bind(DHCP_OWNER)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    let mut on: BTreeMap<NetworkId, Vec<(Port, String)>> = BTreeMap::new();
    for row in &rows {
        let found = port(row)?;
        on.entry(found.network_id).or_default().push((found, row.text("hostname")?));
    }
    Ok(networks
        .into_iter()
        .map(|network| {
            let ports = on.remove(&network.id).unwrap_or_default();
            let service: BTreeMap<SubnetId, IpAddr> = ports
                .iter()
                .filter(|(port, _)| port.device_owner == DHCP_OWNER)
                .flat_map(|(port, _)| port.fixed_ips.iter().map(|a| (a.subnet_id, a.ip)))
                .collect();
            let ports = ports
                .into_iter()
                .map(|(port, hostname)| spec_of_port(port, network.admin_state_up, hostname))
                .collect();
            NetworkSpec { ports, ..spec_of_network(&network, &all_subnets, &service) }
        })
        .collect())
}

/// A network without its ports; of the subnets, its own. `service` are the addresses of DHCP and metadata.
pub fn spec_of_network(
    network: &networks::Network,
    subnets: &[subnets::Subnet],
    service: &BTreeMap<SubnetId, IpAddr>,
) -> NetworkSpec {
    NetworkSpec {
        id: network.id,
        project_id: network.project_id.clone(),
        segment: network.segment,
        mtu: network.mtu,
        dns_domain: network.dns_domain.clone(),
        subnets: subnets
            .iter()
            .filter(|subnet| subnet.network_id == network.id)
            .map(|subnet| spec_of_subnet(subnet, service.get(&subnet.id).copied()))
            .collect(),
        ports: Vec::new(),
        provider: network.provider.clone(),
    }
}

/// The ports of one server, in the order of its interfaces.
pub async fn ports_of_server(conn: &mut Conn, server: ServerId) -> Result<Vec<PortSpec>> {
    Ok(ports_of_servers(conn, &[server]).await?.remove(&server).unwrap_or_default())
}

/// The ports of many servers (at most 1,000), in one statement.
pub async fn ports_of_servers(
    conn: &mut Conn,
    servers: &[ServerId],
) -> Result<BTreeMap<ServerId, Vec<PortSpec>>> {
    if servers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT {COLUMNS}, networks.admin_state_up AS network_up, \
         COALESCE((SELECT s.hostname FROM servers s WHERE s.id = ports.device_id), '') AS hostname \
         FROM ports JOIN networks ON networks.id = ports.network_id \
         WHERE ports.device_owner = $1 AND ports.device_id IN ({}) ORDER BY ports.created_at, ports.id",
        places(2, servers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(SERVER_OWNER);
    for id in servers {
        query = query.bind(id.to_string());
    }
    let mut found: BTreeMap<ServerId, Vec<PortSpec>> = BTreeMap::new();
    for row in query.fetch_all(conn).await.map_err(db)? {
        let port = ports::port(&row)?;
        let spec = spec_of_port(port, row.flag("network_up")?, row.text("hostname")?);
        if let Some(server) = spec.server_id {
            found.entry(server).or_default().push(spec);
        }
    }
    Ok(found)
}

/// What servers' ports tell of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerPorts {
    pub addresses: Vec<ServerAddress>,
    /// Names of the ports' security groups, port by port: one that two ports carry stands twice, as in nova.
    pub security_groups: Vec<String>,
}

/// Of all these servers, oldest port first. Servers without ports are left out.
pub async fn of_servers(conn: &mut Conn, servers: &[ServerId]) -> Result<BTreeMap<ServerId, ServerPorts>> {
    if servers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT p.id, p.device_id, p.security_groups, n.name AS network, a.ip, p.mac FROM ports p \
         JOIN networks n ON n.id = p.network_id LEFT JOIN addresses a ON a.port_id = p.id \
         WHERE p.device_owner = $1 AND p.device_id IN ({}) ORDER BY p.created_at, p.id, a.subnet_id, a.ip",
        places(2, servers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(SERVER_OWNER);
    for id in servers {
        query = query.bind(id.to_string());
    }
    let mut found: BTreeMap<ServerId, ServerPorts> = BTreeMap::new();
    let mut carried: Vec<(ServerId, Vec<SecurityGroupId>)> = Vec::new();
    let mut last = String::new();
    for row in query.fetch_all(&mut *conn).await.map_err(db)? {
        let server: ServerId = row.parsed("device_id")?;
        let port = row.text("id")?;
        if port != last {
            carried.push((server, row.json("security_groups")?));
            last = port;
        }
        let ports = found.entry(server).or_default();
        if let Some(ip) = row.parsed_opt("ip")? {
            let address = ServerAddress { network: row.text("network")?, ip, mac: row.text("mac")? };
            ports.addresses.push(address);
        }
    }
    let ids: BTreeSet<SecurityGroupId> = carried.iter().flat_map(|(_, ids)| ids).copied().collect();
    let ids: Vec<SecurityGroupId> = ids.into_iter().collect();
    let read = |row: &AnyRow| Ok((row.parsed("id")?, row.text("name")?));
    let names =
        rows::read_by(conn, "SELECT id, name FROM security_groups WHERE id IN ($?)", &ids, read).await?;
    let names: HashMap<SecurityGroupId, String> = names.into_iter().collect();
    for (server, ids) in carried {
        let named = ids.iter().filter_map(|id| names.get(id).cloned());
        found.entry(server).or_default().security_groups.extend(named);
    }
    Ok(found)
}

fn spec_of_subnet(subnet: &subnets::Subnet, service_ip: Option<IpAddr>) -> SubnetSpec {
    SubnetSpec {
        id: subnet.id,
        cidr: subnet.cidr,
        gateway_ip: subnet.gateway_ip,
        enable_dhcp: subnet.enable_dhcp,
        dns_nameservers: subnet.dns_nameservers.clone(),
        host_routes: subnet
            .host_routes
            .iter()
            .map(|route| HostRoute { destination: route.destination, nexthop: route.nexthop })
            .collect(),
        service_ip,
    }
}

/// A port is up only on a network that is up.
fn spec_of_port(port: Port, network_up: bool, hostname: String) -> PortSpec {
    let server_id = (port.device_owner == SERVER_OWNER).then(|| port.device_id.parse().ok()).flatten();
    PortSpec {
        id: port.id,
        network_id: port.network_id,
        mac: port.mac,
        fixed_ips: port
            .fixed_ips
            .iter()
            .map(|a| FixedIp { subnet_id: a.subnet_id, ip_address: a.ip })
            .collect(),
        admin_state_up: port.admin_state_up && network_up,
        port_security: port.port_security,
        server_id,
        hostname,
    }
}
