//! What lets somebody join a guest's console: each once, and for a short time.

use crate::Conn;
use crate::rows::{Columns, execute_by};
use crate::store::db;
use canopy_types::{ConsoleKind, Error, HostId, Result, ServerId, Timestamp};
use sqlx::any::AnyRow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleToken {
    pub server_id: ServerId,
    /// Where the server was when it was given.
    pub host_id: HostId,
    pub kind: ConsoleKind,
    pub expires_at: Timestamp,
}

/// Keeps one more, and the server's newest `most` with it. The caller has locked the server.
pub async fn put(
    conn: &mut Conn,
    digest: &str,
    token: &ConsoleToken,
    most: i64,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO console_tokens (digest, server_id, host_id, kind, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(digest)
    .bind(token.server_id.to_string())
    .bind(token.host_id.to_string())
    .bind(token.kind.as_str())
    .bind(now.0)
    .bind(token.expires_at.0)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    sqlx::query(
        "DELETE FROM console_tokens WHERE server_id = $1 AND digest NOT IN \
         (SELECT digest FROM console_tokens WHERE server_id = $1 ORDER BY created_at DESC, digest LIMIT $2)",
    )
    .bind(token.server_id.to_string())
    .bind(most)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// One that is still good.
pub async fn get(conn: &mut Conn, digest: &str, now: Timestamp) -> Result<Option<ConsoleToken>> {
    let row = sqlx::query("SELECT * FROM console_tokens WHERE digest = $1 AND expires_at > $2")
        .bind(digest)
        .bind(now.0)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(token).transpose()
}

/// Uses it up: of several who try, one gets it.
pub async fn take(
    conn: &mut Conn,
    digest: &str,
    kind: ConsoleKind,
    now: Timestamp,
) -> Result<Option<ConsoleToken>> {
    let row = sqlx::query(
        "DELETE FROM console_tokens WHERE digest = $1 AND kind = $2 AND expires_at > $3 RETURNING *",
    )
    .bind(digest)
    .bind(kind.as_str())
    .bind(now.0)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.as_ref().map(token).transpose()
}

/// Forgets all of these servers.
pub async fn forget(conn: &mut Conn, servers: &[ServerId]) -> Result<()> {
    execute_by(conn, "DELETE FROM console_tokens WHERE server_id IN ($?)", servers).await
}

/// Forgets what has expired.
pub async fn purge(conn: &mut Conn, now: Timestamp) -> Result<u64> {
    let gone = sqlx::query("DELETE FROM console_tokens WHERE expires_at <= $1")
        .bind(now.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected())
}

/// How many there are, good or not.
pub async fn count(conn: &mut Conn) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM console_tokens").fetch_one(conn).await.map_err(db)?;
    row.int("n")
}

fn token(row: &AnyRow) -> Result<ConsoleToken> {
    let kind = row.text("kind")?;
    Ok(ConsoleToken {
        server_id: row.parsed("server_id")?,
        host_id: row.parsed("host_id")?,
        kind: kind
            .parse()
            .map_err(|()| Error::internal("store.corrupt", format!("column kind holds {kind:?}")))?,
        expires_at: row.time("expires_at")?,
    })
}
