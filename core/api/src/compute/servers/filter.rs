//! The query of a server list.

use crate::request::Req;
use canopy_app::compute::servers::Filter;
use canopy_types::{Error, Result, Timestamp};

/// The filter, and whether every project's servers are asked for.
pub fn filter(req: &Req) -> Result<(Filter, bool)> {
    let query = &req.query;
    let text = |name: &str| query.get(name).map(str::to_owned);
    let all = match query.get("all_tenants") {
        // `?all_tenants` without a value counts, as in nova.
        Some("") => true,
        Some(_) => query.flag("all_tenants")?.unwrap_or(false),
        None => false,
    };
    let changes_since = query
        .get("changes-since")
        .map(|value| {
            Timestamp::parse(value).ok_or_else(|| {
                Error::bad_request(
                    "query.changes_since",
                    format!("Invalid changes-since '{value}': use ISO 8601."),
                )
            })
        })
        .transpose()?;
    let filter = Filter {
        project_id: if all { text("project_id").or_else(|| text("tenant_id")).map(Into::into) } else { None },
        user_id: text("user_id"),
        statuses: query.all("status").map(str::to_uppercase).collect(),
        name_contains: text("name"),
        image_id: text("image"),
        flavor_id: text("flavor"),
        host: text("host"),
        reservation_id: text("reservation_id"),
        uuid: text("uuid"),
        changes_since,
        deleted: query.flag("deleted")?.unwrap_or(false),
    };
    Ok((filter, all))
}
