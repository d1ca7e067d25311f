//! Whether usage is what there is: everything that is counted is summed up from its own rows and held
//! against the counters. For tests after any commit, and for an operator's check and repair of a database.

use super::backfill::held as held_of;
use crate::rows::Columns;
use crate::store::db;
use crate::supply::at_one_instant;
use crate::{Conn, ports};
use canopy_types::{ProjectId, Result, quota};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is counted apart from servers: resource, whose it is, how it sums up, table, which rows of it.
const SUMS: [(&str, &str, &str, &str, &str); 7] = [
    (quota::KEY_PAIRS, "'user:' || user_id", "COUNT(*)", "keypairs", "1 = 1"),
    (quota::SERVER_GROUPS, "project_id", "COUNT(*)", "server_groups", "1 = 1"),
    (quota::NETWORKS, "project_id", "COUNT(*)", "networks", "1 = 1"),
    (quota::SUBNETS, "project_id", "COUNT(*)", "subnets", "1 = 1"),
    (quota::PORTS, "project_id", "COUNT(*)", "ports", "device_owner <> $2"),
    (quota::IMAGES, "project_id", "COUNT(*)", "images", "1 = 1"),
    (quota::IMAGE_BYTES, "project_id", "CAST(SUM(size) AS BIGINT)", "images", "size > 0"),
];

/// A counter: a project's of a resource, or a user's part of it in a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    pub project: String,
    pub resource: String,
    /// User and zone.
    pub part: Option<(String, String)>,
}

/// A counter that is not what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub counter: Counter,
    /// What the counter says.
    pub kept: i64,
    /// What there is.
    pub there: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} counted, {} there", self.counter, self.kept, self.there)
    }
}

type Counts = BTreeMap<Counter, i64>;

/// Each counter that is not what there is; empty when all is well. Looks at one state of the database,
/// whatever goes on meanwhile: not to be called within a transaction.
pub async fn differences(conn: &mut Conn) -> Result<Vec<Difference>> {
    at_one_instant(conn, |conn| {
        Box::pin(async move {
            let there = there(conn, None).await?;
            Ok(compare(&kept(conn).await?, &there))
        })
    })
    .await
}

/// Counts everything that a project has again and writes that down, in this transaction. Where charging is in
/// the lock order: whoever is charged waits for this, and this for them.
pub async fn recount(conn: &mut Conn, project: &ProjectId) -> Result<()> {
    super::touch(conn, project).await?;
    let there = there(conn, Some(project)).await?;
    for table in ["quota_usages", "quota_holdings"] {
        let sql = format!("DELETE FROM {table} WHERE project_id = $1");
        sqlx::query(AssertSqlSafe(sql)).bind(project.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    for (counter, n) in there {
        let query = match &counter.part {
            None => sqlx::query("INSERT INTO quota_usages (project_id, resource, used) VALUES ($1, $2, $3)"),
            Some(_) => sqlx::query(
                "INSERT INTO quota_holdings (project_id, resource, used, user_id, zone) \
                 VALUES ($1, $2, $3, $4, $5)",
            ),
        };
        let mut query = query.bind(counter.project).bind(counter.resource).bind(n);
        if let Some((user, zone)) = counter.part {
            query = query.bind(user).bind(zone);
        }
        query.execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// What every counter should say, of all projects or of one; those that should say nothing are left out.
async fn there(conn: &mut Conn, only: Option<&ProjectId>) -> Result<Counts> {
    let only = only.map_or("", ProjectId::as_str);
    let mut counts = Counts::new();
    for (resource, whose, sum, table, which) in SUMS {
        let sql = format!(
            "SELECT {whose} AS p, {sum} AS n FROM {table} WHERE {which} AND ($1 = '' OR {whose} = $1) GROUP BY {whose}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(only);
        if which.contains("$2") {
            query = query.bind(ports::DHCP_OWNER);
        }
        for row in query.fetch_all(&mut *conn).await.map_err(db)? {
            let counter = Counter { project: row.text("p")?, resource: resource.to_owned(), part: None };
            counts.insert(counter, row.int("n")?);
        }
    }
    held(conn, only, &mut counts).await?;
    counts.retain(|_, n| *n != 0);
    Ok(counts)
}

/// What servers and groups come to, by project, user, zone and resource.
async fn held(conn: &mut Conn, only: &str, counts: &mut Counts) -> Result<()> {
    // Servers of one flavor are told together, so that a large cloud stays a small answer.
    let servers = sqlx::query(
        "SELECT project_id, user_id, availability_zone, flavor, operation, COUNT(*) AS n FROM servers \
         WHERE deleted_at IS NULL AND ($1 = '' OR project_id = $1) \
         GROUP BY project_id, user_id, availability_zone, flavor, operation",
    );
    for row in servers.bind(only).fetch_all(&mut *conn).await.map_err(db)? {
        let (project, n) = (row.text("project_id")?, row.int("n")?);
        let part = (row.text("user_id")?, row.text("availability_zone")?);
        let operation = row.json_opt("operation")?.unwrap_or_default();
        for (resource, amount) in held_of(&row.json("flavor")?, &operation) {
            let of = |part| Counter { project: project.clone(), resource: resource.clone(), part };
            *counts.entry(of(None)).or_default() += amount * n;
            if quota::by_user(&resource) {
                *counts.entry(of(Some(part.clone()))).or_default() += amount * n;
            }
        }
    }
    let groups = sqlx::query(
        "SELECT project_id, user_id, COUNT(*) AS n FROM server_groups WHERE $1 = '' OR project_id = $1 \
         GROUP BY project_id, user_id",
    );
    for row in groups.bind(only).fetch_all(conn).await.map_err(db)? {
        let counter = Counter {
            project: row.text("project_id")?,
            resource: quota::SERVER_GROUPS.to_owned(),
            part: Some((row.text("user_id")?, String::new())),
        };
        counts.insert(counter, row.int("n")?);
    }
    Ok(())
}

/// What every counter says.
async fn kept(conn: &mut Conn) -> Result<Counts> {
    let mut counts = Counts::new();
    let sql = "SELECT project_id, resource, used FROM quota_usages WHERE used > 0";
    for row in sqlx::query(sql).fetch_all(&mut *conn).await.map_err(db)? {
        let counter =
            Counter { project: row.text("project_id")?, resource: row.text("resource")?, part: None };
        counts.insert(counter, row.int("used")?);
    }
    let sql = "SELECT project_id, user_id, zone, resource, used FROM quota_holdings WHERE used > 0";
    for row in sqlx::query(sql).fetch_all(conn).await.map_err(db)? {
        let counter = Counter {
            project: row.text("project_id")?,
            resource: row.text("resource")?,
            part: Some((row.text("user_id")?, row.text("zone")?)),
        };
        counts.insert(counter, row.int("used")?);
    }
    Ok(counts)
}

fn compare(kept: &Counts, there: &Counts) -> Vec<Difference> {
    let counters: BTreeSet<&Counter> = kept.keys().chain(there.keys()).collect();
    let of = |map: &Counts, key| map.get(key).copied().unwrap_or(0);
    counters
        .into_iter()
        .map(|key| Difference { counter: key.clone(), kept: of(kept, key), there: of(there, key) })
        .filter(|difference| difference.kept != difference.there)
        .collect()
}
