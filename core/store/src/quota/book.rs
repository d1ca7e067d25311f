//! What a verdict is made on, read in one statement: one state of the database, however busy it is.

use crate::Conn;
use crate::rows::{Columns, places};
use crate::store::db;
use canopy_types::{ProjectId, Result, UserId};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};

/// Levels of projects that are looked at; identity allows fewer.
const DEPTH: i64 = 16;

/// A project or domain above that carries a limit; the project itself when others are below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Above {
    pub id: String,
    pub limits: BTreeMap<String, i64>,
    /// Over everything below it, and its own.
    pub used: BTreeMap<String, i64>,
}

/// A project's usage with everything that bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// As a ticket wants them.
    pub stamps: Vec<(String, i64)>,
    /// By resource; absent is 0.
    pub used: BTreeMap<String, i64>,
    /// Limits set for this project; absent is the default.
    pub limits: BTreeMap<String, i64>,
    /// Defaults that were set while running; absent is as configured.
    pub defaults: BTreeMap<String, i64>,
    /// The nearest first.
    pub above: Vec<Above>,
    /// By user, zone and resource.
    pub held: BTreeMap<(String, String, String), i64>,
    /// By user and resource.
    pub user_limits: BTreeMap<(String, String), i64>,
}

/// The project and what is above it, `$1` at the bottom. What is no project (a user's account) has nothing above.
fn chain() -> String {
    format!(
        "WITH RECURSIVE chain (id, parent_id, depth) AS ( \
           SELECT CAST($1 AS TEXT), (SELECT parent_id FROM projects WHERE id = $1), 0 \
           UNION ALL \
           SELECT p.id, p.parent_id, c.depth + 1 FROM projects p JOIN chain c ON p.id = c.parent_id WHERE c.depth < {DEPTH}), \
         line (id, depth) AS ( \
           SELECT id, depth FROM chain \
           UNION ALL \
           SELECT d.id, c.depth + 1 FROM chain c JOIN domains d ON d.id = c.parent_id)"
    )
}

/// The book for claims of these users. `limits_of` is the project whose own limits and defaults count, where that
/// is not the project itself.
pub async fn book(
    conn: &mut Conn,
    project: &ProjectId,
    limits_of: Option<&ProjectId>,
    users: &BTreeSet<UserId>,
) -> Result<Book> {
    let sql = format!(
        "{} \
         SELECT 'revision' AS what, r.project_id AS a, '' AS b, '' AS c, r.revision AS n FROM quota_revisions r \
           WHERE r.project_id IN (SELECT id FROM line) \
         UNION ALL SELECT 'line', id, '', '', depth FROM line \
         UNION ALL SELECT 'children', '', '', '', COUNT(*) FROM projects WHERE parent_id = $1 \
         UNION ALL SELECT 'limit', project_id, resource, '', hard_limit FROM quota_limits \
           WHERE project_id IN (SELECT id FROM line) OR project_id = $2 \
         UNION ALL SELECT 'default', '', resource, '', default_limit FROM quota_defaults \
         UNION ALL SELECT 'used', '', resource, '', used FROM quota_usages WHERE project_id = $1 \
         UNION ALL SELECT 'held', user_id, zone, resource, used FROM quota_holdings \
           WHERE project_id = $1 AND user_id IN ({users}) \
         UNION ALL SELECT 'user', user_id, resource, '', hard_limit FROM quota_user_limits \
           WHERE project_id = $1 AND user_id IN ({users})",
        chain(),
        users = places(3, users.len().max(1)),
    );
    let own = limits_of.unwrap_or(project);
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(project.as_str()).bind(own.as_str());
    for user in users {
        query = query.bind(user.as_str());
    }
    if users.is_empty() {
        query = query.bind("");
    }
    let mut book = Book::default();
    let (mut line, mut children): (Vec<(i64, String)>, i64) = (Vec::new(), 0);
    let mut revisions: BTreeMap<String, i64> = BTreeMap::new();
    let mut limits: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for row in query.fetch_all(&mut *conn).await.map_err(db)? {
        let (a, b, c, n) = (row.text("a")?, row.text("b")?, row.text("c")?, row.int("n")?);
        match row.text("what")?.as_str() {
            "revision" => drop(revisions.insert(a, n)),
            "line" => line.push((n, a)),
            "children" => children = n,
            "limit" => drop(limits.entry(a).or_default().insert(b, n)),
            "default" => drop(book.defaults.insert(b, n)),
            "used" => drop(book.used.insert(b, n)),
            "held" => drop(book.held.insert((a, b, c), n)),
            _ => drop(book.user_limits.insert((a, b), n)),
        }
    }
    line.sort();
    for (_, id) in line {
        // Its own limit bounds what is below it, too.
        let carries = limits.contains_key(&id) && (id != project.as_str() || children > 0);
        if carries || id == project.as_str() {
            book.stamps.push((id.clone(), revisions.get(&id).copied().unwrap_or(0)));
        }
        if carries {
            let limits = limits.get(&id).cloned().unwrap_or_default();
            // After the revisions: what moves in between makes the verdict stale, never wrong.
            let used = below(conn, &id).await?;
            book.above.push(Above { id, limits, used });
        }
    }
    book.stamps.sort();
    book.limits = limits.remove(own.as_str()).unwrap_or_default();
    Ok(book)
}

/// Usage and limits of one project, without users.
pub async fn usage(conn: &mut Conn, project: &ProjectId) -> Result<Book> {
    book(conn, project, None, &BTreeSet::new()).await
}

/// Usage summed over a project or domain and all that is below it.
async fn below(conn: &mut Conn, id: &str) -> Result<BTreeMap<String, i64>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "{} SELECT resource, CAST(SUM(used) AS BIGINT) AS n FROM quota_usages \
         WHERE project_id IN (SELECT id FROM tree) GROUP BY resource",
        tree()
    )))
    .bind(id)
    .fetch_all(conn)
    .await
    .map_err(db)?;
    rows.iter().map(|row| Ok((row.text("resource")?, row.int("n")?))).collect()
}

/// `$1` and the projects below it; of a domain, all of its projects.
pub(super) fn tree() -> String {
    format!(
        "WITH RECURSIVE tree (id, depth) AS ( \
           SELECT CAST($1 AS TEXT), 0 \
           UNION ALL \
           SELECT p.id, t.depth + 1 FROM projects p JOIN tree t ON p.parent_id = t.id WHERE t.depth < {DEPTH})"
    )
}

/// The project and those above it that carry a limit, in the order they are locked in.
pub(super) async fn limited_above(conn: &mut Conn, project: &ProjectId) -> Result<Vec<String>> {
    let sql = format!(
        "{} SELECT id FROM line WHERE depth = 0 OR EXISTS \
           (SELECT 1 FROM quota_limits l WHERE l.project_id = line.id) ORDER BY id",
        chain()
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(project.as_str()).fetch_all(conn).await.map_err(db)?;
    rows.iter().map(|row| row.text("id")).collect()
}
