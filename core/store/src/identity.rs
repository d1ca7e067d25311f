//! Rows of identity: domains, projects, users, groups, roles, who holds which role where, revoked
//! tokens.
//!
//! Every write calls [`touch`] first. It raises a counter under a row lock, so identity writes commit in
//! the counter's order and a reader that sees a number has missed nothing below it: other processes poll
//! that one row to know when their in-memory view is old.

pub mod application_credentials;
pub mod catalog;
pub mod credentials;
pub mod delegations;
pub mod directory;
pub mod domains;
pub mod endpoint_groups;
pub mod extras;
pub mod grants;
pub mod groups;
pub mod projects;
pub mod replicas;
pub mod roles;
pub mod tokens;
pub mod trusts;
pub mod users;

use crate::events::{self, NewEvent};
use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, sequences};
use canopy_types::{DomainId, GroupId, ProjectId, Result, RoleId, Timestamp, UserId};
use sqlx::any::AnyRow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    pub id: DomainId,
    pub name: String,
    pub description: String,
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub domain_id: DomainId,
    /// Another project, or the domain for one at the top.
    pub parent_id: String,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    /// Sorted, none twice.
    pub tags: Vec<String>,
}

/// A user without its password hash, which only [`users::credentials`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub domain_id: DomainId,
    pub name: String,
    pub description: String,
    pub email: Option<String>,
    /// Tokens issued at or before this instant are refused.
    pub tokens_valid_after: Timestamp,
    pub enabled: bool,
    pub default_project_id: Option<ProjectId>,
    pub options: UserOptions,
    /// 0 for none that is known of.
    pub password_changed_at: Timestamp,
}

/// What a user is spared, or kept from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserOptions {
    pub ignore_change_password_upon_first_use: bool,
    pub ignore_password_expiry: bool,
    pub ignore_lockout_failure_attempts: bool,
    /// It cannot change its own password.
    pub lock_password: bool,
}

impl UserOptions {
    /// A bit for each; their places never change.
    fn bits(self) -> i64 {
        i64::from(self.ignore_change_password_upon_first_use)
            | i64::from(self.ignore_password_expiry) << 1
            | i64::from(self.ignore_lockout_failure_attempts) << 2
            | i64::from(self.lock_password) << 3
    }

    fn read(bits: i64) -> Self {
        Self {
            ignore_change_password_upon_first_use: bits & 1 != 0,
            ignore_password_expiry: bits & 2 != 0,
            ignore_lockout_failure_attempts: bits & 4 != 0,
            lock_password: bits & 8 != 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    /// The only domain it can be given in, where it does nothing but imply others; none for the whole cloud.
    pub domain_id: Option<DomainId>,
    pub name: String,
    pub description: String,
}

/// Where a role is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    Project(ProjectId),
    Domain(DomainId),
    System,
}

impl Reach {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Project(id) => ("project", id.as_str()),
            Self::Domain(id) => ("domain", id.as_str()),
            Self::System => ("system", "all"),
        }
    }

    fn read(row: &AnyRow) -> Result<Self> {
        let id = row.text("target_id")?;
        Ok(match row.text("target")?.as_str() {
            "project" => Self::Project(id.into()),
            "domain" => Self::Domain(id.into()),
            _ => Self::System,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub domain_id: DomainId,
    pub name: String,
    pub description: String,
}

/// Who holds a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    User(UserId),
    Group(GroupId),
}

impl Actor {
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Group(id) => id.as_str(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
        }
    }

    fn read(row: &AnyRow) -> Result<Self> {
        let id = row.text("actor_id")?;
        Ok(if row.text("actor")? == "group" { Self::Group(id.into()) } else { Self::User(id.into()) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub actor: Actor,
    pub reach: Reach,
    pub role_id: RoleId,
    /// Counts in the projects below the reach, and not in the reach itself.
    pub inherited: bool,
}

/// How far the view of a process must be: one number for who is who, one for revoked tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    pub directory: i64,
    pub revoked: i64,
}

const DIRECTORY: &str = "identity";
const REVOKED: &str = "identity.revoked";

/// Opens a change to who is who: serialises it with all others and records it. To be called first in the
/// transaction.
pub async fn touch(conn: &mut Conn, at: Timestamp, kind: &str, subject: &str) -> Result<i64> {
    let revision = sequences::next(conn, DIRECTORY).await?;
    record(conn, at, kind, subject).await?;
    Ok(revision)
}

async fn record(conn: &mut Conn, at: Timestamp, kind: &str, subject: &str) -> Result<()> {
    // Identity belongs to no project.
    let none = ProjectId(String::new());
    events::append(
        conn,
        &NewEvent { at, kind, project_id: &none, subject: subject.to_owned(), host_id: None },
    )
    .await
    .map(|_| ())
}

/// The newest committed revision.
pub async fn revision(conn: &mut Conn) -> Result<Revision> {
    let rows = sqlx::query("SELECT name, value FROM sequences WHERE name IN ($1, $2)")
        .bind(DIRECTORY)
        .bind(REVOKED)
        .fetch_all(conn)
        .await
        .map_err(db)?;
    let mut revision = Revision::default();
    for row in &rows {
        let value = row.int("value")?;
        if row.text("name")? == DIRECTORY { revision.directory = value } else { revision.revoked = value }
    }
    Ok(revision)
}

fn domain(row: &AnyRow) -> Result<Domain> {
    Ok(Domain {
        id: row.text("id")?.into(),
        name: row.text("name")?,
        description: row.text("description")?,
        enabled: row.flag("enabled")?,
    })
}

fn role(row: &AnyRow) -> Result<Role> {
    Ok(Role {
        id: row.text("id")?.into(),
        domain_id: Some(row.text("domain_id")?).filter(|id| !id.is_empty()).map(Into::into),
        name: row.text("name")?,
        description: row.text("description")?,
    })
}

pub async fn domains(conn: &mut Conn) -> Result<Vec<Domain>> {
    let rows = sqlx::query("SELECT id, name, description, enabled FROM domains ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(domain).collect()
}

pub async fn roles(conn: &mut Conn) -> Result<Vec<Role>> {
    let rows = sqlx::query("SELECT id, domain_id, name, description FROM roles ORDER BY id")
        .fetch_all(conn)
        .await
        .map_err(db)?;
    rows.iter().map(role).collect()
}

/// False when the domain is there already; then nothing was changed.
pub async fn insert_domain(conn: &mut Conn, domain: &Domain, at: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO domains (id, name, description, enabled, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(domain.id.as_str())
    .bind(&domain.name)
    .bind(&domain.description)
    .bind(i64::from(domain.enabled))
    .bind(at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() == 1)
}

pub async fn insert_role(conn: &mut Conn, role: &Role) -> Result<()> {
    sqlx::query("INSERT INTO roles (id, domain_id, name, description) VALUES ($1, $2, $3, $4)")
        .bind(role.id.as_str())
        .bind(role.domain_id.as_ref().map(|id| id.0.clone()).unwrap_or_default())
        .bind(&role.name)
        .bind(&role.description)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}
