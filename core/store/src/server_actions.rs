//! A server's history: one line per operation that was asked of it, and how each ended.
//!
//! An operation that waits for the host carries the number of its power intent, and is finished by the
//! report that satisfies the number. A line lives as long as its server's row, tombstone included.

use crate::Conn;
use crate::rows::{Columns, execute_by};
use crate::servers::ServerRow;
use crate::store::db;
use canopy_types::{Error, HostId, Page, ProjectId, RequestId, Result, ServerId, Timestamp, UserId};
use sqlx::any::AnyRow;

#[derive(Clone, Debug, PartialEq)]
pub struct ServerAction {
    pub server_id: ServerId,
    pub request_id: RequestId,
    pub action: String,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Why it came to nothing.
    pub message: Option<String>,
    /// Where the server was.
    pub host_id: Option<HostId>,
}

impl ServerAction {
    /// When something last happened to the line.
    pub fn updated_at(&self) -> Timestamp {
        self.finished_at.unwrap_or(self.at)
    }
}

/// What of a history is asked for: lines that last changed within a span, both ends included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    pub since: Option<Timestamp>,
    pub before: Option<Timestamp>,
}

/// Adds a line. `waits` is the power intent that ends it; without one it is over already.
pub async fn record(
    conn: &mut Conn,
    server: &ServerRow,
    action: &str,
    (request_id, user_id): (&RequestId, &UserId),
    waits: Option<i64>,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO server_actions (server_id, request_id, action, project_id, user_id, at, power_n, finished_at, \
         host_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (server_id, request_id, action) DO NOTHING",
    )
    .bind(server.id.to_string())
    .bind(&request_id.0)
    .bind(action)
    .bind(server.project_id.as_str())
    .bind(user_id.as_str())
    .bind(at.0)
    .bind(waits)
    .bind(waits.is_none().then_some(at.0))
    .bind(server.host_id.map(|id| id.to_string()))
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Ends what waited for intents up to `power_n`. A message is of the newest of them: those before it were
/// overtaken.
pub async fn finish(
    conn: &mut Conn,
    server: ServerId,
    power_n: i64,
    message: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE server_actions SET finished_at = $3, message = CASE WHEN power_n = $2 THEN $4 ELSE message END \
         WHERE server_id = $1 AND power_n <= $2 AND finished_at IS NULL",
    )
    .bind(server.to_string())
    .bind(power_n)
    .bind(at.0)
    .bind(message)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Ends whatever these servers, which are no more, waited for.
pub async fn finish_all(conn: &mut Conn, servers: &[ServerId], at: Timestamp) -> Result<()> {
    let sql = format!(
        "UPDATE server_actions SET finished_at = {} WHERE server_id IN ($?) AND finished_at IS NULL",
        at.0
    );
    execute_by(conn, &sql, servers).await
}

/// Says why an operation that was over at once came to nothing.
pub async fn fail(
    conn: &mut Conn,
    server: ServerId,
    request: &RequestId,
    action: &str,
    message: &str,
) -> Result<()> {
    let sql =
        "UPDATE server_actions SET message = $4 WHERE server_id = $1 AND request_id = $2 AND action = $3";
    sqlx::query(sql)
        .bind(server.to_string())
        .bind(&request.0)
        .bind(action)
        .bind(message)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// A page of them, newest first; deleted servers' too. The marker is a request.
pub async fn list(conn: &mut Conn, server: ServerId, span: Span, page: &Page) -> Result<Vec<ServerAction>> {
    let after = match &page.marker {
        None => None,
        Some(marker) => {
            let shown: String = marker.chars().take(255).collect();
            let absent = || Error::bad_request("page.marker", format!("Marker {shown} could not be found."));
            Some(get(conn, server, marker).await?.ok_or_else(absent)?)
        }
    };
    let rows = sqlx::query(
        "SELECT * FROM server_actions WHERE server_id = $1 \
         AND COALESCE(finished_at, at) BETWEEN $2 AND $3 AND (at < $4 OR (at = $4 AND request_id < $5)) \
         ORDER BY at DESC, request_id DESC, action LIMIT $6",
    )
    .bind(server.to_string())
    .bind(span.since.map_or(i64::MIN, |at| at.0))
    .bind(span.before.map_or(i64::MAX, |at| at.0))
    .bind(after.as_ref().map_or(i64::MAX, |line| line.at.0))
    .bind(after.as_ref().map_or("", |line| line.request_id.0.as_str()))
    .bind(page.size())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(action).collect()
}

/// The first line that a request made.
pub async fn get(conn: &mut Conn, server: ServerId, request: &str) -> Result<Option<ServerAction>> {
    let row =
        sqlx::query("SELECT * FROM server_actions WHERE server_id = $1 AND request_id = $2 ORDER BY action")
            .bind(server.to_string())
            .bind(request)
            .fetch_optional(conn)
            .await
            .map_err(db)?;
    row.map(|row| action(&row)).transpose()
}

fn action(row: &AnyRow) -> Result<ServerAction> {
    Ok(ServerAction {
        server_id: row.parsed("server_id")?,
        request_id: RequestId(row.text("request_id")?),
        action: row.text("action")?,
        project_id: row.text("project_id")?.into(),
        user_id: row.text("user_id")?.into(),
        at: row.time("at")?,
        finished_at: row.time_opt("finished_at")?,
        message: row.text_opt("message")?,
        host_id: row.text_opt("host_id")?.and_then(|id| id.parse().ok()),
    })
}
