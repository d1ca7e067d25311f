//! What clients attach to users, groups, projects, domains and roles beyond the fields there are. Kept and
//! shown; nothing decides by it.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// By (kind, id).
pub type Extras = BTreeMap<(String, String), Map<String, Value>>;

fn parsed(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|e| Error::internal("store.json", e))
}

pub async fn all(conn: &mut Conn) -> Result<Extras> {
    let rows = sqlx::query("SELECT kind, id, data FROM identity_extras").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok(((row.text("kind")?, row.text("id")?), parsed(&row.text("data")?)?))).collect()
}

pub async fn get(conn: &mut Conn, kind: &str, id: &str) -> Result<Map<String, Value>> {
    let row = sqlx::query("SELECT data FROM identity_extras WHERE kind = $1 AND id = $2")
        .bind(kind)
        .bind(id)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map_or_else(|| Ok(Map::new()), |row| parsed(&row.text("data")?))
}

pub async fn put(conn: &mut Conn, kind: &str, id: &str, data: &Map<String, Value>) -> Result<()> {
    if data.is_empty() {
        return forget(conn, kind, id).await;
    }
    sqlx::query(
        "INSERT INTO identity_extras (kind, id, data) VALUES ($1, $2, $3) \
         ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data",
    )
    .bind(kind)
    .bind(id)
    .bind(to_json(data)?)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn forget(conn: &mut Conn, kind: &str, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM identity_extras WHERE kind = $1 AND id = $2")
        .bind(kind)
        .bind(id)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
