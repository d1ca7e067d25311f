//! Host aggregates: named sets of hosts with metadata; `availability_zone` among it makes a zone.

use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::{HostId, Result, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;

/// The key of an aggregate's metadata that names the zone of its hosts.
pub const ZONE: &str = "availability_zone";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What nova's API calls its id.
    pub number: i64,
    /// Its uuid, by which placement knows it.
    pub id: String,
    pub name: String,
    pub metadata: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

impl Aggregate {
    pub fn zone(&self) -> Option<&str> {
        self.metadata.get(ZONE).map(String::as_str)
    }
}

fn aggregate(row: &AnyRow) -> Result<Aggregate> {
    Ok(Aggregate {
        number: row.int("number")?,
        id: row.text("id")?,
        name: row.text("name")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time_opt("updated_at")?,
    })
}

/// Writes a new aggregate under the next number. A taken name is a conflict `store.duplicate`.
pub async fn insert(conn: &mut Conn, new: &Aggregate) -> Result<Aggregate> {
    let number = sequences::next(conn, "aggregate").await?;
    sqlx::query(
        "INSERT INTO aggregates (number, id, name, metadata, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, NULL)",
    )
    .bind(number)
    .bind(&new.id)
    .bind(&new.name)
    .bind(to_json(&new.metadata)?)
    .bind(new.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(Aggregate { number, ..new.clone() })
}

/// Every aggregate, by number. There are few: an operator makes them.
pub async fn all(conn: &mut Conn) -> Result<Vec<Aggregate>> {
    let rows = sqlx::query("SELECT * FROM aggregates ORDER BY number").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(aggregate).collect()
}

/// The aggregate, locked until the transaction ends.
pub async fn get_for_update(conn: &mut Conn, number: i64) -> Result<Option<Aggregate>> {
    let row = sqlx::query("UPDATE aggregates SET name = name WHERE number = $1 RETURNING *")
        .bind(number)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(aggregate).transpose()
}

/// Name and metadata. A taken name is a conflict `store.duplicate`.
pub async fn update(conn: &mut Conn, changed: &Aggregate) -> Result<()> {
    sqlx::query("UPDATE aggregates SET name = $2, metadata = $3, updated_at = $4 WHERE number = $1")
        .bind(changed.number)
        .bind(&changed.name)
        .bind(to_json(&changed.metadata)?)
        .bind(changed.updated_at.map(|at| at.0))
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Removes an aggregate without hosts.
pub async fn delete(conn: &mut Conn, number: i64) -> Result<()> {
    sqlx::query("DELETE FROM aggregates WHERE number = $1").bind(number).execute(conn).await.map_err(db)?;
    Ok(())
}

/// `false` when it was in already.
pub async fn add_host(conn: &mut Conn, number: i64, host: HostId) -> Result<bool> {
    let added = sqlx::query(
        "INSERT INTO aggregate_hosts (aggregate, host_id) VALUES ($1, $2) ON CONFLICT (aggregate, host_id) DO NOTHING",
    )
    .bind(number)
    .bind(host.to_string())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(added.rows_affected() > 0)
}

/// `false` when it was not in.
pub async fn remove_host(conn: &mut Conn, number: i64, host: HostId) -> Result<bool> {
    let gone = sqlx::query("DELETE FROM aggregate_hosts WHERE aggregate = $1 AND host_id = $2")
        .bind(number)
        .bind(host.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}

/// (aggregate, host, the host's name) of these hosts (at most a few hundred), or of all, sorted by name.
pub async fn hosts(conn: &mut Conn, only: Option<&[HostId]>) -> Result<Vec<(i64, HostId, String)>> {
    let filter = only
        .map_or(String::new(), |hosts| format!("WHERE h.id IN ({})", crate::rows::places(1, hosts.len())));
    let sql = format!(
        "SELECT a.aggregate, h.id, h.name FROM aggregate_hosts a JOIN hosts h ON h.id = a.host_id {filter} \
         ORDER BY a.aggregate, h.name"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for host in only.into_iter().flatten() {
        query = query.bind(host.to_string());
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.try_get(0).map_err(db)?, row.parsed("id")?, row.text("name")?))).collect()
}
