//! `os-hypervisors`: what hosts have and what is used. 2.28 shows processors as an object, 2.33 pages; 2.53 names
//! them by the ids that hosts have everywhere, and looks for names and shows servers in the lists themselves; 2.75 shows
//! an empty list of servers, too.

use super::services::{self, reason, state, status};
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{Microversion, v};
use crate::{handler, links};
use canopy_app::App;
use canopy_app::compute::hosts::{self, Host};
use canopy_authz::{Action, actions::compute as actions};
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{Error, HostId, Kind, Result};
use http::Method;
use serde_json::{Value, json};

const CPU_AS_OBJECT: Microversion = v(2, 28);
const WITH_PAGES: Microversion = v(2, 33);
const BY_NAME_UNTIL: Microversion = v(2, 52);
const BY_ID: Microversion = v(2, 53);
const SHOWS_NO_SERVERS: Microversion = v(2, 75);
const LIST_QUERY: &[(Microversion, &[&str])] =
    &[(BY_ID, &["limit", "marker", "hypervisor_hostname_pattern", "with_servers"])];
const SHOW_QUERY: &[(Microversion, &[&str])] = &[(BY_ID, &["with_servers"])];

pub fn routes() -> Vec<Route> {
    let route = |path, summary, action: Action, handler| {
        Route::new(Service::Compute, Method::GET, path, summary, handler).action(action)
    };
    let (list_all, show_one) = (actions::HYPERVISORS_LIST, actions::HYPERVISORS_SHOW);
    let absent: (&[u16], &[u16]) = (&[200], &[404]);
    let one = "/v2.1/os-hypervisors/{hypervisor_id}";
    vec![
        route("/v2.1/os-hypervisors", "List hypervisors", list_all, handler!(list)).query(LIST_QUERY),
        route("/v2.1/os-hypervisors/detail", "List hypervisors in detail", list_all, handler!(detail))
            .query(LIST_QUERY),
        route("/v2.1/os-hypervisors/statistics", "Sums over all hypervisors", list_all, handler!(statistics)),
        route(one, "Show a hypervisor", show_one, handler!(show))
            .query(SHOW_QUERY)
            .answers(absent.0, absent.1),
        route(
            "/v2.1/os-hypervisors/{hypervisor_id}/uptime",
            "How long a hypervisor has been up",
            show_one,
            handler!(uptime),
        )
        .answers(absent.0, &[404, 501]),
        route(
            "/v2.1/os-hypervisors/{hypervisor_id}/search",
            "Hypervisors by a part of their names",
            list_all,
            handler!(search),
        )
        .versions(v(2, 1), BY_NAME_UNTIL)
        .answers(absent.0, absent.1),
        route(
            "/v2.1/os-hypervisors/{hypervisor_id}/servers",
            "Servers of hypervisors by a part of their names",
            list_all,
            handler!(servers),
        )
        .versions(v(2, 1), BY_NAME_UNTIL)
        .answers(absent.0, absent.1),
    ]
}

fn brief(req: &Req, host: &Host) -> Value {
    json!({
        "id": services::id(req, host),
        "hypervisor_hostname": host.row.name,
        "state": state(host),
        "status": status(host),
    })
}

fn full(req: &Req, host: &Host) -> Value {
    let mut view = brief(req, host);
    let free_disk = host.free_disk_gib();
    for (name, value) in [
        ("hypervisor_type", json!(host.row.hypervisor_type)),
        ("hypervisor_version", json!(host.row.hypervisor_version)),
        // The agent does not say.
        ("cpu_info", if req.version >= CPU_AS_OBJECT { json!({}) } else { json!("") }),
        ("host_ip", Value::Null),
        ("vcpus", json!(host.vcpus())),
        ("vcpus_used", json!(host.used(VCPU))),
        ("memory_mb", json!(host.total(MEMORY_MB))),
        ("memory_mb_used", json!(host.used(MEMORY_MB))),
        ("free_ram_mb", json!(host.free_memory_mib())),
        ("local_gb", json!(host.total(DISK_GB))),
        ("local_gb_used", json!(host.used(DISK_GB))),
        ("free_disk_gb", json!(free_disk)),
        ("disk_available_least", json!(free_disk)),
        ("running_vms", json!(host.servers)),
        ("current_workload", json!(0)),
        (
            "service",
            json!({"id": services::id(req, host), "host": host.row.name, "disabled_reason": reason(host)}),
        ),
    ] {
        view[name] = value;
    }
    view
}

fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::not_found("hypervisor.not_found", format!("Compute host {shown} could not be found."))
}

async fn list(req: Req) -> Result<Reply> {
    page(req, "os-hypervisors", brief).await
}

async fn detail(req: Req) -> Result<Reply> {
    page(req, "os-hypervisors/detail", full).await
}

