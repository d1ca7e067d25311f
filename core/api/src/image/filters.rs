//! The query of an image list: filters, order, page, and the links to other pages.

use crate::links;
use crate::request::Query;
use canopy_app::image::{Direction, Filter, ListQuery, MemberStatus, Moment, SortKey, Than, Visibility};
use canopy_types::{Error, ImageId, Result, Timestamp};
use std::str::FromStr;

/// Values of one `in:` filter.
const MAX_IN: usize = 500;

fn invalid(text: String) -> Error {
    Error::bad_request("image.query", text)
}

pub fn parse(query: &Query) -> Result<ListQuery> {
    let mut list = ListQuery { page: query.page()?, order: order(query)?, ..ListQuery::default() };
    // Hidden images show only to those who ask for them.
    list.filter.hidden = Some(query.flag("os_hidden")?.unwrap_or(false));
    for (name, value) in &query.0 {
        if value.contains('\0') || value.chars().count() > 65_535 || name.contains('\0') {
            return Err(invalid("A query may not hold zero bytes.".into()));
        }
        condition(&mut list, name, value)?;
    }
    Ok(list)
}

fn condition(list: &mut ListQuery, name: &str, value: &str) -> Result<()> {
    let filter: &mut Filter = &mut list.filter;
    match name {
        "limit" | "marker" | "sort_key" | "sort_dir" | "sort" | "os_hidden" => {}
        "member_status" if value == "all" => list.answers = MemberStatus::ALL.to_vec(),
        "member_status" => {
            let answer = MemberStatus::from_str(value);
            list.answers = vec![answer.map_err(|()| {
                invalid(format!("Invalid status: {value}. Use one of accepted, pending, rejected, all."))
            })?];
        }
        "created_at" => filter.times.push(moment(Moment::Created, name, value)?),
        "updated_at" => filter.times.push(moment(Moment::Updated, name, value)?),
        "name" => filter.names = any_of(value)?,
        "id" => filter.ids = any_of(value)?.iter().map(|id| id.to_ascii_lowercase()).collect(),
        "disk_format" => filter.disk_formats = any_of(value)?,
        "container_format" => filter.container_formats = any_of(value)?,
        // A status that no image here can have (killed, pending_delete, …) matches none.
        "status" => {
            let asked = any_of(value)?;
            filter.statuses = asked.iter().filter_map(|status| FromStr::from_str(status).ok()).collect();
            if filter.statuses.is_empty() {
                filter.ids = vec![String::new()];
            }
        }
        "visibility" if value == "all" => list.community = true,
        "visibility" => {
            let visibility = Visibility::from_str(value)
                .map_err(|()| invalid(format!("Invalid visibility value: {value}")))?;
            list.community = visibility == Visibility::Community;
            filter.visibility = Some(visibility);
        }
        "owner" => filter.owner = Some(value.to_owned()),
        "protected" => {
            filter.protected = Some(match value {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(invalid(format!("Invalid value for protected: {value}. Use true or false.")));
                }
            });
        }
        "size_min" => filter.size_min = Some(amount(name, value)?),
        "size_max" => filter.size_max = Some(amount(name, value)?),
        "min_disk" => list.min_disk = Some(amount(name, value)?),
        "min_ram" => list.min_ram = Some(amount(name, value)?),
        "tag" => list.tags.push(value.to_owned()),
        _ => list.properties.push((name.to_owned(), value.to_owned())),
    }
    Ok(())
}

/// `gte:2026-11-22T12:00:00Z`; without an operator they must be equal.
fn moment(which: Moment, name: &str, value: &str) -> Result<(Moment, Than, Timestamp)> {
    const OPERATORS: [(&str, Than); 6] = [
        ("lt:", Than::Before),
        ("lte:", Than::AtMost),
        ("eq:", Than::Equal),
        ("neq:", Than::NotEqual),
        ("gte:", Than::AtLeast),
        ("gt:", Than::After),
    ];
    let (than, time) = OPERATORS
        .iter()
        .find_map(|(word, than)| value.strip_prefix(word).map(|time| (*than, time)))
        .unwrap_or((Than::Equal, value));
    let time = Timestamp::parse(time).ok_or_else(|| {
        invalid(format!(
            "Invalid value for {name}: {value}. Use a time such as 2026-11-22T12:00:00Z, if need be after one of \
             lt:, lte:, eq:, neq:, gte:, gt:."
        ))
    })?;
    Ok((which, than, time))
}

