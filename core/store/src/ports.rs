//! Rows of `ports` and of `addresses`, which belong to them.

use crate::Conn;
use crate::listing::{self, Attribute, Kind, Listing, Table};
use crate::rows::{Columns, read_by, to_json};
use crate::store::db;
use canopy_types::{
    Error, HostId, NetworkId, PortId, ProjectId, Result, SecurityGroupId, ServerId, SubnetId, Timestamp,
};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub use crate::port_specs::{
    ServerAddress, ServerPorts, of_servers, ports_of_server, ports_of_servers, spec_of_network,
    specs_for_host,
};

/// `device_owner` of a network's DHCP and metadata port.
pub const DHCP_OWNER: &str = "network:dhcp";
/// `device_owner` of a server's port.
pub const SERVER_OWNER: &str = "compute:nova";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub id: PortId,
    pub network_id: NetworkId,
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    /// Lower case, colons.
    pub mac: String,
    pub admin_state_up: bool,
    /// `DOWN` or `ACTIVE`.
    pub status: String,
    pub device_id: String,
    pub device_owner: String,
    /// Made with the server, so removed with it.
    pub owned_by_server: bool,
    pub host_id: Option<HostId>,
    pub port_security: bool,
    pub security_groups: Vec<SecurityGroupId>,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Read, never written from here: see [`take_address`].
    pub fixed_ips: Vec<Address>,
    /// Name of the host that it is bound to. Read, never written from here.
    pub host_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub subnet_id: SubnetId,
    pub ip: IpAddr,
}

pub(crate) const COLUMNS: &str = "ports.id, ports.network_id, ports.project_id, ports.name, ports.description, \
    ports.mac, ports.admin_state_up, ports.status, ports.device_id, ports.device_owner, ports.owned_by_server, \
    ports.host_id, ports.port_security, ports.security_groups, ports.revision, ports.created_at, ports.updated_at, \
    (SELECT string_agg(a.subnet_id || '=' || a.ip, ',' ORDER BY a.subnet_id, a.ip) FROM addresses a \
    WHERE a.port_id = ports.id) AS fixed_ips, \
    (SELECT h.name FROM hosts h WHERE h.id = ports.host_id) AS host_name";

/// What lists of ports filter and sort by.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute::new("id", "ports.id", Kind::Text),
    Attribute::new("name", "ports.name", Kind::Text),
    Attribute::new("description", "ports.description", Kind::Text),
    Attribute::new("network_id", "ports.network_id", Kind::Text),
    Attribute::new("project_id", "ports.project_id", Kind::Text),
    Attribute::new("tenant_id", "ports.project_id", Kind::Text),
    Attribute::new("mac_address", "ports.mac", Kind::Text),
    Attribute::new("admin_state_up", "ports.admin_state_up", Kind::Flag),
    Attribute::new("status", "ports.status", Kind::Text),
    Attribute::new("device_id", "ports.device_id", Kind::Text),
    Attribute::new("device_owner", "ports.device_owner", Kind::Text),
    Attribute::new("port_security_enabled", "ports.port_security", Kind::Flag),
    Attribute::new("revision_number", "ports.revision", Kind::Int),
    Attribute::new("created_at", "ports.created_at", Kind::Int),
    Attribute::new("updated_at", "ports.updated_at", Kind::Int),
    Attribute::new("changed_since", "ports.updated_at", Kind::Since),
    Attribute::new("security_groups", "ports.security_groups", Kind::Member),
    Attribute::within("tags", "ports.id IN (SELECT p.id FROM ports p WHERE 'no tags'", Kind::Text),
    Attribute::within(
        "binding:vnic_type",
        "ports.id IN (SELECT p.id FROM ports p WHERE 'normal'",
        Kind::Text,
    ),
    Attribute::within(
        "binding:host_id",
        "ports.id IN (SELECT p.id FROM ports p LEFT JOIN hosts h ON h.id = p.host_id WHERE COALESCE(h.name, '')",
        Kind::Text,
    ),
    IP_ADDRESS,
    Attribute::within(
        "fixed_ips:ip_address_substr",
        "ports.id IN (SELECT port_id FROM addresses WHERE ip",
        Kind::Part,
    ),
    Attribute::within(
        "fixed_ips:subnet_id",
        "ports.id IN (SELECT port_id FROM addresses WHERE subnet_id",
        Kind::Text,
    ),
];

const IP_ADDRESS: Attribute = Attribute::within(
    "fixed_ips:ip_address",
    "ports.id IN (SELECT port_id FROM addresses WHERE ip",
    Kind::Text,
);

