//! Lists as neutron's API asks for them: any simple attribute filters, any of them sorts, pages by marker.
//!
//! Each resource names its attributes in a table; a client's word reaches SQL only by way of that table or
//! as a bound value. A page is cut by key and id, so a row that comes or goes elsewhere moves nothing.

use crate::rows::Columns;
use crate::store::db;
use crate::{Conn, MAX_PAGE};
use canopy_types::{Error, ProjectId, Result};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    /// Stored as 0 or 1.
    Flag,
    /// Matches a part of the text.
    Part,
    /// Matches one element of a stored JSON array of ids.
    Member,
    /// Matches at or after an instant.
    Since,
}

/// One attribute of a resource that lists may name.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: &'static str,
    /// SQL that gives its value, never null.
    expr: &'static str,
    /// Closes a subquery that `expr` opens; such an attribute filters but does not sort.
    close: &'static str,
    pub kind: Kind,
}

impl Attribute {
    pub(crate) const fn new(name: &'static str, expr: &'static str, kind: Kind) -> Self {
        Self { name, expr, close: "", kind }
    }

    pub(crate) const fn within(name: &'static str, expr: &'static str, kind: Kind) -> Self {
        Self { name, expr, close: ")", kind }
    }

    pub fn sortable(&self) -> bool {
        self.close.is_empty() && matches!(self.kind, Kind::Text | Kind::Int | Kind::Flag)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Int(i64),
}

/// One of `values` must match.
#[derive(Clone, Debug)]
pub struct Filter {
    pub attribute: &'static Attribute,
    pub values: Vec<Value>,
}

/// Whose rows are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// The project's own and what others share with it.
    Project(ProjectId),
}

#[derive(Clone, Debug)]
pub struct Listing {
    pub scope: Scope,
    pub filters: Vec<Filter>,
    /// Attributes with "descending", most significant first.
    pub sort: Vec<(&'static Attribute, bool)>,
    /// Rows at most; more than [`MAX_PAGE`] counts as that.
    pub limit: Option<u32>,
    /// Id of the row that the page begins after.
    pub marker: Option<String>,
    /// The page before the marker instead of the one after it.
    pub reverse: bool,
}

impl Listing {
    pub fn all(scope: Scope) -> Self {
        Self { scope, filters: Vec::new(), sort: Vec::new(), limit: None, marker: None, reverse: false }
    }

    #[must_use]
    pub fn filter(mut self, attribute: &'static Attribute, values: Vec<Value>) -> Self {
        self.filters.push(Filter { attribute, values });
        self
    }

    /// Rows that one answer holds at most.
    pub fn size(&self) -> u32 {
        self.limit.filter(|limit| *limit > 0).unwrap_or(MAX_PAGE).min(MAX_PAGE)
    }
}

/// How a resource is listed.
pub(crate) struct Table {
    pub name: &'static str,
    /// What is selected.
    pub columns: &'static str,
    pub attributes: &'static [Attribute],
    /// Condition under which a project sees a row; `{p}` stands for the project.
    pub visible: &'static str,
}

struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    fn new(columns: &str, table: &Table) -> Self {
        Self { sql: format!("SELECT {columns} FROM {} WHERE ", table.name), values: Vec::new() }
    }

    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn query(&self) -> Query<'_, Any, AnyArguments> {
        let mut query = sqlx::query(AssertSqlSafe(self.sql.clone()));
        for value in &self.values {
            query = match value {
                Value::Text(text) => query.bind(text.clone()),
                Value::Int(number) => query.bind(*number),
            };
        }
        query
    }

    fn scope(&mut self, table: &Table, scope: &Scope) {
        match scope {
            Scope::All => self.sql.push_str("1 = 1"),
            Scope::Project(project) => {
                let place = self.bind(Value::Text(project.0.clone()));
                self.sql.push_str(&table.visible.replace("{p}", &place));
            }
        }
    }

    fn filter(&mut self, filter: &Filter) {
        let Attribute { expr, close, kind, .. } = filter.attribute;
        if filter.values.is_empty() {
            return;
        }
        let places: Vec<String> = filter.values.iter().map(|value| self.bind(value.clone())).collect();
        let condition = match kind {
            Kind::Text | Kind::Int | Kind::Flag => format!("{expr} IN ({}){close}", places.join(", ")),
            Kind::Part | Kind::Member => {
                let each: Vec<String> =
                    places.iter().map(|place| format!("{expr} LIKE {place} ESCAPE '!'{close}")).collect();
                format!("({})", each.join(" OR "))
            }
            Kind::Since => {
                let each: Vec<String> =
                    places.iter().map(|place| format!("{expr} >= {place}{close}")).collect();
                format!("({})", each.join(" OR "))
            }
        };
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition);
    }
}

