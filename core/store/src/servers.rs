//! Servers: desired, observed and derived in one row.
//!
//! Two writers with their own columns: the API (what is wanted) and the agent's reports (what is). Both
//! write `status`, derived from the row's state, in the same transaction, so a list filters on what a show
//! would say. A deleted server is a tombstone until it is purged.

pub use crate::server_list::{Direction, Filter, Sort, TagFilter, list};

use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::{Conn, Recent, dialect, recent};
use canopy_agent_api::DeviceTags;
use canopy_types::server::{Derived, Hold, How, Phase, PowerIntent, derive, wish};
use canopy_types::{
    ConsumerId, DecisionId, Error, FlavorId, HostId, ImageId, PortId, ProjectId, RequestId, Result, ServerId,
    Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The flavor as it was when the server was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlavorSnapshot {
    pub v: u32,
    pub id: FlavorId,
    pub name: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    pub root_gib: i64,
    pub ephemeral_gib: i64,
    pub swap_mib: i64,
    pub extra_specs: BTreeMap<String, String>,
}

/// Why a server is in ERROR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub v: u32,
    pub code: u16,
    pub message: String,
    pub created: Timestamp,
}

/// Who keeps others from changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// An admin's lock is not its owner's to take off.
    pub by_admin: bool,
    pub reason: Option<String>,
}

/// What an operation that takes more than one step has to remember until its end, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescue>,
    /// The image that its disk is becoming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<ImageId>,
    /// That image is a backup, for which older ones make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
}

/// Backups of one server and one type are kept up to a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// As its user calls it: `daily`, `weekly`, …
    pub kind: String,
    /// How many stay, the newest.
    pub keep: u32,
}

/// A port that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub port: PortId,
    pub detach: bool,
    /// The power intent that does it.
    pub n: i64,
}

/// A resize that is neither confirmed nor reverted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// What it was and may become again; what it holds of quota and host is the larger of the two.
    pub old: FlavorSnapshot,
    pub new: FlavorSnapshot,
    /// Whether the guest had its power.
    pub on: bool,
    /// The power intent that resizes; names the disk that the host keeps.
    pub n: i64,
    /// Holds of the host what the old flavor took.
    pub migration: ConsumerId,
    /// The power intent that ends it, and whether that confirms.
    pub ending: Option<(i64, bool)>,
}

