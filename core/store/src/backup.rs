//! Copies of a SQLite database that is in use, and what a copy needs before it is served again.
//!
//! PostgreSQL has its own tools for this, which do more than we could.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{Error, Result};
use sqlx::{AnyConnection, Connection, Executor};
use std::collections::BTreeSet;
use std::path::Path;

/// What restored hosts' revisions are raised by: more than any host can have gone on since the backup.
const AHEAD: i64 = 1_000_000_000;

/// Writes all that is committed now to a new file, while others go on writing. One snapshot, and compact.
pub async fn snapshot(source: &Path, target: &Path) -> Result<()> {
    let mut conn = open(source, "rw").await?;
    conn.execute("PRAGMA busy_timeout = 5000").await.map_err(db)?;
    sqlx::query("VACUUM INTO $1").bind(text(target)?).execute(&mut conn).await.map_err(db)?;
    conn.close().await.map_err(db)
}

/// Refuses a damaged file. Answers which blobs the images and servers in it need, by digest.
pub async fn inspect(file: &Path) -> Result<BTreeSet<String>> {
    let mut conn = open(file, "ro").await?;
    let row = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut conn).await.map_err(db)?;
    let found = row.text("integrity_check")?;
    if found != "ok" {
        return Err(Error::bad_request("backup.damaged", format!("{} is damaged: {found}", file.display())));
    }
    let digests = digests(&mut conn).await?;
    conn.close().await.map_err(db)?;
    Ok(digests)
}

/// Makes the states that hosts are told newer than any they have been told: what they did after the backup
/// is not what is wanted now.
pub async fn put_ahead(file: &Path) -> Result<()> {
    let mut conn = open(file, "rw").await?;
    sqlx::query("UPDATE hosts SET revision = revision + $1")
        .bind(AHEAD)
        .execute(&mut conn)
        .await
        .map_err(db)?;
    conn.close().await.map_err(db)
}

async fn digests(conn: &mut Conn) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for row in sqlx::query("SELECT digest FROM images WHERE digest IS NOT NULL")
        .fetch_all(&mut *conn)
        .await
        .map_err(db)?
    {
        found.insert(row.text("digest")?);
    }
    // Servers name blobs inside JSON: any text there that looks like a digest is taken for one.
    for row in sqlx::query("SELECT image FROM servers WHERE deleted_at IS NULL AND image IS NOT NULL")
        .fetch_all(conn)
        .await
        .map_err(db)?
    {
        let image = row.text("image")?;
        let words = image.split(|c: char| !c.is_ascii_hexdigit());
        found.extend(words.filter(|word| word.len() == 64).map(str::to_owned));
    }
    Ok(found)
}

async fn open(path: &Path, mode: &str) -> Result<AnyConnection> {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&format!("sqlite:{}?mode={mode}", text(path)?)).await.map_err(|e| {
        Error::unavailable("backup.database", format!("Cannot open {}.", path.display())).with_source(e)
    })
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::bad_request("backup.path", format!("{}: the path must be UTF-8.", path.display()))
    })
}
