//! Hosts, what they offer as resource providers, and claims on them.
//!
//! A claim commits on capacity, not on a generation: `used + want ≤ capacity` in the very UPDATE, so two
//! claims on one host conflict only when it is full. A host's `revision` rises with every write that
//! concerns it; its agent pulls desired state above the revision it has.

use crate::consumers::{Allocation, Consumer};
use crate::inventories::{Inventory, Take};
use crate::providers::Provider;
use crate::rows::{self, Columns};
use crate::store::db;
use crate::{Conn, consumers, inventories, providers, traits};
use canopy_types::resources::{Amounts, MAX_AMOUNT};
use canopy_types::{
    ConsumerId, HostId, NetworkId, ProjectId, ProviderId, Result, ServerId, Timestamp, UserId,
};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Builds that failed here since one last succeeded.
    pub build_failures: i64,
    /// How busy its machine is; 0 where its agent does not tell.
    pub cpu_percent: i64,
    pub memory_percent: i64,
    pub hypervisor_type: String,
    pub hypervisor_version: i64,
    pub acceleration: String,
    pub revision: i64,
    pub generation: i64,
    pub seen_at: Timestamp,
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
    /// The operator's networks that it is in, by names that are checked.
    pub physical_networks: &'a [String],
}

/// Adds the host or refreshes what its agent owns. How busy it was is forgotten: the agent may not tell any more.
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
         revision = hosts.revision + 1, seen_at = $8, cpu_percent = 0, memory_percent = 0",
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
    register_provider(conn, id, registration, now).await?;
    by_name(conn, registration.name).await?.ok_or_else(|| {
        canopy_types::Error::internal("store.host_lost", "a host registered a moment ago is gone")
    })
}

