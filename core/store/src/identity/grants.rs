//! Who holds which role where.

use super::{Assignment, Reach};
use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::Result;

/// Idempotent.
pub async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<()> {
    let (target, target_id) = assignment.reach.columns();
    sqlx::query(
        "INSERT INTO role_assignments (user_id, target, target_id, role_id) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id, target, target_id, role_id) DO NOTHING",
    )
    .bind(assignment.user_id.as_str())
    .bind(target)
    .bind(target_id)
    .bind(assignment.role_id.as_str())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was anything to remove.
pub async fn delete(conn: &mut Conn, assignment: &Assignment) -> Result<bool> {
    let (target, target_id) = assignment.reach.columns();
    let done = sqlx::query(
        "DELETE FROM role_assignments WHERE user_id = $1 AND target = $2 AND target_id = $3 AND role_id = $4",
    )
    .bind(assignment.user_id.as_str())
    .bind(target)
    .bind(target_id)
    .bind(assignment.role_id.as_str())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Assignment>> {
    let rows = sqlx::query(
        "SELECT user_id, target, target_id, role_id FROM role_assignments \
         ORDER BY target, target_id, user_id, role_id",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Assignment {
                user_id: row.text("user_id")?.into(),
                reach: Reach::read(row)?,
                role_id: row.text("role_id")?.into(),
            })
        })
        .collect()
}
