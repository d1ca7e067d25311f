//! Usage, limits, and the revision that a verdict was made on.
//!
//! Usage rows are changed only together with what they count, in the same transaction. A verdict holds for
//! one revision: [`charge`] raises the revision only when it is still the one the verdict saw.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::resources::Amounts;
use canopy_types::{ProjectId, Result};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub revision: i64,
    /// By resource; absent is 0.
    pub used: BTreeMap<String, i64>,
    /// Limits set for this project; absent is the default.
    pub limits: BTreeMap<String, i64>,
}

/// Usage and limits at one revision. The revision is read first: a change in between makes the verdict
/// stale, never wrong.
pub async fn usage(conn: &mut Conn, project: &ProjectId) -> Result<Usage> {
    let revision = sqlx::query("SELECT revision FROM quota_revisions WHERE project_id = $1")
        .bind(project.as_str())
        .fetch_optional(&mut *conn)
        .await
        .map_err(db)?;
    let mut usage = Usage::default();
    if let Some(row) = revision {
        usage.revision = row.int("revision")?;
    }
    for row in sqlx::query("SELECT resource, used FROM quota_usages WHERE project_id = $1")
        .bind(project.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(db)?
    {
        usage.used.insert(row.text("resource")?, row.int("used")?);
    }
    for row in sqlx::query("SELECT resource, hard_limit FROM quota_limits WHERE project_id = $1")
        .bind(project.as_str())
        .fetch_all(conn)
        .await
        .map_err(db)?
    {
        usage.limits.insert(row.text("resource")?, row.int("hard_limit")?);
    }
    Ok(usage)
}

/// Adds `charges` if usage is still at `revision`; `false` when it has moved and the verdict must be asked
/// again. First in the lock order of every transaction that uses it.
pub async fn charge(conn: &mut Conn, project: &ProjectId, revision: i64, charges: &Amounts) -> Result<bool> {
    let moved = if revision == 0 {
        sqlx::query(
            "INSERT INTO quota_revisions (project_id, revision) VALUES ($1, 1) ON CONFLICT (project_id) DO NOTHING",
        )
        .bind(project.as_str())
        .execute(&mut *conn)
        .await
    } else {
        sqlx::query("UPDATE quota_revisions SET revision = revision + 1 WHERE project_id = $1 AND revision = $2")
            .bind(project.as_str())
            .bind(revision)
            .execute(&mut *conn)
            .await
    }
    .map_err(db)?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for (resource, amount) in charges {
        add(conn, project, resource, *amount).await?;
    }
    Ok(true)
}

/// Takes `amounts` off the usage, for something that is being removed in this transaction.
pub async fn refund(conn: &mut Conn, project: &ProjectId, amounts: &Amounts) -> Result<()> {
    sqlx::query(
        "INSERT INTO quota_revisions (project_id, revision) VALUES ($1, 1) \
         ON CONFLICT (project_id) DO UPDATE SET revision = quota_revisions.revision + 1",
    )
    .bind(project.as_str())
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    for (resource, amount) in amounts {
        add(conn, project, resource, -*amount).await?;
    }
    Ok(())
}

async fn add(conn: &mut Conn, project: &ProjectId, resource: &str, amount: i64) -> Result<()> {
    if amount == 0 {
        return Ok(());
    }
    let sql = if amount > 0 {
        "INSERT INTO quota_usages (project_id, resource, used) VALUES ($1, $2, $3) \
         ON CONFLICT (project_id, resource) DO UPDATE SET used = quota_usages.used + $3"
    } else {
        // Below zero the CHECK refuses: a refund of what was never charged is a bug, not a credit.
        "UPDATE quota_usages SET used = used + $3 WHERE project_id = $1 AND resource = $2"
    };
    sqlx::query(sql).bind(project.as_str()).bind(resource).bind(amount).execute(conn).await.map_err(db)?;
    Ok(())
}
