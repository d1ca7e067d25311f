//! The catalog's entries beside the built-in ones: regions, services, endpoints, and which endpoints a
//! project is shown.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub id: String,
    pub description: String,
    pub parent_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: String,
    pub kind: String,
    pub name: String,
    pub description: String,
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: String,
    /// May be a built-in one.
    pub service_id: String,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    pub region_id: Option<String>,
    pub url: String,
    pub enabled: bool,
}

pub async fn regions(conn: &mut Conn) -> Result<Vec<Region>> {
    let rows = sqlx::query("SELECT id, description, parent_id FROM catalog_regions ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Region {
                id: row.text("id")?,
                description: row.text("description")?,
                parent_id: row.text_opt("parent_id")?,
            })
        })
        .collect()
}

pub async fn services(conn: &mut Conn) -> Result<Vec<Service>> {
    let rows = sqlx::query("SELECT id, kind, name, description, enabled FROM catalog_services ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Service {
                id: row.text("id")?,
                kind: row.text("kind")?,
                name: row.text("name")?,
                description: row.text("description")?,
                enabled: row.flag("enabled")?,
            })
        })
        .collect()
}

pub async fn endpoints(conn: &mut Conn) -> Result<Vec<Endpoint>> {
    let rows = sqlx::query(
        "SELECT id, service_id, interface, region_id, url, enabled FROM catalog_endpoints ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Endpoint {
                id: row.text("id")?,
                service_id: row.text("service_id")?,
                interface: row.text("interface")?,
                region_id: row.text_opt("region_id")?,
                url: row.text("url")?,
                enabled: row.flag("enabled")?,
            })
        })
        .collect()
}

/// (project, endpoint): a project that has any is shown only these.
pub async fn shown(conn: &mut Conn) -> Result<Vec<(ProjectId, String)>> {
    let rows =
        sqlx::query("SELECT project_id, endpoint_id FROM project_endpoints ORDER BY project_id, endpoint_id")
            .fetch_all(conn)
            .await
            .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("project_id")?.into(), row.text("endpoint_id")?))).collect()
}

/// Makes it or writes over it.
pub async fn put_region(conn: &mut Conn, region: &Region) -> Result<()> {
    sqlx::query(
        "INSERT INTO catalog_regions (id, description, parent_id) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET description = excluded.description, parent_id = excluded.parent_id",
    )
    .bind(&region.id)
    .bind(&region.description)
    .bind(region.parent_id.clone())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Makes it or writes over it.
pub async fn put_service(conn: &mut Conn, service: &Service) -> Result<()> {
    sqlx::query(
        "INSERT INTO catalog_services (id, kind, name, description, enabled) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name, \
         description = excluded.description, enabled = excluded.enabled",
    )
    .bind(&service.id)
    .bind(&service.kind)
    .bind(&service.name)
    .bind(&service.description)
    .bind(i64::from(service.enabled))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Makes it or writes over it.
pub async fn put_endpoint(conn: &mut Conn, endpoint: &Endpoint) -> Result<()> {
    sqlx::query(
        "INSERT INTO catalog_endpoints (id, service_id, interface, region_id, url, enabled) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET service_id = excluded.service_id, interface = excluded.interface, \
         region_id = excluded.region_id, url = excluded.url, enabled = excluded.enabled",
    )
    .bind(&endpoint.id)
    .bind(&endpoint.service_id)
    .bind(&endpoint.interface)
    .bind(endpoint.region_id.clone())
    .bind(&endpoint.url)
    .bind(i64::from(endpoint.enabled))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn delete_region(conn: &mut Conn, id: &str) -> Result<()> {
    run(conn, "DELETE FROM catalog_regions WHERE id = $1", id).await
}

/// With its endpoints.
pub async fn delete_service(conn: &mut Conn, id: &str) -> Result<()> {
    let shown = "DELETE FROM project_endpoints WHERE endpoint_id IN \
                 (SELECT id FROM catalog_endpoints WHERE service_id = $1)";
    run(conn, shown, id).await?;
    run(conn, "DELETE FROM catalog_endpoints WHERE service_id = $1", id).await?;
    run(conn, "DELETE FROM catalog_services WHERE id = $1", id).await
}

pub async fn delete_endpoint(conn: &mut Conn, id: &str) -> Result<()> {
    run(conn, "DELETE FROM project_endpoints WHERE endpoint_id = $1", id).await?;
    run(conn, "DELETE FROM catalog_endpoints WHERE id = $1", id).await
}

async fn run(conn: &mut Conn, sql: &'static str, id: &str) -> Result<()> {
    sqlx::query(sql).bind(id).execute(conn).await.map_err(db)?;
    Ok(())
}

/// Idempotent.
pub async fn show_to(conn: &mut Conn, project: &ProjectId, endpoint: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO project_endpoints (project_id, endpoint_id) VALUES ($1, $2) \
         ON CONFLICT (project_id, endpoint_id) DO NOTHING",
    )
    .bind(project.as_str())
    .bind(endpoint)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was anything to remove.
pub async fn show_no_more(conn: &mut Conn, project: &ProjectId, endpoint: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM project_endpoints WHERE project_id = $1 AND endpoint_id = $2")
        .bind(project.as_str())
        .bind(endpoint)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}