const TABLE: Table = Table {
    name: "ports",
    columns: COLUMNS,
    attributes: ATTRIBUTES,
    // The owner of a network sees every port on it.
    visible: "(ports.project_id = {p} OR ports.network_id IN (SELECT n.id FROM networks n WHERE n.project_id = {p}))",
};

pub(crate) fn port(row: &AnyRow) -> Result<Port> {
    Ok(Port {
        id: row.parsed("id")?,
        network_id: row.parsed("network_id")?,
        project_id: ProjectId(row.text("project_id")?),
        name: row.text("name")?,
        description: row.text("description")?,
        mac: row.text("mac")?,
        admin_state_up: row.flag("admin_state_up")?,
        status: row.text("status")?,
        device_id: row.text("device_id")?,
        device_owner: row.text("device_owner")?,
        owned_by_server: row.flag("owned_by_server")?,
        host_id: row.parsed_opt("host_id")?,
        port_security: row.flag("port_security")?,
        security_groups: row.json("security_groups")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        fixed_ips: addresses(row.text_opt("fixed_ips")?.as_deref())?,
        host_name: row.text_opt("host_name")?,
    })
}

fn addresses(text: Option<&str>) -> Result<Vec<Address>> {
    text.unwrap_or_default()
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let corrupt = || Error::internal("store.corrupt", format!("addresses hold {pair:?}"));
            let (subnet, ip) = pair.split_once('=').ok_or_else(corrupt)?;
            Ok(Address {
                subnet_id: subnet.parse().map_err(|_| corrupt())?,
                ip: ip.parse().map_err(|_| corrupt())?,
            })
        })
        .collect()
}

