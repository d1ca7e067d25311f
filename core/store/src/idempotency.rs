//! What requests with an `Idempotency-Key` made, written in the transaction that made it.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::{ProjectId, Result, Timestamp, UserId};

/// Whose key it is, and of which route: the same word elsewhere is another key.
#[derive(Clone, Debug)]
pub struct Key {
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub route: &'static str,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// sha256 of the body.
    pub digest: String,
    /// Enough to answer again.
    pub reply: serde_json::Value,
}

/// What was kept at `since` or later.
pub async fn get(conn: &mut Conn, key: &Key, since: Timestamp) -> Result<Option<Kept>> {
    let row = sqlx::query(
        "SELECT digest, reply FROM idempotency_keys \
         WHERE project_id = $1 AND user_id = $2 AND route = $3 AND idempotency_key = $4 AND at >= $5",
    )
    .bind(key.project_id.as_str())
    .bind(key.user_id.as_str())
    .bind(key.route)
    .bind(&key.key)
    .bind(since.0)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.map(|row| Ok(Kept { digest: row.text("digest")?, reply: row.json("reply")? })).transpose()
}

/// `false` when another request has used the key since `since`.
pub async fn put(conn: &mut Conn, key: &Key, kept: &Kept, since: Timestamp, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO idempotency_keys (project_id, user_id, route, idempotency_key, digest, reply, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id, user_id, route, idempotency_key) \
         DO UPDATE SET digest = $5, reply = $6, at = $7 WHERE idempotency_keys.at < $8",
    )
    .bind(key.project_id.as_str())
    .bind(key.user_id.as_str())
    .bind(key.route)
    .bind(&key.key)
    .bind(&kept.digest)
    .bind(to_json(&kept.reply)?)
    .bind(now.0)
    .bind(since.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// Forgets what was kept before `before`.
pub async fn purge(conn: &mut Conn, before: Timestamp) -> Result<u64> {
    let gone = sqlx::query("DELETE FROM idempotency_keys WHERE at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected())
}
