//! Endpoints chosen by what they have in common, and the projects that are shown them.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::{Error, ProjectId, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub filters: Filters,
}

/// What an endpoint of the group must have; `None` is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Filters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
}

pub async fn all(conn: &mut Conn) -> Result<Vec<EndpointGroup>> {
    let rows = sqlx::query("SELECT id, name, description, filters FROM endpoint_groups ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter()
        .map(|row| {
            let filters = serde_json::from_str(&row.text("filters")?);
            Ok(EndpointGroup {
                id: row.text("id")?,
                name: row.text("name")?,
                description: row.text("description")?,
                filters: filters.map_err(|e| Error::internal("store.json", e))?,
            })
        })
        .collect()
}

/// (project, group), by both.
pub async fn shown(conn: &mut Conn) -> Result<Vec<(ProjectId, String)>> {
    let sql = "SELECT project_id, group_id FROM project_endpoint_groups ORDER BY project_id, group_id";
    let rows = sqlx::query(sql).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.text("project_id")?.into(), row.text("group_id")?))).collect()
}

/// Makes it or writes over it.
pub async fn put(conn: &mut Conn, group: &EndpointGroup) -> Result<()> {
    sqlx::query(
        "INSERT INTO endpoint_groups (id, name, description, filters) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description, \
         filters = excluded.filters",
    )
    .bind(&group.id)
    .bind(&group.name)
    .bind(&group.description)
    .bind(to_json(&group.filters)?)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn delete(conn: &mut Conn, id: &str) -> Result<()> {
    for sql in [
        "DELETE FROM project_endpoint_groups WHERE group_id = $1",
        "DELETE FROM endpoint_groups WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Idempotent.
pub async fn show_to(conn: &mut Conn, project: &ProjectId, group: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO project_endpoint_groups (project_id, group_id) VALUES ($1, $2) \
         ON CONFLICT (project_id, group_id) DO NOTHING",
    )
    .bind(project.as_str())
    .bind(group)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn show_no_more(conn: &mut Conn, project: &ProjectId, group: &str) -> Result<()> {
    sqlx::query("DELETE FROM project_endpoint_groups WHERE project_id = $1 AND group_id = $2")
        .bind(project.as_str())
        .bind(group)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
