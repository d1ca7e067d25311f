//! Installed plugins, the slots that say which of them is in force, and the two bounded records beside them.

use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::{Result, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Lines of the log, of all kinds together.
pub const LOG: i64 = 5_000;
/// Differences, of all kinds together.
pub const DIFFERENCES: i64 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// sha256 of the component, lower-case hex.
    pub digest: String,
    pub kind: String,
    pub name: String,
    pub version: String,
    /// `plugin.toml` as given.
    pub manifest: String,
    /// Bytes of the component.
    pub size: i64,
    /// Whether all its parts are here.
    pub complete: bool,
    /// The operator's settings, a JSON object.
    pub config: String,
    pub installed_at: Timestamp,
    pub installed_by: String,
}

fn plugin(row: &AnyRow) -> Result<Plugin> {
    Ok(Plugin {
        digest: row.text("digest")?,
        kind: row.text("kind")?,
        name: row.text("name")?,
        version: row.text("version")?,
        manifest: row.text("manifest")?,
        size: row.int("size")?,
        complete: row.flag("complete")?,
        config: row.text("config")?,
        installed_at: row.time("installed_at")?,
        installed_by: row.text("installed_by")?,
    })
}

/// `false` when the digest is there already.
pub async fn insert(conn: &mut Conn, new: &Plugin) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO plugins (digest, kind, name, version, manifest, size, complete, config, installed_at, installed_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (digest) DO NOTHING",
    )
    .bind(&new.digest)
    .bind(&new.kind)
    .bind(&new.name)
    .bind(&new.version)
    .bind(&new.manifest)
    .bind(new.size)
    .bind(i64::from(new.complete))
    .bind(&new.config)
    .bind(new.installed_at.0)
    .bind(&new.installed_by)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// One part; writing it twice is the same as once.
pub async fn put_part(conn: &mut Conn, digest: &str, number: i64, bytes: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO plugin_parts (digest, number, bytes) VALUES ($1, $2, $3) \
         ON CONFLICT (digest, number) DO NOTHING",
    )
    .bind(digest)
    .bind(number)
    .bind(bytes)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn part(conn: &mut Conn, digest: &str, number: i64) -> Result<Option<String>> {
    let row = sqlx::query("SELECT bytes FROM plugin_parts WHERE digest = $1 AND number = $2")
        .bind(digest)
        .bind(number)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(|row| row.text("bytes")).transpose()
}

