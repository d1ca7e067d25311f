//! Metadata definitions: namespaces, and the objects, properties, tags and resource types in them. What an item
//! says is kept as its author wrote it; its name is kept apart.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::words::words;
use canopy_types::{ProjectId, Result, Timestamp};
use serde_json::Value;
use sqlx::any::AnyRow;

words! {
    /// What a namespace holds.
    Kind { Object = "object", Property = "property", Tag = "tag", ResourceType = "resource_type" }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    pub name: String,
    pub project_id: ProjectId,
    /// Readable by every project.
    pub public: bool,
    pub protected: bool,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub kind: Kind,
    pub name: String,
    /// An object, without the name.
    pub body: Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const NAMESPACE: &str =
    "name, project_id, public, protected, display_name, description, created_at, updated_at";

fn namespace(row: &AnyRow) -> Result<Namespace> {
    Ok(Namespace {
        name: row.text("name")?,
        project_id: ProjectId(row.text("project_id")?),
        public: row.flag("public")?,
        protected: row.flag("protected")?,
        display_name: row.text_opt("display_name")?,
        description: row.text_opt("description")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn item(row: &AnyRow, kind: Kind) -> Result<Item> {
    Ok(Item {
        kind,
        name: row.text("name")?,
        body: row.json("body")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// By name, after `after`; those that are public or of this project, or all.
pub async fn namespaces(
    conn: &mut Conn,
    project: Option<&ProjectId>,
    after: &str,
    limit: i64,
) -> Result<Vec<Namespace>> {
    let sql = format!(
        "SELECT {NAMESPACE} FROM metadef_namespaces \
         WHERE name > $1 AND ($2 = '*' OR public = 1 OR project_id = $2) ORDER BY name LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after)
        .bind(project.map_or("*", ProjectId::as_str))
        .bind(limit)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(namespace).collect()
}

pub async fn get(conn: &mut Conn, name: &str) -> Result<Option<Namespace>> {
    let sql = format!("SELECT {NAMESPACE} FROM metadef_namespaces WHERE name = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(namespace).transpose()
}

pub async fn count(conn: &mut Conn) -> Result<i64> {
    let row =
        sqlx::query("SELECT COUNT(*) AS n FROM metadef_namespaces").fetch_one(conn).await.map_err(db)?;
    row.int("n")
}

/// The namespace, its row locked until the transaction ends.
pub async fn lock(conn: &mut Conn, name: &str) -> Result<Option<Namespace>> {
    sqlx::query("UPDATE metadef_namespaces SET name = name WHERE name = $1")
        .bind(name)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    get(conn, name).await
}

/// `false` when there is one of this name.
pub async fn insert(conn: &mut Conn, namespace: &Namespace) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO metadef_namespaces \
         (name, project_id, public, protected, display_name, description, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
    )
    .bind(&namespace.name)
    .bind(namespace.project_id.as_str())
    .bind(i64::from(namespace.public))
    .bind(i64::from(namespace.protected))
    .bind(&namespace.display_name)
    .bind(&namespace.description)
    .bind(namespace.created_at.0)
    .bind(namespace.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// Writes everything but the name and the items.
pub async fn update(conn: &mut Conn, namespace: &Namespace) -> Result<()> {
    sqlx::query(
        "UPDATE metadef_namespaces SET project_id = $2, public = $3, protected = $4, display_name = $5, \
         description = $6, updated_at = $7 WHERE name = $1",
    )
    .bind(&namespace.name)
    .bind(namespace.project_id.as_str())
    .bind(i64::from(namespace.public))
    .bind(i64::from(namespace.protected))
    .bind(&namespace.display_name)
    .bind(&namespace.description)
    .bind(namespace.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// With everything in it.
pub async fn delete(conn: &mut Conn, name: &str) -> Result<()> {
    for sql in
        ["DELETE FROM metadef_items WHERE namespace = $1", "DELETE FROM metadef_namespaces WHERE name = $1"]
    {
        sqlx::query(sql).bind(name).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// A namespace's items of one kind, by name. Their number is bounded where they are added.
pub async fn items(conn: &mut Conn, namespace: &str, kind: Kind) -> Result<Vec<Item>> {
    let rows = sqlx::query(
        "SELECT name, body, created_at, updated_at FROM metadef_items \
         WHERE namespace = $1 AND kind = $2 ORDER BY name",
    )
    .bind(namespace)
    .bind(kind.as_str())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| item(row, kind)).collect()
}

pub async fn get_item(conn: &mut Conn, namespace: &str, kind: Kind, name: &str) -> Result<Option<Item>> {
    let row = sqlx::query(
        "SELECT name, body, created_at, updated_at FROM metadef_items \
         WHERE namespace = $1 AND kind = $2 AND name = $3",
    )
    .bind(namespace)
    .bind(kind.as_str())
    .bind(name)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.as_ref().map(|row| item(row, kind)).transpose()
}

/// `false` when there is one of this kind and name. The caller holds the namespace's lock.
pub async fn insert_item(conn: &mut Conn, namespace: &str, item: &Item) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO metadef_items (namespace, kind, name, body, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (namespace, kind, name) DO NOTHING",
    )
    .bind(namespace)
    .bind(item.kind.as_str())
    .bind(&item.name)
    .bind(to_json(&item.body)?)
    .bind(item.created_at.0)
    .bind(item.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// Removes one item, or with `None` all of the kind; answers how many there were.
pub async fn delete_items(conn: &mut Conn, namespace: &str, kind: Kind, name: Option<&str>) -> Result<u64> {
    let sql = match name {
        Some(_) => "DELETE FROM metadef_items WHERE namespace = $1 AND kind = $2 AND name = $3",
        None => "DELETE FROM metadef_items WHERE namespace = $1 AND kind = $2",
    };
    let query = sqlx::query(sql).bind(namespace).bind(kind.as_str());
    let query = match name {
        Some(name) => query.bind(name),
        None => query,
    };
    Ok(query.execute(conn).await.map_err(db)?.rows_affected())
}

/// Names of resource types in any namespace, each with when it came first.
pub async fn resource_types(conn: &mut Conn, limit: i64) -> Result<Vec<(String, Timestamp)>> {
    let rows = sqlx::query(
        "SELECT name, MIN(created_at) AS created_at FROM metadef_items WHERE kind = 'resource_type' \
         GROUP BY name ORDER BY name LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("name")?, row.time("created_at")?))).collect()
}
