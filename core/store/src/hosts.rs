//! Hosts, their inventories, and claims on them.
//!
//! A claim commits on capacity, not on a generation: `used + want ≤ capacity` in the very UPDATE, so two
//! claims on one host conflict only when it is full. A host's `revision` rises with every write that
//! concerns it; its agent pulls desired state above the revision it has.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::resources::Amounts;
use canopy_types::{HostId, NetworkId, Result, ServerId, Timestamp};
use sqlx::Row;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    pub id: HostId,
    pub number: i64,
    pub name: String,
    pub zone: String,
    /// An operator has disabled it, and this is why ('' without a reason).
    pub closed: Option<String>,
    /// An operator says that it is down, whatever its agent says.
    pub forced_down: bool,
    pub hypervisor_type: String,
    pub hypervisor_version: i64,
    pub acceleration: String,
    pub revision: i64,
    pub generation: i64,
    pub seen_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRow {
    pub host_id: HostId,
    pub class: String,
    pub total: i64,
    pub reserved: i64,
    /// Thousandths.
    pub allocation_ratio: i64,
    pub used: i64,
}

impl InventoryRow {
    /// (total − reserved) × allocation ratio, rounded down; never negative.
    pub fn capacity(&self) -> i64 {
        let usable = i128::from(self.total.saturating_sub(self.reserved).max(0));
        i64::try_from(usable * i128::from(self.allocation_ratio) / 1_000).unwrap_or(i64::MAX)
    }
}

/// What an agent says of its host at each start. `reserved` and ratios stay as the operator set them.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    pub name: &'a str,
    pub zone: &'a str,
    pub hypervisor_type: &'a str,
    pub hypervisor_version: i64,
    pub acceleration: &'a str,
    /// (class, total, reserved and ratio for a new row)
    pub inventory: &'a [(&'a str, i64, i64, i64)],
}

/// Adds the host or refreshes what its agent owns.
pub async fn register(conn: &mut Conn, registration: &Registration<'_>, now: Timestamp) -> Result<HostRow> {
    let known = by_name(conn, registration.name).await?;
    let id = match &known {
        Some(host) => host.id,
        None => HostId::random(),
    };
    let number = match &known {
        Some(host) => host.number,
        None => crate::sequences::next(conn, "host").await?,
    };
    sqlx::query(
        "INSERT INTO hosts (id, number, name, zone, closed, hypervisor_type, hypervisor_version, acceleration, \
         revision, generation, seen_at, created_at) VALUES ($1, $2, $3, $4, NULL, $5, $6, $7, 1, 0, $8, $8) \
         ON CONFLICT (name) DO UPDATE SET hypervisor_type = $5, hypervisor_version = $6, acceleration = $7, \
         revision = hosts.revision + 1, seen_at = $8",
    )
    .bind(id.to_string())
    .bind(number)
    .bind(registration.name)
    .bind(registration.zone)
    .bind(registration.hypervisor_type)
    .bind(registration.hypervisor_version)
    .bind(registration.acceleration)
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    for (class, total, reserved, ratio) in registration.inventory {
        sqlx::query(
            "INSERT INTO inventories (host_id, class, total, reserved, allocation_ratio, used) \
             VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (host_id, class) DO UPDATE SET total = $3",
        )
        .bind(id.to_string())
        .bind(*class)
        .bind(*total)
        .bind(*reserved)
        .bind(*ratio)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    }
    by_name(conn, registration.name).await?.ok_or_else(|| {
        canopy_types::Error::internal("store.host_lost", "a host registered a moment ago is gone")
    })
}

pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<HostRow>> {
    let row = sqlx::query("SELECT * FROM hosts WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map(|row| host(&row)).transpose()
}

pub async fn get(conn: &mut Conn, id: HostId) -> Result<Option<HostRow>> {
    let row = sqlx::query("SELECT * FROM hosts WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map(|row| host(&row)).transpose()
}

/// Every host, in registration order, with its inventories.
pub async fn all(conn: &mut Conn) -> Result<(Vec<HostRow>, Vec<InventoryRow>)> {
    let hosts = sqlx::query("SELECT * FROM hosts ORDER BY number").fetch_all(&mut *conn).await.map_err(db)?;
    let inventories =
        sqlx::query("SELECT * FROM inventories ORDER BY host_id, class").fetch_all(conn).await.map_err(db)?;
    let inventories = inventories
        .iter()
        .map(|row| {
            Ok(InventoryRow {
                host_id: row.parsed("host_id")?,
                class: row.text("class")?,
                total: row.int("total")?,
                reserved: row.int("reserved")?,
                allocation_ratio: row.int("allocation_ratio")?,
                used: row.int("used")?,
            })
        })
        .collect::<Result<_>>()?;
    Ok((hosts.iter().map(host).collect::<Result<_>>()?, inventories))
}

/// The agent was heard.
pub async fn seen(conn: &mut Conn, id: HostId, generation: i64, now: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE hosts SET seen_at = $2, generation = CASE WHEN generation < $3 THEN $3 ELSE generation END \
         WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(now.0)
    .bind(generation)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Stops new servers from coming here (`Some`, with the reason or ''), or lets them come again.
pub async fn set_closed(conn: &mut Conn, id: HostId, closed: Option<&str>) -> Result<()> {
    sqlx::query("UPDATE hosts SET closed = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(closed)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Counts the host as down, whatever its agent says, or believes the agent again.
pub async fn set_forced_down(conn: &mut Conn, id: HostId, down: bool) -> Result<()> {
    sqlx::query("UPDATE hosts SET forced_down = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(i64::from(down))
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Something that this host should have has changed.
pub async fn touch(conn: &mut Conn, id: HostId) -> Result<()> {
    sqlx::query("UPDATE hosts SET revision = revision + 1 WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// The same for every host that has a port on this network. Locks in id order, as claims do.
pub async fn touch_network(conn: &mut Conn, id: NetworkId) -> Result<()> {
    let rows = sqlx::query(
        "SELECT DISTINCT host_id FROM ports WHERE network_id = $1 AND host_id IS NOT NULL ORDER BY host_id",
    )
    .bind(id.to_string())
    .fetch_all(&mut *conn)
    .await
    .map_err(db)?;
    for row in rows {
        let host: HostId = row.parsed("host_id")?;
        touch(conn, host).await?;
    }
    Ok(())
}

pub async fn revision(conn: &mut Conn, id: HostId) -> Result<Option<i64>> {
    let row = sqlx::query("SELECT revision FROM hosts WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map(|row| row.try_get(0).map_err(db)).transpose()
}

/// Takes `amounts` from the host for `consumer`, all or nothing (the caller rolls back on `false`).
/// Classes are taken in order, so concurrent claims lock in the same order.
pub async fn claim(conn: &mut Conn, id: HostId, consumer: ServerId, amounts: &Amounts) -> Result<bool> {
    for (class, want) in amounts {
        if *want == 0 {
            continue;
        }
        let taken = sqlx::query(
            "UPDATE inventories SET used = used + $3 WHERE host_id = $1 AND class = $2 \
             AND used + $3 <= ((total - reserved) * allocation_ratio) / 1000",
        )
        .bind(id.to_string())
        .bind(class)
        .bind(*want)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("INSERT INTO allocations (consumer_id, host_id, class, used) VALUES ($1, $2, $3, $4)")
            .bind(consumer.to_string())
            .bind(id.to_string())
            .bind(class)
            .bind(*want)
            .execute(&mut *conn)
            .await
            .map_err(db)?;
    }
    Ok(true)
}

/// Gives back everything the consumer holds. Safe to run twice.
pub async fn release(conn: &mut Conn, consumer: ServerId) -> Result<()> {
    let rows = sqlx::query("DELETE FROM allocations WHERE consumer_id = $1 RETURNING host_id, class, used")
        .bind(consumer.to_string())
        .fetch_all(&mut *conn)
        .await
        .map_err(db)?;
    let mut held = rows
        .iter()
        .map(|row| Ok((row.text("host_id")?, row.text("class")?, row.int("used")?)))
        .collect::<Result<Vec<_>>>()?;
    held.sort();
    for (host, class, used) in held {
        sqlx::query("UPDATE inventories SET used = used - $3 WHERE host_id = $1 AND class = $2")
            .bind(host)
            .bind(class)
            .bind(used)
            .execute(&mut *conn)
            .await
            .map_err(db)?;
    }
    Ok(())
}

pub(crate) fn host(row: &sqlx::any::AnyRow) -> Result<HostRow> {
    Ok(HostRow {
        id: row.parsed("id")?,
        number: row.int("number")?,
        name: row.text("name")?,
        zone: row.text("zone")?,
        closed: row.text_opt("closed")?,
        forced_down: row.flag("forced_down")?,
        hypervisor_type: row.text("hypervisor_type")?,
        hypervisor_version: row.int("hypervisor_version")?,
        acceleration: row.text("acceleration")?,
        revision: row.int("revision")?,
        generation: row.int("generation")?,
        seen_at: row.time("seen_at")?,
    })
}
