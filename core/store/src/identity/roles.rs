//! Changing and removing roles.

use super::Role;
use crate::Conn;
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
    for sql in ["DELETE FROM role_assignments WHERE role_id = $1", "DELETE FROM roles WHERE id = $1"] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
