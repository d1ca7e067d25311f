//! The query of a server list. 2.26 filters by tags, 2.66 by an end of the span of changes, 2.73 by locks; since 2.75
//! nova passes over nothing.

use crate::request::Req;
use crate::version::{Microversion, v};
use canopy_app::compute::servers::{Direction, Exact, Filter, Matching, Sort, TagFilter, Text};
use canopy_types::{Error, Result};
use std::collections::BTreeSet;

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

/// Keys that servers were sorted by once, and that sort nothing until they are refused in 2.75. In 2.73 `locked` became
/// one that sorts.
const NO_LONGER: [&str; 22] = [
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "locked",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
];
const WITH_LOCKED: Microversion = v(2, 73);
const STRICT: Microversion = v(2, 75);

/// What may be asked since nothing is passed over any more. Times, and what is the same for every server, filter nothing here.
pub const QUERY: &[(Microversion, &[&str])] = &[(
    STRICT,
    &[
        "access_ip_v4",
        "access_ip_v6",
        "all_tenants",
        "auto_disk_config",
        "availability_zone",
        "changes-before",
        "changes-since",
        "config_drive",
        "created_at",
        "deleted",
        "description",
        "display_description",
        "display_name",
        "flavor",
        "host",
        "hostname",
        "image",
        "image_ref",
        "ip",
        "ip6",
        "kernel_id",
        "key_name",
        "launch_index",
        "launched_at",
        "limit",
        "locked",
        "locked_by",
        "marker",
        "name",
        "node",
        "not-tags",
        "not-tags-any",
        "power_state",
        "progress",
        "project_id",
        "ramdisk_id",
        "reservation_id",
        "root_device_name",
        "soft_deleted",
        "sort_dir",
        "sort_key",
        "status",
        "tags",
        "tags-any",
        "task_state",
        "tenant_id",
        "terminated_at",
        "user_id",
        "uuid",
        "vm_state",
    ],
)];

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
    let mut given: Vec<String> = req.query.all("status").map(str::to_uppercase).collect();
    let senseless = !given.is_empty() && !given.iter().any(|word| STATUSES.contains(&word.as_str()));
    if senseless && req.version >= v(2, 38) {
        return Err(Error::bad_request("query.status", "Invalid status value"));
    }
    given.sort_unstable();
    given.dedup();
    Ok(given)
}

/// Filters on what is derived, and on what is asked for as it is. nova leaves them to admins before 2.83; what they ask
/// is in every owner's answers, so they are for everybody here.
const EXACT: [(&str, Exact); 9] = [
    ("vm_state", Exact::VmState),
    ("task_state", Exact::TaskState),
    ("power_state", Exact::PowerState),
    ("launch_index", Exact::LaunchIndex),
    ("progress", Exact::Progress),
    ("access_ip_v4", Exact::AccessV4),
    ("access_ip_v6", Exact::AccessV6),
    ("config_drive", Exact::ConfigDrive),
    ("locked_by", Exact::LockedBy),
];

/// Filters that are regular expressions.
const PATTERNS: [(&str, Text); 5] = [
    ("name", Text::Name),
    ("display_name", Text::Name),
    ("description", Text::Description),
    ("display_description", Text::Description),
    ("hostname", Text::Hostname),
];

/// Whether a pattern finds exactly itself.
fn plain(pattern: &str) -> bool {
    pattern.chars().all(|c| c.is_alphanumeric() || " -_".contains(c))
}

fn matching(req: &Req) -> Result<Matching> {
    let query = &req.query;
    let mut matching = Matching::default();
    for (name, of) in PATTERNS {
        // The database finds names that are plain.
        if let Some(pattern) = query.get(name).filter(|text| name != "name" || !plain(text)) {
            matching.pattern(of, pattern)?;
        }
    }
    for (name, of) in EXACT {
        match (of, query.get(name)) {
            (_, None) => {}
            (Exact::ConfigDrive, Some(_)) => {
                let wanted = query.flag(name)?.unwrap_or(false);
                matching.exact(of, if wanted { "True" } else { "" });
            }
            (_, Some(value)) => matching.exact(of, value),
        }
    }
    Ok(matching)
}

