//! Who holds resources, and what: rows of `consumers` and `allocations`.
//!
//! Servers of this cloud and consumers of other services share the tables and are counted alike. A
//! consumer's row exists as long as it holds anything.

use crate::rows::{Columns, execute_by, read_by, tuples};
use crate::store::db;
use crate::{Conn, inventories, providers};
use canopy_types::{ConsumerId, ProjectId, ProviderId, Result, Timestamp, UserId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    pub id: ConsumerId,
    /// A server of this cloud: read-only to everybody else.
    pub server: bool,
    pub project_id: ProjectId,
    pub user_id: UserId,
    /// `INSTANCE` and the like; `None` when nobody said.
    pub kind: Option<String>,
    pub generation: i64,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allocation {
    pub consumer_id: ConsumerId,
    pub provider_id: ProviderId,
    pub class: String,
    pub used: i64,
    pub created_at: Timestamp,
}

fn consumer(row: &AnyRow) -> Result<Consumer> {
    Ok(Consumer {
        id: row.parsed("id")?,
        server: row.flag("server")?,
        project_id: ProjectId(row.text("project_id")?),
        user_id: UserId(row.text("user_id")?),
        kind: row.text_opt("kind")?,
        generation: row.int("generation")?,
        created_at: row.time("created_at")?,
    })
}

fn allocation(row: &AnyRow) -> Result<Allocation> {
    Ok(Allocation {
        consumer_id: row.parsed("consumer_id")?,
        provider_id: row.parsed("provider_id")?,
        class: row.text("class")?,
        used: row.int("used")?,
        created_at: row.time("created_at")?,
    })
}

pub async fn get(conn: &mut Conn, id: ConsumerId) -> Result<Option<Consumer>> {
    let row = sqlx::query("SELECT * FROM consumers WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(consumer).transpose()
}

/// As it was before, with its generation raised and its row held until the transaction ends.
pub async fn lock(conn: &mut Conn, id: ConsumerId) -> Result<Option<Consumer>> {
    let row = sqlx::query("UPDATE consumers SET generation = generation + 1 WHERE id = $1 RETURNING *")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    let found = row.as_ref().map(consumer).transpose()?;
    Ok(found.map(|consumer| Consumer { generation: consumer.generation - 1, ..consumer }))
}

/// `false` when there is one already.
pub async fn insert(conn: &mut Conn, consumer: &Consumer) -> Result<bool> {
    let made = sqlx::query(
        "INSERT INTO consumers (id, server, project_id, user_id, kind, generation, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
    )
    .bind(consumer.id.to_string())
    .bind(i64::from(consumer.server))
    .bind(consumer.project_id.as_str())
    .bind(consumer.user_id.as_str())
    .bind(consumer.kind.as_deref())
    .bind(consumer.generation)
    .bind(consumer.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(made.rows_affected() > 0)
}

/// Whose it is and of what kind.
pub async fn update(conn: &mut Conn, consumer: &Consumer) -> Result<()> {
    sqlx::query("UPDATE consumers SET project_id = $2, user_id = $3, kind = $4 WHERE id = $1")
        .bind(consumer.id.to_string())
        .bind(consumer.project_id.as_str())
        .bind(consumer.user_id.as_str())
        .bind(consumer.kind.as_deref())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Forgets those that hold nothing.
pub async fn forget(conn: &mut Conn, ids: &[ConsumerId]) -> Result<()> {
    let sql = "DELETE FROM consumers WHERE id IN ($?) \
               AND NOT EXISTS (SELECT 1 FROM allocations WHERE consumer_id = consumers.id)";
    execute_by(conn, sql, ids).await
}

/// Whether a server of this cloud has the id, whether or not it holds anything.
pub async fn is_server(conn: &mut Conn, id: ConsumerId) -> Result<bool> {
    let row = sqlx::query("SELECT 1 FROM servers WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    Ok(row.is_some())
}

pub async fn held(conn: &mut Conn, id: ConsumerId) -> Result<Vec<Allocation>> {
    let sql = "SELECT * FROM allocations WHERE consumer_id = $1 ORDER BY provider_id, class";
    let rows = sqlx::query(sql).bind(id.to_string()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(allocation).collect()
}

/// What is allocated from a provider, with each consumer's generation.
pub async fn of_provider(conn: &mut Conn, id: ProviderId) -> Result<Vec<(Allocation, i64)>> {
    let rows = sqlx::query(
        "SELECT a.*, c.generation AS generation FROM allocations a JOIN consumers c ON c.id = a.consumer_id \
         WHERE a.provider_id = $1 ORDER BY a.consumer_id, a.class",
    )
    .bind(id.to_string())
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((allocation(row)?, row.int("generation")?))).collect()
}

/// Rows that one statement writes.
const AT_ONCE: usize = 200;

/// Writes rows whose amounts have been taken from the inventories.
pub async fn allocate(conn: &mut Conn, allocations: &[Allocation]) -> Result<()> {
    for rows in allocations.chunks(AT_ONCE) {
        let sql = format!(
            "INSERT INTO allocations (consumer_id, provider_id, class, used, created_at) VALUES {}",
            tuples(1, rows.len(), 5)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for row in rows {
            query = query
                .bind(row.consumer_id.to_string())
                .bind(row.provider_id.to_string())
                .bind(&row.class)
                .bind(row.used)
                .bind(row.created_at.0);
        }
        query.execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Deletes these rows and gives their amounts back to the inventories, whose providers the caller holds.
pub async fn free(conn: &mut Conn, allocations: &[Allocation]) -> Result<()> {
    let mut by_consumer: BTreeMap<ConsumerId, Vec<&Allocation>> = BTreeMap::new();
    for row in allocations {
        by_consumer.entry(row.consumer_id).or_default().push(row);
    }
    for (consumer, rows) in by_consumer {
        for rows in rows.chunks(AT_ONCE) {
            let sql = format!(
                "DELETE FROM allocations WHERE consumer_id = $1 AND (provider_id, class) IN (VALUES {})",
                tuples(2, rows.len(), 2)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(consumer.to_string());
            for row in rows {
                query = query.bind(row.provider_id.to_string()).bind(&row.class);
            }
            query.execute(&mut *conn).await.map_err(db)?;
        }
    }
    give_back(conn, allocations).await
}

/// One statement changes an inventory once: rows of several consumers of one inventory are one amount.
async fn give_back(conn: &mut Conn, allocations: &[Allocation]) -> Result<()> {
    let mut amounts: BTreeMap<(ProviderId, &str), i64> = BTreeMap::new();
    for row in allocations {
        *amounts.entry((row.provider_id, &row.class)).or_default() += row.used;
    }
    let amounts: Vec<_> = amounts.into_iter().collect();
    for amounts in amounts.chunks(AT_ONCE) {
        inventories::give_back(conn, amounts).await?;
    }
    Ok(())
}

/// Gives back everything that these consumers hold and forgets them. The providers they held from. Safe to run twice.
pub async fn release(conn: &mut Conn, ids: &[ConsumerId], now: Timestamp) -> Result<BTreeSet<ProviderId>> {
    let provider = |row: &AnyRow| row.parsed("provider_id");
    let from = "SELECT DISTINCT provider_id FROM allocations WHERE consumer_id IN ($?)";
    let from: BTreeSet<ProviderId> = read_by(conn, from, ids, provider).await?.into_iter().collect();
    for provider in &from {
        providers::bump(conn, *provider, None, now).await?;
    }
    let freed = "DELETE FROM allocations WHERE consumer_id IN ($?) RETURNING *";
    let freed = read_by(conn, freed, ids, allocation).await?;
    give_back(conn, &freed).await?;
    forget(conn, ids).await?;
    Ok(from)
}

/// Hands everything that `from` holds to another consumer, whose row is made if it has none. Safe to run twice.
pub async fn hand_over(conn: &mut Conn, from: ConsumerId, to: &Consumer) -> Result<()> {
    if !insert(conn, to).await? {
        lock(conn, to.id).await?;
    }
    sqlx::query("UPDATE allocations SET consumer_id = $2 WHERE consumer_id = $1")
        .bind(from.to_string())
        .bind(to.id.to_string())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    forget(conn, &[from]).await
}

/// What a project holds: by kind of consumer (`None`: nobody said) and class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub kind: Option<String>,
    pub class: String,
    pub used: i64,
}

pub async fn usages(conn: &mut Conn, project: &str, user: Option<&str>) -> Result<Vec<Usage>> {
    let sql = "SELECT c.kind AS kind, a.class AS class, CAST(SUM(a.used) AS BIGINT) AS used FROM consumers c \
        JOIN allocations a ON a.consumer_id = c.id WHERE c.project_id = $1 AND ($2 = '' OR c.user_id = $2) \
        GROUP BY c.kind, a.class ORDER BY c.kind, a.class";
    let rows = sqlx::query(sql).bind(project).bind(user.unwrap_or("")).fetch_all(conn).await.map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Usage { kind: row.text_opt("kind")?, class: row.text("class")?, used: row.int("used")? })
        })
        .collect()
}

/// How many consumers of each kind a project has.
pub async fn counts(
    conn: &mut Conn,
    project: &str,
    user: Option<&str>,
) -> Result<Vec<(Option<String>, i64)>> {
    let sql = "SELECT kind, COUNT(*) AS n FROM consumers WHERE project_id = $1 AND ($2 = '' OR user_id = $2) \
        GROUP BY kind ORDER BY kind";
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .bind(project)
        .bind(user.unwrap_or(""))
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(|row| Ok((row.text_opt("kind")?, row.try_get("n").map_err(db)?))).collect()
}
