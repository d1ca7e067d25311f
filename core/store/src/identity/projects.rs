//! Projects.

use super::Project;
use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::{Conn, Page};
use canopy_types::{ProjectId, Result, Timestamp};
use sqlx::any::AnyRow;

const COLUMNS: &str = "id, domain_id, parent_id, name, description, enabled, tags";

fn project(row: &AnyRow) -> Result<Project> {
    Ok(Project {
        id: row.text("id")?.into(),
        domain_id: row.text("domain_id")?.into(),
        parent_id: row.text("parent_id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        enabled: row.flag("enabled")?,
        tags: row.json("tags")?,
    })
}

/// What a list is narrowed to. Empty strings and `None` narrow nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub domain_id: String,
    pub name: String,
    pub parent_id: String,
    pub enabled: Option<bool>,
    /// Each list narrows by itself.
    pub tags: Vec<(Tagged, Vec<String>)>,
}

/// Which projects a list of tags finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    All,
    Any,
    NotAll,
    NotAny,
}

impl Tagged {
    /// A condition on the values bound from `first` on.
    fn condition(self, first: usize, count: usize) -> String {
        let (glue, not) = match self {
            Self::All => (" AND ", ""),
            Self::Any => (" OR ", ""),
            Self::NotAll => (" AND ", "NOT "),
            Self::NotAny => (" OR ", "NOT "),
        };
        let each: Vec<String> =
            (first..first + count).map(|n| format!("tags LIKE ${n} ESCAPE '!'")).collect();
        format!(" AND {not}({})", each.join(glue))
    }
}

/// What finds one tag in the stored array.
fn tag_pattern(tag: &str) -> Result<String> {
    let escaped = to_json(&tag)?.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    Ok(format!("%{escaped}%"))
}

/// One page by id, and one row more when there is a next page.
pub async fn list(conn: &mut Conn, filter: &Filter, page: &Page) -> Result<Vec<Project>> {
    let (mut tagged, mut patterns) = (String::new(), Vec::new());
    for (how, tags) in filter.tags.iter().filter(|(_, tags)| !tags.is_empty()) {
        tagged.push_str(&how.condition(7 + patterns.len(), tags.len()));
        for tag in tags {
            patterns.push(tag_pattern(tag)?);
        }
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM projects WHERE id > $1 AND ($2 = '' OR domain_id = $2) AND ($3 = '' OR name = $3) \
         AND ($4 = '' OR parent_id = $4) AND ($5 < 0 OR enabled = $5){tagged} ORDER BY id LIMIT $6"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(page.marker.clone().unwrap_or_default())
        .bind(&filter.domain_id)
        .bind(&filter.name)
        .bind(&filter.parent_id)
        .bind(filter.enabled.map_or(-1, i64::from))
        .bind(page.size() + 1);
    for pattern in patterns {
        query = query.bind(pattern);
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter().map(project).collect()
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Project>> {
    let sql = format!("SELECT {COLUMNS} FROM projects ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(project).collect()
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<Project>> {
    let sql = format!("SELECT {COLUMNS} FROM projects WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(project).transpose()
}

pub async fn insert(conn: &mut Conn, project: &Project, at: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO projects (id, domain_id, parent_id, name, description, enabled, created_at, tags) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(project.id.as_str())
    .bind(project.domain_id.as_str())
    .bind(&project.parent_id)
    .bind(&project.name)
    .bind(&project.description)
    .bind(i64::from(project.enabled))
    .bind(at.0)
    .bind(to_json(&project.tags)?)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Writes name, description, enabled and tags; the rest never changes.
pub async fn update(conn: &mut Conn, project: &Project) -> Result<()> {
    sqlx::query("UPDATE projects SET name = $2, description = $3, enabled = $4, tags = $5 WHERE id = $1")
        .bind(project.id.as_str())
        .bind(&project.name)
        .bind(&project.description)
        .bind(i64::from(project.enabled))
        .bind(to_json(&project.tags)?)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Removes a project, the roles held in it and its limits.
pub async fn delete(conn: &mut Conn, id: &ProjectId) -> Result<()> {
    super::delegations::forget_project(conn, id.as_str()).await?;
    sqlx::query("DELETE FROM role_grants WHERE target = 'project' AND target_id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    crate::quota::limits::forget(conn, id).await?;
    super::extras::forget(conn, "project", id.as_str()).await?;
    sqlx::query("DELETE FROM project_endpoint_groups WHERE project_id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    sqlx::query("DELETE FROM projects WHERE id = $1").bind(id.as_str()).execute(conn).await.map_err(db)?;
    Ok(())
}

pub async fn has_enabled_child(conn: &mut Conn, id: &ProjectId) -> Result<bool> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM projects WHERE parent_id = $1 AND enabled = 1")
        .bind(id.as_str())
        .fetch_one(conn)
        .await
        .map_err(db)?;
    Ok(row.int("n")? > 0)
}

/// What still stands in a project, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub children: i64,
    pub servers: i64,
    pub images: i64,
    pub networks: i64,
}

pub async fn holdings(conn: &mut Conn, id: &ProjectId) -> Result<Holdings> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM projects WHERE parent_id = $1) AS children, \
         (SELECT COUNT(*) FROM servers WHERE project_id = $1 AND deleted_at IS NULL) AS servers, \
         (SELECT COUNT(*) FROM images WHERE project_id = $1) AS images, \
         (SELECT COUNT(*) FROM networks WHERE project_id = $1) AS networks",
    )
    .bind(id.as_str())
    .fetch_one(conn)
    .await
    .map_err(db)?;
    Ok(Holdings {
        children: row.int("children")?,
        servers: row.int("servers")?,
        images: row.int("images")?,
        networks: row.int("networks")?,
    })
}
