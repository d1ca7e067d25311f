//! What goes with a user, a project or a domain that goes: what was handed on by it, to it, or in it.

use crate::Conn;
use crate::store::db;
use canopy_types::Result;

const CREDENTIALS: [&str; 3] = [
    "DELETE FROM application_credential_rules WHERE credential_id IN (SELECT id FROM application_credentials WHERE ",
    "DELETE FROM application_credential_roles WHERE credential_id IN (SELECT id FROM application_credentials WHERE ",
    "DELETE FROM application_credentials WHERE id IN (SELECT id FROM application_credentials WHERE ",
];
const TRUSTS: [&str; 2] = [
    "DELETE FROM trust_roles WHERE trust_id IN (SELECT id FROM trusts WHERE ",
    "DELETE FROM trusts WHERE id IN (SELECT id FROM trusts WHERE ",
];

async fn forget(conn: &mut Conn, credentials: &str, trusts: &str, id: &str) -> Result<()> {
    let statements = CREDENTIALS
        .iter()
        .map(|sql| format!("{sql}{credentials})"))
        .chain(TRUSTS.iter().map(|sql| format!("{sql}{trusts})")));
    for sql in statements {
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// What a user that is disabled does not find again: as in keystone, its application credentials and their
/// access rules.
pub async fn forget_credentials(conn: &mut Conn, user: &str) -> Result<()> {
    let statements = CREDENTIALS.iter().map(|sql| format!("{sql}user_id = $1)"));
    for sql in statements.chain(["DELETE FROM access_rules WHERE user_id = $1".to_owned()]) {
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

pub async fn forget_user(conn: &mut Conn, id: &str) -> Result<()> {
    forget(conn, "user_id = $1", "trustor_id = $1 OR trustee_id = $1", id).await?;
    for sql in [
        "DELETE FROM access_rules WHERE user_id = $1",
        "DELETE FROM credentials WHERE user_id = $1",
        "DELETE FROM password_history WHERE user_id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

pub async fn forget_project(conn: &mut Conn, id: &str) -> Result<()> {
    forget(conn, "project_id = $1", "project_id = $1", id).await?;
    for sql in [
        "DELETE FROM credentials WHERE project_id = $1",
        "DELETE FROM project_endpoints WHERE project_id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Of all users and projects of a domain, which must still be there.
pub async fn forget_domain(conn: &mut Conn, id: &str) -> Result<()> {
    let users = "(SELECT id FROM users WHERE domain_id = $1)";
    let projects = "(SELECT id FROM projects WHERE domain_id = $1)";
    forget(
        conn,
        &format!("user_id IN {users} OR project_id IN {projects}"),
        &format!("trustor_id IN {users} OR trustee_id IN {users} OR project_id IN {projects}"),
        id,
    )
    .await?;
    for sql in [
        format!("DELETE FROM access_rules WHERE user_id IN {users}"),
        format!("DELETE FROM password_history WHERE user_id IN {users}"),
        format!("DELETE FROM credentials WHERE user_id IN {users} OR project_id IN {projects}"),
        format!("DELETE FROM project_endpoints WHERE project_id IN {projects}"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}
