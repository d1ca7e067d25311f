//! Users and their password hashes.

use super::{User, UserOptions};
use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, Page};
use canopy_types::{Result, Timestamp, UserId};
use sqlx::any::AnyRow;

const COLUMNS: &str = "id, domain_id, name, description, email, tokens_valid_after, enabled, default_project_id, \
     options, password_changed_at";

fn user(row: &AnyRow) -> Result<User> {
    Ok(User {
        id: row.text("id")?.into(),
        domain_id: row.text("domain_id")?.into(),
        name: row.text("name")?,
        description: row.text("description")?,
        email: row.text_opt("email")?,
        tokens_valid_after: row.time("tokens_valid_after")?,
        enabled: row.flag("enabled")?,
        default_project_id: row.text_opt("default_project_id")?.map(Into::into),
        options: UserOptions::read(row.int("options")?),
        password_changed_at: row.time("password_changed_at")?,
    })
}

/// What a list is narrowed to. Empty strings and `None` narrow nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub domain_id: String,
    pub name: String,
    pub enabled: Option<bool>,
}

/// One page by id, and one row more when there is a next page.
pub async fn list(conn: &mut Conn, filter: &Filter, page: &Page) -> Result<Vec<User>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE id > $1 AND ($2 = '' OR domain_id = $2) AND ($3 = '' OR name = $3) \
         AND ($4 < 0 OR enabled = $4) ORDER BY id LIMIT $5"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(page.marker.clone().unwrap_or_default())
        .bind(&filter.domain_id)
        .bind(&filter.name)
        .bind(filter.enabled.map_or(-1, i64::from))
        .bind(page.size() + 1)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(user).collect()
}

pub async fn all(conn: &mut Conn) -> Result<Vec<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(user).collect()
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(user).transpose()
}

/// The password hash of a user that logs in by id, or by name within a domain (`by` is then the domain's
/// id).
pub async fn credentials(conn: &mut Conn, by: Login<'_>) -> Result<Option<(UserId, Option<String>)>> {
    let query = match by {
        Login::Id(id) => sqlx::query("SELECT id, password_hash FROM users WHERE id = $1").bind(id),
        Login::Name { domain_id, name } => {
            sqlx::query("SELECT id, password_hash FROM users WHERE domain_id = $1 AND name = $2")
                .bind(domain_id)
                .bind(name)
        }
    };
    let row = query.fetch_optional(conn).await.map_err(db)?;
    row.map(|row| Ok((row.text("id")?.into(), row.text_opt("password_hash")?))).transpose()
}

#[derive(Clone, Copy, Debug)]
pub enum Login<'a> {
    Id(&'a str),
    Name { domain_id: &'a str, name: &'a str },
}

pub async fn insert(conn: &mut Conn, user: &User, password_hash: Option<&str>, at: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, domain_id, name, description, email, password_hash, tokens_valid_after, enabled, \
         default_project_id, created_at, options, password_changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(user.id.as_str())
    .bind(user.domain_id.as_str())
    .bind(&user.name)
    .bind(&user.description)
    .bind(user.email.clone())
    .bind(password_hash.map(str::to_owned))
    .bind(user.tokens_valid_after.0)
    .bind(i64::from(user.enabled))
    .bind(user.default_project_id.as_ref().map(|id| id.0.clone()))
    .bind(at.0)
    .bind(user.options.bits())
    .bind(password_hash.map_or(0, |_| at.0))
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    match password_hash {
        Some(hash) => remember(conn, &user.id, hash).await,
        None => Ok(()),
    }
}

/// Writes everything but id, domain and password.
pub async fn update(conn: &mut Conn, user: &User) -> Result<()> {
    sqlx::query(
        "UPDATE users SET name = $2, description = $3, email = $4, tokens_valid_after = $5, enabled = $6, \
         default_project_id = $7, options = $8 WHERE id = $1",
    )
    .bind(user.id.as_str())
    .bind(&user.name)
    .bind(&user.description)
    .bind(user.email.clone())
    .bind(user.tokens_valid_after.0)
    .bind(i64::from(user.enabled))
    .bind(user.default_project_id.as_ref().map(|id| id.0.clone()))
    .bind(user.options.bits())
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Sets the password and refuses every token issued up to `at`. `None` leaves the user unable to log in.
pub async fn set_password(conn: &mut Conn, id: &UserId, hash: Option<&str>, at: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE users SET password_hash = $2, tokens_valid_after = $3, password_changed_at = $3 WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(hash.map(str::to_owned))
    .bind(at.0)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    match hash {
        Some(hash) => remember(conn, id, hash).await,
        None => Ok(()),
    }
}

/// Refuses every token of the user issued up to `at`.
pub async fn end_tokens(conn: &mut Conn, id: &UserId, at: Timestamp) -> Result<()> {
    sqlx::query("UPDATE users SET tokens_valid_after = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(at.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// Hashes kept of one user: as many as any rule about earlier passwords looks at.
const HISTORY: i64 = 10;

async fn remember(conn: &mut Conn, id: &UserId, hash: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO password_history (user_id, number, hash) \
         SELECT $1, COALESCE(MAX(number), 0) + 1, $2 FROM password_history WHERE user_id = $1",
    )
    .bind(id.as_str())
    .bind(hash)
    .execute(&mut *conn)
    .await
    .map_err(db)?;
    sqlx::query(
        "DELETE FROM password_history WHERE user_id = $1 AND number <= \
         (SELECT MAX(number) - $2 FROM password_history WHERE user_id = $1)",
    )
    .bind(id.as_str())
    .bind(HISTORY)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// Hashes of a user's last passwords, the present one first.
pub async fn history(conn: &mut Conn, id: &str, count: i64) -> Result<Vec<String>> {
    let rows =
        sqlx::query("SELECT hash FROM password_history WHERE user_id = $1 ORDER BY number DESC LIMIT $2")
            .bind(id)
            .bind(count)
            .fetch_all(conn)
            .await
            .map_err(db)?;
    rows.iter().map(|row| row.text("hash")).collect()
}

/// Removes a user, the roles it holds, its memberships, its key pairs and what it handed
/// on or was handed.
pub async fn delete(conn: &mut Conn, id: &UserId) -> Result<()> {
    super::delegations::forget_user(conn, id.as_str()).await?;
    for sql in [
        "DELETE FROM role_grants WHERE actor = 'user' AND actor_id = $1",
        "DELETE FROM group_members WHERE user_id = $1",
        "DELETE FROM keypairs WHERE user_id = $1",
        "DELETE FROM identity_extras WHERE kind = 'user' AND id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
