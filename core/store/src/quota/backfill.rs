//! Counts, once, what was not counted when it was made: each user's part of a project's servers and groups,
//! and the resource classes of flavors.

use super::Spend;
use crate::rows::Columns;
use crate::servers::{FlavorSnapshot, Operation};
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::resources::Amounts;
use canopy_types::{Result, quota};
use sqlx::Connection;
use std::collections::BTreeMap;

const DONE: &str = "quota.backfilled";

/// What a server of this flavor holds of its project's quota.
pub fn charges(flavor: &FlavorSnapshot) -> Amounts {
    let mut charges: Amounts =
        [(quota::INSTANCES, 1), (quota::CORES, flavor.vcpus), (quota::RAM, flavor.memory_mib)]
            .map(|(name, n)| (name.to_owned(), n))
            .into();
    for (key, value) in &flavor.extra_specs {
        let name = key.strip_prefix("resources:").map(|class| format!("{}{class}", quota::CLASS));
        let amount = value.parse::<i64>().ok().filter(|amount| *amount > 0);
        if let (Some(name), Some(amount)) = (name, amount)
            && quota::class_of(&name).is_some()
        {
            charges.insert(name, amount);
        }
    }
    charges
}

/// What a server holds of its project's quota: between the two flavors of a resize, the larger of each.
pub fn held(flavor: &FlavorSnapshot, operation: &Operation) -> Amounts {
    let Some(resize) = &operation.resize else { return charges(flavor) };
    let mut held = charges(&resize.old);
    for (resource, amount) in charges(&resize.new) {
        let other = held.entry(resource).or_default();
        *other = amount.max(*other);
    }
    held
}

pub async fn run(conn: &mut Conn) -> Result<()> {
    if sequences::current(conn, DONE).await? > 0 {
        return Ok(());
    }
    let mut tx = conn.begin().await.map_err(db)?;
    // Two controllers that start at once: the second finds it done.
    if sequences::next(&mut tx, DONE).await? > 1 {
        return Ok(());
    }
    let mut sums: BTreeMap<(String, String, String), Amounts> = BTreeMap::new();
    let servers = sqlx::query(
        "SELECT project_id, user_id, availability_zone, flavor FROM servers WHERE deleted_at IS NULL",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(db)?;
    for row in &servers {
        let key = (row.text("project_id")?, row.text("user_id")?, row.text("availability_zone")?);
        // What cannot be read cannot be counted, and must not keep the service from starting.
        let Ok(flavor) = row.json::<FlavorSnapshot>("flavor") else {
            tracing::warn!(project = key.0, "a server's flavor cannot be read; it is not counted by user");
            continue;
        };
        let sum = sums.entry(key).or_default();
        for (resource, amount) in charges(&flavor) {
            *sum.entry(resource).or_default() += amount;
        }
    }
    let groups = sqlx::query(
        "SELECT project_id, user_id, COUNT(*) AS n FROM server_groups GROUP BY project_id, user_id",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(db)?;
    for row in &groups {
        let key = (row.text("project_id")?, row.text("user_id")?, String::new());
        sums.entry(key).or_default().insert(quota::SERVER_GROUPS.to_owned(), row.int("n")?);
    }
    for ((project, user, zone), amounts) in sums {
        let counted = |name: &str| !name.starts_with(quota::CLASS);
        let spend = |amounts: Amounts| Spend {
            project_id: project.clone().into(),
            user_id: user.clone().into(),
            zone: zone.clone(),
            amounts,
        };
        let (before, new): (Amounts, Amounts) = amounts.into_iter().partition(|(name, _)| counted(name));
        // The project's own sum has these already.
        let spend_before = spend(before);
        let more = spend_before.amounts.iter().filter(|(_, amount)| **amount > 0);
        let more: Vec<_> = more.map(|(resource, amount)| (resource.as_str(), *amount)).collect();
        super::hold(&mut tx, &spend_before, &more).await?;
        super::add(&mut tx, &spend(new), 1).await?;
    }
    tx.commit().await.map_err(db)
}
