//! Absolute limits with usage. 2.36 takes out what networks count, 2.39 image metadata, 2.57 injected files.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{Microversion, v};
use canopy_app::access;
use canopy_app::quota::sets::{self, Asked, Line};
use canopy_authz::actions::compute as actions;
use canopy_types::{Result, quota};
use http::Method;
use serde_json::{Map, Value, json};

const WITHOUT_NETWORKS: Microversion = v(2, 36);
const WITHOUT_IMAGES: Microversion = v(2, 39);
const WITHOUT_FILES: Microversion = v(2, 57);

const QUERY: &[(Microversion, &[&str])] = &[(v(2, 75), &["tenant_id"])];

const LIMITS: [(&str, &str); 7] = [
    (quota::INSTANCES, "maxTotalInstances"),
    (quota::CORES, "maxTotalCores"),
    (quota::RAM, "maxTotalRAMSize"),
    (quota::METADATA_ITEMS, "maxServerMeta"),
    (quota::KEY_PAIRS, "maxTotalKeypairs"),
    (quota::SERVER_GROUPS, "maxServerGroups"),
    (quota::SERVER_GROUP_MEMBERS, "maxServerGroupMembers"),
];
const USED: [(&str, &str); 4] = [
    (quota::INSTANCES, "totalInstancesUsed"),
    (quota::CORES, "totalCoresUsed"),
    (quota::RAM, "totalRAMUsed"),
    (quota::SERVER_GROUPS, "totalServerGroupsUsed"),
];

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Service::Compute,
            Method::GET,
            "/v2.1/limits",
            "Show what a project may use and does use",
            handler!(show),
        )
        .action(actions::LIMITS_SHOW)
        .query(QUERY),
    ]
}

async fn show(req: Req) -> Result<Reply> {
    let ctx = req.ctx()?;
    let asked = Asked { service: "compute", action: actions::LIMITS_SHOW };
    // Another project's are for those who may see them.
    let project = match req.query.last("tenant_id").filter(|id| !id.is_empty()) {
        Some(project) => project.to_owned(),
        None => access::project(ctx)?.to_string(),
    };
    let lines = sets::show(&req.app, ctx, asked, &project, None).await.map_err(crate::compute::as_compute)?;
    Reply::json(200, &json!({"limits": {"rate": [], "absolute": absolute(req.version, &lines)}}))
}

fn absolute(version: Microversion, lines: &[Line]) -> Value {
    let line = |name: &str| lines.iter().find(|line| line.resource == name);
    let mut view: Map<String, Value> = Map::new();
    let mut put = |name: &str, value: i64| drop(view.insert(name.to_owned(), value.into()));
    for (name, shown) in LIMITS {
        put(shown, line(name).map_or(-1, |line| line.limit));
    }
    for (name, shown) in USED {
        put(shown, line(name).map_or(0, |line| line.used));
    }
    if version < WITHOUT_FILES {
        put("maxPersonality", 0);
        put("maxPersonalitySize", 0);
    }
    if version < WITHOUT_IMAGES {
        put("maxImageMeta", line(quota::METADATA_ITEMS).map_or(-1, |line| line.limit));
    }
    if version < WITHOUT_NETWORKS {
        for name in ["maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules"] {
            put(name, -1);
        }
        for name in ["totalFloatingIpsUsed", "totalSecurityGroupsUsed"] {
            put(name, 0);
        }
    }
    Value::Object(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_shows_what_it_knew() {
        let lines = [Line { resource: "cores", limit: 20, used: 3 }];
        let keys = |version| absolute(version, &lines).as_object().unwrap().len();
        assert_eq!((keys(v(2, 1)), keys(v(2, 36)), keys(v(2, 39)), keys(v(2, 57))), (19, 14, 13, 11));
        let newest = absolute(v(2, 57), &lines);
        assert_eq!((&newest["maxTotalCores"], &newest["totalCoresUsed"]), (&json!(20), &json!(3)));
    }
}
