//! Query strings: what each version takes, and the groups of allocation candidates.

use super::language::{bad, in_tree, member_of, required, resources, traits};
use super::shape::Shape;
use crate::request::{Query, Req};
use crate::version::{Microversion, v};
use canopy_app::placement::errors;
use canopy_candidates::{Group, Request};
use canopy_types::{Error, Result};

fn unexpected(name: &str) -> Error {
    bad(format!(
        "Invalid query string parameters: Additional properties are not allowed ('{}' was unexpected)",
        errors::shown(name)
    ))
}

/// Refuses parameters that are not among `allowed`.
pub fn check(query: &Query, allowed: &[&str]) -> Result<()> {
    match query.0.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
        Some((name, _)) => Err(unexpected(name)),
        None => Ok(()),
    }
}

/// What lists of providers filter by, and since when.
const PROVIDER_LIST: [(u16, &str); 6] =
    [(0, "name"), (0, "uuid"), (3, "member_of"), (4, "resources"), (14, "in_tree"), (18, "required")];

pub fn check_provider_list(req: &Req) -> Result<()> {
    let allowed: Vec<&str> = PROVIDER_LIST
        .iter()
        .filter(|(minor, _)| req.version >= v(1, *minor))
        .map(|(_, name)| *name)
        .collect();
    check(&req.query, &allowed)
}

/// Parameters of allocation candidates, since when, and whether they take a group's suffix.
const CANDIDATES: [(u16, &str, bool); 8] = [
    (10, "resources", true),
    (17, "required", true),
    (21, "member_of", true),
    (31, "in_tree", true),
    (16, "limit", false),
    (25, "group_policy", false),
    (35, "root_required", false),
    (36, "same_subtree", false),
];

/// The parameter's name without its suffix, and the suffix; `None` for what the version does not know.
fn parameter(version: Microversion, key: &str) -> Option<(&'static str, &str)> {
    let known = CANDIDATES.iter().filter(|(minor, ..)| version >= v(1, *minor));
    for (_, name, grouped) in known {
        let Some(suffix) = key.strip_prefix(name) else { continue };
        if suffix.is_empty() || (*grouped && is_suffix(version, suffix)) {
            return Some((name, suffix));
        }
    }
    None
}

/// From 1.25 on names are patterns, and the real service says so.
fn unknown(version: Microversion, key: &str) -> Error {
    if version < v(1, 25) {
        return unexpected(key);
    }
    let key: String = key.chars().take(128).collect();
    let patterns: Vec<String> = CANDIDATES
        .iter()
        .filter(|(minor, ..)| version >= v(1, *minor))
        .map(|(_, name, grouped)| match grouped {
            true if version >= v(1, 33) => format!("'^{name}([a-zA-Z0-9_-]{{1,64}})?$'"),
            true => format!("'^{name}([1-9][0-9]*)?$'"),
            false => format!("'{name}'"),
        })
        .collect();
    bad(format!(
        "Invalid query string parameters: '{key}' does not match any of the regexes: {}",
        patterns.join(", ")
    ))
}

fn is_suffix(version: Microversion, suffix: &str) -> bool {
    let numbered = !suffix.starts_with('0') && suffix.bytes().all(|b| b.is_ascii_digit());
    let named =
        suffix.len() <= 64 && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (version >= v(1, 25) && numbered) || (version >= v(1, 33) && named)
}

/// The whole question of `GET /allocation_candidates`.
pub fn candidates(req: &Req, shape: Shape) -> Result<Request> {
    let mut out = Request { flat: !shape.nested, ..Request::default() };
    for (key, value) in &req.query.0 {
        let (name, suffix) = parameter(req.version, key).ok_or_else(|| unknown(req.version, key))?;
        match name {
            "limit" => {
                let plain = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
                if value.is_empty() || !plain {
                    return Err(bad(
                        "Invalid query string parameters: limit does not match '^[1-9][0-9]*$'\n\nFailed validating \
                         'pattern' in schema",
                    ));
                }
                out.limit = out.limit.or(Some(value.parse().unwrap_or(usize::MAX)));
            }
            "group_policy" if value == "isolate" => out.isolate = true,
            "group_policy" if value == "none" => {}
            "group_policy" => {
                return Err(bad(format!(
                    "Invalid query string parameters: '{}' is not one of ['none', 'isolate']",
                    errors::shown(value)
                )));
            }
            "root_required" | "same_subtree" => {}
            _ => group(&mut out, req, shape, name, suffix, value)?,
        }
    }
    if req.version < v(1, 25) && req.query.get("resources").is_none() {
        return Err(bad("Invalid query string parameters: 'resources' is a required property"));
    }
    root_required(&mut out, &req.query)?;
    same_subtree(&mut out, req, shape)?;
    check_groups(&out, shape)?;
    let granular = out.groups.iter().filter(|group| !group.suffix.is_empty()).count();
    if granular > 1 && req.query.get("group_policy").is_none() {
        return Err(bad(
            "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.",
        ));
    }
    Ok(out)
}

fn group(out: &mut Request, req: &Req, shape: Shape, name: &str, suffix: &str, value: &str) -> Result<()> {
    let at = match out.groups.iter().position(|group| group.suffix == suffix) {
        Some(at) => at,
        None => {
            out.groups.push(Group { suffix: suffix.to_owned(), ..Group::default() });
            out.groups.len() - 1
        }
    };
    let group = &mut out.groups[at];
    let key = format!("{name}{suffix}");
    match name {
        "resources" => group.resources = resources(value)?,
        "required" => (group.required, group.forbidden) = required(&req.query, &key, shape)?,
        "member_of" => (group.member_of, group.not_member_of) = member_of(&req.query, &key, shape)?,
        _ => group.in_tree = Some(in_tree(value)?),
    }
    Ok(())
}

