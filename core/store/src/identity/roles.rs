//! Changing and removing roles, and which implies which.

use super::Role;
use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{Result, RoleId};

/// Writes name and description.
pub async fn update(conn: &mut Conn, role: &Role) -> Result<()> {
    sqlx::query("UPDATE roles SET name = $2, description = $3 WHERE id = $1")
        .bind(role.id.as_str())
        .bind(&role.name)
        .bind(&role.description)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Removes a role, and takes it from everybody who holds it.
pub async fn delete(conn: &mut Conn, id: &RoleId) -> Result<()> {
    for sql in [
        "DELETE FROM role_grants WHERE role_id = $1",
        "DELETE FROM implied_roles WHERE prior_id = $1 OR implied_id = $1",
        "DELETE FROM identity_extras WHERE kind = 'role' AND id = $1",
        "DELETE FROM roles WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Which stored role implies which: (prior, implied). The built-in ones are not stored.
pub async fn implications(conn: &mut Conn) -> Result<Vec<(RoleId, RoleId)>> {
    let rows = sqlx::query("SELECT prior_id, implied_id FROM implied_roles ORDER BY prior_id, implied_id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("prior_id")?.into(), row.text("implied_id")?.into()))).collect()
}

/// Idempotent.
pub async fn imply(conn: &mut Conn, prior: &RoleId, implied: &RoleId) -> Result<()> {
    sqlx::query(
        "INSERT INTO implied_roles (prior_id, implied_id) VALUES ($1, $2) \
         ON CONFLICT (prior_id, implied_id) DO NOTHING",
    )
    .bind(prior.as_str())
    .bind(implied.as_str())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was anything to remove.
pub async fn imply_no_more(conn: &mut Conn, prior: &RoleId, implied: &RoleId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM implied_roles WHERE prior_id = $1 AND implied_id = $2")
        .bind(prior.as_str())
        .bind(implied.as_str())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}
