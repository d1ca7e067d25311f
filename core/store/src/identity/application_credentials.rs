//! Application credentials and the access rules that narrow them. Secrets are stored as hashes, which only
//! [`secret`] reads.

use crate::Conn;
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result, RoleId, Timestamp, UserId};
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    pub id: String,
    /// Service type, as in the catalog.
    pub service: String,
    pub method: String,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    pub id: String,
    pub user_id: UserId,
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    pub expires_at: Option<Timestamp>,
    /// Whether it may make others like it, and trusts.
    pub unrestricted: bool,
    pub roles: Vec<RoleId>,
    /// What may be asked for; `None` is everything.
    pub rules: Option<Vec<AccessRule>>,
}

pub async fn all(conn: &mut Conn) -> Result<Vec<ApplicationCredential>> {
    read(conn, "").await
}

pub async fn of_user(conn: &mut Conn, user: &str) -> Result<Vec<ApplicationCredential>> {
    read(conn, user).await
}

/// Of one user, or of all for "".
async fn read(conn: &mut Conn, user: &str) -> Result<Vec<ApplicationCredential>> {
    let mut roles: HashMap<String, Vec<RoleId>> = HashMap::new();
    let rows = sqlx::query(
        "SELECT r.credential_id, r.role_id FROM application_credential_roles r \
         JOIN application_credentials c ON c.id = r.credential_id WHERE $1 = '' OR c.user_id = $1 \
         ORDER BY r.credential_id, r.role_id",
    )
    .bind(user)
    .fetch_all(&mut *conn)
    .await
    .map_err(db)?;
    for row in &rows {
        roles.entry(row.text("credential_id")?).or_default().push(row.text("role_id")?.into());
    }
    let mut rules: HashMap<String, Vec<AccessRule>> = HashMap::new();
    let rows = sqlx::query(
        "SELECT l.credential_id, a.id, a.service, a.method, a.path FROM application_credential_rules l \
         JOIN access_rules a ON a.id = l.rule_id WHERE $1 = '' OR a.user_id = $1 ORDER BY l.credential_id, a.id",
    )
    .bind(user)
    .fetch_all(&mut *conn)
    .await
    .map_err(db)?;
    for row in &rows {
        rules.entry(row.text("credential_id")?).or_default().push(access_rule(row)?);
    }
    let rows = sqlx::query(
        "SELECT id, user_id, project_id, name, description, expires_at, unrestricted, ruled \
         FROM application_credentials WHERE $1 = '' OR user_id = $1 ORDER BY id",
    )
    .bind(user)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter()
        .map(|row| {
            let id = row.text("id")?;
            Ok(ApplicationCredential {
                user_id: row.text("user_id")?.into(),
                project_id: row.text("project_id")?.into(),
                name: row.text("name")?,
                description: row.text("description")?,
                expires_at: row.time_opt("expires_at")?,
                unrestricted: row.flag("unrestricted")?,
                roles: roles.remove(&id).unwrap_or_default(),
                rules: row.flag("ruled")?.then(|| rules.remove(&id).unwrap_or_default()),
                id,
            })
        })
        .collect()
}

fn access_rule(row: &sqlx::any::AnyRow) -> Result<AccessRule> {
    Ok(AccessRule {
        id: row.text("id")?,
        service: row.text("service")?,
        method: row.text("method")?,
        path: row.text("path")?,
    })
}

/// Id and secret hash of a credential by its id, or by its user's id and its name.
pub async fn secret(conn: &mut Conn, id: &str, user: &str, name: &str) -> Result<Option<(String, String)>> {
    let row = sqlx::query(
        "SELECT id, secret_hash FROM application_credentials WHERE id = $1 OR ($1 = '' AND user_id = $2 AND name = $3)",
    )
    .bind(id)
    .bind(user)
    .bind(name)
    .fetch_optional(conn)
    .await
    .map_err(db)?;
    row.map(|row| Ok((row.text("id")?, row.text("secret_hash")?))).transpose()
}

/// Its access rules must be stored already.
pub async fn insert(
    conn: &mut Conn,
    credential: &ApplicationCredential,
    secret_hash: &str,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO application_credentials (id, user_id, project_id, name, description, secret_hash, expires_at, \
         unrestricted, ruled, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&credential.id)
    .bind(credential.user_id.as_str())
    .bind(credential.project_id.as_str())
    .bind(&credential.name)
    .bind(&credential.description)
    .bind(secret_hash)
    .bind(credential.expires_at.map(|at| at.0))
    .bind(i64::from(credential.unrestricted))
    .bind(i64::from(credential.rules.is_some()))
    .bind(at.0)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    for role in &credential.roles {
        sqlx::query("INSERT INTO application_credential_roles (credential_id, role_id) VALUES ($1, $2)")
            .bind(&credential.id)
            .bind(role.as_str())
            .execute(&mut *conn)
            .await
            .map_err(db)?;
    }
    for rule in credential.rules.iter().flatten() {
        sqlx::query(
            "INSERT INTO application_credential_rules (credential_id, rule_id) VALUES ($1, $2) \
             ON CONFLICT (credential_id, rule_id) DO NOTHING",
        )
        .bind(&credential.id)
        .bind(&rule.id)
        .execute(&mut *conn)
        .await
        .map_err(db)?;
    }
    Ok(())
}

/// Whether there was one.
pub async fn delete(conn: &mut Conn, user: &str, id: &str) -> Result<bool> {
    for sql in [
        "DELETE FROM application_credential_rules WHERE credential_id IN \
         (SELECT id FROM application_credentials WHERE user_id = $1 AND id = $2)",
        "DELETE FROM application_credential_roles WHERE credential_id IN \
         (SELECT id FROM application_credentials WHERE user_id = $1 AND id = $2)",
    ] {
        sqlx::query(sql).bind(user).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    let done = sqlx::query("DELETE FROM application_credentials WHERE user_id = $1 AND id = $2")
        .bind(user)
        .bind(id)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() > 0)
}

pub async fn rules_of(conn: &mut Conn, user: &str) -> Result<Vec<AccessRule>> {
    let rows =
        sqlx::query("SELECT id, service, method, path FROM access_rules WHERE user_id = $1 ORDER BY id")
            .bind(user)
            .fetch_all(conn)
            .await
            .map_err(db)?;
    rows.iter().map(access_rule).collect()
}

pub async fn insert_rule(conn: &mut Conn, user: &UserId, rule: &AccessRule) -> Result<()> {
    sqlx::query("INSERT INTO access_rules (id, user_id, service, method, path) VALUES ($1, $2, $3, $4, $5)")
        .bind(&rule.id)
        .bind(user.as_str())
        .bind(&rule.service)
        .bind(&rule.method)
        .bind(&rule.path)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Whether a credential still has the rule.
pub async fn rule_in_use(conn: &mut Conn, id: &str) -> Result<bool> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM application_credential_rules WHERE rule_id = $1")
        .bind(id)
        .fetch_one(conn)
        .await
        .map_err(db)?;
    Ok(row.int("n")? > 0)
}

pub async fn delete_rule(conn: &mut Conn, user: &str, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM access_rules WHERE user_id = $1 AND id = $2")
        .bind(user)
        .bind(id)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