async fn page(req: Req, path: &str, view: fn(&Req, &Host) -> Value) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_LIST).await?;
    if req.version < WITH_PAGES {
        let views: Vec<Value> = all.iter().map(|host| view(&req, host)).collect();
        return Reply::json(200, &json!({ "hypervisors": views }));
    }
    let page = req.query.page()?;
    let with_servers = with_servers(&req)?;
    let pattern = req.query.last("hypervisor_hostname_pattern").filter(|_| req.version >= BY_ID);
    if let Some(pattern) = pattern {
        if page.limit.is_some() || page.marker.is_some() {
            return Err(Error::bad_request(
                "hypervisor.page",
                "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.",
            ));
        }
        let found = matching(all, pattern)?;
        let mut views: Vec<Value> = found.iter().map(|host| view(&req, host)).collect();
        if with_servers {
            add_servers(&req.app, req.version, &found, &mut views).await?;
        }
        return Reply::json(200, &json!({ "hypervisors": views }));
    }
    let from = match &page.marker {
        None => 0,
        Some(marker) => {
            let known = all.iter().position(|host| named(&req, host) == *marker);
            known.ok_or_else(|| Error::bad_request("page.marker", format!("marker [{marker}] not found")))?
                + 1
        }
    };
    let size = usize::try_from(page.size()).unwrap_or(0);
    let shown = &all[from..all.len().min(from + size)];
    let mut views: Vec<Value> = shown.iter().map(|host| view(&req, host)).collect();
    if with_servers {
        add_servers(&req.app, req.version, shown, &mut views).await?;
    }
    let mut body = json!({ "hypervisors": views });
    if let Some(last) = shown.last().filter(|_| from + size < all.len()) {
        let query = links::next_query(&req.query, &named(&req, last));
        body["hypervisors_links"] =
            json!([{"rel": "next", "href": format!("{}/compute/v2.1/{path}?{query}", req.base)}]);
    }
    Reply::json(200, &body)
}

/// The id as text.
fn named(req: &Req, host: &Host) -> String {
    if req.version >= BY_ID { host.row.id.to_string() } else { host.row.number.to_string() }
}

fn one(req: &Req, all: Vec<Host>) -> Result<Host> {
    let id = req.param("hypervisor_id");
    if req.version >= BY_ID && id.parse::<HostId>().is_err() {
        let shown: String = id.chars().take(64).collect();
        return Err(Error::bad_request("hypervisor.id", format!("Invalid uuid {shown}")));
    }
    let mut all = all.into_iter();
    all.find(|host| named(req, host) == id).ok_or_else(|| absent(id))
}

/// Whether servers are asked for, in a version that knows the word.
fn with_servers(req: &Req) -> Result<bool> {
    if req.version < BY_ID { Ok(false) } else { Ok(req.query.flag("with_servers")?.unwrap_or(false)) }
}

/// Adds to each those that it has.
async fn add_servers(app: &App, version: Microversion, hosts: &[Host], views: &mut [Value]) -> Result<()> {
    for (host, view) in hosts.iter().zip(views) {
        let servers = hosts::servers(app, host.row.id).await?;
        if !servers.is_empty() || version >= SHOWS_NO_SERVERS {
            let named = servers.into_iter().map(|(id, name)| json!({"uuid": id, "name": name}));
            view["servers"] = named.collect();
        }
    }
    Ok(())
}

async fn show(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_SHOW).await?;
    let host = one(&req, all)?;
    let mut shown = full(&req, &host);
    if with_servers(&req)? {
        add_servers(&req.app, req.version, &[host], std::slice::from_mut(&mut shown)).await?;
    }
    Reply::json(200, &json!({ "hypervisor": shown }))
}

/// As nova answers for drivers that cannot tell.
async fn uptime(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_SHOW).await?;
    one(&req, all)?;
    Err(Error::new(
        Kind::NotImplemented,
        "hypervisor.uptime",
        "The requested functionality is not supported.",
    ))
}

async fn statistics(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_LIST).await?;
    // As nova sums: disabled services are left out.
    let sum = |of: &dyn Fn(&Host) -> i64| -> i64 {
        all.iter().filter(|host| host.row.closed.is_none()).map(of).sum()
    };
    Reply::json(
        200,
        &json!({"hypervisor_statistics": {
            "count": sum(&|_| 1),
            "vcpus": sum(&Host::vcpus),
            "vcpus_used": sum(&|host| host.used(VCPU)),
            "memory_mb": sum(&|host| host.total(MEMORY_MB)),
            "memory_mb_used": sum(&|host| host.used(MEMORY_MB)),
            "free_ram_mb": sum(&Host::free_memory_mib),
            "local_gb": sum(&|host| host.total(DISK_GB)),
            "local_gb_used": sum(&|host| host.used(DISK_GB)),
            "free_disk_gb": sum(&Host::free_disk_gib),
            "disk_available_least": sum(&Host::free_disk_gib),
            "running_vms": sum(&|host| host.servers),
            "current_workload": 0,
        }}),
    )
}

/// Hosts whose names contain the text; none is 404.
fn matching(all: Vec<Host>, text: &str) -> Result<Vec<Host>> {
    let found: Vec<Host> = all.into_iter().filter(|host| host.row.name.contains(text)).collect();
    if found.is_empty() {
        let shown: String = text.chars().take(255).collect();
        let message = format!("No hypervisor matching '{shown}' could be found.");
        return Err(Error::not_found("hypervisor.not_found", message));
    }
    Ok(found)
}

async fn search(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_LIST).await?;
    let found: Vec<Value> =
        matching(all, req.param("hypervisor_id"))?.iter().map(|host| brief(&req, host)).collect();
    Reply::json(200, &json!({ "hypervisors": found }))
}

async fn servers(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::HYPERVISORS_LIST).await?;
    let found = matching(all, req.param("hypervisor_id"))?;
    let mut views: Vec<Value> = found.iter().map(|host| brief(&req, host)).collect();
    add_servers(&req.app, req.version, &found, &mut views).await?;
    Reply::json(200, &json!({ "hypervisors": views }))
}
