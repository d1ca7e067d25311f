//! Lists of servers: what is asked for, in which order, from which marker; one statement.

use crate::Conn;
use crate::recent::{self, Recent};
use crate::rows::{Columns, to_json};
use crate::servers::{ServerRow, server};
use crate::store::db;
use canopy_types::server::{Hold, How, PHASES, Phase, PowerIntent, derive, wish};
use canopy_types::{Error, Page, ProjectId, Result, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::borrow::Cow;
use std::sync::Arc;

/// What a list is asked for. `None` and empty mean any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub project_id: Option<ProjectId>,
    pub user_id: Option<String>,
    pub statuses: Vec<String>,
    /// Case-sensitive substring of the name.
    pub name_contains: Option<String>,
    pub image_id: Option<String>,
    pub flavor_id: Option<String>,
    /// Of the host, by its name.
    pub host: Option<String>,
    pub reservation_id: Option<String>,
    pub uuid: Option<String>,
    pub availability_zone: Option<String>,
    pub key_name: Option<String>,
    /// Substring of one of its fixed addresses.
    pub address_contains: Option<String>,
    pub tags: TagFilter,
    pub changes_since: Option<Timestamp>,
    /// Included.
    pub changes_before: Option<Timestamp>,
    pub locked: Option<bool>,
    /// Only tombstones, or only live ones.
    pub deleted: bool,
    /// First by the first; then newest first.
    pub sort: Vec<(Sort, Direction)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilter {
    pub all: Vec<String>,
    pub any: Vec<String>,
    pub not_all: Vec<String>,
    pub not_any: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// What a list can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Created,
    Updated,
    Launched,
    Deleted,
    LaunchIndex,
    Name,
    Description,
    Id,
    Image,
    Key,
    Project,
    User,
    Zone,
    Status,
    AccessV4,
    AccessV6,
    ConfigDrive,
    /// By its id, as the snapshot begins with it.
    Flavor,
    /// By the host's name.
    Host,
    Hostname,
    Lock,
    /// Whether anybody locked it.
    Locked,
    Power,
    Task,
}

impl Sort {
    /// The expression, and whether it is a number. Never NULL, so that every row has its place.
    fn column(self) -> (Cow<'static, str>, bool) {
        let (column, number) = match self {
            Self::Power => return (Cow::Owned(power()), true),
            Self::Task => return (Cow::Owned(task()), false),
            Self::Created => ("created_at", true),
            Self::Updated => ("updated_at", true),
            Self::Launched => ("COALESCE(launched_at, 0)", true),
            Self::Deleted => ("COALESCE(deleted_at, 0)", true),
            Self::LaunchIndex => ("launch_index", true),
            Self::Name => ("name", false),
            Self::Description => ("COALESCE(description, '')", false),
            Self::Id => ("id", false),
            Self::Image => ("COALESCE(image_id, '')", false),
            Self::Key => ("COALESCE(key_name, '')", false),
            Self::Project => ("project_id", false),
            Self::User => ("user_id", false),
            Self::Zone => ("availability_zone", false),
            Self::Status => ("status", false),
            Self::AccessV4 => ("COALESCE(access_ip_v4, '')", false),
            Self::AccessV6 => ("COALESCE(access_ip_v6, '')", false),
            Self::ConfigDrive => ("config_drive", true),
            Self::Flavor => ("flavor", false),
            Self::Host => {
                ("COALESCE((SELECT hosts.name FROM hosts WHERE hosts.id = servers.host_id), '')", false)
            }
            Self::Hostname => ("hostname", false),
            Self::Lock => ("COALESCE(locked_by, '')", false),
            Self::Locked => ("(CASE WHEN locked_by IS NULL THEN 0 ELSE 1 END)", true),
        };
        (Cow::Borrowed(column), number)
    }
}

/// The number of its power state, as the table has it for the phase.
fn power() -> String {
    let cases: Vec<String> =
        PHASES.iter().map(|row| format!("WHEN '{}' THEN {}", row.phase.as_str(), row.power_state)).collect();
    format!("(CASE phase {} ELSE 0 END)", cases.join(" "))
}

/// The word of its task state, as the tables have it for what is in flight.
fn task() -> String {
    let building: Vec<String> =
        PHASES.iter().map(|row| format!("WHEN '{}' THEN '{}'", row.phase.as_str(), row.building)).collect();
    let flying: Vec<String> = How::ALL
        .iter()
        .flat_map(|how| [(*how, true), (*how, false)])
        .map(|(how, on)| {
            let intent = PowerIntent { on, n: 2, how };
            let shown = derive(wish(false, false, intent, 1, Hold::None), Phase::Stopped).task_state;
            let (how, on) = (how.as_str(), i64::from(on));
            format!("WHEN power_how = '{how}' AND power_on = {on} THEN '{}'", shown.unwrap_or_default())
        })
        .collect();
    format!(
        "(CASE WHEN deleting = 1 THEN 'deleting' WHEN refused = 1 OR broken = 1 OR observed_n >= power_n THEN '' \
         WHEN phase = 'failed' AND failed_n >= power_n THEN '' WHEN power_how = 'accept' THEN '' \
         WHEN observed_n = 0 THEN (CASE phase {} ELSE '' END) {} ELSE '' END)",
        building.join(" "),
        flying.join(" ")
    )
}

const SOFT_DELETED: &str = "SOFT_DELETED";

enum Value {
    Text(String),
    Int(i64),
}

/// Conditions with the values they name, in order.
#[derive(Default)]
struct Query {
    conditions: String,
    values: Vec<Value>,
}

impl Query {
    /// Adds a value; answers its place.
    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    /// Adds a condition on one text, which stands where `$?` does.
    fn text(&mut self, condition: &str, value: impl Into<String>) {
        let place = self.place(Value::Text(value.into()));
        self.conditions.push_str(" AND ");
        self.conditions.push_str(&condition.replace("$?", &place));
    }

    /// The same on several, joined by a word; nothing without any.
    fn texts(&mut self, negated: bool, word: &str, condition: &str, values: impl Iterator<Item = String>) {
        let parts: Vec<String> =
            values.map(|value| condition.replace("$?", &self.place(Value::Text(value)))).collect();
        if !parts.is_empty() {
            let not = if negated { "NOT " } else { "" };
            self.conditions.push_str(&format!(" AND {not}({})", parts.join(word)));
        }
    }

    async fn fetch(&self, conn: &mut Conn, sql: String) -> Result<Vec<AnyRow>> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in &self.values {
            query = match value {
                Value::Text(text) => query.bind(text.as_str()),
                Value::Int(number) => query.bind(*number),
            };
        }
        query.fetch_all(conn).await.map_err(db)
    }
}

