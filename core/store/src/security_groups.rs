//! Rows of `security_groups` and `security_group_rules`.

use crate::Conn;
use crate::listing::{self, Attribute, Kind, Listing, Table};
use crate::rows::Columns;
use crate::store::db;
use canopy_types::{ProjectId, Result, SecurityGroupId, SecurityGroupRuleId, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    pub is_default: bool,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: SecurityGroupRuleId,
    pub group_id: SecurityGroupId,
    pub project_id: ProjectId,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    pub protocol: Option<String>,
    pub port_min: Option<i64>,
    pub port_max: Option<i64>,
    pub remote_group_id: Option<SecurityGroupId>,
    pub remote_ip_prefix: Option<String>,
    pub description: String,
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, project_id, name, description, is_default, revision, created_at, updated_at";
const RULE_COLUMNS: &str = "id, group_id, project_id, direction, ethertype, protocol, port_min, port_max, \
    remote_group_id, remote_ip_prefix, description, created_at";

/// What lists of security groups filter and sort by.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute::new("id", "security_groups.id", Kind::Text),
    Attribute::new("name", "security_groups.name", Kind::Text),
    Attribute::new("description", "security_groups.description", Kind::Text),
    Attribute::new("project_id", "security_groups.project_id", Kind::Text),
    Attribute::new("tenant_id", "security_groups.project_id", Kind::Text),
    Attribute::new("revision_number", "security_groups.revision", Kind::Int),
    Attribute::new("created_at", "security_groups.created_at", Kind::Int),
    Attribute::new("updated_at", "security_groups.updated_at", Kind::Int),
    Attribute::new("changed_since", "security_groups.updated_at", Kind::Since),
    Attribute::within(
        "stateful",
        "security_groups.id IN (SELECT g.id FROM security_groups g WHERE 1",
        Kind::Flag,
    ),
    Attribute::within(
        "shared",
        "security_groups.id IN (SELECT g.id FROM security_groups g WHERE 0",
        Kind::Flag,
    ),
    Attribute::within(
        "tags",
        "security_groups.id IN (SELECT g.id FROM security_groups g WHERE 'no tags'",
        Kind::Text,
    ),
];

/// What lists of rules filter and sort by.
pub const RULE_ATTRIBUTES: &[Attribute] = &[
    Attribute::new("id", "security_group_rules.id", Kind::Text),
    Attribute::new("security_group_id", "security_group_rules.group_id", Kind::Text),
    Attribute::new("project_id", "security_group_rules.project_id", Kind::Text),
    Attribute::new("tenant_id", "security_group_rules.project_id", Kind::Text),
    Attribute::new("direction", "security_group_rules.direction", Kind::Text),
    Attribute::new("ethertype", "security_group_rules.ethertype", Kind::Text),
    Attribute::new("protocol", "COALESCE(security_group_rules.protocol, '')", Kind::Text),
    Attribute::new("port_range_min", "COALESCE(security_group_rules.port_min, -1)", Kind::Int),
    Attribute::new("port_range_max", "COALESCE(security_group_rules.port_max, -1)", Kind::Int),
    Attribute::new("remote_group_id", "COALESCE(security_group_rules.remote_group_id, '')", Kind::Text),
    Attribute::new("remote_ip_prefix", "COALESCE(security_group_rules.remote_ip_prefix, '')", Kind::Text),
    Attribute::new("description", "security_group_rules.description", Kind::Text),
    Attribute::new("created_at", "security_group_rules.created_at", Kind::Int),
    Attribute::new("updated_at", "security_group_rules.created_at", Kind::Int),
    Attribute::new("changed_since", "security_group_rules.created_at", Kind::Since),
];

const TABLE: Table = Table {
    name: "security_groups",
    columns: COLUMNS,
    attributes: ATTRIBUTES,
    visible: "security_groups.project_id = {p}",
};

const RULE_TABLE: Table = Table {
    name: "security_group_rules",
    columns: RULE_COLUMNS,
    attributes: RULE_ATTRIBUTES,
    visible: "security_group_rules.project_id = {p}",
};

