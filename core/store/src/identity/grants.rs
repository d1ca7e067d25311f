//! Who holds which role where.

use super::{Actor, Assignment, Reach};
use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::Result;

/// Idempotent.
pub async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<()> {
    let sql = "INSERT INTO role_grants (actor, actor_id, target, target_id, role_id, inherited) \
               VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (actor, actor_id, target, target_id, role_id, inherited) DO NOTHING";
    run(conn, sql, assignment).await.map(|_| ())
}

/// Whether there was anything to remove.
pub async fn delete(conn: &mut Conn, assignment: &Assignment) -> Result<bool> {
    let sql = "DELETE FROM role_grants WHERE actor = $1 AND actor_id = $2 AND target = $3 AND target_id = $4 \
               AND role_id = $5 AND inherited = $6";
    Ok(run(conn, sql, assignment).await? > 0)
}

async fn run(conn: &mut Conn, sql: &'static str, assignment: &Assignment) -> Result<u64> {
    let (target, target_id) = assignment.reach.columns();
    let done = sqlx::query(sql)
        .bind(assignment.actor.kind())
        .bind(assignment.actor.id())
        .bind(target)
        .bind(target_id)
        .bind(assignment.role_id.as_str())
        .bind(i64::from(assignment.inherited))
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected())
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Assignment>> {
    let rows = sqlx::query(
        "SELECT actor, actor_id, target, target_id, role_id, inherited FROM role_grants \
         ORDER BY target, target_id, actor, actor_id, role_id, inherited",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Assignment {
                actor: Actor::read(row)?,
                reach: Reach::read(row)?,
                role_id: row.text("role_id")?.into(),
                inherited: row.flag("inherited")?,
            })
        })
        .collect()
}
