//! Key pairs: owned by a user, named within it. Only public halves are kept.

use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::{Result, Timestamp, UserId};
use sqlx::any::AnyRow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keypair {
    pub user_id: UserId,
    pub name: String,
    /// The integer id that clients are shown.
    pub number: i64,
    /// `ssh`.
    pub kind: String,
    /// One line of OpenSSH's format.
    pub public_key: String,
    /// md5 of the key's blob, as colon-separated hex.
    pub fingerprint: String,
    pub created_at: Timestamp,
}

fn keypair(row: &AnyRow) -> Result<Keypair> {
    Ok(Keypair {
        user_id: UserId(row.text("user_id")?),
        name: row.text("name")?,
        number: row.int("number")?,
        kind: row.text("kind")?,
        public_key: row.text("public_key")?,
        fingerprint: row.text("fingerprint")?,
        created_at: row.time("created_at")?,
    })
}

/// Writes a new key pair under the next number, which it answers. A taken name is a conflict `store.duplicate`.
pub async fn insert(conn: &mut Conn, keypair: &Keypair) -> Result<i64> {
    let number = sequences::next(conn, "keypair").await?;
    sqlx::query(
        "INSERT INTO keypairs (user_id, name, number, kind, public_key, fingerprint, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(keypair.user_id.as_str())
    .bind(&keypair.name)
    .bind(number)
    .bind(&keypair.kind)
    .bind(&keypair.public_key)
    .bind(&keypair.fingerprint)
    .bind(keypair.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(number)
}

pub async fn get(conn: &mut Conn, user: &UserId, name: &str) -> Result<Option<Keypair>> {
    let row = sqlx::query("SELECT * FROM keypairs WHERE user_id = $1 AND name = $2")
        .bind(user.as_str())
        .bind(name)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(keypair).transpose()
}

/// `false` when there is none.
pub async fn delete(conn: &mut Conn, user: &UserId, name: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM keypairs WHERE user_id = $1 AND name = $2")
        .bind(user.as_str())
        .bind(name)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// At most `limit` of the user's key pairs by name, after the name `after` (empty: from the start).
pub async fn list(conn: &mut Conn, user: &UserId, after: &str, limit: i64) -> Result<Vec<Keypair>> {
    let rows = sqlx::query("SELECT * FROM keypairs WHERE user_id = $1 AND name > $2 ORDER BY name LIMIT $3")
        .bind(user.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(keypair).collect()
}
