//! Trusts: roles that a user lets another user take in a project.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result, RoleId, Timestamp, UserId};
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub id: String,
    pub trustor_id: UserId,
    pub trustee_id: UserId,
    pub project_id: ProjectId,
    /// Whether its tokens are the trustor's, not the trustee's.
    pub impersonation: bool,
    pub expires_at: Option<Timestamp>,
    /// Tokens that can still be had; `None` is any number.
    pub remaining_uses: Option<i64>,
    /// How often it may be handed on.
    pub redelegation_count: i64,
    /// The trust that it was handed on from.
    pub redelegated_id: Option<String>,
    pub roles: Vec<RoleId>,
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Trust>> {
    let mut roles: HashMap<String, Vec<RoleId>> = HashMap::new();
    let rows = sqlx::query("SELECT trust_id, role_id FROM trust_roles ORDER BY trust_id, role_id")
        .fetch_all(&mut *conn)
        .await
        .map_err(db)?;
    for row in &rows {
        roles.entry(row.text("trust_id")?).or_default().push(row.text("role_id")?.into());
    }
    let rows = sqlx::query(
        "SELECT id, trustor_id, trustee_id, project_id, impersonation, expires_at, remaining_uses, \
         redelegation_count, redelegated_id FROM trusts ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter()
        .map(|row| {
            let id = row.text("id")?;
            Ok(Trust {
                trustor_id: row.text("trustor_id")?.into(),
                trustee_id: row.text("trustee_id")?.into(),
                project_id: row.text("project_id")?.into(),
                impersonation: row.flag("impersonation")?,
                expires_at: row.time_opt("expires_at")?,
                remaining_uses: row.int_opt("remaining_uses")?,
                redelegation_count: row.int("redelegation_count")?,
                redelegated_id: row.text_opt("redelegated_id")?,
                roles: roles.remove(&id).unwrap_or_default(),
                id,
            })
        })
        .collect()
}

pub async fn insert(conn: &mut Conn, trust: &Trust, at: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO trusts (id, trustor_id, trustee_id, project_id, impersonation, expires_at, remaining_uses, \
         redelegation_count, redelegated_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&trust.id)
    .bind(trust.trustor_id.as_str())
    .bind(trust.trustee_id.as_str())
    .bind(trust.project_id.as_str())
    .bind(i64::from(trust.impersonation))
    .bind(trust.expires_at.map(|at| at.0))
    .bind(trust.remaining_uses)
    .bind(trust.redelegation_count)
    .bind(trust.redelegated_id.clone())
    .bind(at.0)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    for role in &trust.roles {
        sqlx::query("INSERT INTO trust_roles (trust_id, role_id) VALUES ($1, $2)")
            .bind(&trust.id)
            .bind(role.as_str())
            .execute(&mut *conn)
            .await
            .map_err(db)?;
    }
    Ok(())
}

/// Takes one of the uses that are left. False when there is none, or no such trust.
pub async fn consume(conn: &mut Conn, id: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE trusts SET remaining_uses = remaining_uses - 1 WHERE id = $1 \
         AND (remaining_uses IS NULL OR remaining_uses > 0)",
    )
    .bind(id)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// Those handed on from these, directly.
pub async fn redelegated(conn: &mut Conn, id: &str) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM trusts WHERE redelegated_id = $1 ORDER BY id")
        .bind(id)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| row.text("id")).collect()
}

/// Whether there was one.
pub async fn delete(conn: &mut Conn, id: &str) -> Result<bool> {
    sqlx::query("DELETE FROM trust_roles WHERE trust_id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    let done = sqlx::query("DELETE FROM trusts WHERE id = $1").bind(id).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() > 0)
}
