//! Rows of `inventories`: how much of a resource class a provider offers, and how much of it is taken.

use crate::Conn;
use crate::rows::{Columns, places, tuples};
use crate::store::db;
use canopy_types::resources::{SHARES_VIA_AGGREGATE, capacity};
use canopy_types::{ProviderId, Result, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    pub provider_id: ProviderId,
    pub class: String,
    pub total: i64,
    pub reserved: i64,
    pub min_unit: i64,
    pub max_unit: i64,
    pub step_size: i64,
    pub allocation_ratio: f64,
    /// Read, never written from here: see [`take`].
    pub used: i64,
    /// The host's agent owns everything but `reserved` and the ratio.
    pub agent: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Inventory {
    /// (total − reserved) × allocation ratio, towards zero.
    pub fn capacity(&self) -> i64 {
        capacity(self.total, self.reserved, self.allocation_ratio)
    }

    /// Whether one allocation may have this size at all.
    pub fn allows(&self, amount: i64) -> bool {
        amount >= self.min_unit && amount <= self.max_unit && amount % self.step_size == 0
    }
}

pub(crate) const COLUMNS: &str = "provider_id, class, total, reserved, min_unit, max_unit, step_size, \
    allocation_ratio, used, agent, created_at, updated_at";

pub(crate) fn inventory(row: &AnyRow) -> Result<Inventory> {
    Ok(Inventory {
        provider_id: row.parsed("provider_id")?,
        class: row.text("class")?,
        total: row.int("total")?,
        reserved: row.int("reserved")?,
        min_unit: row.int("min_unit")?,
        max_unit: row.int("max_unit")?,
        step_size: row.int("step_size")?,
        allocation_ratio: row.try_get("allocation_ratio").map_err(db)?,
        used: row.int("used")?,
        agent: row.flag("agent")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// Those of these providers, or all, by provider and class.
pub async fn list(conn: &mut Conn, only: Option<&[ProviderId]>) -> Result<Vec<Inventory>> {
    let filter = only.map_or(String::new(), |ids| format!("WHERE provider_id IN ({})", places(1, ids.len())));
    let sql = format!("SELECT {COLUMNS} FROM inventories {filter} ORDER BY provider_id, class");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in only.into_iter().flatten() {
        query = query.bind(id.to_string());
    }
    query.fetch_all(conn).await.map_err(db)?.iter().map(inventory).collect()
}

pub async fn of(conn: &mut Conn, provider: ProviderId) -> Result<Vec<Inventory>> {
    list(conn, Some(&[provider])).await
}

/// Adds the row or writes all of it but `used`.
pub async fn put(conn: &mut Conn, inventory: &Inventory) -> Result<()> {
    sqlx::query(
        "INSERT INTO inventories (provider_id, class, total, reserved, min_unit, max_unit, step_size, \
         allocation_ratio, capacity, used, agent, of_host, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, (SELECT host FROM providers WHERE id = $1), $11, $11) \
         ON CONFLICT (provider_id, class) DO UPDATE SET total = $3, reserved = $4, min_unit = $5, max_unit = $6, \
         step_size = $7, allocation_ratio = $8, capacity = $9, agent = $10, updated_at = $11",
    )
    .bind(inventory.provider_id.to_string())
    .bind(&inventory.class)
    .bind(inventory.total)
    .bind(inventory.reserved)
    .bind(inventory.min_unit)
    .bind(inventory.max_unit)
    .bind(inventory.step_size)
    .bind(inventory.allocation_ratio)
    .bind(inventory.capacity())
    .bind(i64::from(inventory.agent))
    .bind(inventory.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// `false` when there was none. Nothing may be allocated from it.
pub async fn delete(conn: &mut Conn, provider: ProviderId, class: &str) -> Result<bool> {
    let gone = sqlx::query("DELETE FROM inventories WHERE provider_id = $1 AND class = $2")
        .bind(provider.to_string())
        .bind(class)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}

/// What is taken of one class.
pub struct Take<'a> {
    pub class: &'a str,
    pub amount: i64,
    /// What was taken before by whoever takes now: it may shrink where there is too much already.
    pub before: i64,
}

/// Takes these amounts of different classes, each of which must be one that the inventory gives, if afterwards no more
/// than the capacity is taken or than was before. After `false` the transaction must not be committed: some may have
/// been taken.
pub async fn take(conn: &mut Conn, provider: ProviderId, takes: &[Take<'_>]) -> Result<bool> {
    if takes.is_empty() {
        return Ok(true);
    }
    let sql = format!(
        "UPDATE inventories SET used = used + w.column2 FROM (VALUES {}) AS w \
         WHERE provider_id = $1 AND class = w.column1 \
         AND (used + w.column2 <= capacity OR used + w.column2 <= w.column3) \
         AND w.column2 >= min_unit AND w.column2 <= max_unit AND w.column2 % step_size = 0",
        tuples(2, takes.len(), 3)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(provider.to_string());
    for take in takes {
        query = query.bind(take.class).bind(take.amount).bind(take.before);
    }
    let taken = query.execute(conn).await.map_err(db)?;
    Ok(taken.rows_affected() == takes.len() as u64)
}

/// Gives back amounts, each of another class or provider.
pub(crate) async fn give_back(conn: &mut Conn, given: &[((ProviderId, &str), i64)]) -> Result<()> {
    let sql = format!(
        "UPDATE inventories SET used = used - w.column3 FROM (VALUES {}) AS w \
         WHERE provider_id = w.column1 AND class = w.column2",
        tuples(1, given.len(), 3)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for ((provider, class), amount) in given {
        query = query.bind(provider.to_string()).bind(*class).bind(*amount);
    }
    query.execute(conn).await.map_err(db)?;
    Ok(())
}

/// Whether any of these classes is offered by more than the hosts themselves: by a provider below one, or by one
/// that shares.
pub async fn beyond_hosts(conn: &mut Conn, classes: &[String]) -> Result<bool> {
    if classes.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT 1 FROM inventories i JOIN providers p ON p.id = i.provider_id \
         WHERE i.of_host = 0 AND i.class IN ({}) AND (EXISTS (SELECT 1 FROM hosts h WHERE h.id = p.root_id) \
         OR EXISTS (SELECT 1 FROM provider_traits t WHERE t.provider_id = p.id AND t.trait = $1)) LIMIT 1",
        places(2, classes.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(SHARES_VIA_AGGREGATE);
    for class in classes {
        query = query.bind(class);
    }
    Ok(query.fetch_optional(conn).await.map_err(db)?.is_some())
}
