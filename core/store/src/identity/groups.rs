//! Groups and who is in them.

use super::Group;
use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, Page};
use canopy_types::{GroupId, Result, Timestamp, UserId};
use sqlx::any::AnyRow;

const COLUMNS: &str = "id, domain_id, name, description";

fn group(row: &AnyRow) -> Result<Group> {
    Ok(Group {
        id: row.text("id")?.into(),
        domain_id: row.text("domain_id")?.into(),
        name: row.text("name")?,
        description: row.text("description")?,
    })
}

/// What a list is narrowed to. Empty strings narrow nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub domain_id: String,
    pub name: String,
}

/// One page by id, and one row more when there is a next page.
pub async fn list(conn: &mut Conn, filter: &Filter, page: &Page) -> Result<Vec<Group>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM identity_groups WHERE id > $1 AND ($2 = '' OR domain_id = $2) AND ($3 = '' OR name = $3) \
         ORDER BY id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(page.marker.clone().unwrap_or_default())
        .bind(&filter.domain_id)
        .bind(&filter.name)
        .bind(page.size() + 1)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(group).collect()
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Group>> {
    let sql = format!("SELECT {COLUMNS} FROM identity_groups ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(group).collect()
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<Group>> {
    let sql = format!("SELECT {COLUMNS} FROM identity_groups WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(group).transpose()
}

pub async fn insert(conn: &mut Conn, group: &Group, at: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO identity_groups (id, domain_id, name, description, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(group.id.as_str())
    .bind(group.domain_id.as_str())
    .bind(&group.name)
    .bind(&group.description)
    .bind(at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Writes name and description; the domain never changes.
pub async fn update(conn: &mut Conn, group: &Group) -> Result<()> {
    sqlx::query("UPDATE identity_groups SET name = $2, description = $3 WHERE id = $1")
        .bind(group.id.as_str())
        .bind(&group.name)
        .bind(&group.description)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Removes a group with its memberships and the roles it holds.
pub async fn delete(conn: &mut Conn, id: &GroupId) -> Result<()> {
    for sql in [
        "DELETE FROM role_grants WHERE actor = 'group' AND actor_id = $1",
        "DELETE FROM group_members WHERE group_id = $1",
        "DELETE FROM identity_extras WHERE kind = 'group' AND id = $1",
        "DELETE FROM identity_groups WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

pub async fn all_members(conn: &mut Conn) -> Result<Vec<(GroupId, UserId)>> {
    let rows = sqlx::query("SELECT group_id, user_id FROM group_members ORDER BY group_id, user_id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("group_id")?.into(), row.text("user_id")?.into()))).collect()
}

/// Idempotent.
pub async fn add_member(conn: &mut Conn, group: &GroupId, user: &UserId) -> Result<()> {
    sqlx::query(
        "INSERT INTO group_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT (group_id, user_id) DO NOTHING",
    )
    .bind(group.as_str())
    .bind(user.as_str())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Whether there was anything to remove.
pub async fn remove_member(conn: &mut Conn, group: &GroupId, user: &UserId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM group_members WHERE group_id = $1 AND user_id = $2")
        .bind(group.as_str())
        .bind(user.as_str())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}