/// The filter in two parts, and whether every project's servers are asked for.
pub fn filter(req: &Req) -> Result<(Filter, Matching, bool)> {
    let query = &req.query;
    let text = |name: &str| query.get(name).map(str::to_owned);
    let all = match query.get("all_tenants") {
        // `?all_tenants` without a value counts, as in nova.
        Some("") => true,
        Some(_) => query.flag("all_tenants")?.unwrap_or(false),
        None => false,
    };
    let (changes_since, changes_before) =
        if req.version >= v(2, 66) { query.changes()? } else { (query.time("changes-since")?, None) };
    let locked = if req.version >= WITH_LOCKED { query.flag("locked")? } else { None };
    let ip6 = text("ip6").filter(|_| req.version >= v(2, 5));
    let filter = Filter {
        project_id: if all { text("project_id").or_else(|| text("tenant_id")).map(Into::into) } else { None },
        user_id: text("user_id"),
        statuses: statuses(req)?,
        name_contains: text("name").filter(|name| plain(name)),
        image_id: text("image").or_else(|| text("image_ref")),
        flavor_id: text("flavor"),
        host: text("host").or_else(|| text("node")),
        reservation_id: text("reservation_id"),
        uuid: text("uuid"),
        availability_zone: text("availability_zone"),
        key_name: text("key_name"),
        address_contains: text("ip").or(ip6),
        tags: if req.version >= v(2, 26) { tags(req)? } else { TagFilter::default() },
        changes_since,
        changes_before,
        locked,
        deleted: deleted(req),
        sort: sort(req)?,
    };
    Ok((filter, matching(req)?, all))
}

/// As in nova, what is no word for yes is no, and the status that only deleted servers have asks for them too.
fn deleted(req: &Req) -> bool {
    let asked = req.query.flag("deleted").is_ok_and(|flag| flag == Some(true));
    let mut statuses = req.query.all("status").peekable();
    asked || statuses.peek().is_some() && statuses.all(|status| status.eq_ignore_ascii_case("deleted"))
}

/// Different tags that one filter may name. A server has at most 50.
const MAX_TAGS: usize = 100;

fn tags(req: &Req) -> Result<TagFilter> {
    let list = |name: &str| -> Result<Vec<String>> {
        let given = req.query.get(name).into_iter().flat_map(|text| text.split(','));
        let tags: BTreeSet<&str> = given.filter(|tag| !tag.is_empty()).collect();
        if tags.len() > MAX_TAGS {
            let text = format!("{name} may name at most {MAX_TAGS} different tags.");
            return Err(Error::bad_request("query.tags", text));
        }
        Ok(tags.into_iter().map(str::to_owned).collect())
    };
    Ok(TagFilter {
        all: list("tags")?,
        any: list("tags-any")?,
        not_all: list("not-tags")?,
        not_any: list("not-tags-any")?,
    })
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
        let known = match word {
            "locked" if req.version >= WITH_LOCKED => Some(Some(Sort::Locked)),
            _ if NO_LONGER.contains(&word) && req.version < STRICT => Some(None),
            _ => SORT_KEYS.iter().find(|(name, _)| *name == word).map(|(_, column)| *column),
        };
        let Some(column) = known else {
            let shown: String = word.chars().take(64).collect();
            return Err(Error::bad_request("query.sort_key", format!("Invalid sort_key: {shown}")));
        };
        let direction = directions.get(place).copied().unwrap_or(fallback);
        // A key given twice counts once.
        if let Some(column) = column
            && !sort.iter().any(|(known, _)| *known == column)
        {
            sort.push((column, direction));
        }
    }
    Ok(sort)
}
