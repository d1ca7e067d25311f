//! What placement must know of hosts, read together: by the names of a few, or of all.

use crate::hosts::{HostRow, host};
use crate::inventories::{Inventory, inventory};
use crate::rows::places;
use crate::store::db;
use crate::{Conn, aggregates, server_groups, traits};
use canopy_types::{HostId, ProviderId, Result, ServerGroupId};
use sqlx::AssertSqlSafe;

/// Rows of some hosts, or of all.
#[derive(Clone, Debug, Default)]
pub struct FleetRows {
    pub hosts: Vec<HostRow>,
    /// Of the hosts themselves, not of providers below them.
    pub inventories: Vec<Inventory>,
    /// Traits of the hosts as resource providers.
    pub traits: Vec<(ProviderId, String)>,
    /// What the placement API put them in; ids that need no row in `aggregates`.
    pub provider_aggregates: Vec<(ProviderId, String)>,
    /// (group, host, servers of the group on the host).
    pub groups: Vec<(ServerGroupId, HostId, i64)>,
    /// (aggregate's number, host, the host's name).
    pub memberships: Vec<(i64, HostId, String)>,
    /// Every aggregate, whichever hosts were asked for.
    pub aggregates: Vec<aggregates::Aggregate>,
}

/// At most a few hundred hosts, or `None` for all. Several statements: what commits in between shows in some
/// of them, and its event makes it be read again.
pub async fn load(conn: &mut Conn, only: Option<&[HostId]>) -> Result<FleetRows> {
    if only.is_some_and(<[_]>::is_empty) {
        return Ok(FleetRows::default());
    }
    let providers: Option<Vec<ProviderId>> =
        only.map(|hosts| hosts.iter().copied().map(ProviderId::from).collect());
    Ok(FleetRows {
        hosts: hosts(conn, only).await?,
        inventories: inventories(conn, only).await?,
        traits: traits::of(conn, providers.as_deref()).await?,
        provider_aggregates: traits::aggregates(conn, providers.as_deref()).await?,
        groups: server_groups::counts(conn, only).await?,
        memberships: aggregates::hosts(conn, only).await?,
        aggregates: aggregates::all(conn).await?,
    })
}

async fn hosts(conn: &mut Conn, only: Option<&[HostId]>) -> Result<Vec<HostRow>> {
    let filter = filter("id", only);
    let sql = format!("SELECT * FROM hosts {filter} ORDER BY number");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in only.into_iter().flatten() {
        query = query.bind(id.to_string());
    }
    query.fetch_all(conn).await.map_err(db)?.iter().map(host).collect()
}

async fn inventories(conn: &mut Conn, only: Option<&[HostId]>) -> Result<Vec<Inventory>> {
    let filter = filter("i.provider_id", only);
    let sql = format!(
        "SELECT i.* FROM inventories i JOIN hosts h ON h.id = i.provider_id {filter} ORDER BY i.provider_id, i.class"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in only.into_iter().flatten() {
        query = query.bind(id.to_string());
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter().map(inventory).collect()
}

fn filter(column: &str, only: Option<&[HostId]>) -> String {
    only.map_or(String::new(), |ids| format!("WHERE {column} IN ({})", places(1, ids.len())))
}