/// The host as a resource provider, with the totals that its agent has found.
async fn register_provider(
    conn: &mut Conn,
    id: HostId,
    registration: &Registration<'_>,
    now: Timestamp,
) -> Result<()> {
    let id = ProviderId::from(id);
    if providers::get(conn, id).await?.is_none() {
        if providers::by_name(conn, registration.name).await?.is_some() {
            return Err(canopy_types::Error::conflict(
                "agent.provider_name",
                format!(
                    "A resource provider that is no host has the name {}: rename or delete it, then register again.",
                    registration.name
                ),
            ));
        }
        let number = providers::next_number(conn).await?;
        let name = registration.name.to_owned();
        let provider = Provider {
            id,
            number,
            name,
            parent_id: None,
            root_id: id,
            host: true,
            generation: 0,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        providers::insert(conn, &provider).await?;
    }
    let known = inventories::of(conn, id).await?;
    let mut changed = false;
    for (class, total, reserved, ratio) in registration.inventory {
        let found = known.iter().find(|row| row.class == *class);
        if found.is_some_and(|row| row.agent && row.total == *total) {
            continue;
        }
        changed = true;
        let (reserved, allocation_ratio) = match found {
            Some(row) => (row.reserved, row.allocation_ratio),
            #[expect(clippy::cast_precision_loss, reason = "a ratio of thousandths is small")]
            None => (*reserved, *ratio as f64 / 1_000.0),
        };
        let inventory = Inventory {
            provider_id: id,
            class: (*class).to_owned(),
            total: *total,
            reserved,
            min_unit: 1,
            max_unit: MAX_AMOUNT,
            step_size: 1,
            allocation_ratio,
            used: 0,
            agent: true,
            created_at: now,
            updated_at: now,
        };
        inventories::put(conn, &inventory).await?;
    }
    changed |= register_networks(conn, id, registration.physical_networks, now).await?;
    if changed {
        providers::bump(conn, id, None, now).await?;
    }
    Ok(())
}

/// The traits by which placement knows where a host's guests can reach. Other traits are the operator's to set.
async fn register_networks(
    conn: &mut Conn,
    id: ProviderId,
    networks: &[String],
    now: Timestamp,
) -> Result<bool> {
    let own = canopy_agent_api::physical_network_trait("");
    let before: BTreeSet<String> =
        traits::of(conn, Some(&[id])).await?.into_iter().map(|(_, name)| name).collect();
    let named = networks.iter().map(|name| canopy_agent_api::physical_network_trait(name));
    let after: BTreeSet<String> =
        before.iter().filter(|name| !name.starts_with(&own)).cloned().chain(named).collect();
    if before == after {
        return Ok(false);
    }
    for name in &after {
        traits::insert(conn, name, now).await?;
    }
    traits::set(conn, id, &after.into_iter().collect::<Vec<_>>()).await?;
    Ok(true)
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
pub async fn all(conn: &mut Conn) -> Result<(Vec<HostRow>, Vec<Inventory>)> {
    let hosts = sqlx::query("SELECT * FROM hosts ORDER BY number").fetch_all(&mut *conn).await.map_err(db)?;
    let inventories = sqlx::query(
        "SELECT i.* FROM inventories i JOIN hosts h ON h.id = i.provider_id ORDER BY i.provider_id, i.class",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    let inventories = inventories.iter().map(inventories::inventory).collect::<Result<_>>()?;
    Ok((hosts.iter().map(host).collect::<Result<_>>()?, inventories))
}

/// A host as its servers tell of it.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub closed: Option<String>,
    pub forced_down: bool,
    pub seen_at: Timestamp,
}

/// Those of these that there are.
pub async fn named(conn: &mut Conn, ids: &[HostId]) -> Result<HashMap<HostId, Named>> {
    let read = |row: &AnyRow| {
        let named = Named {
            name: row.text("name")?,
            closed: row.text_opt("closed")?,
            forced_down: row.flag("forced_down")?,
            seen_at: row.time("seen_at")?,
        };
        Ok((row.parsed("id")?, named))
    };
    let select = "SELECT id, name, closed, forced_down, seen_at FROM hosts WHERE id IN ($?)";
    Ok(rows::read_by(conn, select, ids, read).await?.into_iter().collect())
}

/// The agent was heard. Answers with the host's desired revision.
pub async fn seen(conn: &mut Conn, id: HostId, generation: i64, now: Timestamp) -> Result<Option<i64>> {
    let row = sqlx::query(
        "UPDATE hosts SET seen_at = $2, generation = CASE WHEN generation < $3 THEN $3 ELSE generation END \
         WHERE id = $1 RETURNING revision",
    )
    .bind(id.to_string())
    .bind(now.0)
    .bind(generation)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.map(|row| row.int("revision")).transpose()
}

/// How busy the host's machine is, in percent.
pub async fn set_load(conn: &mut Conn, id: HostId, cpu: u8, memory: u8) -> Result<()> {
    sqlx::query("UPDATE hosts SET cpu_percent = $2, memory_percent = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(i64::from(cpu))
        .bind(i64::from(memory))
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

/// How a build ended here: one more failed since the last success, or one succeeded. Whether it says anything new.
pub async fn build_ended(conn: &mut Conn, id: HostId, failed: bool) -> Result<bool> {
    let sql = if failed {
        "UPDATE hosts SET build_failures = build_failures + 1 WHERE id = $1"
    } else {
        "UPDATE hosts SET build_failures = 0 WHERE id = $1 AND build_failures > 0"
    };
    let told = sqlx::query(sql).bind(id.to_string()).execute(conn).await.map_err(db)?;
    Ok(told.rows_affected() > 0)
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

/// Every host's.
pub async fn revisions(conn: &mut Conn) -> Result<HashMap<HostId, i64>> {
    let rows = sqlx::query("SELECT id, revision FROM hosts").fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.parsed("id")?, row.int("revision")?))).collect()
}

/// The server that takes resources, and whose it is.
#[derive(Clone, Debug)]
pub struct Claimant<'a> {
    pub server: ServerId,
    pub project: &'a ProjectId,
    pub user: &'a UserId,
}

/// Takes `amounts` from the host for the server, all or nothing (the caller rolls back on `false`).
pub async fn claim(
    conn: &mut Conn,
    id: HostId,
    claimant: &Claimant<'_>,
    amounts: &Amounts,
    now: Timestamp,
) -> Result<bool> {
    claim_from(conn, claimant, &BTreeMap::from([(ProviderId::from(id), amounts.clone())]), now).await
}

/// The same from several providers, e.g. a host, a device of it and storage that it shares. Providers are held
/// first and in order, then classes, so concurrent claims lock alike.
pub async fn claim_from(
    conn: &mut Conn,
    claimant: &Claimant<'_>,
    amounts: &BTreeMap<ProviderId, Amounts>,
    now: Timestamp,
) -> Result<bool> {
    let consumer = ConsumerId::from(claimant.server);
    for provider in amounts.keys() {
        if providers::bump(conn, *provider, None, now).await?.is_none() {
            return Ok(false);
        }
    }
    let row = Consumer {
        id: consumer,
        server: true,
        project_id: claimant.project.clone(),
        user_id: claimant.user.clone(),
        kind: Some("INSTANCE".into()),
        generation: 1,
        created_at: now,
    };
    if !consumers::insert(conn, &row).await? {
        consumers::lock(conn, consumer).await?;
    }
    for (provider_id, amounts) in amounts {
        let wants = || amounts.iter().filter(|(_, want)| **want != 0);
        let takes: Vec<Take<'_>> =
            wants().map(|(class, want)| Take { class, amount: *want, before: 0 }).collect();
        if !inventories::take(conn, *provider_id, &takes).await? {
            return Ok(false);
        }
        let row = |(class, want): (&String, &i64)| Allocation {
            consumer_id: consumer,
            provider_id: *provider_id,
            class: class.clone(),
            used: *want,
            created_at: now,
        };
        consumers::allocate(conn, &wants().map(row).collect::<Vec<_>>()).await?;
    }
    Ok(true)
}

/// Gives back everything that these servers hold. Safe to run twice.
pub async fn release(conn: &mut Conn, servers: &[ServerId], now: Timestamp) -> Result<()> {
    let consumers: Vec<ConsumerId> = servers.iter().map(|id| ConsumerId::from(*id)).collect();
    consumers::release(conn, &consumers, now).await.map(|_| ())
}

pub(crate) fn host(row: &sqlx::any::AnyRow) -> Result<HostRow> {
    Ok(HostRow {
        id: row.parsed("id")?,
        number: row.int("number")?,
        name: row.text("name")?,
        zone: row.text("zone")?,
        closed: row.text_opt("closed")?,
        forced_down: row.flag("forced_down")?,
        build_failures: row.int("build_failures")?,
        cpu_percent: row.int("cpu_percent")?,
        memory_percent: row.int("memory_percent")?,
        hypervisor_type: row.text("hypervisor_type")?,
        hypervisor_version: row.int("hypervisor_version")?,
        acceleration: row.text("acceleration")?,
        revision: row.int("revision")?,
        generation: row.int("generation")?,
        seen_at: row.time("seen_at")?,
    })
}
