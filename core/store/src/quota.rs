//! Usage, limits, and the revision that a verdict was made on.
//!
//! Usage rows are changed only together with what they count, in the same transaction. A verdict holds for
//! one revision of the project and of every project above it that carries a limit: [`charge`] raises the
//! revisions only when they are still those that the verdict saw, or were moved since by nothing but claims
//! that were decided in the same call, which the verdict has counted with: they carry the same cohort.

pub mod backfill;
mod book;
pub mod limits;
pub mod truth;

pub use book::{Above, Book, book, usage};

use crate::Conn;
use crate::rows::{Columns, tuples};
use crate::store::db;
use canopy_types::resources::Amounts;
use canopy_types::{ProjectId, Result, UserId, quota};
use sqlx::AssertSqlSafe;

/// What is charged or given back, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    pub project_id: ProjectId,
    /// Who holds it; matters for resources that are counted by user.
    pub user_id: UserId,
    /// Empty when it has none.
    pub zone: String,
    /// Adding to usage when charged, whatever it is that is counted.
    pub amounts: Amounts,
}

/// What a verdict was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Revisions of the project and of those above it that carry a limit, in the order of their ids: every
    /// transaction locks them so.
    pub stamps: Vec<(String, i64)>,
    /// Names the claims that were decided together; never empty.
    pub cohort: String,
}

/// Adds the spend's amounts if usage is still as the ticket says; `false` when it has moved and the verdict
/// must be asked again. First in the lock order of every transaction that uses it.
pub async fn charge(conn: &mut Conn, ticket: &Ticket, spend: &Spend) -> Result<bool> {
    for (holder, revision) in &ticket.stamps {
        let moved = sqlx::query(
            "INSERT INTO quota_revisions (project_id, revision, cohort) VALUES ($1, 1, $3) \
             ON CONFLICT (project_id) DO UPDATE SET revision = quota_revisions.revision + 1, cohort = $3 \
             WHERE quota_revisions.revision = $2 OR quota_revisions.cohort = $3",
        )
        .bind(holder)
        .bind(*revision)
        .bind(&ticket.cohort)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
    }
    add(conn, spend, 1).await?;
    Ok(true)
}

/// Takes the spend's amounts off the usage, for something that is being removed in this transaction. In
/// the lock order where [`charge`] is.
pub async fn refund(conn: &mut Conn, spend: &Spend) -> Result<()> {
    touch(conn, &spend.project_id).await?;
    add(conn, spend, -1).await
}

/// Takes off what this very transaction has charged and turned out not to need. The verdicts of claims that
/// were decided together with it have counted with more, which they may.
pub async fn uncharge(conn: &mut Conn, spend: &Spend) -> Result<()> {
    add(conn, spend, -1).await
}

/// Makes every verdict stale that was made on the project's usage or limits.
pub(crate) async fn touch(conn: &mut Conn, project: &ProjectId) -> Result<()> {
    for holder in book::limited_above(conn, project).await? {
        move_on(conn, &holder).await?;
    }
    Ok(())
}

async fn move_on(conn: &mut Conn, holder: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO quota_revisions (project_id, revision, cohort) VALUES ($1, 1, '') \
         ON CONFLICT (project_id) DO UPDATE SET revision = quota_revisions.revision + 1, cohort = ''",
    )
    .bind(holder)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

async fn add(conn: &mut Conn, spend: &Spend, sign: i64) -> Result<()> {
    let counted = spend.amounts.iter().filter(|(resource, _)| !quota::per_claim(resource));
    let signed = counted.map(|(resource, amount)| (resource.as_str(), amount.saturating_mul(sign)));
    let (more, less): (Vec<_>, Vec<_>) =
        signed.filter(|(_, amount)| *amount != 0).partition(|(_, amount)| *amount > 0);
    for amounts in [more, less].iter().filter(|amounts| !amounts.is_empty()) {
        count(conn, spend, amounts).await?;
        let of_users: Vec<_> =
            amounts.iter().copied().filter(|(resource, _)| quota::by_user(resource)).collect();
        hold(conn, spend, &of_users).await?;
    }
    Ok(())
}

/// Amounts that all grow or all shrink. What shrinks is there: below zero the CHECK refuses, since a refund of what was
/// never charged is a bug and not a credit.
async fn count(conn: &mut Conn, spend: &Spend, amounts: &[(&str, i64)]) -> Result<()> {
    let sql = if amounts.iter().any(|(_, amount)| *amount > 0) {
        format!(
            "INSERT INTO quota_usages (project_id, resource, used) VALUES {} \
             ON CONFLICT (project_id, resource) DO UPDATE SET used = quota_usages.used + excluded.used",
            tuples(1, amounts.len(), 3)
        )
    } else {
        format!(
            "UPDATE quota_usages SET used = used + w.column3 FROM (VALUES {}) AS w \
             WHERE project_id = w.column1 AND resource = w.column2",
            tuples(1, amounts.len(), 3)
        )
    };
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (resource, amount) in amounts {
        query = query.bind(spend.project_id.as_str()).bind(*resource).bind(*amount);
    }
    query.execute(conn).await.map_err(db)?;
    Ok(())
}

/// The same of the user, by zone.
async fn hold(conn: &mut Conn, spend: &Spend, amounts: &[(&str, i64)]) -> Result<()> {
    if amounts.is_empty() {
        return Ok(());
    }
    let sql = if amounts.iter().any(|(_, amount)| *amount > 0) {
        format!(
            "INSERT INTO quota_holdings (project_id, user_id, zone, resource, used) VALUES {} \
             ON CONFLICT (project_id, user_id, zone, resource) DO UPDATE \
             SET used = quota_holdings.used + excluded.used",
            tuples(1, amounts.len(), 5)
        )
    } else {
        format!(
            "UPDATE quota_holdings SET used = used + w.column5 FROM (VALUES {}) AS w WHERE project_id = w.column1 \
             AND user_id = w.column2 AND zone = w.column3 AND resource = w.column4",
            tuples(1, amounts.len(), 5)
        )
    };
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (resource, amount) in amounts {
        query = query
            .bind(spend.project_id.as_str())
            .bind(spend.user_id.as_str())
            .bind(&spend.zone)
            .bind(*resource)
            .bind(*amount);
    }
    query.execute(conn).await.map_err(db)?;
    Ok(())
}

/// Projects that have usage of any kind; for checks.
pub async fn spenders(conn: &mut Conn) -> Result<Vec<ProjectId>> {
    let rows = sqlx::query("SELECT DISTINCT project_id FROM quota_usages ORDER BY project_id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| Ok(row.text("project_id")?.into())).collect()
}
