//! Lists of images: filters and order as one statement, pages by keyset.

use super::{COLUMNS, Image, MemberStatus, Status, Visibility, image};
use crate::Conn;
use crate::store::db;
use canopy_types::time::SECOND;
use canopy_types::{ProjectId, Result, Timestamp};
use sqlx::AssertSqlSafe;

/// Whose images come into question. The caller's policy has the last word on each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// The project's own, what everybody may read, and what is shared with it and has one of these answers.
    Project(ProjectId, Vec<MemberStatus>),
    /// Only what everybody may read.
    Public,
}

/// Empty lists and `None` mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub names: Vec<String>,
    pub ids: Vec<String>,
    pub statuses: Vec<Status>,
    pub disk_formats: Vec<String>,
    pub container_formats: Vec<String>,
    pub visibility: Option<Visibility>,
    pub owner: Option<String>,
    pub protected: Option<bool>,
    pub hidden: Option<bool>,
    /// Bytes, inclusive.
    pub size_min: Option<i64>,
    pub size_max: Option<i64>,
    /// All of them hold.
    pub times: Vec<(Moment, Than, Timestamp)>,
}

/// When something happened to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Created,
    Updated,
}

/// A comparison of whole seconds, which is what clients see of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Than {
    Before,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    Name,
    Status,
    ContainerFormat,
    DiskFormat,
    Size,
    Id,
    CreatedAt,
    UpdatedAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// The image after which a page starts.
pub type Cursor = Image;

enum Arg {
    Text(String),
    Int(i64),
}

impl SortKey {
    /// Absent values come first in ascending order, the same on both engines.
    fn expression(self) -> &'static str {
        match self {
            Self::Name => "COALESCE(name, '')",
            Self::Status => "status",
            Self::ContainerFormat => "COALESCE(container_format, '')",
            Self::DiskFormat => "COALESCE(disk_format, '')",
            Self::Size => "COALESCE(size, -1)",
            Self::Id => "id",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }

    fn value(self, image: &Image) -> Arg {
        match self {
            Self::Name => Arg::Text(image.name.clone().unwrap_or_default()),
            Self::Status => Arg::Text(image.status.as_str().into()),
            Self::ContainerFormat => Arg::Text(image.container_format.clone().unwrap_or_default()),
            Self::DiskFormat => Arg::Text(image.disk_format.clone().unwrap_or_default()),
            Self::Size => Arg::Int(image.content.as_ref().map_or(-1, |content| content.size)),
            Self::Id => Arg::Text(image.id.to_string()),
            Self::CreatedAt => Arg::Int(image.created_at.0),
            Self::UpdatedAt => Arg::Int(image.updated_at.0),
        }
    }
}

/// Conditions joined by AND, with numbered arguments.
#[derive(Default)]
struct Conditions {
    parts: Vec<String>,
    args: Vec<Arg>,
}

impl Conditions {
    fn arg(&mut self, arg: Arg) -> String {
        self.args.push(arg);
        format!("${}", self.args.len())
    }

    fn any_of<'a>(&mut self, column: &str, values: impl IntoIterator<Item = &'a str>) {
        let marks: Vec<String> =
            values.into_iter().map(|value| self.arg(Arg::Text(value.to_owned()))).collect();
        if !marks.is_empty() {
            self.parts.push(format!("{column} IN ({})", marks.join(", ")));
        }
    }

    fn compare(&mut self, left: &str, operator: &str, arg: Option<Arg>) {
        if let Some(arg) = arg {
            let mark = self.arg(arg);
            self.parts.push(format!("{left} {operator} {mark}"));
        }
    }
}

