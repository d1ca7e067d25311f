//! Imports, as they are told of: what was asked, how it goes, and how it ended.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::words::words;
use canopy_types::{Error, ImageId, ProjectId, RequestId, Result, TaskId, Timestamp, UserId};
use sqlx::any::AnyRow;

words! {
    /// A task begins as it is written, so none waits as `pending`.
    TaskStatus { Pending = "pending", Processing = "processing", Success = "success", Failure = "failure" }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub id: TaskId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub request_id: RequestId,
    pub image_id: ImageId,
    /// What clients call its type.
    pub kind: String,
    pub status: TaskStatus,
    /// Why it failed, in words for its owner; empty otherwise.
    pub message: String,
    /// The request that it carries out.
    pub input: serde_json::Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it will be forgotten. None while it runs.
    pub expires_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, project_id, user_id, request_id, image_id, kind, status, message, input, created_at, \
     updated_at, expires_at";

fn task(row: &AnyRow) -> Result<Task> {
    let status = row.text("status")?;
    Ok(Task {
        id: row.parsed("id")?,
        project_id: ProjectId(row.text("project_id")?),
        user_id: UserId(row.text("user_id")?),
        request_id: RequestId(row.text("request_id")?),
        image_id: row.parsed("image_id")?,
        kind: row.text("kind")?,
        status: status
            .parse()
            .map_err(|()| Error::internal("store.corrupt", format!("column status holds {status:?}")))?,
        message: row.text("message")?,
        input: row.json("input")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        expires_at: row.time_opt("expires_at")?,
    })
}

pub async fn insert(conn: &mut Conn, task: &Task) -> Result<()> {
    sqlx::query(
        "INSERT INTO image_tasks (id, project_id, user_id, request_id, image_id, kind, status, message, input, \
         created_at, updated_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(task.id.to_string())
    .bind(task.project_id.as_str())
    .bind(task.user_id.as_str())
    .bind(task.request_id.to_string())
    .bind(task.image_id.to_string())
    .bind(&task.kind)
    .bind(task.status.as_str())
    .bind(&task.message)
    .bind(to_json(&task.input)?)
    .bind(task.created_at.0)
    .bind(task.updated_at.0)
    .bind(task.expires_at.map(|time| time.0))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// How a task ended; one that has ended keeps its end.
pub async fn end(
    conn: &mut Conn,
    id: TaskId,
    status: TaskStatus,
    message: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE image_tasks SET status = $2, message = $3, updated_at = $4, expires_at = $5 \
         WHERE id = $1 AND expires_at IS NULL",
    )
    .bind(id.to_string())
    .bind(status.as_str())
    .bind(message)
    .bind(now.0)
    .bind(expires_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Ends all that still run: they ran in a process that is gone. Answers how many.
pub async fn end_all(conn: &mut Conn, message: &str, now: Timestamp, expires_at: Timestamp) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE image_tasks SET status = 'failure', message = $1, updated_at = $2, expires_at = $3 \
         WHERE expires_at IS NULL",
    )
    .bind(message)
    .bind(now.0)
    .bind(expires_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected())
}

pub async fn get(conn: &mut Conn, id: TaskId) -> Result<Option<Task>> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM image_tasks WHERE id = $1"));
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(task).transpose()
}

/// An image's tasks, newest first.
pub async fn of_image(conn: &mut Conn, image: ImageId, limit: i64) -> Result<Vec<Task>> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM image_tasks WHERE image_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
    ));
    let rows = sqlx::query(sql).bind(image.to_string()).bind(limit).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(task).collect()
}

/// Tasks of all projects, or of one, newest first, after `after`.
pub async fn list(
    conn: &mut Conn,
    project: Option<&ProjectId>,
    status: Option<TaskStatus>,
    after: Option<&Task>,
    limit: i64,
) -> Result<Vec<Task>> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM image_tasks WHERE ($1 = '' OR project_id = $1) AND ($2 = '' OR status = $2) \
         AND ($3 = '' OR created_at < $4 OR (created_at = $4 AND id < $3)) \
         ORDER BY created_at DESC, id DESC LIMIT $5"
    ));
    let rows = sqlx::query(sql)
        .bind(project.map_or("", |project| project.as_str()))
        .bind(status.map_or("", TaskStatus::as_str))
        .bind(after.map_or(String::new(), |task| task.id.to_string()))
        .bind(after.map_or(0, |task| task.created_at.0))
        .bind(limit)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(task).collect()
}

/// Whether there is a task that [`purge`] would forget.
pub async fn any_expired(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM image_tasks WHERE expires_at <= $1")
        .bind(now.0)
        .fetch_one(conn)
        .await
        .map_err(db)?;
    Ok(row.int("n")? > 0)
}

pub async fn purge(conn: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM image_tasks WHERE expires_at <= $1")
        .bind(now.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
