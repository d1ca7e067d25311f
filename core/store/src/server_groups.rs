//! Server groups, their members, and the counted row (group, host) that makes a group's policy hold.
//!
//! [`join`] comes before any claim of the same request: it locks the group's row, so that two requests of one
//! group are decided one after the other. [`count`] then is one conditional statement per host.

use crate::rows::{Columns, read_by};
use crate::store::db;
use crate::{Conn, Page};
use canopy_types::{Error, HostId, ProjectId, Result, ServerGroupId, ServerId, Timestamp, UserId};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

pub const AFFINITY: &str = "affinity";
pub const ANTI_AFFINITY: &str = "anti-affinity";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGroup {
    pub id: ServerGroupId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    /// `affinity`, `anti-affinity`, `soft-affinity` or `soft-anti-affinity`.
    pub policy: String,
    /// For anti-affinity: how many of its servers may share a host.
    pub max_per_host: i64,
    pub created_at: Timestamp,
}

fn group(row: &AnyRow) -> Result<ServerGroup> {
    Ok(ServerGroup {
        id: row.parsed("id")?,
        project_id: ProjectId(row.text("project_id")?),
        user_id: UserId(row.text("user_id")?),
        name: row.text("name")?,
        policy: row.text("policy")?,
        max_per_host: row.int("max_per_host")?,
        created_at: row.time("created_at")?,
    })
}

pub async fn insert(conn: &mut Conn, group: &ServerGroup) -> Result<()> {
    sqlx::query(
        "INSERT INTO server_groups (id, project_id, user_id, name, policy, max_per_host, members, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
    )
    .bind(group.id.to_string())
    .bind(group.project_id.as_str())
    .bind(group.user_id.as_str())
    .bind(&group.name)
    .bind(&group.policy)
    .bind(group.max_per_host)
    .bind(group.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: ServerGroupId) -> Result<Option<ServerGroup>> {
    let row = sqlx::query("SELECT * FROM server_groups WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.as_ref().map(group).transpose()
}

/// Oldest first; of one project, or of all. `offset` as nova's list has it.
pub async fn list(
    conn: &mut Conn,
    project: Option<&ProjectId>,
    page: &Page,
    offset: i64,
) -> Result<Vec<ServerGroup>> {
    let rows = sqlx::query(
        "SELECT * FROM server_groups WHERE $1 = '' OR project_id = $1 ORDER BY created_at, id LIMIT $2 OFFSET $3",
    )
    .bind(project.map_or("", ProjectId::as_str))
    .bind(page.size())
    .bind(offset)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(group).collect()
}

/// Servers of these groups (at most a page of them), in the order in which they joined.
pub async fn members(conn: &mut Conn, groups: &[ServerGroupId]) -> Result<Vec<(ServerGroupId, ServerId)>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT group_id, server_id FROM server_group_members WHERE group_id IN ({}) ORDER BY number",
        crate::rows::places(1, groups.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in groups {
        query = query.bind(id.to_string());
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| Ok((row.parsed("group_id")?, row.parsed("server_id")?))).collect()
}

/// The group that a server is in.
pub async fn of_server(conn: &mut Conn, server: ServerId) -> Result<Option<ServerGroupId>> {
    let row = sqlx::query("SELECT group_id FROM server_group_members WHERE server_id = $1")
        .bind(server.to_string())
        .fetch_optional(conn)
        .await
        .map_err(db)?;
    row.map(|row| row.parsed("group_id")).transpose()
}

/// Removes a group; servers that were in it stay. `false` when there is none.
pub async fn delete(conn: &mut Conn, id: ServerGroupId) -> Result<bool> {
    // Locks the group first, as joining does, so that no server joins in between.
    sqlx::query("UPDATE server_groups SET members = members WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    for sql in [
        "DELETE FROM server_group_members WHERE group_id = $1",
        "DELETE FROM server_group_hosts WHERE group_id = $1",
    ] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut *conn).await.map_err(db)?;
    }
    let gone = sqlx::query("DELETE FROM server_groups WHERE id = $1")
        .bind(id.to_string())
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(gone.rows_affected() > 0)
}

/// Whether a group took more servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Yes,
    /// The group would have more than `most` servers.
    Full,
    Gone,
}

/// Makes room for `servers` more in the group, which stays locked until the transaction ends. `most` below
/// zero is no limit.
pub async fn join(conn: &mut Conn, id: ServerGroupId, servers: i64, most: i64) -> Result<Joined> {
    let raised = sqlx::query(
        "UPDATE server_groups SET members = members + $2 WHERE id = $1 AND ($3 < 0 OR members + $2 <= $3)",
    )
    .bind(id.to_string())
    .bind(servers)
    .bind(most)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    if raised.rows_affected() > 0 {
        return Ok(Joined::Yes);
    }
    Ok(if get(conn, id).await?.is_some() { Joined::Full } else { Joined::Gone })
}

