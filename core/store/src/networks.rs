//! Rows of `networks`.

use crate::listing::{self, Attribute, Kind, Listing, Table};
use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, sequences};
use canopy_agent_api::ProviderSpec;
use canopy_types::{Error, NetworkId, ProjectId, Result, SubnetId, Timestamp};
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap};

/// Segments name devices (`cnb<segment>`) and, one day, VXLANs: both end here.
pub const MAX_SEGMENT: i64 = (1 << 24) - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub id: NetworkId,
    /// 1 to [`MAX_SEGMENT`], never reused.
    pub segment: i64,
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    pub shared: bool,
    /// Bytes, 68 to 65,535.
    pub mtu: i64,
    /// Default of the network's ports.
    pub port_security: bool,
    pub dns_domain: String,
    /// Where it is in the operator's own networks, for as long as it lives.
    pub provider: Option<ProviderSpec>,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Oldest first. Read, never written from here.
    pub subnets: Vec<SubnetId>,
}

const COLUMNS: &str = "networks.id, segment, project_id, name, description, admin_state_up, shared, mtu, \
    port_security, dns_domain, physical_network, segmentation_id, revision, created_at, updated_at, \
    (SELECT string_agg(s.id, ',' ORDER BY s.created_at, s.id) FROM subnets s WHERE s.network_id = networks.id) \
    AS subnet_ids";

/// What lists of networks filter and sort by.
pub static ATTRIBUTES: &[Attribute] = &[
    Attribute::new("id", "networks.id", Kind::Text),
    Attribute::new("name", "networks.name", Kind::Text),
    Attribute::new("description", "networks.description", Kind::Text),
    Attribute::new("project_id", "networks.project_id", Kind::Text),
    Attribute::new("tenant_id", "networks.project_id", Kind::Text),
    Attribute::new("admin_state_up", "networks.admin_state_up", Kind::Flag),
    Attribute::new("shared", "networks.shared", Kind::Flag),
    Attribute::new("mtu", "networks.mtu", Kind::Int),
    Attribute::new("port_security_enabled", "networks.port_security", Kind::Flag),
    Attribute::new("revision_number", "networks.revision", Kind::Int),
    Attribute::new("created_at", "networks.created_at", Kind::Int),
    Attribute::new("updated_at", "networks.updated_at", Kind::Int),
    Attribute::new("changed_since", "networks.updated_at", Kind::Since),
    Attribute::within("status", "networks.id IN (SELECT n.id FROM networks n WHERE 'ACTIVE'", Kind::Text),
    Attribute::within("router:external", "networks.id IN (SELECT n.id FROM networks n WHERE 0", Kind::Flag),
    Attribute::within("subnets", "networks.id IN (SELECT network_id FROM subnets WHERE id", Kind::Text),
    Attribute::within("tags", "networks.id IN (SELECT n.id FROM networks n WHERE 'no tags'", Kind::Text),
    Attribute::new(
        "provider:network_type",
        "CASE WHEN networks.physical_network IS NULL THEN 'local' WHEN networks.segmentation_id = 0 THEN 'flat' \
         ELSE 'vlan' END",
        Kind::Text,
    ),
    Attribute::new("provider:physical_network", "COALESCE(networks.physical_network, '')", Kind::Text),
    Attribute::new("provider:segmentation_id", "COALESCE(networks.segmentation_id, 0)", Kind::Int),
];

/// The same without what says where a network is, which is not everybody's to know.
pub fn attributes(provider: bool) -> &'static [Attribute] {
    let shown = ATTRIBUTES.iter().position(|attribute| attribute.name.starts_with("provider:"));
    if provider { ATTRIBUTES } else { &ATTRIBUTES[..shown.unwrap_or(ATTRIBUTES.len())] }
}

const TABLE: Table = Table {
    name: "networks",
    columns: COLUMNS,
    attributes: ATTRIBUTES,
    visible: "(networks.project_id = {p} OR networks.shared = 1)",
};

fn network(row: &AnyRow) -> Result<Network> {
    Ok(Network {
        id: row.parsed("id")?,
        segment: row.int("segment")?,
        project_id: ProjectId(row.text("project_id")?),
        name: row.text("name")?,
        description: row.text("description")?,
        admin_state_up: row.flag("admin_state_up")?,
        shared: row.flag("shared")?,
        mtu: row.int("mtu")?,
        port_security: row.flag("port_security")?,
        dns_domain: row.text("dns_domain")?,
        provider: provider(row)?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        subnets: ids(row.text_opt("subnet_ids")?.as_deref())?,
    })
}

