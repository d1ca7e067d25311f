//! Traits, resource classes and aggregates, and which provider has which trait and aggregate.

use crate::Conn;
use crate::rows::{Columns, places};
use crate::store::db;
use canopy_types::{ProviderId, Result, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

/// A trait or a resource class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub name: String,
    pub custom: bool,
    /// The epoch for what came with the program.
    pub created_at: Timestamp,
}

fn name(row: &AnyRow) -> Result<Name> {
    Ok(Name { name: row.text("name")?, custom: row.flag("custom")?, created_at: row.time("created_at")? })
}

/// Adds the standard names that this program knows and the database does not.
pub(crate) async fn add_standard(conn: &mut Conn) -> Result<()> {
    for chunk in canopy_types::resources::standard_traits().collect::<Vec<_>>().chunks(100) {
        let values: Vec<String> = (1..=chunk.len()).map(|n| format!("(${n}, 0, 0)")).collect();
        let sql = format!(
            "INSERT INTO traits (name, custom, created_at) VALUES {} ON CONFLICT (name) DO NOTHING",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for name in chunk {
            query = query.bind(*name);
        }
        query.execute(&mut *conn).await.map_err(db)?;
    }
    for (position, name) in canopy_types::resources::standard_classes().enumerate() {
        sqlx::query(
            "INSERT INTO resource_classes (name, custom, position, created_at) VALUES ($1, 0, $2, 0) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    }
    Ok(())
}

pub async fn list(conn: &mut Conn) -> Result<Vec<Name>> {
    let rows = sqlx::query("SELECT * FROM traits ORDER BY name").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(name).collect()
}

pub async fn get(conn: &mut Conn, named: &str) -> Result<Option<Name>> {
    let sql = "SELECT * FROM traits WHERE name = $1";
    let row = sqlx::query(sql).bind(named).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(name).transpose()
}

/// `false` when there is one already.
pub async fn insert(conn: &mut Conn, named: &str, now: Timestamp) -> Result<bool> {
    let sql =
        "INSERT INTO traits (name, custom, created_at) VALUES ($1, 1, $2) ON CONFLICT (name) DO NOTHING";
    let made = sqlx::query(sql).bind(named).bind(now.0).execute(conn).await.map_err(db)?;
    Ok(made.rows_affected() > 0)
}

/// Fails as "in use" while a provider has it.
pub async fn delete(conn: &mut Conn, named: &str) -> Result<bool> {
    let sql = "DELETE FROM traits WHERE name = $1 AND custom = 1";
    let gone = sqlx::query(sql).bind(named).execute(conn).await.map_err(db)?;
    Ok(gone.rows_affected() > 0)
}

/// Names of traits that at least one provider has.
pub async fn associated(conn: &mut Conn) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT DISTINCT trait FROM provider_traits").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| row.text("trait")).collect()
}

async fn pairs(
    conn: &mut Conn,
    table: &str,
    column: &str,
    only: Option<&[ProviderId]>,
) -> Result<Vec<(ProviderId, String)>> {
    let filter = only.map_or(String::new(), |ids| format!("WHERE provider_id IN ({})", places(1, ids.len())));
    let sql =
        format!("SELECT provider_id, {column} AS name FROM {table} {filter} ORDER BY provider_id, {column}");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in only.into_iter().flatten() {
        query = query.bind(id.to_string());
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.parsed("provider_id")?, row.text("name")?))).collect()
}

/// Who has which trait: these providers, or all.
pub async fn of(conn: &mut Conn, only: Option<&[ProviderId]>) -> Result<Vec<(ProviderId, String)>> {
    pairs(conn, "provider_traits", "trait", only).await
}

/// Who is in which aggregate: these providers, or all.
pub async fn aggregates(conn: &mut Conn, only: Option<&[ProviderId]>) -> Result<Vec<(ProviderId, String)>> {
    pairs(conn, "provider_aggregates", "aggregate_id", only).await
}

async fn replace(
    conn: &mut Conn,
    table: &str,
    column: &str,
    provider: ProviderId,
    names: &[String],
) -> Result<()> {
    let sql = format!("DELETE FROM {table} WHERE provider_id = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(provider.to_string()).execute(&mut *conn).await.map_err(db)?;
    let sql = format!(
        "INSERT INTO {table} (provider_id, {column}) VALUES ($1, $2) ON CONFLICT (provider_id, {column}) DO NOTHING"
    );
    for name in names {
        sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(provider.to_string())
            .bind(name)
            .execute(&mut *conn)
            .await
            .map_err(db)?;
    }
    Ok(())
}

/// The provider has exactly these traits, which all exist.
pub async fn set(conn: &mut Conn, provider: ProviderId, names: &[String]) -> Result<()> {
    replace(conn, "provider_traits", "trait", provider, names).await
}

pub async fn set_aggregates(conn: &mut Conn, provider: ProviderId, ids: &[String]) -> Result<()> {
    replace(conn, "provider_aggregates", "aggregate_id", provider, ids).await
}

/// Adds the provider to one aggregate, or takes it out, and tells caches.
pub async fn change_aggregate(conn: &mut Conn, provider: ProviderId, id: &str, member: bool) -> Result<()> {
    let sql = if member {
        "INSERT INTO provider_aggregates (provider_id, aggregate_id) VALUES ($1, $2) \
         ON CONFLICT (provider_id, aggregate_id) DO NOTHING"
    } else {
        "DELETE FROM provider_aggregates WHERE provider_id = $1 AND aggregate_id = $2"
    };
    sqlx::query(sql).bind(provider.to_string()).bind(id).execute(&mut *conn).await.map_err(db)?;
    crate::providers::touch(conn, provider).await
}

/// Resource classes, standard ones first.
pub async fn classes(conn: &mut Conn) -> Result<Vec<Name>> {
    let sql = "SELECT * FROM resource_classes ORDER BY position, name";
    let rows = sqlx::query(sql).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(name).collect()
}

pub async fn class(conn: &mut Conn, named: &str) -> Result<Option<Name>> {
    let sql = "SELECT * FROM resource_classes WHERE name = $1";
    let row = sqlx::query(sql).bind(named).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(name).transpose()
}

/// `false` when there is one already.
pub async fn insert_class(conn: &mut Conn, named: &str, now: Timestamp) -> Result<bool> {
    // Standard classes have positions below 10,000.
    let position = 10_000 + crate::sequences::next(conn, "resource_class").await?;
    let made = sqlx::query(
        "INSERT INTO resource_classes (name, custom, position, created_at) VALUES ($1, 1, $2, $3) \
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(named)
    .bind(position)
    .bind(now.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(made.rows_affected() > 0)
}

/// Inventories and allocations follow. Fails as a duplicate when the new name is taken.
pub async fn rename_class(conn: &mut Conn, from: &str, to: &str) -> Result<()> {
    let sql = "UPDATE resource_classes SET name = $2 WHERE name = $1 AND custom = 1";
    sqlx::query(sql).bind(from).bind(to).execute(&mut *conn).await.map_err(db)?;
    let sql = "UPDATE providers SET revision = revision + 1 WHERE id IN \
        (SELECT provider_id FROM inventories WHERE class = $1)";
    sqlx::query(sql).bind(to).execute(conn).await.map_err(db)?;
    Ok(())
}

/// Fails as "in use" while an inventory is of this class.
pub async fn delete_class(conn: &mut Conn, named: &str) -> Result<bool> {
    let sql = "DELETE FROM resource_classes WHERE name = $1 AND custom = 1";
    let gone = sqlx::query(sql).bind(named).execute(conn).await.map_err(db)?;
    Ok(gone.rows_affected() > 0)
}