/// The pattern under which [`Kind::Part`] and [`Kind::Member`] find `text`.
pub fn pattern(text: &str) -> Value {
    let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    Value::Text(format!("%{escaped}%"))
}

/// One page, in order. An unknown marker is the caller's mistake.
pub(crate) async fn list(conn: &mut Conn, table: &Table, listing: &Listing) -> Result<Vec<AnyRow>> {
    let find = |name: &str| table.attributes.iter().find(|a| a.name == name);
    let mut keys: Vec<(&Attribute, bool)> = listing.sort.iter().map(|(a, desc)| (*a, *desc)).collect();
    // What the client names, then age, then the id, which tells any two rows apart.
    keys.extend(find("created_at").map(|a| (a, false)));
    keys.extend(find("id").map(|a| (a, false)));
    if listing.reverse {
        keys.iter_mut().for_each(|(_, descending)| *descending = !*descending);
    }

    let mut statement = Statement::new(table.columns, table);
    statement.scope(table, &listing.scope);
    for filter in &listing.filters {
        statement.filter(filter);
    }
    if let Some(marker) = &listing.marker {
        let values = marker_values(conn, table, &listing.scope, marker, &keys).await?;
        let mut alternatives = Vec::with_capacity(keys.len());
        for (n, (key, descending)) in keys.iter().enumerate() {
            let mut terms = Vec::with_capacity(n + 1);
            for ((before, _), value) in keys.iter().zip(&values).take(n) {
                let place = statement.bind(value.clone());
                terms.push(format!("{} = {place}", before.expr));
            }
            let place = statement.bind(values[n].clone());
            terms.push(format!("{} {} {place}", key.expr, if *descending { "<" } else { ">" }));
            alternatives.push(format!("({})", terms.join(" AND ")));
        }
        statement.sql.push_str(&format!(" AND ({})", alternatives.join(" OR ")));
    }
    let order: Vec<String> = keys
        .iter()
        .map(|(key, desc)| format!("{} {}", key.expr, if *desc { "DESC" } else { "ASC" }))
        .collect();
    statement.sql.push_str(&format!(" ORDER BY {} LIMIT {}", order.join(", "), listing.size()));
    let mut rows = statement.query().fetch_all(conn).await.map_err(db)?;
    if listing.reverse {
        rows.reverse();
    }
    Ok(rows)
}

async fn marker_values(
    conn: &mut Conn,
    table: &Table,
    scope: &Scope,
    marker: &str,
    keys: &[(&Attribute, bool)],
) -> Result<Vec<Value>> {
    let columns: Vec<String> =
        keys.iter().enumerate().map(|(n, (key, _))| format!("{} AS k{n}", key.expr)).collect();
    let mut statement = Statement::new(&columns.join(", "), table);
    statement.scope(table, scope);
    let place = statement.bind(Value::Text(marker.to_owned()));
    statement.sql.push_str(&format!(" AND {}.id = {place}", table.name));
    let row = statement.query().fetch_optional(conn).await.map_err(db)?.ok_or_else(|| {
        let shown: String = marker.chars().take(64).collect();
        Error::bad_request("query.marker", format!("Marker {shown} could not be found."))
    })?;
    keys.iter()
        .enumerate()
        .map(|(n, (key, _))| {
            let name = format!("k{n}");
            Ok(match key.kind {
                Kind::Int | Kind::Flag => Value::Int(row.int(&name)?),
                _ => Value::Text(row.text(&name)?),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_text_only() {
        assert_eq!(pattern("10.0"), Value::Text("%10.0%".into()));
        assert_eq!(pattern("%_!"), Value::Text("%!%!_!!%".into()));
    }

    #[test]
    fn a_limit_of_zero_means_none_and_none_means_the_largest_page() {
        let mut listing = Listing::all(Scope::All);
        assert_eq!(listing.size(), MAX_PAGE);
        listing.limit = Some(0);
        assert_eq!(listing.size(), MAX_PAGE);
        listing.limit = Some(5_000);
        assert_eq!(listing.size(), MAX_PAGE);
        listing.limit = Some(7);
        assert_eq!(listing.size(), 7);
    }
}
