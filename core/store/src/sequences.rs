//! Small numbers handed out once: servers' and hosts' integers, networks' segments.

use crate::Conn;
use crate::store::db;
use canopy_types::Result;
use sqlx::Row;

/// The next value of `name`, from 1. Serialises its users until they commit.
pub async fn next(conn: &mut Conn, name: &str) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO sequences (name, value) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET value = sequences.value + 1 RETURNING value",
    )
    .bind(name)
    .fetch_one(conn)
    .await
    .map_err(db)?;
    row.try_get::<i64, _>(0).map_err(db)
}

/// The last value handed out; 0 before the first.
pub async fn current(conn: &mut Conn, name: &str) -> Result<i64> {
    let row = sqlx::query("SELECT value FROM sequences WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map_or(Ok(0), |row| row.try_get::<i64, _>(0).map_err(db))
}
