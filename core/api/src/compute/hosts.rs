//! `os-hosts`: what older clients ask instead of `os-services` and `os-hypervisors`; gone since 2.43.

use super::services::is_enabled;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::hosts::{self, Host, ServiceChange};
use canopy_authz::actions::compute as actions;
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{Error, Kind, Result};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const UNTIL: Microversion = v(2, 42);
const CHANGED: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let word = json!({"enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"]});
    let mut body = schema::object(json!({"status": word, "maintenance_mode": word}), &[]);
    body["minProperties"] = json!(1);
    body
})];

pub fn routes() -> Vec<Route> {
    let one = "/v2.1/os-hosts/{host_name}";
    let route = |method, path, summary, handler| {
        Route::new(Service::Compute, method, path, summary, handler).versions(v(2, 1), UNTIL)
    };
    vec![
        route(Method::GET, "/v2.1/os-hosts", "List hosts", handler!(list)).action(actions::SERVICES_LIST),
        route(Method::GET, one, "Show what a host has, and who uses it", handler!(show))
            .action(actions::HYPERVISORS_SHOW)
            .answers(&[200], &[404]),
        route(Method::PUT, one, "Let a host take new servers, or not", handler!(update))
            .action(actions::SERVICES_UPDATE)
            .json(CHANGED)
            .answers(&[200], &[404, 501]),
    ]
}

/// Those that take servers.
async fn list(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::SERVICES_LIST).await?;
    let zone = req.query.get("zone").filter(|zone| !zone.is_empty());
    let wanted = |host: &&Host| is_enabled(host) && zone.is_none_or(|zone| zone == host.zone);
    let view = |host: &Host| json!({"host_name": host.row.name, "service": "compute", "zone": host.zone});
    let hosts: Vec<Value> = all.iter().filter(wanted).map(view).collect();
    Reply::json(200, &json!({ "hosts": hosts }))
}

fn named(all: Vec<Host>, name: &str) -> Result<Host> {
    let shown: String = name.chars().take(255).collect();
    let absent = || Error::not_found("host.not_found", format!("Compute host {shown} could not be found."));
    all.into_iter().find(|host| host.row.name == name).ok_or_else(absent)
}

/// Processors, memory and disk.
type Sizes = [i64; 3];

fn line(host: &Host, project: &str, [cpu, memory, disk]: Sizes) -> Value {
    json!({"resource": {
        "host": host.row.name, "project": project, "cpu": cpu, "memory_mb": memory, "disk_gb": disk,
    }})
}

/// What it has, what of that is taken, what its servers come to, and each project's part of that.
async fn show(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_SHOW).await?;
    let host = named(all, req.param("host_name"))?;
    let mut projects: BTreeMap<String, Sizes> = BTreeMap::new();
    for server in hosts::rows(&req.app, host.row.id).await? {
        let flavor = &server.flavor;
        let disk = flavor.root_gib.saturating_add(flavor.ephemeral_gib);
        let part = projects.entry(server.project_id.to_string()).or_default();
        add(part, [flavor.vcpus, flavor.memory_mib, disk]);
    }
    let mut sum = Sizes::default();
    projects.values().for_each(|part| add(&mut sum, *part));
    let classes = [VCPU, MEMORY_MB, DISK_GB];
    let mut lines = vec![
        line(&host, "(total)", classes.map(|class| host.total(class))),
        line(&host, "(used_now)", classes.map(|class| host.used(class))),
        line(&host, "(used_max)", sum),
    ];
    lines.extend(projects.iter().map(|(project, part)| line(&host, project, *part)));
    Reply::json(200, &json!({ "host": lines }))
}

fn add(sum: &mut Sizes, part: Sizes) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum = sum.saturating_add(part);
    }
}

async fn update(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::SERVICES_UPDATE).await?;
    let name = named(all, req.param("host_name"))?.row.name;
    // As nova answers for drivers that have no such mode.
    if !req.json["maintenance_mode"].is_null() {
        return Err(Error::new(
            Kind::NotImplemented,
            "host.maintenance",
            "The requested functionality is not supported. Set the status, and move the servers yourself.",
        ));
    }
    let on = req.json["status"].as_str().is_some_and(|word| word.eq_ignore_ascii_case("enable"));
    let change = if on { ServiceChange::Enable } else { ServiceChange::Disable(None) };
    hosts::change_service(&req.app, req.ctx()?, &name, change).await?;
    Reply::json(200, &json!({"host": name, "status": if on { "enabled" } else { "disabled" }}))
}
