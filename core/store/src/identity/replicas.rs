//! Controllers that share a database: each says again and again what it knows, so that who takes something away
//! can wait until all know.

use super::Revision;
use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub id: String,
    /// Counts its signs of life.
    pub beat: i64,
    pub directory: i64,
    pub revoked: i64,
}

impl Replica {
    pub fn knows(&self, newest: Revision) -> bool {
        self.directory >= newest.directory && self.revoked >= newest.revoked
    }
}

pub async fn all(conn: &mut Conn) -> Result<Vec<Replica>> {
    let rows = sqlx::query("SELECT id, beat, directory, revoked FROM replicas ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Replica {
                id: row.text("id")?,
                beat: row.int("beat")?,
                directory: row.int("directory")?,
                revoked: row.int("revoked")?,
            })
        })
        .collect()
}

/// A sign of life, and what is known. Joins those that are known where it is not, or no longer, among them.
pub async fn beat(conn: &mut Conn, id: &str, known: Revision) -> Result<()> {
    sqlx::query(
        "INSERT INTO replicas (id, beat, directory, revoked) VALUES ($1, 1, $2, $3) ON CONFLICT (id) \
         DO UPDATE SET beat = replicas.beat + 1, directory = excluded.directory, revoked = excluded.revoked",
    )
    .bind(id)
    .bind(known.directory)
    .bind(known.revoked)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// It serves no more.
pub async fn leave(conn: &mut Conn, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM replicas WHERE id = $1").bind(id).execute(conn).await.map_err(db)?;
    Ok(())
}

/// Takes one for dead unless it has given a sign of life since.
pub async fn bury(conn: &mut Conn, dead: &Replica) -> Result<()> {
    sqlx::query("DELETE FROM replicas WHERE id = $1 AND beat = $2")
        .bind(dead.id.as_str())
        .bind(dead.beat)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
