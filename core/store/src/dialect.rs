//! What SQLite and PostgreSQL do differently, all of it.

use canopy_types::{Error, Kind};

/// The one writer: durable at every commit. What it needs to roll back a savepoint is in memory, not in a file.
pub const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000";
pub const SQLITE_READ_PRAGMAS: &str = "PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA case_sensitive_like = ON; PRAGMA cache_size = -16000";
pub const POSTGRES_SETUP: &str = "SET default_transaction_isolation = 'read committed'; SET statement_timeout = '15s'; SET lock_timeout = '10s'";

/// What only PostgreSQL needs beside the common schema.
pub const POSTGRES_SCHEMA: &str = "CREATE SEQUENCE IF NOT EXISTS event_revision";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

pub fn engine(conn: &crate::Conn) -> Engine {
    if conn.backend_name() == "SQLite" { Engine::Sqlite } else { Engine::Postgres }
}

/// The next event's revision and transaction id, as values of its row. PostgreSQL hands out numbers before commits, so
/// a reader there must stop below the oldest running transaction (see [`visible_events`]).
pub fn next_event(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "(SELECT COALESCE(MAX(revision), 0) + 1 FROM events), 0",
        Engine::Postgres => "nextval('event_revision'), pg_current_xact_id()::text::bigint",
    }
}

/// Ends a statement whose rows nobody else may change before the transaction has ended. SQLite's one writer holds
/// all of them.
pub fn for_update(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "",
        Engine::Postgres => " FOR UPDATE",
    }
}

/// Opens a transaction in which all reads see the same commits.
pub fn begin_snapshot(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "BEGIN DEFERRED",
        Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    }
}

/// A whole number in a column of JSON text, by its key.
pub fn json_number(engine: Engine, column: &str, key: &str) -> String {
    match engine {
        Engine::Sqlite => format!("json_extract({column}, '$.{key}')"),
        Engine::Postgres => format!("CAST(CAST({column} AS json) ->> '{key}' AS BIGINT)"),
    }
}

/// Condition under which an event may be read without a gap.
pub fn visible_events(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "1 = 1",
        Engine::Postgres => "txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
    }
}

/// A failure that running the same transaction again may mend.
pub fn retryable(error: &Error) -> bool {
    error.code == "store.serialization"
}

pub fn classify(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(inner) => {
            let code = inner.code().unwrap_or_default().into_owned();
            if code == "40001" || code == "40P01" || code == "55P03" {
                return Error::new(Kind::Unavailable, "store.serialization", BUSY).with_source(error);
            }
            if inner.is_unique_violation() {
                return Error::conflict("store.duplicate", "It exists already.").with_source(error);
            }
            if inner.is_foreign_key_violation() {
                return Error::conflict("store.in_use", "It is still in use.").with_source(error);
            }
            // character_not_in_repertoire: PostgreSQL keeps no NUL in text.
            if code == "22021" {
                return Error::bad_request("store.text", "A text in the request holds a NUL character.")
                    .with_source(error);
            }
            // SQLITE_FULL, disk_full
            if code == "13" || code == "53100" {
                return Error::new(
                    Kind::StorageFull,
                    "store.full",
                    "The database's disk is full. Free space, then try again: nothing was changed.",
                )
                .with_source(error);
            }
            // SQLITE_BUSY, too_many_connections, cannot_connect_now, admin_shutdown, a statement past its time
            if matches!(code.as_str(), "5" | "53300" | "57P03" | "57P01" | "57014") {
                return Error::unavailable("store.unavailable", BUSY).with_source(error);
            }
            Error::internal("store.failed", error)
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
            Error::unavailable("store.unavailable", BUSY).with_source(error)
        }
        _ => Error::internal("store.failed", error),
    }
}

const BUSY: &str = "The database does not answer at the moment. Try again in a few seconds.";
