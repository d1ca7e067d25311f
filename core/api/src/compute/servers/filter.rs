//! The query of a server list.

use crate::request::Req;
use crate::version::v;
use canopy_app::compute::servers::{Direction, Filter, Sort, TagFilter};
use canopy_types::{Error, Result, Timestamp};

/// Keys that a list can be sorted by, as nova names them. A key without a column here sorts nothing: what it
/// names is the same for every server, or a property of its image.
const SORT_KEYS: &[(&str, Option<Sort>)] = &[
    ("access_ip_v4", Some(Sort::AccessV4)),
    ("access_ip_v6", Some(Sort::AccessV6)),
    ("auto_disk_config", None),
    ("availability_zone", Some(Sort::Zone)),
    ("config_drive", Some(Sort::ConfigDrive)),
    ("created_at", Some(Sort::Created)),
    ("display_description", Some(Sort::Description)),
    ("display_name", Some(Sort::Name)),
    ("host", Some(Sort::Host)),
    ("hostname", Some(Sort::Hostname)),
    ("image_ref", Some(Sort::Image)),
    ("instance_type_id", Some(Sort::Flavor)),
    ("kernel_id", None),
    ("key_name", Some(Sort::Key)),
    ("launch_index", Some(Sort::LaunchIndex)),
    ("launched_at", Some(Sort::Launched)),
    ("locked_by", Some(Sort::Lock)),
    ("node", Some(Sort::Host)),
    ("power_state", Some(Sort::Power)),
    ("progress", None),
    ("project_id", Some(Sort::Project)),
    ("ramdisk_id", None),
    ("root_device_name", None),
    ("task_state", Some(Sort::Task)),
    ("terminated_at", Some(Sort::Deleted)),
    ("updated_at", Some(Sort::Updated)),
    ("user_id", Some(Sort::User)),
    ("uuid", Some(Sort::Id)),
    ("vm_state", Some(Sort::Status)),
];

/// The words that a status may be.
const STATUSES: [&str; 20] = [
    "ACTIVE",
    "BUILD",
    "DELETED",
    "ERROR",
    "HARD_REBOOT",
    "MIGRATING",
    "PASSWORD",
    "PAUSED",
    "REBOOT",
    "REBUILD",
    "RESCUE",
    "RESIZE",
    "REVERT_RESIZE",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "SHUTOFF",
    "SOFT_DELETED",
    "SUSPENDED",
    "UNKNOWN",
    "VERIFY_RESIZE",
];

/// Since 2.38 at least one of those given must be one; before, a list by others is empty.
fn statuses(req: &Req) -> Result<Vec<String>> {
    let given: Vec<String> = req.query.all("status").map(str::to_uppercase).collect();
    let senseless = !given.is_empty() && !given.iter().any(|word| STATUSES.contains(&word.as_str()));
    if senseless && req.version >= v(2, 38) {
        return Err(Error::bad_request("query.status", "Invalid status value"));
    }
    Ok(given)
}

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
    let ip6 = text("ip6").filter(|_| req.version >= v(2, 5));
    let filter = Filter {
        project_id: if all { text("project_id").or_else(|| text("tenant_id")).map(Into::into) } else { None },
        user_id: text("user_id"),
        statuses: statuses(req)?,
        name_contains: text("name"),
        image_id: text("image"),
        flavor_id: text("flavor"),
        host: text("host"),
        reservation_id: text("reservation_id"),
        uuid: text("uuid"),
        availability_zone: text("availability_zone"),
        key_name: text("key_name"),
        address_contains: text("ip").or(ip6),
        tags: if req.version >= v(2, 26) { tags(req) } else { TagFilter::default() },
        changes_since,
        deleted: query.flag("deleted")?.unwrap_or(false),
        sort: sort(req)?,
    };
    Ok((filter, all))
}

fn tags(req: &Req) -> TagFilter {
    let list = |name: &str| -> Vec<String> {
        let given = req.query.get(name).into_iter().flat_map(|text| text.split(','));
        given.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    };
    TagFilter {
        all: list("tags"),
        any: list("tags-any"),
        not_all: list("not-tags"),
        not_any: list("not-tags-any"),
    }
}

/// Pairs of `sort_key` and `sort_dir`; a key without a direction has the first one's.
fn sort(req: &Req) -> Result<Vec<(Sort, Direction)>> {
    let directions = req
        .query
        .all("sort_dir")
        .map(|word| match word {
            "asc" => Ok(Direction::Ascending),
            "desc" => Ok(Direction::Descending),
            _ => Err(Error::bad_request("query.sort_dir", "Invalid sort_dir: use asc or desc.")),
        })
        .collect::<Result<Vec<_>>>()?;
    let fallback = directions.first().copied().unwrap_or(Direction::Descending);
    let mut sort = Vec::new();
    for (place, word) in req.query.all("sort_key").enumerate() {
        let Some((_, column)) = SORT_KEYS.iter().find(|(name, _)| *name == word) else {
            let shown: String = word.chars().take(64).collect();
            return Err(Error::bad_request("query.sort_key", format!("Invalid sort_key: {shown}")));
        };
        let direction = directions.get(place).copied().unwrap_or(fallback);
        // A key given twice counts once.
        if let Some(column) = column
            && !sort.iter().any(|(known, _)| known == column)
        {
            sort.push((*column, direction));
        }
    }
    Ok(sort)
}
