//! Numbers that are kept beside what they count, held against a fresh count.
//!
//! Each check sees one moment: what is being changed meanwhile is no difference. Each
//! repair takes the lock that whoever changes the number takes first, and counts again behind it.

use crate::Conn;
use crate::quota::truth;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProviderId, Result, ServerGroupId, ServerId, Timestamp};
use sqlx::AssertSqlSafe;

/// Differences of one kind that are told at once.
const MOST: i64 = 1_000;

/// A kept number that is not what a count finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Off {
    /// Whose number it is: a project, a provider, a group.
    pub whose: String,
    /// Which of its numbers: a resource, a class, a host; empty if it has only one.
    pub which: String,
    pub kept: i64,
    pub counted: i64,
}

/// Usage of quotas that is not what the project has. A user's part of it is told with the user and zone.
pub async fn usages(conn: &mut Conn) -> Result<Vec<Off>> {
    let off = |one: truth::Difference| Off {
        whose: one.counter.project,
        which: match one.counter.part {
            None => one.counter.resource,
            Some((user, zone)) => format!("{} of user {user} in zone {zone:?}", one.counter.resource),
        },
        kept: one.kept,
        counted: one.there,
    };
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    Ok(truth::differences(conn).await?.into_iter().take(most).map(off).collect())
}

/// Inventories whose use is not the sum of the allocations on them.
pub async fn inventories(conn: &mut Conn) -> Result<Vec<Off>> {
    let sql = format!(
        "SELECT i.provider_id AS whose, i.class AS which, i.used AS kept, \
         CAST(COALESCE(SUM(a.used), 0) AS BIGINT) AS counted FROM inventories i \
         LEFT JOIN allocations a ON a.provider_id = i.provider_id AND a.class = i.class \
         GROUP BY i.provider_id, i.class, i.used HAVING i.used <> COALESCE(SUM(a.used), 0) \
         ORDER BY whose, which LIMIT {MOST}"
    );
    differences(conn, sql).await
}

pub async fn repair_inventory(
    conn: &mut Conn,
    provider: ProviderId,
    class: &str,
    now: Timestamp,
) -> Result<()> {
    crate::providers::bump(conn, provider, None, now).await?;
    for sql in [
        // The row's lock first: who claims holds it until both its rows are written.
        "UPDATE inventories SET used = used WHERE provider_id = $1 AND class = $2",
        "UPDATE inventories SET used = (SELECT CAST(COALESCE(SUM(a.used), 0) AS BIGINT) FROM allocations a \
         WHERE a.provider_id = $1 AND a.class = $2) WHERE provider_id = $1 AND class = $2",
    ] {
        sqlx::query(sql).bind(provider.to_string()).bind(class).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Server groups whose number of members is not that of their members.
pub async fn group_members(conn: &mut Conn) -> Result<Vec<Off>> {
    let sql = format!(
        "SELECT g.id AS whose, '' AS which, g.members AS kept, COUNT(m.server_id) AS counted \
         FROM server_groups g LEFT JOIN server_group_members m ON m.group_id = g.id \
         GROUP BY g.id, g.members HAVING g.members <> COUNT(m.server_id) ORDER BY g.id LIMIT {MOST}"
    );
    differences(conn, sql).await
}

/// Servers of a group on a host, where the counted row says something else.
pub async fn group_hosts(conn: &mut Conn) -> Result<Vec<Off>> {
    let sql = format!(
        "SELECT whose, which, CAST(SUM(kept) AS BIGINT) AS kept, CAST(SUM(n) AS BIGINT) AS counted FROM ( \
         SELECT group_id AS whose, host_id AS which, servers AS kept, 0 AS n FROM server_group_hosts \
         UNION ALL SELECT group_id, host_id, 0, COUNT(*) FROM server_group_members WHERE host_id IS NOT NULL \
         GROUP BY group_id, host_id ) t \
         GROUP BY whose, which HAVING SUM(kept) <> SUM(n) ORDER BY whose, which LIMIT {MOST}"
    );
    differences(conn, sql).await
}

/// Counts all numbers of a group again.
pub async fn repair_group(conn: &mut Conn, group: ServerGroupId) -> Result<()> {
    for sql in [
        // The group's row first, as joining and leaving do.
        "UPDATE server_groups SET members = members WHERE id = $1",
        "UPDATE server_groups SET members = (SELECT COUNT(*) FROM server_group_members WHERE group_id = $1) WHERE id = $1",
        "DELETE FROM server_group_hosts WHERE group_id = $1",
        "INSERT INTO server_group_hosts (group_id, host_id, servers) SELECT group_id, host_id, COUNT(*) \
         FROM server_group_members WHERE group_id = $1 AND host_id IS NOT NULL GROUP BY group_id, host_id",
    ] {
        sqlx::query(sql).bind(group.to_string()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Servers that are on a host and hold nothing of it.
pub async fn unallocated(conn: &mut Conn) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT s.id AS id FROM servers s WHERE s.deleted_at IS NULL AND s.host_id IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM allocations a WHERE a.consumer_id = s.id) ORDER BY s.id LIMIT {MOST}"
    );
    names(conn, sql).await
}

/// Servers that are gone and still hold resources. Consumers of other services are not looked at.
pub async fn allocated_to_nobody(conn: &mut Conn) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT c.id AS id FROM consumers c WHERE c.server = 1 AND NOT EXISTS \
         (SELECT 1 FROM servers s WHERE s.id = c.id AND s.deleted_at IS NULL) ORDER BY c.id LIMIT {MOST}"
    );
    names(conn, sql).await
}

/// Whether a server is gone: deleted, or forgotten altogether.
pub async fn gone(conn: &mut Conn, server: ServerId) -> Result<bool> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM servers WHERE id = $1 AND deleted_at IS NULL")
        .bind(server.to_string())
        .fetch_one(conn)
        .await
        .map_err(db)?;
    Ok(row.int("n")? == 0)
}

/// Servers that are gone and still have ports, with the addresses on them.
pub async fn ports_of_nobody(conn: &mut Conn) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT p.device_id AS id FROM ports p WHERE p.owned_by_server = 1 AND NOT EXISTS \
         (SELECT 1 FROM servers s WHERE s.id = p.device_id AND s.deleted_at IS NULL) \
         ORDER BY p.device_id LIMIT {MOST}"
    );
    names(conn, sql).await
}

/// Ports with an address of a subnet that is not on their network.
pub async fn strayed_addresses(conn: &mut Conn) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT p.id AS id FROM addresses a JOIN ports p ON p.id = a.port_id \
         JOIN subnets s ON s.id = a.subnet_id WHERE s.network_id <> p.network_id ORDER BY p.id LIMIT {MOST}"
    );
    names(conn, sql).await
}

/// Images that have content: (id, digest, bytes), after `after`, in the order of ids.
pub async fn contents(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<(String, String, i64)>> {
    let rows = sqlx::query(
        "SELECT id, digest, size FROM images WHERE digest IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("id")?, row.text("digest")?, row.int("size")?))).collect()
}

async fn differences(conn: &mut Conn, sql: String) -> Result<Vec<Off>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(db)?;
    rows.iter()
        .map(|row| {
            Ok(Off {
                whose: row.text("whose")?,
                which: row.text("which")?,
                kept: row.int("kept")?,
                counted: row.int("counted")?,
            })
        })
        .collect()
}

async fn names(conn: &mut Conn, sql: String) -> Result<Vec<String>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| row.text("id")).collect()
}
