//! Whether usage is what there is: everything that is counted is summed up from its own rows and held
//! against the counters. For tests after any commit, and for an operator's check of a database.

use super::backfill::charges;
use crate::rows::Columns;
use crate::servers::FlavorSnapshot;
use crate::store::db;
use crate::supply::at_one_instant;
use crate::{Conn, ports};
use canopy_types::{Result, quota};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

/// What is counted apart from servers: resource, and the sum by project.
const SUMS: [(&str, &str); 7] = [
    (quota::KEY_PAIRS, "SELECT 'user:' || user_id AS p, COUNT(*) AS n FROM keypairs GROUP BY user_id"),
    (quota::SERVER_GROUPS, "SELECT project_id AS p, COUNT(*) AS n FROM server_groups GROUP BY project_id"),
    (quota::NETWORKS, "SELECT project_id AS p, COUNT(*) AS n FROM networks GROUP BY project_id"),
    (quota::SUBNETS, "SELECT project_id AS p, COUNT(*) AS n FROM subnets GROUP BY project_id"),
    (
        quota::PORTS,
        "SELECT project_id AS p, COUNT(*) AS n FROM ports WHERE device_owner <> $1 GROUP BY project_id",
    ),
    (quota::IMAGES, "SELECT project_id AS p, COUNT(*) AS n FROM images GROUP BY project_id"),
    (
        quota::IMAGE_BYTES,
        "SELECT project_id AS p, CAST(SUM(size) AS BIGINT) AS n FROM images WHERE size > 0 GROUP BY project_id",
    ),
];

type Held = BTreeMap<(String, String, String, String), i64>;

/// One line for each counter that is not what there is; empty when all is well. Looks at one state of the
/// database, whatever goes on meanwhile: not to be called within a transaction.
pub async fn differences(conn: &mut Conn) -> Result<Vec<String>> {
    at_one_instant(conn, |conn| Box::pin(all(conn))).await
}

async fn all(conn: &mut Conn) -> Result<Vec<String>> {
    let mut really: BTreeMap<(String, String), i64> = BTreeMap::new();
    for (resource, sql) in SUMS {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        if resource == quota::PORTS {
            query = query.bind(ports::DHCP_OWNER);
        }
        for row in query.fetch_all(&mut *conn).await.map_err(db)? {
            really.insert((row.text("p")?, resource.to_owned()), row.int("n")?);
        }
    }
    let held = holdings(conn).await?;
    for ((project, _, _, resource), n) in &held {
        if resource != quota::SERVER_GROUPS {
            *really.entry((project.clone(), resource.clone())).or_default() += n;
        }
    }
    let mut counted: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in sqlx::query("SELECT project_id, resource, used FROM quota_usages WHERE used > 0")
        .fetch_all(&mut *conn)
        .await
        .map_err(db)?
    {
        counted.insert((row.text("project_id")?, row.text("resource")?), row.int("used")?);
    }
    let mut counted_held: Held = BTreeMap::new();
    for row in
        sqlx::query("SELECT project_id, user_id, zone, resource, used FROM quota_holdings WHERE used > 0")
            .fetch_all(conn)
            .await
            .map_err(db)?
    {
        let key = (row.text("project_id")?, row.text("user_id")?, row.text("zone")?, row.text("resource")?);
        counted_held.insert(key, row.int("used")?);
    }
    let mut differences = compare(&counted, &really);
    differences.extend(compare(&counted_held, &held));
    Ok(differences)
}

/// What servers and groups come to, by project, user, zone and resource.
async fn holdings(conn: &mut Conn) -> Result<Held> {
    let mut held: Held = BTreeMap::new();
    for row in sqlx::query(
        "SELECT project_id, user_id, availability_zone, flavor FROM servers WHERE deleted_at IS NULL",
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(db)?
    {
        let (project, user) = (row.text("project_id")?, row.text("user_id")?);
        let zone = row.text("availability_zone")?;
        for (resource, amount) in charges(&row.json::<FlavorSnapshot>("flavor")?) {
            *held.entry((project.clone(), user.clone(), zone.clone(), resource)).or_default() += amount;
        }
    }
    for row in sqlx::query(
        "SELECT project_id, user_id, COUNT(*) AS n FROM server_groups GROUP BY project_id, user_id",
    )
    .fetch_all(conn)
    .await
    .map_err(db)?
    {
        let key =
            (row.text("project_id")?, row.text("user_id")?, String::new(), quota::SERVER_GROUPS.to_owned());
        held.insert(key, row.int("n")?);
    }
    held.retain(|_, n| *n != 0);
    Ok(held)
}

fn compare<K: Ord + std::fmt::Debug>(counted: &BTreeMap<K, i64>, really: &BTreeMap<K, i64>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&K> = counted.keys().chain(really.keys()).collect();
    let of = |map: &BTreeMap<K, i64>, key| map.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .filter(|key| of(counted, key) != of(really, key))
        .map(|key| format!("{key:?}: {} counted, {} there", of(counted, key), of(really, key)))
        .collect()
}
