//! Flavors: owned by the cloud, not by a project.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::{FlavorId, ProjectId, Result, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavor {
    pub id: FlavorId,
    pub name: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    /// 0 means as large as the image.
    pub root_gib: i64,
    pub ephemeral_gib: i64,
    pub swap_mib: i64,
    /// A decimal number, kept as the text that was given.
    pub rxtx_factor: String,
    pub is_public: bool,
    pub extra_specs: BTreeMap<String, String>,
    pub description: Option<String>,
    pub created_at: Timestamp,
}

/// `None` means "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub is_public: Option<bool>,
    /// Beside public ones, if these are asked for: those that this project was given.
    pub given_to: Option<ProjectId>,
    pub min_memory_mib: Option<i64>,
    pub min_root_gib: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    Id,
    Name,
    Memory,
    Vcpus,
    Root,
    Ephemeral,
    Swap,
    IsPublic,
    CreatedAt,
}

impl SortKey {
    fn column(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Memory => "memory_mib",
            Self::Vcpus => "vcpus",
            Self::Root => "root_gib",
            Self::Ephemeral => "ephemeral_gib",
            Self::Swap => "swap_mib",
            Self::IsPublic => "is_public",
            Self::CreatedAt => "created_at",
        }
    }
}

const COLUMNS: &str = "id, name, vcpus, memory_mib, root_gib, ephemeral_gib, swap_mib, rxtx_factor, is_public, \
     extra_specs, description, created_at";

fn flavor(row: &AnyRow) -> Result<Flavor> {
    Ok(Flavor {
        id: FlavorId(row.text("id")?),
        name: row.text("name")?,
        vcpus: row.int("vcpus")?,
        memory_mib: row.int("memory_mib")?,
        root_gib: row.int("root_gib")?,
        ephemeral_gib: row.int("ephemeral_gib")?,
        swap_mib: row.int("swap_mib")?,
        rxtx_factor: row.text("rxtx_factor")?,
        is_public: row.flag("is_public")?,
        extra_specs: row.json("extra_specs")?,
        description: row.text_opt("description")?,
        created_at: row.time("created_at")?,
    })
}

