//! Credentials of other kinds that users keep here, their secret part sealed.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result, UserId};
use sqlx::any::AnyRow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub id: String,
    pub user_id: UserId,
    pub project_id: Option<ProjectId>,
    /// `ec2`, `cert`, `totp` or another.
    pub kind: String,
    /// Encrypted by whoever writes it here.
    pub sealed: String,
}

fn credential(row: &AnyRow) -> Result<Credential> {
    Ok(Credential {
        id: row.text("id")?,
        user_id: row.text("user_id")?.into(),
        project_id: row.text_opt("project_id")?.map(Into::into),
        kind: row.text("kind")?,
        sealed: row.text("sealed")?,
    })
}

/// Of a user and of a kind, or of all for "", by id; at most `limit`.
pub async fn list(conn: &mut Conn, user: &str, kind: &str, limit: i64) -> Result<Vec<Credential>> {
    let rows = sqlx::query(
        "SELECT id, user_id, project_id, kind, sealed FROM credentials \
         WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR kind = $2) ORDER BY id LIMIT $3",
    )
    .bind(user)
    .bind(kind)
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(credential).collect()
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<Credential>> {
    let row = sqlx::query("SELECT id, user_id, project_id, kind, sealed FROM credentials WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(credential).transpose()
}

pub async fn insert(conn: &mut Conn, credential: &Credential) -> Result<()> {
    sqlx::query(
        "INSERT INTO credentials (id, user_id, project_id, kind, sealed) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&credential.id)
    .bind(credential.user_id.as_str())
    .bind(credential.project_id.as_ref().map(|id| id.0.clone()))
    .bind(&credential.kind)
    .bind(&credential.sealed)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Writes everything but the id. Whether it was there.
pub async fn update(conn: &mut Conn, credential: &Credential) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE credentials SET user_id = $2, project_id = $3, kind = $4, sealed = $5 WHERE id = $1",
    )
    .bind(&credential.id)
    .bind(credential.user_id.as_str())
    .bind(credential.project_id.as_ref().map(|id| id.0.clone()))
    .bind(&credential.kind)
    .bind(&credential.sealed)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// Whether it was there.
pub async fn delete(conn: &mut Conn, id: &str) -> Result<bool> {
    let done =
        sqlx::query("DELETE FROM credentials WHERE id = $1").bind(id).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() > 0)
}
