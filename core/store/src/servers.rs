//! Servers: desired, observed and derived in one row.
//!
//! Two writers with their own columns: the API (what is wanted) and the agent's reports (what is). Both
//! write `status`, derived from the row's state, in the same transaction, so a list filters on what a show
//! would say. A deleted server is a tombstone until it is purged.

use crate::Conn;
use crate::rows::{Columns, to_json};
use crate::store::db;
use canopy_types::server::{Derived, Phase, PowerIntent, derive, wish};
use canopy_types::{
    DecisionId, Error, FlavorId, HostId, ImageId, Page, ProjectId, RequestId, Result, ServerId, Timestamp,
    UserId,
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

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
    pub phase: Phase,
    pub observed_n: i64,
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
        derive(wish(deleting, self.refused, self.power, self.observed_n), self.phase)
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
         observed_generation, fault, status, created_at, updated_at, launched_at, deleted_at, access_ip_v4, access_ip_v6) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
         $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)",
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
    // A write that changes nothing takes the row lock on both engines.
    sqlx::query("UPDATE servers SET number = number WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    get(conn, id).await
}

/// Writes what may change: desired, observed, derived. The row must have been read for update.
pub async fn update(conn: &mut Conn, server: &ServerRow) -> Result<()> {
    sqlx::query(
        "UPDATE servers SET name = $2, description = $3, metadata = $4, request_id = $5, power_on = $6, power_n = $7, \
         deleting = $8, refused = $9, phase = $10, observed_n = $11, observed_generation = $12, fault = $13, \
         status = $14, updated_at = $15, launched_at = $16, deleted_at = $17, host_id = $18 WHERE id = $1",
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
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// What a list is asked for. `None` means any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub project_id: Option<ProjectId>,
    pub user_id: Option<String>,
    pub statuses: Vec<String>,
    /// Case-sensitive substring of the name.
    pub name_contains: Option<String>,
    pub image_id: Option<String>,
    pub flavor_id: Option<String>,
    /// Of the host, by its name.
    pub host: Option<String>,
    pub reservation_id: Option<String>,
    pub uuid: Option<String>,
    pub changes_since: Option<Timestamp>,
    /// Only tombstones, or only live ones.
    pub deleted: bool,
}

/// Newest first, as nova sorts; one statement. The marker is looked up in the filter's own scope, and an
/// unknown one is refused.
pub async fn list(conn: &mut Conn, filter: &Filter, page: &Page) -> Result<Vec<ServerRow>> {
    let mut sql = String::from("SELECT * FROM servers WHERE 1 = 1");
    let mut texts: Vec<String> = Vec::new();
    let mut ints: Vec<(usize, i64)> = Vec::new();
    let mut slot = 0;
    let mut text = |sql: &mut String, condition: &str, value: String| {
        slot += 1;
        sql.push_str(&condition.replace("$?", &format!("${slot}")));
        texts.push(value);
        slot
    };
    if filter.deleted {
        sql.push_str(" AND deleted_at IS NOT NULL");
    } else if filter.changes_since.is_none() {
        sql.push_str(" AND deleted_at IS NULL");
    }
    if let Some(project) = &filter.project_id {
        text(&mut sql, " AND project_id = $?", project.0.clone());
    }
    if let Some(user) = &filter.user_id {
        text(&mut sql, " AND user_id = $?", user.clone());
    }
    if let Some(image) = &filter.image_id {
        text(&mut sql, " AND image_id = $?", image.clone());
    }
    if let Some(host) = &filter.host {
        text(&mut sql, " AND host_id = (SELECT id FROM hosts WHERE name = $?)", host.clone());
    }
    if let Some(reservation) = &filter.reservation_id {
        text(&mut sql, " AND reservation_id = $?", reservation.clone());
    }
    if let Some(uuid) = &filter.uuid {
        text(&mut sql, " AND id = $?", uuid.clone());
    }
    if let Some(flavor) = &filter.flavor_id {
        let json = to_json(flavor)?;
        text(&mut sql, " AND flavor LIKE $? ESCAPE '\\'", format!("%\"id\":{},%", like(&json)));
    }
    if let Some(name) = &filter.name_contains {
        text(&mut sql, " AND name LIKE $? ESCAPE '\\'", format!("%{}%", like(name)));
    }
    if !filter.statuses.is_empty() {
        sql.push_str(" AND (1 = 0");
        for status in &filter.statuses {
            text(&mut sql, " OR status = $?", status.clone());
        }
        sql.push(')');
    }
    let mut next = texts.len();
    if let Some(since) = filter.changes_since {
        next += 1;
        sql.push_str(&format!(" AND updated_at >= ${next}"));
        ints.push((next, since.0));
    }
    let scope = sql.clone();
    let mut marker_id = None;
    if let Some(marker) = &page.marker {
        let at = {
            let probe = format!("{} AND id = ${}", scope, next + 1);
            let mut query = sqlx::query(AssertSqlSafe(probe));
            for value in &texts {
                query = query.bind(value);
            }
            for (_, value) in &ints {
                query = query.bind(*value);
            }
            query.bind(marker).fetch_optional(&mut *conn).await.map_err(db)?
        };
        let at =
            at.ok_or_else(|| Error::bad_request("page.marker", format!("marker [{marker}] not found")))?;
        let created = at.int("created_at")?;
        sql.push_str(&format!(
            " AND (created_at < ${} OR (created_at = ${} AND id < ${}))",
            next + 1,
            next + 1,
            next + 2
        ));
        ints.push((next + 1, created));
        marker_id = Some(marker.clone());
        next += 2;
    }
    sql.push_str(&format!(" ORDER BY created_at DESC, id DESC LIMIT ${}", next + 1));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in &texts {
        query = query.bind(value);
    }
    for (_, value) in &ints {
        query = query.bind(*value);
    }
    if let Some(marker) = &marker_id {
        query = query.bind(marker);
    }
    let rows = query.bind(page.size()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(server).collect()
}

/// Escapes LIKE's own characters.
fn like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Servers that a host should have, deleting ones included, in creation order.
pub async fn on_host(conn: &mut Conn, host: HostId) -> Result<Vec<ServerRow>> {
    let rows = sqlx::query("SELECT * FROM servers WHERE host_id = $1 AND deleted_at IS NULL ORDER BY number")
        .bind(host.to_string())
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(server).collect()
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

/// One line of the server's history.
pub async fn record_action(
    conn: &mut Conn,
    server: &ServerRow,
    action: &str,
    request_id: &RequestId,
    user_id: &UserId,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO server_actions (server_id, request_id, action, project_id, user_id, at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (server_id, request_id, action) DO NOTHING",
    )
    .bind(server.id.to_string())
    .bind(&request_id.0)
    .bind(action)
    .bind(server.project_id.as_str())
    .bind(user_id.as_str())
    .bind(at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
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

fn server(row: &AnyRow) -> Result<ServerRow> {
    let phase = row.text("phase")?;
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
        power: PowerIntent { on: row.flag("power_on")?, n: row.int("power_n")? },
        deleting: row.flag("deleting")?,
        refused: row.flag("refused")?,
        phase: Phase::parse(&phase)
            .ok_or_else(|| Error::internal("store.corrupt", format!("column phase holds {phase:?}")))?,
        observed_n: row.int("observed_n")?,
        observed_generation: row.int("observed_generation")?,
        fault: row.json_opt("fault")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        launched_at: row.time_opt("launched_at")?,
        deleted_at: row.time_opt("deleted_at")?,
    })
}
