//! The append-only record of what changed: feeds agents, caches and watchers.
//!
//! Read gap-free. SQLite has one writer, so revisions appear in order. PostgreSQL hands a revision out
//! before its transaction commits, so a reader stops below the oldest running transaction.

use crate::store::db;
use crate::{Conn, dialect};
use canopy_types::{HostId, ProjectId, Result, Timestamp};
use sqlx::{AssertSqlSafe, Row};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent<'a> {
    pub at: Timestamp,
    /// e.g. `server.create`, `port.delete`.
    pub kind: &'a str,
    pub project_id: &'a ProjectId,
    /// Id of what changed.
    pub subject: String,
    /// The host that this concerns.
    pub host_id: Option<HostId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: i64,
    pub at: Timestamp,
    pub kind: String,
    pub project_id: ProjectId,
    pub subject: String,
    pub host_id: Option<HostId>,
}

pub async fn append(conn: &mut Conn, event: &NewEvent<'_>) -> Result<i64> {
    let sql = format!(
        "INSERT INTO events (revision, txid, at, kind, project_id, subject, host_id, data) \
         VALUES ({}, $1, $2, $3, $4, $5, '{{}}') RETURNING revision",
        dialect::next_event(dialect::engine(conn))
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(event.at.0)
        .bind(event.kind)
        .bind(event.project_id.as_str())
        .bind(&event.subject)
        .bind(event.host_id.map(|id| id.to_string()))
        .fetch_one(conn)
        .await
        .map_err(db)?;
    row.try_get(0).map_err(db)
}

/// How far a follower has read. PostgreSQL hands revisions out before it commits, and a transaction may take a
/// later one than another that began after it; in the order of (transaction, revision) none is passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub txid: i64,
    pub revision: i64,
}

/// Where a follower begins that wants only what comes later.
pub async fn head(conn: &mut Conn) -> Result<Cursor> {
    let sql = format!(
        "SELECT txid, revision FROM events WHERE {} ORDER BY txid DESC, revision DESC LIMIT 1",
        dialect::visible_events(dialect::engine(conn))
    );
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_optional(conn).await.map_err(db)?;
    let cursor = |row: sqlx::any::AnyRow| {
        Ok(Cursor { txid: row.try_get(0).map_err(db)?, revision: row.try_get(1).map_err(db)? })
    };
    row.map_or(Ok(Cursor::default()), cursor)
}

/// At most `limit` events after the cursor, none left out, and where to go on.
pub async fn follow(conn: &mut Conn, since: Cursor, limit: i64) -> Result<(Vec<Event>, Cursor)> {
    let sql = format!(
        "SELECT revision, at, kind, project_id, subject, host_id, txid FROM events \
         WHERE (txid > $1 OR (txid = $1 AND revision > $2)) AND {} ORDER BY txid, revision LIMIT $3",
        dialect::visible_events(dialect::engine(conn))
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(since.txid)
        .bind(since.revision)
        .bind(limit)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    let mut reached = since;
    if let Some(last) = rows.last() {
        reached = Cursor { txid: last.try_get(6).map_err(db)?, revision: last.try_get(0).map_err(db)? };
    }
    Ok((rows.iter().map(event).collect::<Result<_>>()?, reached))
}

/// At most `limit` events after `since`, in order, without a gap.
pub async fn after(conn: &mut Conn, since: i64, limit: i64) -> Result<Vec<Event>> {
    let sql = format!(
        "SELECT revision, at, kind, project_id, subject, host_id FROM events \
         WHERE revision > $1 AND {} ORDER BY revision LIMIT $2",
        dialect::visible_events(dialect::engine(conn))
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(since).bind(limit).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(event).collect()
}

fn event(row: &sqlx::any::AnyRow) -> Result<Event> {
    Ok(Event {
        revision: row.try_get(0).map_err(db)?,
        at: Timestamp(row.try_get(1).map_err(db)?),
        kind: row.try_get(2).map_err(db)?,
        project_id: ProjectId(row.try_get(3).map_err(db)?),
        subject: row.try_get(4).map_err(db)?,
        host_id: row.try_get::<Option<String>, _>(5).map_err(db)?.and_then(|s| s.parse().ok()),
    })
}