/// In the order asked for, else newest first, as nova sorts. The marker is looked up in the filter's own
/// scope, and an unknown one is refused.
///
/// What `recent` has is not read again: most lists are asked often, and most servers change seldom.
pub async fn list(
    conn: &mut Conn,
    recent: &Recent,
    filter: &Filter,
    page: &Page,
) -> Result<Vec<Arc<ServerRow>>> {
    let mut query = conditions(filter)?;
    let mut order = filter.sort.clone();
    // So that every row has one place.
    let last = order.first().map_or(Direction::Descending, |(_, direction)| *direction);
    for key in [Sort::Created, Sort::Id] {
        if !order.iter().any(|(sort, _)| *sort == key) {
            order.push((key, last));
        }
    }
    if let Some(marker) = &page.marker {
        after(conn, &mut query, &order, marker).await?;
    }
    let ordered = |key: &dyn Fn(usize, Sort) -> Cow<'static, str>| {
        let keys = order.iter().enumerate().map(|(n, (sort, direction))| match direction {
            Direction::Ascending => format!("{} ASC", key(n, *sort)),
            Direction::Descending => format!("{} DESC", key(n, *sort)),
        });
        keys.collect::<Vec<_>>().join(", ")
    };
    let keys = ordered(&|_, sort| sort.column().0);
    let limit = query.place(Value::Int(page.size()));
    let select = |columns: &str| {
        let conditions = &query.conditions;
        format!("SELECT {columns} FROM servers WHERE 1 = 1{conditions} ORDER BY {keys} LIMIT {limit}")
    };
    let places = format!(
        "SELECT {} FROM ({}) AS page",
        recent::aggregate(&ordered(&|n, _| sort_key(n))),
        select(&format!("id, revision, {}", sort_keys(&order))),
    );
    let places =
        query.fetch(conn, places).await?.iter().map(recent::places).collect::<Result<Vec<_>>>()?.concat();
    if let Some(rows) = recent.rows(conn, &places).await? {
        return Ok(rows);
    }
    // A row changed between the statements, and may not be what was asked for any more: all in one, then.
    let rows = query.fetch(conn, select("*")).await?;
    rows.iter().map(|row| Ok(Arc::new(server(row)?))).collect()
}

/// The name of an order's key.
fn sort_key(n: usize) -> Cow<'static, str> {
    Cow::Owned(format!("s{n}"))
}

/// The columns with an order's keys.
fn sort_keys(order: &[(Sort, Direction)]) -> String {
    let column =
        |(n, (sort, _)): (usize, &(Sort, Direction))| format!("{} AS {}", sort.column().0, sort_key(n));
    order.iter().enumerate().map(column).collect::<Vec<_>>().join(", ")
}

