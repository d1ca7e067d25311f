//! Revoked tokens, by audit id, kept until they would have expired anyway.

use super::{REVOKED, record};
use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::{Result, Timestamp};

/// Revokes a token and forgets those that have expired. The answer is the revision that a view must have
/// reached to know.
pub async fn revoke(conn: &mut Conn, audit_id: &str, expires_at: Timestamp, now: Timestamp) -> Result<i64> {
    let revision = sequences::next(conn, REVOKED).await?;
    record(conn, now, "identity.token.revoke", audit_id).await?;
    sqlx::query("DELETE FROM revoked_tokens WHERE expires_at <= $1")
        .bind(now.0)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    sqlx::query(
        "INSERT INTO revoked_tokens (audit_id, expires_at) VALUES ($1, $2) ON CONFLICT (audit_id) DO NOTHING",
    )
    .bind(audit_id)
    .bind(expires_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(revision)
}

pub async fn revoked(conn: &mut Conn, now: Timestamp) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT audit_id FROM revoked_tokens WHERE expires_at > $1")
        .bind(now.0)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| row.text("audit_id")).collect()
}