/// At most `limit` images in `order` after `after`. `order` must end with a unique key, i.e. the id.
pub async fn list(
    conn: &mut Conn,
    scope: &Scope,
    filter: &Filter,
    order: &[(SortKey, Direction)],
    after: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Image>> {
    let mut all = Conditions::default();
    match scope {
        Scope::All => {}
        Scope::Project(project, answers) => {
            let mark = all.arg(Arg::Text(project.0.clone()));
            let answers: Vec<String> =
                answers.iter().map(|answer| all.arg(Arg::Text(answer.as_str().to_owned()))).collect();
            let shared = if answers.is_empty() {
                String::new()
            } else {
                format!(
                    " OR (visibility = 'shared' AND id IN (SELECT image_id FROM image_members \
                     WHERE project_id = {mark} AND status IN ({})))",
                    answers.join(", ")
                )
            };
            all.parts.push(format!("(project_id = {mark} OR visibility IN ('public', 'community'){shared})"));
        }
        Scope::Public => all.parts.push("visibility IN ('public', 'community')".into()),
    }
    all.any_of("name", filter.names.iter().map(String::as_str));
    all.any_of("id", filter.ids.iter().map(String::as_str));
    all.any_of("status", filter.statuses.iter().map(|status| status.as_str()));
    all.any_of("disk_format", filter.disk_formats.iter().map(String::as_str));
    all.any_of("container_format", filter.container_formats.iter().map(String::as_str));
    all.any_of("visibility", filter.visibility.iter().map(|visibility| visibility.as_str()));
    all.any_of("project_id", filter.owner.as_deref());
    all.compare("protected", "=", filter.protected.map(|flag| Arg::Int(i64::from(flag))));
    all.compare("hidden", "=", filter.hidden.map(|flag| Arg::Int(i64::from(flag))));
    all.compare("size", ">=", filter.size_min.map(Arg::Int));
    all.compare("size", "<=", filter.size_max.map(Arg::Int));
    for (moment, than, time) in &filter.times {
        let column = match moment {
            Moment::Created => "created_at",
            Moment::Updated => "updated_at",
        };
        let operator = match than {
            Than::Before => "<",
            Than::AtMost => "<=",
            Than::Equal => "=",
            Than::NotEqual => "<>",
            Than::AtLeast => ">=",
            Than::After => ">",
        };
        let seconds = Arg::Int(time.0.div_euclid(SECOND));
        all.compare(&format!("{column} / {SECOND}"), operator, Some(seconds));
    }
    if let Some(cursor) = after {
        beyond(&mut all, order, cursor);
    }
    let filters = if all.parts.is_empty() { "1 = 1".to_owned() } else { all.parts.join(" AND ") };
    let order: Vec<String> = order
        .iter()
        .map(|(key, direction)| {
            let word = if *direction == Direction::Ascending { "ASC" } else { "DESC" };
            format!("{} {word}", key.expression())
        })
        .collect();
    let limit = all.arg(Arg::Int(limit));
    let sql =
        format!("SELECT {COLUMNS} FROM images WHERE {filters} ORDER BY {} LIMIT {limit}", order.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for arg in all.args {
        query = match arg {
            Arg::Text(text) => query.bind(text),
            Arg::Int(number) => query.bind(number),
        };
    }
    query.fetch_all(conn).await.map_err(db)?.iter().map(image).collect()
}

/// (k1 past v1) or (k1 = v1 and k2 past v2) or …
fn beyond(all: &mut Conditions, order: &[(SortKey, Direction)], cursor: &Cursor) {
    let mut ways = Vec::with_capacity(order.len());
    for (last, (key, direction)) in order.iter().enumerate() {
        let mut terms = Vec::with_capacity(last + 1);
        for (equal, _) in &order[..last] {
            let mark = all.arg(equal.value(cursor));
            terms.push(format!("{} = {mark}", equal.expression()));
        }
        let operator = if *direction == Direction::Ascending { ">" } else { "<" };
        let mark = all.arg(key.value(cursor));
        terms.push(format!("{} {operator} {mark}", key.expression()));
        ways.push(format!("({})", terms.join(" AND ")));
    }
    all.parts.push(format!("({})", ways.join(" OR ")));
}