/// Counts one more server of the group on the host; `false` when the group's policy does not allow it there
/// any more (the caller rolls back). After [`join`], which keeps the group's other claims out.
pub async fn count(conn: &mut Conn, group: &ServerGroup, host: HostId) -> Result<bool> {
    if group.policy == AFFINITY {
        let elsewhere = sqlx::query(
            "SELECT 1 FROM server_group_hosts WHERE group_id = $1 AND servers > 0 \
             AND NOT EXISTS (SELECT 1 FROM server_group_hosts WHERE group_id = $1 AND host_id = $2 AND servers > 0) \
             LIMIT 1",
        )
        .bind(group.id.to_string())
        .bind(host.to_string())
        .fetch_optional(&mut *conn)
        .await
        .map_err(db)?;
        if elsewhere.is_some() {
            return Ok(false);
        }
    }
    let most = if group.policy == ANTI_AFFINITY { group.max_per_host } else { i64::MAX };
    let counted = sqlx::query(
        "INSERT INTO server_group_hosts (group_id, host_id, servers) VALUES ($1, $2, 1) \
         ON CONFLICT (group_id, host_id) DO UPDATE SET servers = server_group_hosts.servers + 1 \
         WHERE server_group_hosts.servers < $3",
    )
    .bind(group.id.to_string())
    .bind(host.to_string())
    .bind(most)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(counted.rows_affected() > 0)
}

/// Writes the server down as a member, placed or refused.
pub async fn add_member(
    conn: &mut Conn,
    group: ServerGroupId,
    server: ServerId,
    host: Option<HostId>,
    number: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO server_group_members (server_id, group_id, host_id, number) VALUES ($1, $2, $3, $4)",
    )
    .bind(server.to_string())
    .bind(group.to_string())
    .bind(host.map(|id| id.to_string()))
    .bind(number)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Takes the servers out of their groups, as far as they are in any. Safe to run twice.
pub async fn leave(conn: &mut Conn, servers: &[ServerId]) -> Result<()> {
    let membership = |row: &AnyRow| Ok((row.parsed("group_id")?, row.parsed("server_id")?));
    let sql = "SELECT server_id, group_id FROM server_group_members WHERE server_id IN ($?)";
    let mut members: Vec<(ServerGroupId, ServerId)> = read_by(conn, sql, servers, membership).await?;
    // In one order, as several are locked.
    members.sort_unstable();
    for (group, server) in members {
        leave_one(conn, group, server).await?;
    }
    Ok(())
}

async fn leave_one(conn: &mut Conn, group: ServerGroupId, server: ServerId) -> Result<()> {
    // The group's row first, as joining does.
    sqlx::query("UPDATE server_groups SET members = members - 1 WHERE id = $1 AND members > 0")
        .bind(group.to_string())
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    let row = sqlx::query("DELETE FROM server_group_members WHERE server_id = $1 RETURNING host_id")
        .bind(server.to_string())
        .fetch_optional(&mut *conn)
        .await
        .map_err(db)?;
    let Some(host) = row.map(|row| row.text_opt("host_id")).transpose()?.flatten() else { return Ok(()) };
    for sql in [
        "UPDATE server_group_hosts SET servers = servers - 1 WHERE group_id = $1 AND host_id = $2 AND servers > 0",
        "DELETE FROM server_group_hosts WHERE group_id = $1 AND host_id = $2 AND servers = 0",
    ] {
        sqlx::query(sql).bind(group.to_string()).bind(&host).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// The counted rows of these hosts (at most a few hundred), or of all.
pub async fn counts(conn: &mut Conn, only: Option<&[HostId]>) -> Result<Vec<(ServerGroupId, HostId, i64)>> {
    let filter = only
        .map_or(String::new(), |hosts| format!(" AND host_id IN ({})", crate::rows::places(1, hosts.len())));
    let sql = format!("SELECT group_id, host_id, servers FROM server_group_hosts WHERE servers > 0{filter}");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for host in only.into_iter().flatten() {
        query = query.bind(host.to_string());
    }
    let rows = query.fetch_all(conn).await.map_err(db)?;
    rows.iter()
        .map(|row| Ok((row.parsed("group_id")?, row.parsed("host_id")?, row.int("servers")?)))
        .collect()
}

/// The limit was reached; nova's words.
pub fn full() -> Error {
    Error::new(
        canopy_types::Kind::OverQuota,
        "server_group.members",
        "Quota exceeded, too many servers in group",
    )
}