fn conditions(filter: &Filter) -> Result<Query> {
    let mut query = Query::default();
    if filter.deleted {
        query.conditions.push_str(" AND deleted_at IS NOT NULL");
    } else if filter.changes_since.is_none() && filter.changes_before.is_none() {
        query.conditions.push_str(" AND deleted_at IS NULL");
        // As in nova: only who asks for them is shown what can still be restored.
        if !filter.statuses.iter().any(|status| status == SOFT_DELETED) {
            query.conditions.push_str(" AND status <> 'SOFT_DELETED'");
        }
    }
    let host = "host_id = (SELECT id FROM hosts WHERE name = $?)";
    for (condition, value) in [
        ("project_id = $?", filter.project_id.as_ref().map(|id| &id.0)),
        ("user_id = $?", filter.user_id.as_ref()),
        ("image_id = $?", filter.image_id.as_ref()),
        (host, filter.host.as_ref()),
        ("reservation_id = $?", filter.reservation_id.as_ref()),
        ("id = $?", filter.uuid.as_ref()),
        ("availability_zone = $?", filter.availability_zone.as_ref()),
        ("key_name = $?", filter.key_name.as_ref()),
    ] {
        if let Some(value) = value {
            query.text(condition, value.clone());
        }
    }
    if let Some(flavor) = &filter.flavor_id {
        query.text("flavor LIKE $? ESCAPE '\\'", format!("%\"id\":{},%", like(&to_json(flavor)?)));
    }
    if let Some(name) = &filter.name_contains {
        query.text("name LIKE $? ESCAPE '\\'", format!("%{}%", like(name)));
    }
    if let Some(address) = &filter.address_contains {
        let having = "id IN (SELECT p.device_id FROM ports p JOIN addresses a ON a.port_id = p.id \
                      WHERE a.ip LIKE $? ESCAPE '\\')";
        query.text(having, format!("%{}%", like(address)));
    }
    query.texts(false, " OR ", "status = $?", filter.statuses.iter().cloned());
    tag_conditions(&mut query, &filter.tags)?;
    for (edge, sign) in [(filter.changes_since, ">="), (filter.changes_before, "<=")] {
        if let Some(edge) = edge {
            let place = query.place(Value::Int(edge.0));
            query.conditions.push_str(&format!(" AND updated_at {sign} {place}"));
        }
    }
    match filter.locked {
        None => {}
        Some(true) => query.conditions.push_str(" AND locked_by IS NOT NULL"),
        Some(false) => query.conditions.push_str(" AND locked_by IS NULL"),
    }
    Ok(query)
}

/// Tags stand as a JSON list without blanks, and no tag holds a comma: with the list's bracket as one more
/// comma, each is found between a comma and a quote and its own closing quote.
fn tag_conditions(query: &mut Query, tags: &TagFilter) -> Result<()> {
    let has = "REPLACE(tags, '[', ',') LIKE $? ESCAPE '\\'";
    let lists = [
        (&tags.all, false, " AND "),
        (&tags.any, false, " OR "),
        (&tags.not_all, true, " AND "),
        (&tags.not_any, true, " OR "),
    ];
    for (tags, negated, word) in lists {
        let patterns = tags
            .iter()
            .map(|tag| Ok(format!("%,{}%", like(&to_json(tag)?.replace('[', ",")))))
            .collect::<Result<Vec<_>>>()?;
        query.texts(negated, word, has, patterns.into_iter());
    }
    Ok(())
}

/// Adds the condition that a row comes after the marker's: it differs in the first key that is not equal.
async fn after(conn: &mut Conn, query: &mut Query, order: &[(Sort, Direction)], marker: &str) -> Result<()> {
    let place = query.place(Value::Text(marker.to_owned()));
    let sql =
        format!("SELECT {} FROM servers WHERE 1 = 1{} AND id = {place}", sort_keys(order), query.conditions);
    let row = query.fetch(conn, sql).await?.pop();
    query.values.pop();
    let row = row.ok_or_else(|| Error::bad_request("page.marker", format!("marker [{marker}] not found")))?;
    let mut equal = String::new();
    let mut alternatives = Vec::with_capacity(order.len());
    for (n, (sort, direction)) in order.iter().enumerate() {
        let (column, number) = sort.column();
        let name = sort_key(n);
        let mut value = || -> Result<String> {
            let value = if number { Value::Int(row.int(&name)?) } else { Value::Text(row.text(&name)?) };
            Ok(query.place(value))
        };
        let beyond = if *direction == Direction::Ascending { '>' } else { '<' };
        alternatives.push(format!("({equal}{column} {beyond} {})", value()?));
        if n + 1 < order.len() {
            equal.push_str(&format!("{column} = {} AND ", value()?));
        }
    }
    query.conditions.push_str(&format!(" AND ({})", alternatives.join(" OR ")));
    Ok(())
}

/// Escapes LIKE's own characters.
fn like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
