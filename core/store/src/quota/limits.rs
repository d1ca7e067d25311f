//! Limits that were set: of projects, domains and users, and the defaults of all.
//!
//! Whoever changes what a verdict was made on makes it stale: a project's limit concerns the verdicts on
//! everything below it too.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result, UserId};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A limit of one project or domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub id: String,
    pub holder: String,
    pub resource: String,
    /// −1 is none.
    pub hard_limit: i64,
    pub description: Option<String>,
}

/// A default that was set while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Default {
    pub resource: String,
    pub limit: i64,
    pub description: Option<String>,
}

fn limit(row: &AnyRow) -> Result<Limit> {
    Ok(Limit {
        id: row.text("id")?,
        holder: row.text("project_id")?,
        resource: row.text("resource")?,
        hard_limit: row.int("hard_limit")?,
        description: row.text_opt("description")?,
    })
}

/// Sets a limit; the id stays when there is one already.
pub async fn set(conn: &mut Conn, wanted: &Limit) -> Result<()> {
    stale(conn, &wanted.holder).await?;
    sqlx::query(
        "INSERT INTO quota_limits (project_id, resource, hard_limit, id, description) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = $3, \
         description = COALESCE($5, quota_limits.description)",
    )
    .bind(&wanted.holder)
    .bind(&wanted.resource)
    .bind(wanted.hard_limit)
    .bind(&wanted.id)
    .bind(wanted.description.as_deref())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was one.
pub async fn remove(conn: &mut Conn, holder: &str, resource: &str) -> Result<bool> {
    stale(conn, holder).await?;
    let done = sqlx::query("DELETE FROM quota_limits WHERE project_id = $1 AND resource = $2")
        .bind(holder)
        .bind(resource)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// A project's limits on the resources of one service that begin with none, or all that are given.
pub async fn remove_all(conn: &mut Conn, holder: &str, resources: &[&str]) -> Result<()> {
    stale(conn, holder).await?;
    for resource in resources {
        for sql in [
            "DELETE FROM quota_limits WHERE project_id = $1 AND resource = $2",
            "DELETE FROM quota_user_limits WHERE project_id = $1 AND resource = $2",
        ] {
            sqlx::query(sql).bind(holder).bind(*resource).execute(&mut *conn).await.map_err(db)?;
        }
    }
    Ok(())
}

/// Of all holders, or one, and of all resources, or one; by holder and resource.
pub async fn list(conn: &mut Conn, holder: Option<&str>, resource: Option<&str>) -> Result<Vec<Limit>> {
    let rows = sqlx::query(
        "SELECT id, project_id, resource, hard_limit, description FROM quota_limits \
         WHERE ($1 = '' OR project_id = $1) AND ($2 = '' OR resource = $2) ORDER BY project_id, resource",
    )
    .bind(holder.unwrap_or_default())
    .bind(resource.unwrap_or_default())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(limit).collect()
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<Limit>> {
    let row = sqlx::query(
        "SELECT id, project_id, resource, hard_limit, description FROM quota_limits WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.as_ref().map(limit).transpose()
}

/// Sets what one user of a project may have.
pub async fn set_user(
    conn: &mut Conn,
    project: &ProjectId,
    user: &UserId,
    resource: &str,
    hard_limit: i64,
) -> Result<()> {
    stale(conn, project.as_str()).await?;
    sqlx::query(
        "INSERT INTO quota_user_limits (project_id, user_id, resource, hard_limit) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project_id, user_id, resource) DO UPDATE SET hard_limit = $4",
    )
    .bind(project.as_str())
    .bind(user.as_str())
    .bind(resource)
    .bind(hard_limit)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn remove_user(conn: &mut Conn, project: &ProjectId, user: &UserId) -> Result<()> {
    stale(conn, project.as_str()).await?;
    sqlx::query("DELETE FROM quota_user_limits WHERE project_id = $1 AND user_id = $2")
        .bind(project.as_str())
        .bind(user.as_str())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// The highest limit of any user of the project, by resource.
pub async fn highest_of_users(conn: &mut Conn, project: &ProjectId) -> Result<BTreeMap<String, i64>> {
    let rows = sqlx::query(
        "SELECT resource, MAX(hard_limit) AS n FROM quota_user_limits WHERE project_id = $1 GROUP BY resource",
    )
    .bind(project.as_str())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("resource")?, row.int("n")?))).collect()
}

pub async fn defaults(conn: &mut Conn) -> Result<Vec<Default>> {
    let rows =
        sqlx::query("SELECT resource, default_limit, description FROM quota_defaults ORDER BY resource")
            .fetch_all(conn)
            .await
            .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Default {
                resource: row.text("resource")?,
                limit: row.int("default_limit")?,
                description: row.text_opt("description")?,
            })
        })
        .collect()
}

/// Verdicts on the old default that are not committed yet may still be.
pub async fn set_default(conn: &mut Conn, wanted: &Default) -> Result<()> {
    sqlx::query(
        "INSERT INTO quota_defaults (resource, default_limit, description) VALUES ($1, $2, $3) \
         ON CONFLICT (resource) DO UPDATE SET default_limit = $2, \
         description = COALESCE($3, quota_defaults.description)",
    )
    .bind(&wanted.resource)
    .bind(wanted.limit)
    .bind(wanted.description.as_deref())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was one.
pub async fn remove_default(conn: &mut Conn, resource: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM quota_defaults WHERE resource = $1")
        .bind(resource)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// With a project that is being deleted.
pub async fn forget(conn: &mut Conn, project: &ProjectId) -> Result<()> {
    for sql in [
        "DELETE FROM quota_limits WHERE project_id = $1",
        "DELETE FROM quota_user_limits WHERE project_id = $1",
    ] {
        sqlx::query(sql).bind(project.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Verdicts on the holder and on everything below it are to be asked again.
async fn stale(conn: &mut Conn, holder: &str) -> Result<()> {
    let sql = format!("{} SELECT id FROM tree ORDER BY id", super::book::tree());
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(holder).fetch_all(&mut *conn).await.map_err(db)?;
    for row in rows {
        super::move_on(conn, &row.text("id")?).await?;
    }
    Ok(())
}
