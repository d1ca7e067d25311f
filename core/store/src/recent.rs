//! Servers that were read lately, so that a list reads two columns of a row and not forty.
//!
//! Every committed write of a row has its own revision, and only committed rows come here: a row with the
//! revision that a list has just seen is the row that the list would have read.

use crate::Conn;
use crate::rows::{Columns, read_by};
use crate::servers::{ServerRow, server};
use canopy_types::{Error, Result, ServerId};
use sqlx::any::AnyRow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most rows that are kept.
const ROWS: usize = 4_096;
/// A row with more user data than this is read anew, bytes.
const LARGE: usize = 4_096;

/// A row as it was with this revision.
type Known = HashMap<ServerId, (i64, Arc<ServerRow>)>;

/// A server, and the revision it was seen with.
pub(crate) type Place = (ServerId, i64);

/// The places of servers in an order, as one text, which [`places`] reads: a row of its own for each would cost more
/// than all else of a list.
pub(crate) fn aggregate(order: &str) -> String {
    format!("string_agg(id || ' ' || revision, ',' ORDER BY {order}) AS places")
}

/// Reads the one row of a statement that selects [`aggregate`].
pub(crate) fn places(row: &AnyRow) -> Result<Vec<Place>> {
    let text = row.text_opt("places")?.unwrap_or_default();
    let place = |text: &str| -> Option<Place> {
        let (id, revision) = text.split_once(' ')?;
        Some((id.parse().ok()?, revision.parse().ok()?))
    };
    let corrupt = || Error::internal("store.corrupt", "the id or revision of a server is none");
    text.split_terminator(',').map(|text| place(text).ok_or_else(corrupt)).collect()
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Recent {
    rows: Arc<Mutex<Known>>,
}

impl Recent {
    /// The servers with these revisions, in this order. Those that are not known are read and learned; `None` when
    /// one of them has another revision by now.
    pub(crate) async fn rows(
        &self,
        conn: &mut Conn,
        wanted: &[Place],
    ) -> Result<Option<Vec<Arc<ServerRow>>>> {
        let mut found = self.known(wanted);
        let unknown = wanted.iter().zip(&found).filter(|(_, row)| row.is_none()).map(|((id, _), _)| *id);
        let unknown: Vec<ServerId> = unknown.collect();
        let whole = |row: &AnyRow| Ok((row.int("revision")?, Arc::new(server(row)?)));
        let read = read_by(conn, "SELECT * FROM servers WHERE id IN ($?)", &unknown, whole).await?;
        self.learn(&read);
        let read = read.into_iter().map(|(revision, row)| ((row.id, revision), row));
        let read: HashMap<(ServerId, i64), Arc<ServerRow>> = read.collect();
        for (place, row) in wanted.iter().zip(&mut found).filter(|(_, row)| row.is_none()) {
            *row = read.get(place).cloned();
        }
        Ok(found.into_iter().collect())
    }

    /// These servers, in no order; ids without a row are left out. Outside of writes only.
    pub async fn of(&self, conn: &mut Conn, ids: &[ServerId]) -> Result<Vec<Arc<ServerRow>>> {
        let place = |row: &AnyRow| Ok((row.parsed("id")?, row.int("revision")?));
        let places = read_by(conn, "SELECT id, revision FROM servers WHERE id IN ($?)", ids, place).await?;
        if let Some(rows) = self.rows(conn, &places).await? {
            return Ok(rows);
        }
        // One changed between the statements: all in one, then.
        read_by(conn, "SELECT * FROM servers WHERE id IN ($?)", ids, |row| server(row).map(Arc::new)).await
    }

    /// The rows that are known with these revisions, each in its place.
    fn known(&self, wanted: &[(ServerId, i64)]) -> Vec<Option<Arc<ServerRow>>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |(id, revision): &(ServerId, i64)| {
            rows.get(id).filter(|(known, _)| known == revision).map(|(_, row)| row.clone())
        };
        wanted.iter().map(known).collect()
    }

    /// Takes up rows that were read outside of any write. Where there is no room, any other goes.
    fn learn(&self, read: &[(i64, Arc<ServerRow>)]) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (revision, row) in read {
            if row.user_data.as_ref().is_some_and(|data| data.len() > LARGE) {
                continue;
            }
            if rows.len() >= ROWS
                && !rows.contains_key(&row.id)
                && let Some(other) = rows.keys().next().copied()
            {
                rows.remove(&other);
            }
            rows.insert(row.id, (*revision, row.clone()));
        }
    }
}