fn amount(name: &str, value: &str) -> Result<i64> {
    value
        .parse::<i64>()
        .ok()
        .filter(|n| *n >= 0)
        .ok_or_else(|| invalid(format!("{name} must be a whole number from 0, not '{value}'.")))
}

/// `x`, or `in:x,y` where values with commas or quotes stand in double quotes.
fn any_of(value: &str) -> Result<Vec<String>> {
    let Some(rest) = value.strip_prefix("in:") else { return Ok(vec![value.to_owned()]) };
    let malformed =
        || invalid(format!("Invalid filter value {value}: quotes must close and be followed by a comma."));
    let mut values = Vec::new();
    let mut rest = rest;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(malformed)?;
            values.push(quoted[..end].to_owned());
            rest = &quoted[end + 1..];
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(malformed());
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err(malformed());
            }
            values.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if values.len() > MAX_IN {
            return Err(invalid(format!("A filter may name at most {MAX_IN} values.")));
        }
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(values),
        }
    }
}

fn key(text: &str) -> Result<SortKey> {
    Ok(match text {
        "name" => SortKey::Name,
        "status" => SortKey::Status,
        "container_format" => SortKey::ContainerFormat,
        "disk_format" => SortKey::DiskFormat,
        "size" => SortKey::Size,
        "id" => SortKey::Id,
        "created_at" => SortKey::CreatedAt,
        "updated_at" => SortKey::UpdatedAt,
        _ => {
            return Err(invalid(format!(
                "Invalid sort key: {text}. It must be one of the following: name, status, container_format, \
                 disk_format, size, id, created_at, updated_at."
            )));
        }
    })
}

fn direction(text: &str) -> Result<Direction> {
    match text {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        _ => Err(invalid(format!(
            "Invalid sort direction: {text}. It must be one of the following: asc, desc."
        ))),
    }
}

/// `sort=name:asc,size` or any number of `sort_key` with as many, one or no `sort_dir`. Newest first by default.
fn order(query: &Query) -> Result<Vec<(SortKey, Direction)>> {
    let mut order = Vec::new();
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    if let Some(sort) = query.get("sort") {
        if !keys.is_empty() || !directions.is_empty() {
            return Err(invalid("Old and new sorting syntax cannot be combined.".into()));
        }
        for part in sort.split(',') {
            let (name, way) = part.split_once(':').unwrap_or((part, "desc"));
            order.push((key(name.trim())?, direction(way.trim())?));
        }
    } else {
        if directions.len() > 1 && directions.len() != keys.len() {
            return Err(invalid("Number of sort dirs does not match the number of sort keys.".into()));
        }
        let keys = if keys.is_empty() { vec!["created_at"] } else { keys };
        for (n, name) in keys.iter().enumerate() {
            let way = directions.get(n).or(directions.first()).copied().unwrap_or("desc");
            order.push((key(name)?, direction(way)?));
        }
    }
    if order.len() > 8 {
        return Err(invalid("At most 8 sort keys can be given.".into()));
    }
    Ok(order)
}