/// All its parts are here.
pub async fn complete(conn: &mut Conn, digest: &str) -> Result<()> {
    sqlx::query("UPDATE plugins SET complete = 1 WHERE digest = $1")
        .bind(digest)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// `false` when it is gone.
pub async fn set_config(conn: &mut Conn, digest: &str, config: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE plugins SET config = $2 WHERE digest = $1")
        .bind(digest)
        .bind(config)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// By kind, name and time. There are few: [`count`] is bounded by who inserts.
pub async fn all(conn: &mut Conn) -> Result<Vec<Plugin>> {
    let sql = "SELECT * FROM plugins ORDER BY kind, name, installed_at, digest";
    let rows = sqlx::query(sql).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(plugin).collect()
}

pub async fn count(conn: &mut Conn) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM plugins").fetch_one(conn).await.map_err(db)?;
    row.try_get(0).map_err(db)
}

pub async fn get(conn: &mut Conn, digest: &str) -> Result<Option<Plugin>> {
    let row = sqlx::query("SELECT * FROM plugins WHERE digest = $1")
        .bind(digest)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(plugin).transpose()
}

/// Whether it is installed whole; it then stays so until the transaction ends.
pub async fn hold(conn: &mut Conn, digest: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE plugins SET name = name WHERE digest = $1 AND complete = 1")
        .bind(digest)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

pub async fn delete(conn: &mut Conn, digest: &str) -> Result<()> {
    for sql in ["DELETE FROM plugin_parts WHERE digest = $1", "DELETE FROM plugins WHERE digest = $1"] {
        sqlx::query(sql).bind(digest).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// (kind, revision, document) of every kind that has a row.
pub async fn slots(conn: &mut Conn) -> Result<Vec<(String, i64, String)>> {
    let rows = sqlx::query("SELECT * FROM plugin_slots ORDER BY kind").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.text("kind")?, row.int("revision")?, row.text("document")?))).collect()
}

/// Writes revision `from` + 1; `false` when the row is not at `from` (0: not there).
pub async fn set_slot(conn: &mut Conn, kind: &str, from: i64, document: &str) -> Result<bool> {
    let sql = if from == 0 {
        "INSERT INTO plugin_slots (kind, revision, document) VALUES ($1, $2 + 1, $3) ON CONFLICT (kind) DO NOTHING"
    } else {
        "UPDATE plugin_slots SET revision = $2 + 1, document = $3 WHERE kind = $1 AND revision = $2"
    };
    let done = sqlx::query(sql).bind(kind).bind(from).bind(document).execute(conn).await.map_err(db)?;
    Ok(done.rows_affected() > 0)
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// 0 until it is written.
    pub number: i64,
    pub at: Timestamp,
    pub kind: String,
    /// Digest, `start` or `built-in`.
    pub plugin: String,
    /// `install`, `activate`, `demote`, `fault`, …
    pub what: String,
    /// User id, or the controller's own doing: empty.
    pub actor: String,
    pub message: String,
}

/// Appends, and removes what is beyond the bound.
pub async fn log(conn: &mut Conn, line: &Line) -> Result<()> {
    let number = sequences::next(conn, "plugin_log").await?;
    sqlx::query(
        "INSERT INTO plugin_log (number, at, kind, plugin, what, actor, message) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(number)
    .bind(line.at.0)
    .bind(&line.kind)
    .bind(&line.plugin)
    .bind(&line.what)
    .bind(&line.actor)
    .bind(&line.message)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    sqlx::query("DELETE FROM plugin_log WHERE number <= $1")
        .bind(number - LOG)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Newest first, below `before`; of one kind or plugin where given.
pub async fn lines(
    conn: &mut Conn,
    kind: Option<&str>,
    plugin: Option<&str>,
    before: i64,
    limit: i64,
) -> Result<Vec<Line>> {
    let rows = sqlx::query(
        "SELECT * FROM plugin_log WHERE number < $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR plugin = $3) \
         ORDER BY number DESC LIMIT $4",
    )
    .bind(before)
    .bind(kind.unwrap_or_default())
    .bind(plugin.unwrap_or_default())
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    let line = |row: &AnyRow| {
        Ok(Line {
            number: row.int("number")?,
            at: row.time("at")?,
            kind: row.text("kind")?,
            plugin: row.text("plugin")?,
            what: row.text("what")?,
            actor: row.text("actor")?,
            message: row.text("message")?,
        })
    };
    rows.iter().map(line).collect()
}

/// One question that a shadow answered otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// 0 until it is written.
    pub number: i64,
    pub at: Timestamp,
    pub kind: String,
    /// Digests, or `start` and `built-in`.
    pub active: String,
    pub shadow: String,
    /// What was asked: a decision's id, a project and its charges, a host.
    pub subject: String,
    pub was: String,
    pub would: String,
}

/// Appends, and removes what is beyond the bound.
pub async fn add_differences(conn: &mut Conn, differences: &[Difference]) -> Result<()> {
    let mut number = 0;
    for difference in differences {
        number = sequences::next(conn, "plugin_difference").await?;
        sqlx::query(
            "INSERT INTO plugin_differences (number, at, kind, active, shadow, subject, was, would) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(number)
        .bind(difference.at.0)
        .bind(&difference.kind)
        .bind(&difference.active)
        .bind(&difference.shadow)
        .bind(&difference.subject)
        .bind(&difference.was)
        .bind(&difference.would)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    }
    sqlx::query("DELETE FROM plugin_differences WHERE number <= $1")
        .bind(number - DIFFERENCES)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Newest first, below `before`, of one kind.
pub async fn differences(conn: &mut Conn, kind: &str, before: i64, limit: i64) -> Result<Vec<Difference>> {
    let rows = sqlx::query(
        "SELECT * FROM plugin_differences WHERE number < $1 AND kind = $2 ORDER BY number DESC LIMIT $3",
    )
    .bind(before)
    .bind(kind)
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    let difference = |row: &AnyRow| {
        Ok(Difference {
            number: row.int("number")?,
            at: row.time("at")?,
            kind: row.text("kind")?,
            active: row.text("active")?,
            shadow: row.text("shadow")?,
            subject: row.text("subject")?,
            was: row.text("was")?,
            would: row.text("would")?,
        })
    };
    rows.iter().map(difference).collect()
}
