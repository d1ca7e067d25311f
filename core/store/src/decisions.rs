//! Placement decisions, whole, as documents.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{DecisionId, ProjectId, Result, ServerId, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    pub id: DecisionId,
    pub project_id: ProjectId,
    pub server_id: ServerId,
    pub at: Timestamp,
    /// JSON, with a version `v` inside.
    pub document: String,
    /// Which journal has the scene; empty when none has.
    pub journal: String,
    /// The request's number in it.
    pub position: i64,
}

pub async fn insert(conn: &mut Conn, decision: &DecisionRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO decisions (id, project_id, server_id, at, document, journal, position) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(decision.id.to_string())
    .bind(decision.project_id.as_str())
    .bind(decision.server_id.to_string())
    .bind(decision.at.0)
    .bind(&decision.document)
    .bind(&decision.journal)
    .bind(decision.position)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: DecisionId) -> Result<Option<DecisionRow>> {
    let row = sqlx::query("SELECT * FROM decisions WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(decision).transpose()
}

/// The newest decision on a server.
pub async fn of_server(conn: &mut Conn, server: ServerId) -> Result<Option<DecisionRow>> {
    let row = sqlx::query("SELECT * FROM decisions WHERE server_id = $1 ORDER BY at DESC, id LIMIT 1")
        .bind(server.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(decision).transpose()
}

fn decision(row: &sqlx::any::AnyRow) -> Result<DecisionRow> {
    Ok(DecisionRow {
        id: row.parsed("id")?,
        project_id: row.text("project_id")?.into(),
        server_id: row.parsed("server_id")?,
        at: row.time("at")?,
        document: row.text("document")?,
        journal: row.text("journal")?,
        position: row.int("position")?,
    })
}