/// A taken id or name is a conflict `store.duplicate`.
pub async fn insert(conn: &mut Conn, flavor: &Flavor) -> Result<()> {
    sqlx::query(
        "INSERT INTO flavors (id, name, vcpus, memory_mib, root_gib, ephemeral_gib, swap_mib, rxtx_factor, \
         is_public, extra_specs, description, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(flavor.id.as_str())
    .bind(&flavor.name)
    .bind(flavor.vcpus)
    .bind(flavor.memory_mib)
    .bind(flavor.root_gib)
    .bind(flavor.ephemeral_gib)
    .bind(flavor.swap_mib)
    .bind(&flavor.rxtx_factor)
    .bind(i64::from(flavor.is_public))
    .bind(to_json(&flavor.extra_specs)?)
    .bind(flavor.description.as_deref())
    .bind(flavor.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: &FlavorId) -> Result<Option<Flavor>> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM flavors WHERE id = $1"));
    let row = sqlx::query(sql).bind(id.as_str()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(flavor).transpose()
}

/// Whether a flavor has this id or this name: which of the two, for the conflict's text.
pub async fn taken(conn: &mut Conn, id: &FlavorId, name: &str) -> Result<Option<Flavor>> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM flavors WHERE id = $1 OR name = $2 LIMIT 1"));
    let row = sqlx::query(sql).bind(id.as_str()).bind(name).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(flavor).transpose()
}

/// Reads a flavor for a change in the same transaction.
pub async fn lock(conn: &mut Conn, id: &FlavorId) -> Result<Option<Flavor>> {
    let sql = AssertSqlSafe(format!("UPDATE flavors SET name = name WHERE id = $1 RETURNING {COLUMNS}"));
    let row = sqlx::query(sql).bind(id.as_str()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(flavor).transpose()
}

pub async fn set_extra_specs(conn: &mut Conn, id: &FlavorId, specs: &BTreeMap<String, String>) -> Result<()> {
    sqlx::query("UPDATE flavors SET extra_specs = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(to_json(specs)?)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// The flavor as it is then; `None` when there is none.
pub async fn describe(conn: &mut Conn, id: &FlavorId, text: Option<&str>) -> Result<Option<Flavor>> {
    let sql = AssertSqlSafe(format!("UPDATE flavors SET description = $2 WHERE id = $1 RETURNING {COLUMNS}"));
    let row = sqlx::query(sql).bind(id.as_str()).bind(text).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(flavor).transpose()
}

/// The projects that were given a flavor, in one order.
pub async fn projects(conn: &mut Conn, id: &FlavorId) -> Result<Vec<ProjectId>> {
    let sql = "SELECT project_id FROM flavor_projects WHERE flavor_id = $1 ORDER BY project_id";
    let rows = sqlx::query(sql).bind(id.as_str()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| row.text("project_id").map(ProjectId)).collect()
}

pub async fn is_given_to(conn: &mut Conn, id: &FlavorId, project: &ProjectId) -> Result<bool> {
    let sql = "SELECT 1 AS given FROM flavor_projects WHERE flavor_id = $1 AND project_id = $2";
    let row = sqlx::query(sql).bind(id.as_str()).bind(project.as_str()).fetch_optional(conn).await;
    Ok(row.map_err(db)?.is_some())
}

/// `false` when the project has it already. The flavor must be locked.
pub async fn give(conn: &mut Conn, id: &FlavorId, project: &ProjectId) -> Result<bool> {
    let sql = "INSERT INTO flavor_projects (flavor_id, project_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let done = sqlx::query(sql).bind(id.as_str()).bind(project.as_str()).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// `false` when the project did not have it.
pub async fn take_away(conn: &mut Conn, id: &FlavorId, project: &ProjectId) -> Result<bool> {
    let sql = "DELETE FROM flavor_projects WHERE flavor_id = $1 AND project_id = $2";
    let done = sqlx::query(sql).bind(id.as_str()).bind(project.as_str()).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// `false` when there is none.
pub async fn delete(conn: &mut Conn, id: &FlavorId) -> Result<bool> {
    // Nobody is given it meanwhile.
    if lock(conn, id).await?.is_none() {
        return Ok(false);
    }
    let given = sqlx::query("DELETE FROM flavor_projects WHERE flavor_id = $1").bind(id.as_str());
    given.execute(&mut *conn).await.map_err(db)?;
    let done =
        sqlx::query("DELETE FROM flavors WHERE id = $1").bind(id.as_str()).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// At most `limit` flavors, by `key` and id, after the flavor `after`.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    key: SortKey,
    descending: bool,
    after: Option<&Flavor>,
    limit: i64,
) -> Result<Vec<Flavor>> {
    let (column, past, word) =
        if descending { (key.column(), "<", "DESC") } else { (key.column(), ">", "ASC") };
    // The marker's own row is the place to start from, so nothing of the client's goes into the comparison.
    let from = "(SELECT COL FROM flavors WHERE id = $5)".replace("COL", column);
    let sql = format!(
        "SELECT {COLUMNS} FROM flavors WHERE ($1 < 0 OR is_public = $1 \
         OR $1 = 1 AND id IN (SELECT flavor_id FROM flavor_projects WHERE project_id = $6)) AND memory_mib >= $2 AND root_gib >= $3 \
         AND ($5 = '' OR {column} {past} {from} OR ({column} = {from} AND id {past} $5)) \
         ORDER BY {column} {word}, id {word} LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.is_public.map_or(-1, i64::from))
        .bind(filter.min_memory_mib.unwrap_or(0))
        .bind(filter.min_root_gib.unwrap_or(0))
        .bind(limit)
        .bind(after.map_or("", |flavor| flavor.id.as_str()))
        .bind(filter.given_to.as_ref().map_or("", ProjectId::as_str))
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(flavor).collect()
}