fn root_required(out: &mut Request, query: &Query) -> Result<()> {
    let values: Vec<&str> = query.all("root_required").collect();
    let value = match values.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Error::bad_request(
                errors::DUPLICATE_QUERY_KEY,
                "Query parameter 'root_required' may be specified only once.",
            ));
        }
    };
    let (required, forbidden) = traits(value, true, false)?;
    out.root_required = required.into_iter().flatten().collect();
    out.root_forbidden = forbidden;
    let both: Vec<String> =
        out.root_required.iter().filter(|t| out.root_forbidden.contains(t)).cloned().collect();
    if both.is_empty() {
        return Ok(());
    }
    Err(Error::bad_request(
        errors::BAD_QUERY_VALUE,
        format!("Conflicting required and forbidden traits found in root_required: {}", both.join(", ")),
    ))
}

fn same_subtree(out: &mut Request, req: &Req, shape: Shape) -> Result<()> {
    if !shape.same_subtree {
        return Ok(());
    }
    let mut named: Vec<String> = Vec::new();
    for value in req.query.all("same_subtree") {
        let mut set = Vec::new();
        for suffix in value.split(',').map(str::trim) {
            if suffix.is_empty() {
                return Err(Error::bad_request(
                    errors::BAD_QUERY_VALUE,
                    "Empty string (unsuffixed group) can not be specified in `same_subtree` ",
                ));
            }
            named.push(suffix.to_owned());
            set.extend(out.groups.iter().position(|group| group.suffix == suffix));
        }
        set.sort_unstable();
        set.dedup();
        out.same_subtree.push(set);
    }
    let list =
        |names: Vec<&str>| names.iter().take(10).map(|n| errors::shown(n)).collect::<Vec<_>>().join(", ");
    let without: Vec<&str> =
        out.groups.iter().filter(|g| g.resources.is_empty()).map(|g| g.suffix.as_str()).collect();
    if without.len() == out.groups.len() {
        return Err(Error::bad_request(
            errors::MISSING_QUERY_VALUE,
            "There must be at least one resources or resources[$S] parameter.",
        ));
    }
    let loose: Vec<&str> = without.into_iter().filter(|s| !named.iter().any(|name| name == s)).collect();
    if !loose.is_empty() {
        return Err(Error::bad_request(
            errors::BAD_QUERY_VALUE,
            format!(
                "Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - \
                 [{}].",
                list(loose)
            ),
        ));
    }
    let absent: Vec<&str> =
        named.iter().map(String::as_str).filter(|s| !out.groups.iter().any(|g| g.suffix == *s)).collect();
    if !absent.is_empty() {
        let suffixes = list(out.groups.iter().map(|g| g.suffix.as_str()).collect());
        return Err(Error::bad_request(
            errors::BAD_QUERY_VALUE,
            format!(
                "Real suffixes should be specified in `same_subtree`: [{}] not found in [{suffixes}].",
                list(absent)
            ),
        ));
    }
    Ok(())
}

fn check_groups(out: &Request, shape: Shape) -> Result<()> {
    let keys = |name: &str, of: &dyn Fn(&Group) -> bool| -> Vec<String> {
        out.groups.iter().filter(|g| of(g)).take(10).map(|g| format!("{name}{}", g.suffix)).collect()
    };
    if !shape.same_subtree {
        let orphans = keys("required", &|g| g.resources.is_empty() && !g.required.is_empty());
        if !orphans.is_empty() {
            return Err(bad(format!(
                "All traits parameters must be associated with resources.  Found the following orphaned traits keys: {}",
                orphans.join(", ")
            )));
        }
        let orphans = keys("member_of", &|g| {
            g.resources.is_empty() && !(g.member_of.is_empty() && g.not_member_of.is_empty())
        });
        if !orphans.is_empty() {
            return Err(bad(format!(
                "All member_of parameters must be associated with resources. Found the following orphaned member_of \
                 keys: {}",
                orphans.join(", ")
            )));
        }
        if out.groups.iter().any(|g| g.resources.is_empty()) {
            return Err(bad("All request groups must specify resources."));
        }
        if out.groups.is_empty() {
            return Err(bad("At least one request group (`resources` or `resources{$S}`) is required."));
        }
    }
    let conflicts: Vec<String> = out
        .groups
        .iter()
        .flat_map(|g| {
            g.required
                .iter()
                .filter(|any| any.iter().all(|t| g.forbidden.contains(t)))
                .map(|any| format!("required{}: ({})", g.suffix, any.join(", ")))
        })
        .collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(bad(format!(
        "Conflicting required and forbidden traits found in the following traits keys: {}",
        conflicts.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_follow_the_version() {
        for (minor, key, known) in [
            (24, "resources1", false),
            (25, "resources1", true),
            (25, "resources0", false),
            (32, "resources_a", false),
            (33, "resources_a", true),
            (33, "resources+", false),
            (30, "in_tree", false),
            (31, "in_tree1", true),
            (34, "root_required", false),
            (36, "same_subtree", true),
            (36, "same_subtree1", false),
        ] {
            assert_eq!(parameter(v(1, minor), key).is_some(), known, "1.{minor} {key}");
        }
        let long = format!("resources{}", "a".repeat(65));
        assert!(parameter(v(1, 39), &long).is_none());
    }
}