fn group(row: &AnyRow) -> Result<SecurityGroup> {
    Ok(SecurityGroup {
        id: row.parsed("id")?,
        project_id: ProjectId(row.text("project_id")?),
        name: row.text("name")?,
        description: row.text("description")?,
        is_default: row.flag("is_default")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn rule(row: &AnyRow) -> Result<Rule> {
    Ok(Rule {
        id: row.parsed("id")?,
        group_id: row.parsed("group_id")?,
        project_id: ProjectId(row.text("project_id")?),
        direction: row.text("direction")?,
        ethertype: row.text("ethertype")?,
        protocol: row.text_opt("protocol")?,
        port_min: row.int_opt("port_min")?,
        port_max: row.int_opt("port_max")?,
        remote_group_id: row.parsed_opt("remote_group_id")?,
        remote_ip_prefix: row.text_opt("remote_ip_prefix")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
    })
}

/// `false` when the project has a default group already: it has one at most.
pub async fn insert(conn: &mut Conn, group: &SecurityGroup) -> Result<bool> {
    let made = sqlx::query(
        "INSERT INTO security_groups (id, project_id, name, description, is_default, revision, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (project_id) WHERE is_default = 1 DO NOTHING",
    )
    .bind(group.id.to_string())
    .bind(group.project_id.as_str())
    .bind(&group.name)
    .bind(&group.description)
    .bind(i64::from(group.is_default))
    .bind(group.revision)
    .bind(group.created_at.0)
    .bind(group.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(made.rows_affected() > 0)
}

pub async fn insert_rule(conn: &mut Conn, rule: &Rule) -> Result<()> {
    sqlx::query(
        "INSERT INTO security_group_rules (id, group_id, project_id, direction, ethertype, protocol, port_min, \
         port_max, remote_group_id, remote_ip_prefix, description, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(rule.id.to_string())
    .bind(rule.group_id.to_string())
    .bind(rule.project_id.as_str())
    .bind(&rule.direction)
    .bind(&rule.ethertype)
    .bind(rule.protocol.as_deref())
    .bind(rule.port_min)
    .bind(rule.port_max)
    .bind(rule.remote_group_id.map(|id| id.to_string()))
    .bind(rule.remote_ip_prefix.as_deref())
    .bind(&rule.description)
    .bind(rule.created_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: SecurityGroupId) -> Result<Option<SecurityGroup>> {
    let sql = format!("SELECT {COLUMNS} FROM security_groups WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(group).transpose()
}

/// Locks those of the groups that there are, and tells which. A write that changes nothing takes the row lock on
/// both engines.
pub async fn hold(conn: &mut Conn, groups: &[SecurityGroupId]) -> Result<Vec<SecurityGroupId>> {
    // In one order, so that two who hold the same do not wait for each other.
    let groups: BTreeSet<String> = groups.iter().map(ToString::to_string).collect();
    let mut held = Vec::with_capacity(groups.len());
    for id in groups {
        let sql = "UPDATE security_groups SET revision = revision WHERE id = $1 RETURNING id";
        let row = sqlx::query(sql).bind(id).fetch_optional(&mut *conn).await.map_err(db)?;
        if let Some(row) = row {
            held.push(row.parsed("id")?);
        }
    }
    Ok(held)
}

/// With its rules. `false` when it has gone already.
pub async fn delete(conn: &mut Conn, id: SecurityGroupId) -> Result<bool> {
    let rules = sqlx::query("DELETE FROM security_group_rules WHERE group_id = $1").bind(id.to_string());
    rules.execute(&mut *conn).await.map_err(db)?;
    let group = sqlx::query("DELETE FROM security_groups WHERE id = $1").bind(id.to_string());
    Ok(group.execute(conn).await.map_err(db)?.rows_affected() > 0)
}

pub async fn default_of(conn: &mut Conn, project: &ProjectId) -> Result<Option<SecurityGroup>> {
    let sql = format!("SELECT {COLUMNS} FROM security_groups WHERE project_id = $1 AND is_default = 1");
    let row =
        sqlx::query(AssertSqlSafe(sql)).bind(project.as_str()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(group).transpose()
}

pub async fn get_rule(conn: &mut Conn, id: SecurityGroupRuleId) -> Result<Option<Rule>> {
    let sql = format!("SELECT {RULE_COLUMNS} FROM security_group_rules WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(rule).transpose()
}

pub async fn list(conn: &mut Conn, listing: &Listing) -> Result<Vec<SecurityGroup>> {
    listing::list(conn, &TABLE, listing).await?.iter().map(group).collect()
}

pub async fn list_rules(conn: &mut Conn, listing: &Listing) -> Result<Vec<Rule>> {
    listing::list(conn, &RULE_TABLE, listing).await?.iter().map(rule).collect()
}

/// The rules of several groups, in one statement.
pub async fn rules_of(conn: &mut Conn, groups: &[SecurityGroupId]) -> Result<Vec<Rule>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=groups.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT {RULE_COLUMNS} FROM security_group_rules WHERE group_id IN ({}) ORDER BY created_at, id",
        places.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in groups {
        query = query.bind(id.to_string());
    }
    query.fetch_all(conn).await.map_err(db)?.iter().map(rule).collect()
}
