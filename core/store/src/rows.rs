//! Reading columns: every stored value is checked on its way out, and a bad one names its column.

use crate::Conn;
use canopy_types::{Error, Result, Timestamp};
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::fmt::Display;
use std::str::FromStr;

pub trait Columns {
    fn text(&self, name: &str) -> Result<String>;
    fn text_opt(&self, name: &str) -> Result<Option<String>>;
    fn int(&self, name: &str) -> Result<i64>;
    fn int_opt(&self, name: &str) -> Result<Option<i64>>;
    fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.int(name)? != 0)
    }
    fn time(&self, name: &str) -> Result<Timestamp> {
        Ok(Timestamp(self.int(name)?))
    }
    fn time_opt(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.int_opt(name)?.map(Timestamp))
    }
    fn parsed<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Error::internal("store.corrupt", format!("column {name} holds {text:?}")))
    }
    fn parsed_opt<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.text_opt(name)?
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::internal("store.corrupt", format!("column {name} holds {text:?}")))
            })
            .transpose()
    }
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::internal("store.corrupt", format!("column {name}: {e}")))
    }
    fn json_opt<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.text_opt(name)?
            .map(|text| {
                serde_json::from_str(&text)
                    .map_err(|e| Error::internal("store.corrupt", format!("column {name}: {e}")))
            })
            .transpose()
    }
}

impl Columns for AnyRow {
    fn text(&self, name: &str) -> Result<String> {
        self.try_get(name).map_err(crate::store::db)
    }
    fn text_opt(&self, name: &str) -> Result<Option<String>> {
        self.try_get(name).map_err(crate::store::db)
    }
    fn int(&self, name: &str) -> Result<i64> {
        self.try_get(name).map_err(crate::store::db)
    }
    fn int_opt(&self, name: &str) -> Result<Option<i64>> {
        self.try_get(name).map_err(crate::store::db)
    }
}

/// To JSON text for a column. Our own types always serialise.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("store.serialise", e))
}

/// `$1, $2, …` for that many values, from `$from` on.
pub(crate) fn places(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// `($1, $2), ($3, $4), …`: that many rows of so many values, from `$from` on. As a table its columns are `column1`,
/// `column2`, … in both engines.
pub(crate) fn tuples(from: usize, count: usize, width: usize) -> String {
    (0..count).map(|row| format!("({})", places(from + row * width, width))).collect::<Vec<_>>().join(", ")
}

/// Ids that one statement names.
const AT_ONCE: usize = 500;

/// Reads what a statement answers for these ids, which stand in it where `$?` does, in no order.
pub(crate) async fn read_by<T: Display, R>(
    conn: &mut Conn,
    statement: &str,
    ids: &[T],
    read: impl Fn(&AnyRow) -> Result<R>,
) -> Result<Vec<R>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        let sql = statement.replace("$?", &places(1, ids.len()));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for id in ids {
            query = query.bind(id.to_string());
        }
        for row in query.fetch_all(&mut *conn).await.map_err(crate::store::db)? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// The same of a statement that answers nothing.
pub(crate) async fn execute_by<T: Display>(conn: &mut Conn, statement: &str, ids: &[T]) -> Result<()> {
    read_by(conn, statement, ids, |_| Ok(())).await.map(|_| ())
}
