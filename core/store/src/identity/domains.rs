//! Changing and removing domains.

use super::Domain;
use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{DomainId, Result};

/// Writes name, description and enabled.
pub async fn update(conn: &mut Conn, domain: &Domain) -> Result<()> {
    sqlx::query("UPDATE domains SET name = $2, description = $3, enabled = $4 WHERE id = $1")
        .bind(domain.id.as_str())
        .bind(&domain.name)
        .bind(&domain.description)
        .bind(i64::from(domain.enabled))
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// What still stands in a domain's projects, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub servers: i64,
    pub images: i64,
    pub networks: i64,
}

pub async fn holdings(conn: &mut Conn, id: &DomainId) -> Result<Holdings> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM servers WHERE deleted_at IS NULL AND project_id IN \
         (SELECT id FROM projects WHERE domain_id = $1)) AS servers, \
         (SELECT COUNT(*) FROM images WHERE project_id IN (SELECT id FROM projects WHERE domain_id = $1)) \
         AS images, \
         (SELECT COUNT(*) FROM networks WHERE project_id IN (SELECT id FROM projects WHERE domain_id = $1)) \
         AS networks",
    )
    .bind(id.as_str())
    .fetch_one(conn)
    .await
    .map_err(db)?;
    Ok(Holdings { servers: row.int("servers")?, images: row.int("images")?, networks: row.int("networks")? })
}

/// Removes a domain with its users, its groups, its projects, and every role held by the ones or in the others.
pub async fn delete(conn: &mut Conn, id: &DomainId) -> Result<()> {
    super::delegations::forget_domain(conn, id.as_str()).await?;
    for sql in [
        "DELETE FROM role_grants WHERE actor = 'user' AND actor_id IN (SELECT id FROM users WHERE domain_id = $1)",
        "DELETE FROM role_grants WHERE actor = 'group' AND actor_id IN (SELECT id FROM identity_groups WHERE domain_id = $1)",
        "DELETE FROM role_grants WHERE target = 'domain' AND target_id = $1",
        "DELETE FROM role_grants WHERE target = 'project' AND target_id IN \
         (SELECT id FROM projects WHERE domain_id = $1)",
        "DELETE FROM group_members WHERE user_id IN (SELECT id FROM users WHERE domain_id = $1)",
        "DELETE FROM group_members WHERE group_id IN (SELECT id FROM identity_groups WHERE domain_id = $1)",
        "DELETE FROM role_grants WHERE role_id IN (SELECT id FROM roles WHERE domain_id = $1)",
        "DELETE FROM implied_roles WHERE prior_id IN (SELECT id FROM roles WHERE domain_id = $1)",
        "DELETE FROM implied_roles WHERE implied_id IN (SELECT id FROM roles WHERE domain_id = $1)",
        "DELETE FROM identity_extras WHERE kind = 'role' AND id IN (SELECT id FROM roles WHERE domain_id = $1)",
        "DELETE FROM roles WHERE domain_id = $1",
        "DELETE FROM identity_extras WHERE kind = 'user' AND id IN (SELECT id FROM users WHERE domain_id = $1)",
        "DELETE FROM identity_extras WHERE kind = 'group' AND id IN (SELECT id FROM identity_groups WHERE domain_id = $1)",
        "DELETE FROM identity_extras WHERE kind = 'project' AND id IN (SELECT id FROM projects WHERE domain_id = $1)",
        "DELETE FROM identity_extras WHERE kind = 'domain' AND id = $1",
        "DELETE FROM project_endpoint_groups WHERE project_id IN (SELECT id FROM projects WHERE domain_id = $1)",
        "DELETE FROM identity_groups WHERE domain_id = $1",
        "DELETE FROM keypairs WHERE user_id IN (SELECT id FROM users WHERE domain_id = $1)",
        "DELETE FROM users WHERE domain_id = $1",
        "DELETE FROM projects WHERE domain_id = $1",
        "DELETE FROM domains WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