fn provider(row: &AnyRow) -> Result<Option<ProviderSpec>> {
    let Some(physical_network) = row.text_opt("physical_network")? else { return Ok(None) };
    let segmentation_id = match row.int("segmentation_id")? {
        0 => None,
        vlan => Some(u16::try_from(vlan).map_err(|e| Error::internal("store.corrupt", e))?),
    };
    Ok(Some(ProviderSpec { physical_network, segmentation_id }))
}

fn ids(text: Option<&str>) -> Result<Vec<SubnetId>> {
    text.unwrap_or_default()
        .split(',')
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().map_err(|e| Error::internal("store.corrupt", e)))
        .collect()
}

/// The number of a new network. Networks are made one at a time until they commit.
pub async fn next_segment(conn: &mut Conn) -> Result<i64> {
    let segment = sequences::next(conn, "network_segment").await?;
    if segment > MAX_SEGMENT {
        return Err(Error::internal("network.segments_used_up", "all network segments were handed out"));
    }
    Ok(segment)
}

/// Fails as "duplicate" when another network has its place.
pub async fn insert(conn: &mut Conn, network: &Network) -> Result<()> {
    let place = network.provider.as_ref();
    sqlx::query(
        "INSERT INTO networks (id, segment, project_id, name, description, admin_state_up, shared, mtu, \
         port_security, dns_domain, revision, created_at, updated_at, physical_network, segmentation_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(network.id.to_string())
    .bind(network.segment)
    .bind(network.project_id.as_str())
    .bind(&network.name)
    .bind(&network.description)
    .bind(i64::from(network.admin_state_up))
    .bind(i64::from(network.shared))
    .bind(network.mtu)
    .bind(i64::from(network.port_security))
    .bind(&network.dns_domain)
    .bind(network.revision)
    .bind(network.created_at.0)
    .bind(network.updated_at.0)
    .bind(place.map(|place| place.physical_network.as_str()))
    .bind(place.map(|place| i64::from(place.segmentation_id.unwrap_or(0))))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: NetworkId) -> Result<Option<Network>> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE networks.id = $1");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(network).transpose()
}

pub async fn list(conn: &mut Conn, listing: &Listing) -> Result<Vec<Network>> {
    listing::list(conn, &TABLE, listing).await?.iter().map(network).collect()
}

/// The networks of a page of what is on networks: at most [`MAX_PAGE`](crate::MAX_PAGE) ids.
pub async fn of_ids(
    conn: &mut Conn,
    ids: impl IntoIterator<Item = NetworkId>,
) -> Result<HashMap<NetworkId, Network>> {
    let ids: BTreeSet<String> = ids.into_iter().map(|id| id.to_string()).collect();
    let Some(attribute) = ATTRIBUTES.iter().find(|a| a.name == "id").filter(|_| !ids.is_empty()) else {
        return Ok(HashMap::new());
    };
    let values = ids.into_iter().map(listing::Value::Text).collect();
    let found = list(conn, &Listing::all(listing::Scope::All).filter(attribute, values)).await?;
    Ok(found.into_iter().map(|network| (network.id, network)).collect())
}

/// Networks that have a place in the operator's own, the oldest first; at most `most` and one more, by which there are
/// too many.
pub async fn placed(conn: &mut Conn, most: i64) -> Result<Vec<Network>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM networks WHERE physical_network IS NOT NULL ORDER BY segment LIMIT $1"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(most.saturating_add(1))
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(network).collect()
}

/// Networks with a port on `host`.
pub(crate) async fn on_host(conn: &mut Conn, host: canopy_types::HostId) -> Result<Vec<Network>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM networks \
         WHERE networks.id IN (SELECT network_id FROM ports WHERE host_id = $1) ORDER BY networks.id"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(host.to_string()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(network).collect()
}

/// Raises the network's revision and holds its row until the transaction ends, so that changes to one
/// network's subnets follow each other. `None` when it is gone.
pub async fn lock(conn: &mut Conn, id: NetworkId, now: Timestamp) -> Result<Option<Network>> {
    let locked = sqlx::query("UPDATE networks SET revision = revision + 1, updated_at = $2 WHERE id = $1")
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

/// Writes what a client may change. The row is [`lock`]ed.
pub async fn save(conn: &mut Conn, network: &Network) -> Result<()> {
    sqlx::query(
        "UPDATE networks SET name = $2, description = $3, admin_state_up = $4, shared = $5, mtu = $6, \
         port_security = $7 WHERE id = $1",
    )
    .bind(network.id.to_string())
    .bind(&network.name)
    .bind(&network.description)
    .bind(i64::from(network.admin_state_up))
    .bind(i64::from(network.shared))
    .bind(network.mtu)
    .bind(i64::from(network.port_security))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// `false` when it was gone already. Subnets and ports must have gone before.
pub async fn delete(conn: &mut Conn, id: NetworkId) -> Result<bool> {
    let gone = sqlx::query("DELETE FROM networks WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}
