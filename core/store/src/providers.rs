//! Resource providers: trees of what offers resources. A host is one, with the host's id.
//!
//! `generation` is what clients compare and rises with inventories, traits and allocations; `revision` rises
//! with every change, so that `(count, newest number, sum of revisions)` tells a cache whether any provider
//! is not as it was.

use crate::Conn;
use crate::rows::{Columns, places};
use crate::store::db;
use canopy_types::{ProviderId, Result, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub id: ProviderId,
    /// Rises in the order in which providers were made; never reused.
    pub number: i64,
    pub name: String,
    pub parent_id: Option<ProviderId>,
    pub root_id: ProviderId,
    /// Whether it is a host of this cloud.
    pub host: bool,
    pub generation: i64,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const COLUMNS: &str =
    "id, number, name, parent_id, root_id, host, generation, revision, created_at, updated_at";

fn provider(row: &AnyRow) -> Result<Provider> {
    Ok(Provider {
        id: row.parsed("id")?,
        number: row.int("number")?,
        name: row.text("name")?,
        parent_id: row.parsed_opt("parent_id")?,
        root_id: row.parsed("root_id")?,
        host: row.flag("host")?,
        generation: row.int("generation")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub async fn get(conn: &mut Conn, id: ProviderId) -> Result<Option<Provider>> {
    let sql = format!("SELECT {COLUMNS} FROM providers WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(provider).transpose()
}

pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Provider>> {
    let sql = format!("SELECT {COLUMNS} FROM providers WHERE name = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(provider).transpose()
}

/// Every provider, or these (at most a few hundred), oldest first.
pub async fn list(conn: &mut Conn, only: Option<&[ProviderId]>) -> Result<Vec<Provider>> {
    let filter = only.map_or(String::new(), |ids| format!("WHERE id IN ({})", places(1, ids.len())));
    let sql = format!("SELECT {COLUMNS} FROM providers {filter} ORDER BY number");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in only.into_iter().flatten() {
        query = query.bind(id.to_string());
    }
    query.fetch_all(conn).await.map_err(db)?.iter().map(provider).collect()
}

/// What changes whenever any provider does: how many there are, the newest number, the sum of revisions.
pub type Stamp = (i64, i64, i64);

pub async fn stamp(conn: &mut Conn) -> Result<Stamp> {
    let row = sqlx::query(
        "SELECT COUNT(*), COALESCE(MAX(number), 0), CAST(COALESCE(SUM(revision), 0) AS BIGINT) FROM providers",
    )
    .fetch_one(conn)
    .await
    .map_err(db)?;
    Ok((row.try_get(0).map_err(db)?, row.try_get(1).map_err(db)?, row.try_get(2).map_err(db)?))
}

pub async fn revisions(conn: &mut Conn) -> Result<Vec<(ProviderId, i64)>> {
    let rows = sqlx::query("SELECT id, revision FROM providers").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.parsed("id")?, row.int("revision")?))).collect()
}

/// Changes to trees follow each other: whoever holds this number is the only one until it commits.
pub async fn next_number(conn: &mut Conn) -> Result<i64> {
    crate::sequences::next(conn, "provider").await
}

pub async fn insert(conn: &mut Conn, provider: &Provider) -> Result<()> {
    let sql = format!("INSERT INTO providers ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    sqlx::query(AssertSqlSafe(sql))
        .bind(provider.id.to_string())
        .bind(provider.number)
        .bind(&provider.name)
        .bind(provider.parent_id.map(|id| id.to_string()))
        .bind(provider.root_id.to_string())
        .bind(i64::from(provider.host))
        .bind(provider.generation)
        .bind(provider.revision)
        .bind(provider.created_at.0)
        .bind(provider.updated_at.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Name and parent. The caller holds [`next_number`] when the parent changes.
pub async fn update(conn: &mut Conn, provider: &Provider, now: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE providers SET name = $2, parent_id = $3, root_id = $4, revision = revision + 1, updated_at = $5 \
         WHERE id = $1",
    )
    .bind(provider.id.to_string())
    .bind(&provider.name)
    .bind(provider.parent_id.map(|id| id.to_string()))
    .bind(provider.root_id.to_string())
    .bind(now.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// The provider and all below it.
pub async fn subtree(conn: &mut Conn, id: ProviderId) -> Result<Vec<ProviderId>> {
    let rows = sqlx::query(
        "WITH RECURSIVE below (id) AS (SELECT id FROM providers WHERE id = $1 \
         UNION SELECT p.id FROM providers p JOIN below b ON p.parent_id = b.id) SELECT id FROM below",
    )
    .bind(id.to_string())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

pub async fn set_root(conn: &mut Conn, id: ProviderId, root: ProviderId) -> Result<()> {
    sqlx::query("UPDATE providers SET root_id = $2, revision = revision + 1 WHERE id = $1")
        .bind(id.to_string())
        .bind(root.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Raises the generation and holds the row until the transaction ends. With `expected`, only from that
/// generation. The new generation, or `None` when it is gone or another.
pub async fn bump(
    conn: &mut Conn,
    id: ProviderId,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<Option<i64>> {
    let row = sqlx::query(
        "UPDATE providers SET generation = generation + 1, revision = revision + 1, updated_at = $3 \
         WHERE id = $1 AND ($4 = 1 OR generation = $2) RETURNING generation",
    )
    .bind(id.to_string())
    .bind(expected.unwrap_or_default())
    .bind(now.0)
    .bind(i64::from(expected.is_none()))
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.map(|row| row.int("generation")).transpose()
}

/// Something that no generation stands for has changed.
pub async fn touch(conn: &mut Conn, id: ProviderId) -> Result<()> {
    sqlx::query("UPDATE providers SET revision = revision + 1 WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

pub async fn has_children(conn: &mut Conn, id: ProviderId) -> Result<bool> {
    let row = sqlx::query("SELECT 1 FROM providers WHERE parent_id = $1 LIMIT 1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    Ok(row.is_some())
}

/// The provider with its inventories, traits and aggregates. Fails as "in use" while it has allocations or
/// children.
pub async fn delete(conn: &mut Conn, id: ProviderId) -> Result<()> {
    for sql in [
        "DELETE FROM inventories WHERE provider_id = $1",
        "DELETE FROM provider_traits WHERE provider_id = $1",
        "DELETE FROM provider_aggregates WHERE provider_id = $1",
        "DELETE FROM providers WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
