//! Usages of providers and projects.

use super::query;
use super::reply::{accepts_json, answer, provider_id, shape};
use crate::request::{Reply, Req};
use canopy_app::placement::rows::Usage;
use canopy_app::placement::{errors, usages};
use canopy_types::{Error, Result};
use serde_json::{Map, Value, json};

pub async fn of_provider(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let (provider, rows) = usages::of_provider(&req.app, req.ctx()?, provider_id(&req)?).await?;
    let used: Map<String, Value> = rows.into_iter().map(|row| (row.class, json!(row.used))).collect();
    let body = json!({"resource_provider_generation": provider.generation, "usages": used});
    answer(&req, 200, &body, None)
}

/// What a consumer's type is called that nobody named.
const UNKNOWN: &str = "unknown";

pub async fn of_project(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let typed = shape(&req).consumer_types;
    let allowed: &[&str] =
        if typed { &["project_id", "user_id", "consumer_type"] } else { &["project_id", "user_id"] };
    query::check(&req.query, allowed)?;
    let project = text(&req, "project_id")?.ok_or_else(|| {
        Error::bad_request(
            "query.project_id",
            "Invalid query string parameters: 'project_id' is a required property",
        )
    })?;
    let user = text(&req, "user_id")?;
    let kind = text(&req, "consumer_type")?;
    if let Some(kind) = &kind {
        let plain = kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !plain && kind != "all" && kind != UNKNOWN {
            let kind = errors::shown(kind);
            return Err(Error::bad_request(
                "query.consumer_type",
                format!(
                    "Invalid query string parameters: '{kind}' is no consumer type: use capitals, digits and _, or \
                     all, or unknown"
                ),
            ));
        }
    }
    let (rows, counts) = usages::of_project(&req.app, req.ctx()?, project, user).await?;
    let body = if typed { by_type(rows, &counts, kind.as_deref()) } else { json!(sums(rows.iter())) };
    answer(&req, 200, &json!({ "usages": body }), None)
}

fn text(req: &Req, name: &str) -> Result<Option<String>> {
    let Some(text) = req.query.last(name) else { return Ok(None) };
    let keyword = match text.chars().count() {
        0 => "minLength",
        1..=255 => return Ok(Some(text.to_owned())),
        _ => "maxLength",
    };
    Err(Error::bad_request(
        "query.length",
        format!(
            "Invalid query string parameters: {name} has 1 to 255 characters\n\nFailed validating '{keyword}' in schema"
        ),
    ))
}

fn sums<'a>(rows: impl Iterator<Item = &'a Usage>) -> Map<String, Value> {
    let mut out = Map::new();
    for row in rows {
        let sum = out.get(&row.class).and_then(Value::as_i64).unwrap_or_default();
        out.insert(row.class.clone(), json!(sum.saturating_add(row.used)));
    }
    out
}

/// Grouped by type; with `all` in one group, with another type only that.
fn by_type(rows: Vec<Usage>, counts: &[(Option<String>, i64)], asked: Option<&str>) -> Value {
    let name = |kind: &Option<String>| kind.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    let mut out = Map::new();
    for (kind, count) in counts {
        let group = if asked == Some("all") { "all".to_owned() } else { name(kind) };
        if asked.is_some_and(|asked| asked != group) {
            continue;
        }
        let entry = out.entry(group).or_insert_with(|| json!({"consumer_count": 0}));
        entry["consumer_count"] = json!(entry["consumer_count"].as_i64().unwrap_or_default() + count);
    }
    for (group, entry) in &mut out {
        let own = rows.iter().filter(|row| group == "all" || name(&row.kind) == *group);
        if let Some(entry) = entry.as_object_mut() {
            entry.extend(sums(own));
        }
    }
    Value::Object(out)
}
