//! For tests: a PostgreSQL database of one's own, and databases as other versions leave them.

use crate::store::db;
use canopy_types::Result;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};

/// Makes an empty database beside the one that `url` names, and answers its URL. `name` is lower-case
/// letters, digits and `_`.
pub async fn create_database(url: &str, name: &str) -> Result<String> {
    sqlx::any::install_default_drivers();
    let mut conn = AnyConnection::connect(url).await.map_err(db)?;
    conn.execute(AssertSqlSafe(format!(
        "CREATE DATABASE {name} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )))
    .await
    .map_err(db)?;
    conn.close().await.map_err(db)?;
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let server = rest.rsplit_once('/').map_or(rest, |(server, _)| server);
    Ok(match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    })
}

pub async fn drop_database(url: &str, name: &str) -> Result<()> {
    let mut conn = AnyConnection::connect(url).await.map_err(db)?;
    conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await.map_err(db)?;
    conn.close().await.map_err(db)
}

/// Makes the schema of an earlier version in an empty database, and writes these statements to it.
pub async fn earlier(url: &str, version: i64, statements: &[String]) -> Result<()> {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.map_err(db)?;
    crate::migrations::run(&pool, version).await?;
    for text in statements {
        sqlx::query(AssertSqlSafe(text.clone())).execute(&pool).await.map_err(db)?;
    }
    pool.close().await;
    Ok(())
}

/// Leaves the schema as a later version of this program would.
pub async fn pretend_newer(store: &crate::Store) -> Result<()> {
    store
        .write("testing.newer", |c| {
            Box::pin(async move {
                let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                           VALUES (999, 'later', true, '', 0)";
                sqlx::query(sql).execute(c).await.map_err(db).map(|_| ())
            })
        })
        .await
}

/// Runs one statement, so that a test can spoil what the program would never write.
pub async fn spoil(store: &crate::Store, sql: String) -> Result<u64> {
    store
        .write("testing.spoil", move |c| {
            let sql = sql.clone();
            Box::pin(async move {
                let spoiled = sqlx::query(AssertSqlSafe(sql)).execute(&mut *c).await.map_err(db)?;
                // As every write of a server does.
                sqlx::query("UPDATE servers SET revision = revision + 1").execute(c).await.map_err(db)?;
                Ok(spoiled.rows_affected())
            })
        })
        .await
}

/// Writes until SQLite finds no more room: the same error as of a full disk, on the writer's connection only.
pub async fn fill(store: &crate::Store) -> Result<()> {
    store.write("testing.fill", |c| Box::pin(fill_up(c))).await
}

async fn fill_up(conn: &mut crate::Conn) -> Result<()> {
    for text in [
        "CREATE TABLE fill (bytes BLOB)",
        "PRAGMA max_page_count = 1",
        "INSERT INTO fill VALUES (zeroblob(10000000))",
    ] {
        sqlx::query(text).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
