//! Projects that an image is shared with.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use crate::words::words;
use canopy_types::{Error, ImageId, ProjectId, Result, Timestamp};
use sqlx::any::AnyRow;

words! {
    /// What a project says to an image that is shared with it. Only accepted images show in its lists by
    /// themselves; any of them it can read by id.
    MemberStatus { Pending = "pending", Accepted = "accepted", Rejected = "rejected" }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub image_id: ImageId,
    pub project_id: ProjectId,
    pub status: MemberStatus,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "image_id, project_id, status, created_at, updated_at";

fn member(row: &AnyRow) -> Result<Member> {
    let status = row.text("status")?;
    Ok(Member {
        image_id: row.parsed("image_id")?,
        project_id: ProjectId(row.text("project_id")?),
        status: status
            .parse()
            .map_err(|()| Error::internal("store.corrupt", format!("column status holds {status:?}")))?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// All members of an image, oldest first; their number is bounded where they are added.
pub async fn list(conn: &mut Conn, image: ImageId) -> Result<Vec<Member>> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM image_members WHERE image_id = $1 ORDER BY created_at, project_id"
    ));
    let rows = sqlx::query(sql).bind(image.to_string()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(member).collect()
}

pub async fn get(conn: &mut Conn, image: ImageId, project: &ProjectId) -> Result<Option<Member>> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM image_members WHERE image_id = $1 AND project_id = $2"
    ));
    let row = sqlx::query(sql)
        .bind(image.to_string())
        .bind(project.as_str())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(member).transpose()
}

/// The caller holds the image's lock and has looked that there is no such member yet.
pub async fn insert(conn: &mut Conn, member: &Member) -> Result<()> {
    sqlx::query(
        "INSERT INTO image_members (image_id, project_id, status, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(member.image_id.to_string())
    .bind(member.project_id.as_str())
    .bind(member.status.as_str())
    .bind(member.created_at.0)
    .bind(member.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Writes what the member says to the image.
pub async fn update(conn: &mut Conn, member: &Member) -> Result<()> {
    sqlx::query(
        "UPDATE image_members SET status = $3, updated_at = $4 WHERE image_id = $1 AND project_id = $2",
    )
    .bind(member.image_id.to_string())
    .bind(member.project_id.as_str())
    .bind(member.status.as_str())
    .bind(member.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn delete(conn: &mut Conn, image: ImageId, project: &ProjectId) -> Result<()> {
    sqlx::query("DELETE FROM image_members WHERE image_id = $1 AND project_id = $2")
        .bind(image.to_string())
        .bind(project.as_str())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// With its image.
pub(super) async fn delete_all(conn: &mut Conn, image: ImageId) -> Result<()> {
    sqlx::query("DELETE FROM image_members WHERE image_id = $1")
        .bind(image.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
