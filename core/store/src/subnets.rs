//! Rows of `subnets`.

use crate::Conn;
use crate::listing::{self, Attribute, Kind, Listing, Table};
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::{NetworkId, ProjectId, Result, SubnetId, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: SubnetId,
    pub network_id: NetworkId,
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    pub cidr: IpNet,
    pub gateway_ip: Option<IpAddr>,
    pub enable_dhcp: bool,
    pub dns_nameservers: Vec<IpAddr>,
    pub host_routes: Vec<Route>,
    /// Sorted, apart from each other, inside the cidr.
    pub allocation_pools: Vec<Pool>,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Addresses that are given out unasked, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub start: IpAddr,
    pub end: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

const COLUMNS: &str = "id, network_id, project_id, name, description, cidr, gateway_ip, enable_dhcp, \
    dns_nameservers, host_routes, allocation_pools, revision, created_at, updated_at";

/// What lists of subnets filter and sort by.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute::new("id", "subnets.id", Kind::Text),
    Attribute::new("name", "subnets.name", Kind::Text),
    Attribute::new("description", "subnets.description", Kind::Text),
    Attribute::new("network_id", "subnets.network_id", Kind::Text),
    Attribute::new("project_id", "subnets.project_id", Kind::Text),
    Attribute::new("tenant_id", "subnets.project_id", Kind::Text),
    Attribute::new("ip_version", "subnets.ip_version", Kind::Int),
    Attribute::new("cidr", "subnets.cidr", Kind::Text),
    Attribute::new("gateway_ip", "COALESCE(subnets.gateway_ip, '')", Kind::Text),
    Attribute::new("enable_dhcp", "subnets.enable_dhcp", Kind::Flag),
    Attribute::new("revision_number", "subnets.revision", Kind::Int),
    Attribute::new("created_at", "subnets.created_at", Kind::Int),
    Attribute::new("updated_at", "subnets.updated_at", Kind::Int),
    Attribute::new("changed_since", "subnets.updated_at", Kind::Since),
    Attribute::within(
        "shared",
        "subnets.network_id IN (SELECT n.id FROM networks n WHERE n.shared",
        Kind::Flag,
    ),
    Attribute::within(
        "subnetpool_id",
        "subnets.id IN (SELECT s.id FROM subnets s WHERE 'no pool'",
        Kind::Text,
    ),
    Attribute::within("tags", "subnets.id IN (SELECT s.id FROM subnets s WHERE 'no tags'", Kind::Text),
];

const TABLE: Table = Table {
    name: "subnets",
    columns: COLUMNS,
    attributes: ATTRIBUTES,
    visible: "(subnets.project_id = {p} OR subnets.network_id IN \
        (SELECT n.id FROM networks n WHERE n.shared = 1 OR n.project_id = {p}))",
};

fn subnet(row: &AnyRow) -> Result<Subnet> {
    Ok(Subnet {
        id: row.parsed("id")?,
        network_id: row.parsed("network_id")?,
        project_id: ProjectId(row.text("project_id")?),
        name: row.text("name")?,
        description: row.text("description")?,
        cidr: row.parsed("cidr")?,
        gateway_ip: row.parsed_opt("gateway_ip")?,
        enable_dhcp: row.flag("enable_dhcp")?,
        dns_nameservers: row.json("dns_nameservers")?,
        host_routes: row.json("host_routes")?,
        allocation_pools: row.json("allocation_pools")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub async fn insert(conn: &mut Conn, subnet: &Subnet) -> Result<()> {
    sqlx::query(
        "INSERT INTO subnets (id, network_id, project_id, name, description, ip_version, cidr, gateway_ip, \
         enable_dhcp, dns_nameservers, host_routes, allocation_pools, revision, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(subnet.id.to_string())
    .bind(subnet.network_id.to_string())
    .bind(subnet.project_id.as_str())
    .bind(&subnet.name)
    .bind(&subnet.description)
    .bind(if subnet.cidr.addr().is_ipv4() { 4_i64 } else { 6 })
    .bind(subnet.cidr.to_string())
    .bind(subnet.gateway_ip.map(|ip| ip.to_string()))
    .bind(i64::from(subnet.enable_dhcp))
    .bind(to_json(&subnet.dns_nameservers)?)
    .bind(to_json(&subnet.host_routes)?)
    .bind(to_json(&subnet.allocation_pools)?)
    .bind(subnet.revision)
    .bind(subnet.created_at.0)
    .bind(subnet.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: SubnetId) -> Result<Option<Subnet>> {
    let sql = format!("SELECT {COLUMNS} FROM subnets WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(subnet).transpose()
}

pub async fn list(conn: &mut Conn, listing: &Listing) -> Result<Vec<Subnet>> {
    listing::list(conn, &TABLE, listing).await?.iter().map(subnet).collect()
}

/// All subnets of one network, oldest first.
pub async fn of_network(conn: &mut Conn, network: NetworkId) -> Result<Vec<Subnet>> {
    let sql = format!("SELECT {COLUMNS} FROM subnets WHERE network_id = $1 ORDER BY created_at, id");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(network.to_string()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(subnet).collect()
}

/// Subnets of all networks with a port on `host`, oldest first.
pub(crate) async fn on_host(conn: &mut Conn, host: canopy_types::HostId) -> Result<Vec<Subnet>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subnets WHERE network_id IN (SELECT network_id FROM ports WHERE host_id = $1) \
         ORDER BY created_at, id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(host.to_string()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(subnet).collect()
}

/// Writes what a client may change and raises the revision. The network's row is locked.
pub async fn save(conn: &mut Conn, subnet: &Subnet) -> Result<()> {
    sqlx::query(
        "UPDATE subnets SET name = $2, description = $3, gateway_ip = $4, enable_dhcp = $5, dns_nameservers = $6, \
         host_routes = $7, allocation_pools = $8, revision = $9, updated_at = $10 WHERE id = $1",
    )
    .bind(subnet.id.to_string())
    .bind(&subnet.name)
    .bind(&subnet.description)
    .bind(subnet.gateway_ip.map(|ip| ip.to_string()))
    .bind(i64::from(subnet.enable_dhcp))
    .bind(to_json(&subnet.dns_nameservers)?)
    .bind(to_json(&subnet.host_routes)?)
    .bind(to_json(&subnet.allocation_pools)?)
    .bind(subnet.revision)
    .bind(subnet.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// `false` when it was gone already. Its addresses must have gone before.
pub async fn delete(conn: &mut Conn, id: SubnetId) -> Result<bool> {
    let gone = sqlx::query("DELETE FROM subnets WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}
