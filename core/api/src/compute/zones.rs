//! Availability zones: those of aggregates, and those that hosts registered in.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::compute::hosts::{self, Host};
use canopy_authz::actions::compute as actions;
use canopy_types::Result;
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Vec<Route> {
    let route = |path, summary, handler| Route::new(Service::Compute, Method::GET, path, summary, handler);
    vec![
        route("/v2.1/os-availability-zone", "List zones", handler!(list)).action(actions::ZONES_LIST),
        route("/v2.1/os-availability-zone/detail", "List zones with their hosts", handler!(detail))
            .action(actions::ZONES_LIST_DETAIL),
    ]
}

/// Whether the host takes servers.
fn available(host: &Host) -> bool {
    host.up && host.row.closed.is_none()
}

/// Zones in the order of their names; the default one also without hosts.
fn by_zone<'a>(req: &Req, all: &'a [Host]) -> BTreeMap<String, Vec<&'a Host>> {
    let mut zones: BTreeMap<String, Vec<&Host>> = BTreeMap::new();
    zones.insert(req.app.settings.zone.clone(), Vec::new());
    for host in all {
        zones.entry(host.zone.clone()).or_default().push(host);
    }
    zones
}

fn reply(req: &Req, all: &[Host], hosts_of: fn(&[&Host]) -> Value) -> Result<Reply> {
    let zones: Vec<Value> = by_zone(req, all)
        .into_iter()
        .map(|(name, hosts)| {
            let available = hosts.iter().any(|host| available(host));
            json!({"zoneName": name, "zoneState": {"available": available}, "hosts": hosts_of(&hosts)})
        })
        .collect();
    Reply::json(200, &json!({ "availabilityZoneInfo": zones }))
}

/// A zone is available when a host in it takes servers.
async fn list(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::ZONES_LIST).await?;
    reply(&req, &all, |_| Value::Null)
}

async fn detail(req: Req) -> Result<Reply> {
    let all = hosts::all(&req.app, req.ctx()?, actions::ZONES_LIST_DETAIL).await?;
    reply(&req, &all, |hosts| {
        let services = |host: &&Host| {
            let service = json!({"nova-compute": {
                "available": host.up,
                "active": host.row.closed.is_none(),
                "updated_at": host.row.seen_at.micros_naive(),
            }});
            (host.row.name.clone(), service)
        };
        Value::Object(hosts.iter().map(services).collect::<Map<_, _>>())
    })
}