/// The list again, from its start or after `marker`. Relative to the service, as glance answers it.
pub fn link(query: &Query, marker: Option<ImageId>) -> String {
    let query = match marker {
        Some(id) => links::next_query(query, &id.to_string()),
        None => links::first_query(query),
    };
    if query.is_empty() { "/v2/images".into() } else { format!("/v2/images?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_app::image::Status;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn filters_are_read_and_the_rest_are_properties() {
        let list = parse(&query(&[
            ("name", "in:\"a,b\",c"),
            ("id", "in:A,b"),
            ("status", "active"),
            ("tag", "x"),
            ("tag", "y"),
            ("os_distro", "debian"),
            ("limit", "5"),
        ]))
        .unwrap();
        assert_eq!(list.filter.names, ["a,b", "c"]);
        assert_eq!(list.filter.ids, ["a", "b"]);
        assert_eq!(list.filter.statuses, [Status::Active]);
        assert_eq!(list.tags, ["x", "y"]);
        assert_eq!(list.properties, [("os_distro".to_owned(), "debian".to_owned())]);
        assert_eq!((list.page.limit, list.filter.hidden), (Some(5), Some(false)));
        assert_eq!(list.order, [(SortKey::CreatedAt, Direction::Descending)]);
        let none = parse(&query(&[("status", "killed")])).unwrap();
        assert_eq!(none.filter.ids, [""], "a status nothing has matches nothing");
    }

    #[test]
    fn times_compare_and_answers_and_community_images_are_asked_for() {
        let list = parse(&query(&[
            ("created_at", "gte:2026-11-22T12:00:00Z"),
            ("updated_at", "2026-11-22"),
            ("member_status", "all"),
            ("visibility", "all"),
        ]))
        .unwrap();
        let noon = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        assert_eq!(list.filter.times[0], (Moment::Created, Than::AtLeast, noon));
        assert_eq!(list.filter.times[1].1, Than::Equal);
        assert_eq!((list.answers.len(), list.community, list.filter.visibility), (3, true, None));
        let plain = parse(&query(&[])).unwrap();
        assert_eq!((plain.answers, plain.community), (vec![MemberStatus::Accepted], false));
    }

    #[test]
    fn nonsense_in_a_query_is_refused() {
        let many = format!("in:{}", "a,".repeat(501));
        for (name, value) in [
            ("limit", "-1"),
            ("limit", "x"),
            ("sort_key", "owner"),
            ("sort_dir", "up"),
            ("sort", "name:up"),
            ("visibility", "none"),
            ("os_hidden", "maybe"),
            ("protected", "1"),
            ("size_min", "-1"),
            ("size_max", "99999999999999999999"),
            ("name", "in:\"a"),
            ("name", "in:\"a\"b"),
            ("name", "in:a\"b"),
            ("name", "a\0"),
            ("x\0", "a"),
            ("id", &many),
            ("member_status", "x"),
            ("created_at", "yesterday"),
            ("created_at", "gt:"),
            ("updated_at", "ge:2026-11-22"),
            ("updated_at", "in:2026-11-22"),
        ] {
            assert!(parse(&query(&[(name, value)])).is_err(), "{name}={value}");
        }
        assert!(parse(&query(&[("sort", "name"), ("sort_key", "name")])).is_err());
        assert!(parse(&query(&[("sort_key", "a"), ("sort_dir", "asc"), ("sort_dir", "asc")])).is_err());
    }

    #[test]
    fn orders_combine_as_in_glance() {
        let order = |pairs: &[(&str, &str)]| parse(&query(pairs)).unwrap().order;
        use Direction::{Ascending as A, Descending as D};
        assert_eq!(order(&[("sort", "name:asc,size")]), [(SortKey::Name, A), (SortKey::Size, D)]);
        assert_eq!(
            order(&[("sort_key", "name"), ("sort_key", "size"), ("sort_dir", "asc")]),
            [(SortKey::Name, A), (SortKey::Size, A)]
        );
    }

    #[test]
    fn links_keep_the_query_and_replace_the_marker() {
        let id: ImageId = "0123abcd-ef45-4678-9abc-def012345678".parse().unwrap();
        let query = query(&[("name", "a b&c"), ("marker", "old"), ("limit", "1")]);
        assert_eq!(link(&query, None), "/v2/images?name=a%20b%26c&limit=1");
        assert_eq!(link(&query, Some(id)), format!("/v2/images?name=a%20b%26c&limit=1&marker={id}"));
        assert_eq!(link(&Query::default(), None), "/v2/images");
    }
}