impl Resize {
    /// Whether the server is to be as it was before.
    pub fn is_undone(&self) -> bool {
        self.ending.is_some_and(|(_, confirmed)| !confirmed)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rescue {
    /// The agent's image description, opaque here.
    pub image: serde_json::Value,
    /// Whether the guest had its power.
    pub on: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerRow {
    pub id: ServerId,
    pub number: i64,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub hostname: String,
    pub description: Option<String>,
    pub flavor: FlavorSnapshot,
    pub image_id: Option<ImageId>,
    /// The agent's image description, as JSON; opaque here.
    pub image: Option<serde_json::Value>,
    pub key_name: Option<String>,
    /// The agent's key descriptions, as JSON; opaque here.
    pub keys: serde_json::Value,
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub metadata: BTreeMap<String, String>,
    /// Where the client says the server can be reached.
    pub access_ip_v4: Option<Ipv4Addr>,
    pub access_ip_v6: Option<Ipv6Addr>,
    pub availability_zone: String,
    pub reservation_id: String,
    pub launch_index: i64,
    pub request_id: RequestId,
    pub decision_id: DecisionId,
    pub host_id: Option<HostId>,
    pub power: PowerIntent,
    pub deleting: bool,
    pub refused: bool,
    /// An operator says that it is in error.
    pub broken: bool,
    pub lock: Option<Lock>,
    pub hold: Hold,
    /// When it has come into that state.
    pub hold_since: Option<Timestamp>,
    pub operation: Operation,
    pub tags: BTreeSet<String>,
    /// Written by [`set_device_tags`] only.
    pub device_tags: DeviceTags,
    pub phase: Phase,
    pub observed_n: i64,
    /// The power intent that [`Phase::Failed`] is about.
    pub failed_n: i64,
    pub observed_generation: i64,
    pub fault: Option<Fault>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub launched_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
}

impl ServerRow {
    /// What a client sees.
    pub fn derived(&self) -> Derived {
        let deleting = self.deleting || self.deleted_at.is_some();
        let failed = self.refused || self.broken;
        derive(wish(deleting, failed, self.power, self.observed_n, self.hold), self.phase_now())
    }

    /// A failure is over once something newer is wanted: until the host has said more, it is a guest that is off.
    fn phase_now(&self) -> Phase {
        let overtaken = self.phase == Phase::Failed && self.failed_n < self.power.n && !self.deleting;
        if overtaken { Phase::Stopped } else { self.phase }
    }

    /// `instance-%08x`.
    pub fn domain_name(&self) -> String {
        format!("instance-{:08x}", self.number)
    }
}

pub async fn insert(conn: &mut Conn, server: &ServerRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO servers (id, number, project_id, user_id, name, hostname, description, flavor, image_id, image, \
         key_name, keys, user_data, config_drive, metadata, availability_zone, reservation_id, launch_index, \
         request_id, decision_id, host_id, power_on, power_n, deleting, refused, phase, observed_n, \
         observed_generation, fault, status, created_at, updated_at, launched_at, deleted_at, access_ip_v4, access_ip_v6, \
         power_how, tags) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
         $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38)",
    )
    .bind(server.id.to_string())
    .bind(server.number)
    .bind(server.project_id.as_str())
    .bind(server.user_id.as_str())
    .bind(&server.name)
    .bind(&server.hostname)
    .bind(server.description.as_deref())
    .bind(to_json(&server.flavor)?)
    .bind(server.image_id.map(|id| id.to_string()))
    .bind(server.image.as_ref().map(to_json).transpose()?)
    .bind(server.key_name.as_deref())
    .bind(to_json(&server.keys)?)
    .bind(server.user_data.as_deref())
    .bind(i64::from(server.config_drive))
    .bind(to_json(&server.metadata)?)
    .bind(&server.availability_zone)
    .bind(&server.reservation_id)
    .bind(server.launch_index)
    .bind(&server.request_id.0)
    .bind(server.decision_id.to_string())
    .bind(server.host_id.map(|id| id.to_string()))
    .bind(i64::from(server.power.on))
    .bind(server.power.n)
    .bind(i64::from(server.deleting))
    .bind(i64::from(server.refused))
    .bind(server.phase.as_str())
    .bind(server.observed_n)
    .bind(server.observed_generation)
    .bind(server.fault.as_ref().map(to_json).transpose()?)
    .bind(server.derived().status)
    .bind(server.created_at.0)
    .bind(server.updated_at.0)
    .bind(server.launched_at.map(|t| t.0))
    .bind(server.deleted_at.map(|t| t.0))
    .bind(server.access_ip_v4.map(|ip| ip.to_string()))
    .bind(server.access_ip_v6.map(|ip| ip.to_string()))
    .bind(server.power.how.as_str())
    .bind(to_json(&server.tags)?)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Deleted servers are returned too; the caller looks at `deleted_at`.
pub async fn get(conn: &mut Conn, id: ServerId) -> Result<Option<ServerRow>> {
    let row = sqlx::query("SELECT * FROM servers WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map(|row| server(&row)).transpose()
}

/// The same, locked until the transaction ends, so that read-decide-write is one step.
pub async fn get_for_update(conn: &mut Conn, id: ServerId) -> Result<Option<ServerRow>> {
    let sql = format!("SELECT * FROM servers WHERE id = $1{}", dialect::for_update(dialect::engine(conn)));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.map(|row| server(&row)).transpose()
}

/// Writes what may change: desired, observed, derived. The row must have been read for update.
pub async fn update(conn: &mut Conn, server: &ServerRow) -> Result<()> {
    sqlx::query(
        "UPDATE servers SET name = $2, description = $3, metadata = $4, request_id = $5, power_on = $6, power_n = $7, \
         deleting = $8, refused = $9, phase = $10, observed_n = $11, observed_generation = $12, fault = $13, \
         status = $14, updated_at = $15, launched_at = $16, deleted_at = $17, host_id = $18, power_how = $19, \
         broken = $20, locked_by = $21, locked_reason = $22, tags = $23, access_ip_v4 = $24, access_ip_v6 = $25, \
         image_id = $26, image = $27, key_name = $28, keys = $29, user_data = $30, flavor = $31, hold = $32, \
         hold_since = $33, operation = $34, revision = revision + 1 WHERE id = $1",
    )
    .bind(server.id.to_string())
    .bind(&server.name)
    .bind(server.description.as_deref())
    .bind(to_json(&server.metadata)?)
    .bind(&server.request_id.0)
    .bind(i64::from(server.power.on))
    .bind(server.power.n)
    .bind(i64::from(server.deleting))
    .bind(i64::from(server.refused))
    .bind(server.phase.as_str())
    .bind(server.observed_n)
    .bind(server.observed_generation)
    .bind(server.fault.as_ref().map(to_json).transpose()?)
    .bind(server.derived().status)
    .bind(server.updated_at.0)
    .bind(server.launched_at.map(|t| t.0))
    .bind(server.deleted_at.map(|t| t.0))
    .bind(server.host_id.map(|id| id.to_string()))
    .bind(server.power.how.as_str())
    .bind(i64::from(server.broken))
    .bind(server.lock.as_ref().map(|lock| if lock.by_admin { "admin" } else { "owner" }))
    .bind(server.lock.as_ref().and_then(|lock| lock.reason.as_deref()))
    .bind(to_json(&server.tags)?)
    .bind(server.access_ip_v4.map(|ip| ip.to_string()))
    .bind(server.access_ip_v6.map(|ip| ip.to_string()))
    .bind(server.image_id.map(|id| id.to_string()))
    .bind(server.image.as_ref().map(to_json).transpose()?)
    .bind(server.key_name.as_deref())
    .bind(to_json(&server.keys)?)
    .bind(server.user_data.as_deref())
    .bind(to_json(&server.flavor)?)
    .bind(server.hold.as_str())
    .bind(server.hold_since.map(|t| t.0))
    .bind((server.operation != Operation::default()).then(|| to_json(&server.operation)).transpose()?)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Writes the names of a server's devices.
pub async fn set_device_tags(conn: &mut Conn, id: ServerId, tags: &DeviceTags) -> Result<()> {
    sqlx::query("UPDATE servers SET device_tags = $2, revision = revision + 1 WHERE id = $1")
        .bind(id.to_string())
        .bind((!tags.is_empty()).then(|| to_json(tags)).transpose()?)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Writes what a report of the agent changes, and no more: reports are most of all writes.
pub async fn update_observed(conn: &mut Conn, server: &ServerRow) -> Result<()> {
    sqlx::query(
        "UPDATE servers SET phase = $2, observed_n = $3, observed_generation = $4, fault = $5, status = $6, \
         updated_at = $7, launched_at = $8, failed_n = $9, revision = revision + 1 WHERE id = $1",
    )
    .bind(server.id.to_string())
    .bind(server.phase.as_str())
    .bind(server.observed_n)
    .bind(server.observed_generation)
    .bind(server.fault.as_ref().map(to_json).transpose()?)
    .bind(server.derived().status)
    .bind(server.updated_at.0)
    .bind(server.launched_at.map(|t| t.0))
    .bind(server.failed_n)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Servers that had been launched before `end` and were not deleted before `start`, tombstones included, of one
/// project or of all; the next `most` after the number `after`, in creation order.
pub async fn launched_within(
    conn: &mut Conn,
    (start, end): (Timestamp, Timestamp),
    project: Option<&ProjectId>,
    after: i64,
    most: i64,
) -> Result<Vec<ServerRow>> {
    let rows = sqlx::query(
        "SELECT * FROM servers WHERE launched_at < $1 AND (deleted_at IS NULL OR deleted_at >= $2) \
         AND ($3 = '' OR project_id = $3) AND number > $4 ORDER BY number LIMIT $5",
    )
    .bind(end.0)
    .bind(start.0)
    .bind(project.map_or("", ProjectId::as_str))
    .bind(after)
    .bind(most)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(server).collect()
}

/// Live servers that have been in this state since `before` or longer, with nothing in flight; the longest first.
pub async fn held_before(conn: &mut Conn, hold: Hold, before: Timestamp, most: i64) -> Result<Vec<ServerId>> {
    let rows = sqlx::query(
        "SELECT id FROM servers WHERE hold <> 'none' AND hold = $1 AND hold_since <= $2 AND deleted_at IS NULL \
         AND deleting = 0 AND observed_n >= power_n ORDER BY hold_since LIMIT $3",
    )
    .bind(hold.as_str())
    .bind(before.0)
    .bind(most)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Servers that a host should have, deleting ones included, in creation order.
pub async fn on_host(conn: &mut Conn, recent: &Recent, host: HostId) -> Result<Vec<Arc<ServerRow>>> {
    let (id, from) = (host.to_string(), "FROM servers WHERE host_id = $1 AND deleted_at IS NULL");
    let places = AssertSqlSafe(format!("SELECT {} {from}", recent::aggregate("number")));
    let places = recent::places(&sqlx::query(places).bind(&id).fetch_one(&mut *conn).await.map_err(db)?)?;
    if let Some(rows) = recent.rows(conn, &places).await? {
        return Ok(rows);
    }
    let rows = AssertSqlSafe(format!("SELECT * {from} ORDER BY number"));
    let rows = sqlx::query(rows).bind(&id).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok(Arc::new(server(row)?))).collect()
}

/// Whether any is there, a deleting one included.
pub async fn any_on_host(conn: &mut Conn, host: HostId) -> Result<bool> {
    let sql = "SELECT 1 FROM servers WHERE host_id = $1 AND deleted_at IS NULL LIMIT 1";
    let row = sqlx::query(sql).bind(host.to_string()).fetch_optional(conn).await.map_err(db)?;
    Ok(row.is_some())
}

/// Live servers, deleting ones included, per host that has any.
pub async fn count_by_host(conn: &mut Conn) -> Result<HashMap<HostId, i64>> {
    let rows = sqlx::query(
        "SELECT host_id, COUNT(*) AS servers FROM servers WHERE host_id IS NOT NULL AND deleted_at IS NULL \
         GROUP BY host_id",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((row.parsed("host_id")?, row.int("servers")?))).collect()
}

/// Removes tombstones older than `before`, with their history and decisions.
pub async fn purge(conn: &mut Conn, before: Timestamp) -> Result<u64> {
    for sql in [
        "DELETE FROM server_actions WHERE server_id IN (SELECT id FROM servers WHERE deleted_at < $1)",
        "DELETE FROM decisions WHERE server_id IN (SELECT id FROM servers WHERE deleted_at < $1)",
    ] {
        sqlx::query(sql).bind(before.0).execute(&mut *conn).await.map_err(db)?;
    }
    let gone = sqlx::query("DELETE FROM servers WHERE deleted_at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected())
}

pub(crate) fn server(row: &AnyRow) -> Result<ServerRow> {
    let (phase, how, hold) = (row.text("phase")?, row.text("power_how")?, row.text("hold")?);
    let corrupt = |column: &str, value: &str| {
        Error::internal("store.corrupt", format!("column {column} holds {value:?}"))
    };
    let lock = row
        .text_opt("locked_by")?
        .map(|by| Ok::<_, Error>(Lock { by_admin: by == "admin", reason: row.text_opt("locked_reason")? }));
    Ok(ServerRow {
        id: row.parsed("id")?,
        number: row.int("number")?,
        project_id: row.text("project_id")?.into(),
        user_id: row.text("user_id")?.into(),
        name: row.text("name")?,
        hostname: row.text("hostname")?,
        description: row.text_opt("description")?,
        flavor: row.json("flavor")?,
        image_id: row.parsed_opt("image_id")?,
        image: row.json_opt("image")?,
        key_name: row.text_opt("key_name")?,
        keys: row.json("keys")?,
        user_data: row.text_opt("user_data")?,
        config_drive: row.flag("config_drive")?,
        metadata: row.json("metadata")?,
        access_ip_v4: row.parsed_opt("access_ip_v4")?,
        access_ip_v6: row.parsed_opt("access_ip_v6")?,
        availability_zone: row.text("availability_zone")?,
        reservation_id: row.text("reservation_id")?,
        launch_index: row.int("launch_index")?,
        request_id: RequestId(row.text("request_id")?),
        decision_id: row.parsed("decision_id")?,
        host_id: row.parsed_opt("host_id")?,
        power: PowerIntent {
            on: row.flag("power_on")?,
            n: row.int("power_n")?,
            how: How::parse(&how).ok_or_else(|| corrupt("power_how", &how))?,
        },
        deleting: row.flag("deleting")?,
        refused: row.flag("refused")?,
        broken: row.flag("broken")?,
        lock: lock.transpose()?,
        hold: Hold::parse(&hold).ok_or_else(|| corrupt("hold", &hold))?,
        hold_since: row.time_opt("hold_since")?,
        operation: row.json_opt("operation")?.unwrap_or_default(),
        tags: row.json("tags")?,
        device_tags: row.json_opt("device_tags")?.unwrap_or_default(),
        phase: Phase::parse(&phase).ok_or_else(|| corrupt("phase", &phase))?,
        observed_n: row.int("observed_n")?,
        failed_n: row.int("failed_n")?,
        observed_generation: row.int("observed_generation")?,
        fault: row.json_opt("fault")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        launched_at: row.time_opt("launched_at")?,
        deleted_at: row.time_opt("deleted_at")?,
    })
}
