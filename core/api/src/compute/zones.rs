//! Availability zones and extensions.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::{access, compute::fleet};
use canopy_authz::{Target, actions::compute as actions};
use canopy_types::Result;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Service::Compute, Method::GET, "/v2.1/os-availability-zone", "List zones", handler!(list))
            .action(actions::ZONES_LIST),
    ]
}

/// A zone is available when a host in it takes servers.
async fn list(req: Req) -> Result<Reply> {
    let ctx = req.ctx()?;
    access::require(&req.app, ctx, actions::ZONES_LIST, &Target::default())?;
    let fleet = fleet::snapshot(&req.app).await?;
    let mut zones: BTreeMap<&str, bool> = BTreeMap::new();
    zones.insert(&req.app.settings.zone, false);
    for host in &fleet.hosts {
        *zones.entry(&host.zone).or_default() |= host.closed.is_none();
    }
    let zones: Vec<_> = zones
        .into_iter()
        .map(|(name, available)| json!({"zoneName": name, "zoneState": {"available": available}, "hosts": null}))
        .collect();
    Reply::json(200, &json!({ "availabilityZoneInfo": zones }))
}
