//! The schema's history, run at every start.

use crate::dialect::{self, Engine};
use crate::store::db;
use canopy_types::{Error, Result};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr, SqlStr};

/// In order. A released file is never edited; a change is a new file.
const FILES: [(i64, &str, &str); 25] = [
    (1, "first light", include_str!("../migrations/0001_first_light.sql")),
    (2, "access addresses", include_str!("../migrations/0002_access_addresses.sql")),
    (3, "resource providers", include_str!("../migrations/0003_resource_providers.sql")),
    (4, "server groups and aggregates", include_str!("../migrations/0004_server_groups_and_aggregates.sql")),
    (5, "what hosts share", include_str!("../migrations/0005_what_hosts_share.sql")),
    (6, "groups", include_str!("../migrations/0006_groups.sql")),
    (7, "delegations", include_str!("../migrations/0007_delegations.sql")),
    (8, "catalog and passwords", include_str!("../migrations/0008_catalog_and_passwords.sql")),
    (9, "server operations", include_str!("../migrations/0009_server_operations.sql")),
    (10, "plugins", include_str!("../migrations/0010_plugins.sql")),
    (11, "quota tree", include_str!("../migrations/0011_quota_tree.sql")),
    (12, "domain roles and extras", include_str!("../migrations/0012_domain_roles_and_extras.sql")),
    (13, "image members", include_str!("../migrations/0013_image_members.sql")),
    (14, "image tasks", include_str!("../migrations/0014_image_tasks.sql")),
    (15, "metadefs", include_str!("../migrations/0015_metadefs.sql")),
    (16, "server holds", include_str!("../migrations/0016_server_holds.sql")),
    (17, "image tombstones", include_str!("../migrations/0017_image_tombstones.sql")),
    (18, "physical networks", include_str!("../migrations/0018_physical_networks.sql")),
    (19, "device tags", include_str!("../migrations/0019_device_tags.sql")),
    (20, "flavor descriptions", include_str!("../migrations/0020_flavor_descriptions.sql")),
    (21, "replicas", include_str!("../migrations/0021_replicas.sql")),
    (22, "server revisions", include_str!("../migrations/0022_server_revisions.sql")),
    (23, "console tokens", include_str!("../migrations/0023_console_tokens.sql")),
    (24, "flavor access", include_str!("../migrations/0024_flavor_access.sql")),
    (25, "host load", include_str!("../migrations/0025_host_load.sql")),
];

/// Brings the schema to this version, or refuses a newer one without touching it.
pub async fn migrate(pool: &AnyPool) -> Result<()> {
    run(pool, i64::MAX).await?;
    let mut conn = pool.acquire().await.map_err(db)?;
    if dialect::engine(&conn) == Engine::Postgres {
        let made = sqlx::query(dialect::POSTGRES_SCHEMA).execute(&mut *conn).await.map_err(db);
        // Two controllers that start at once may both find it missing; one of them makes it.
        if let Err(error) = made
            && error.kind != canopy_types::Kind::Conflict
        {
            return Err(error);
        }
    }
    crate::quota::backfill::run(&mut conn).await?;
    crate::traits::add_standard(&mut conn).await
}

/// Brings the schema to `last`, or to this version if that is older.
pub(crate) async fn run(pool: &AnyPool, last: i64) -> Result<()> {
    let migrations = FILES
        .iter()
        .filter(|(version, ..)| *version <= last)
        .map(|(version, name, sql)| {
            let sql: SqlStr = (*sql).into_sql_str();
            Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
        })
        .collect();
    Migrator::with_migrations(migrations).run(pool).await.map_err(|e| {
        Error::unavailable(
            "store.schema",
            "The database's schema does not fit this version of Canopy: run the version that made it, or restore a backup.",
        )
        .with_source(e)
    })
}