/// `false` when the network has a port with this MAC address already.
pub async fn insert(conn: &mut Conn, port: &Port) -> Result<bool> {
    let made = sqlx::query(
        "INSERT INTO ports (id, network_id, project_id, name, description, mac, admin_state_up, status, device_id, \
         device_owner, owned_by_server, host_id, port_security, security_groups, revision, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (network_id, mac) DO NOTHING",
    )
    .bind(port.id.to_string())
    .bind(port.network_id.to_string())
    .bind(port.project_id.as_str())
    .bind(&port.name)
    .bind(&port.description)
    .bind(&port.mac)
    .bind(i64::from(port.admin_state_up))
    .bind(&port.status)
    .bind(&port.device_id)
    .bind(&port.device_owner)
    .bind(i64::from(port.owned_by_server))
    .bind(port.host_id.map(|id| id.to_string()))
    .bind(i64::from(port.port_security))
    .bind(to_json(&port.security_groups)?)
    .bind(port.revision)
    .bind(port.created_at.0)
    .bind(port.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(made.rows_affected() > 0)
}

pub async fn get(conn: &mut Conn, id: PortId) -> Result<Option<Port>> {
    let sql = format!("SELECT {COLUMNS} FROM ports WHERE ports.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(port).transpose()
}

pub async fn list(conn: &mut Conn, listing: &Listing) -> Result<Vec<Port>> {
    listing::list(conn, &TABLE, listing).await?.iter().map(port).collect()
}

/// Raises the port's revision and holds its row until the transaction ends. `None` when it is gone.
pub async fn lock(conn: &mut Conn, id: PortId, now: Timestamp) -> Result<Option<Port>> {
    let locked = sqlx::query("UPDATE ports SET revision = revision + 1, updated_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    if locked.rows_affected() == 0 {
        return Ok(None);
    }
    get(conn, id).await
}

/// Writes what a client may change, and the binding. The row is [`lock`]ed. A MAC address never changes.
pub async fn save(conn: &mut Conn, port: &Port) -> Result<()> {
    sqlx::query(
        "UPDATE ports SET name = $2, description = $3, admin_state_up = $4, device_id = $5, device_owner = $6, \
         port_security = $7, security_groups = $8, host_id = $9, status = $10, owned_by_server = $11 WHERE id = $1",
    )
    .bind(port.id.to_string())
    .bind(&port.name)
    .bind(&port.description)
    .bind(i64::from(port.admin_state_up))
    .bind(&port.device_id)
    .bind(&port.device_owner)
    .bind(i64::from(port.port_security))
    .bind(to_json(&port.security_groups)?)
    .bind(port.host_id.map(|id| id.to_string()))
    .bind(&port.status)
    .bind(i64::from(port.owned_by_server))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// `false` when it was gone already. Takes the port's addresses with it.
pub async fn delete(conn: &mut Conn, id: PortId) -> Result<bool> {
    sqlx::query("DELETE FROM addresses WHERE port_id = $1")
        .bind(id.to_string())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    let gone = sqlx::query("DELETE FROM ports WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}

/// The network's DHCP and metadata port.
pub async fn dhcp_of(conn: &mut Conn, network: NetworkId) -> Result<Option<Port>> {
    let sql = format!("SELECT {COLUMNS} FROM ports WHERE ports.network_id = $1 AND ports.device_owner = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(network.to_string())
        .bind(DHCP_OWNER)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(port).transpose()
}

/// Ids of the network's ports but for its service port; at most `limit`.
pub async fn blocking(conn: &mut Conn, network: NetworkId, limit: i64) -> Result<Vec<PortId>> {
    let rows = sqlx::query(
        "SELECT id FROM ports WHERE network_id = $1 AND device_owner <> $2 ORDER BY created_at, id LIMIT $3",
    )
    .bind(network.to_string())
    .bind(DHCP_OWNER)
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Whether any port is in the security group.
pub async fn with_group(conn: &mut Conn, group: SecurityGroupId) -> Result<bool> {
    let row = sqlx::query("SELECT 1 AS used FROM ports WHERE security_groups LIKE $1 LIMIT 1")
        .bind(format!("%\"{group}\"%"))
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    Ok(row.is_some())
}

/// Whether a project other than `owner` has a port on the network.
pub async fn used_by_others(conn: &mut Conn, network: NetworkId, owner: &ProjectId) -> Result<bool> {
    let row = sqlx::query("SELECT 1 AS used FROM ports WHERE network_id = $1 AND project_id <> $2 LIMIT 1")
        .bind(network.to_string())
        .bind(owner.as_str())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    Ok(row.is_some())
}

/// Ports of one server, in the order they were made.
pub async fn of_server(conn: &mut Conn, server: ServerId) -> Result<Vec<Port>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ports WHERE ports.device_id = $1 AND ports.device_owner = $2 \
         ORDER BY ports.created_at, ports.id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(server.to_string())
        .bind(SERVER_OWNER)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(port).collect()
}

/// The same of several servers, in no order.
pub async fn of_any_server(conn: &mut Conn, servers: &[ServerId]) -> Result<Vec<Port>> {
    let sql = format!("SELECT {COLUMNS} FROM ports WHERE ports.device_id IN ($?)");
    let mut ports = read_by(conn, &sql, servers, port).await?;
    ports.retain(|port| port.device_owner == SERVER_OWNER);
    Ok(ports)
}

/// `ACTIVE` or `DOWN` for all ports of a server; what has it already stays as it is.
pub async fn set_server_status(conn: &mut Conn, server: ServerId, status: &str) -> Result<u64> {
    let changed = sqlx::query(
        "UPDATE ports SET status = $3, revision = revision + 1 \
         WHERE device_id = $1 AND device_owner = $2 AND status <> $3",
    )
    .bind(server.to_string())
    .bind(SERVER_OWNER)
    .bind(status)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(changed.rows_affected())
}

// Addresses ------------------------------------------------------------------------------------------

/// Gives `ip` of `subnet` to the port, unless somebody has it. On PostgreSQL this waits for a transaction
/// that is about to take the same address.
pub async fn take_address(conn: &mut Conn, subnet: SubnetId, ip: IpAddr, port: PortId) -> Result<bool> {
    let taken = sqlx::query(
        "INSERT INTO addresses (subnet_id, ip, port_id) VALUES ($1, $2, $3) ON CONFLICT (subnet_id, ip) DO NOTHING",
    )
    .bind(subnet.to_string())
    .bind(ip.to_string())
    .bind(port.to_string())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(taken.rows_affected() > 0)
}

pub async fn drop_address(conn: &mut Conn, address: Address, port: PortId) -> Result<()> {
    sqlx::query("DELETE FROM addresses WHERE subnet_id = $1 AND ip = $2 AND port_id = $3")
        .bind(address.subnet_id.to_string())
        .bind(address.ip.to_string())
        .bind(port.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// All addresses of a subnet that somebody has.
pub async fn used_addresses(conn: &mut Conn, subnet: SubnetId) -> Result<BTreeSet<IpAddr>> {
    let rows = sqlx::query("SELECT ip FROM addresses WHERE subnet_id = $1")
        .bind(subnet.to_string())
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| row.parsed("ip")).collect()
}

/// Whether a port other than the service port has an address in the subnet.
pub async fn subnet_in_use(conn: &mut Conn, subnet: SubnetId) -> Result<bool> {
    let row = sqlx::query(
        "SELECT 1 AS used FROM addresses a JOIN ports p ON p.id = a.port_id \
         WHERE a.subnet_id = $1 AND p.device_owner <> $2 LIMIT 1",
    )
    .bind(subnet.to_string())
    .bind(DHCP_OWNER)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    Ok(row.is_some())
}
