//! `GET /servers/{id}/topology`, since 2.78: which of the host's memory nodes a guest's processors and memory are on.
//! Guests here float over all of them, which nova shows as no nodes.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{COMPUTE, v};
use canopy_app::compute::servers;
use canopy_authz::actions::compute as policy;
use canopy_types::Result;
use http::Method;
use serde_json::json;

pub fn routes() -> Vec<Route> {
    let path = "/v2.1/servers/{server_id}/topology";
    vec![
        Route::new(Service::Compute, Method::GET, path, "Memory nodes of a guest", handler!(show))
            .versions(v(2, 78), COMPUTE.max)
            .action(policy::SERVERS_TOPOLOGY)
            .answers(&[200], &[404]),
    ]
}

async fn show(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    servers::may_see_topology(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &json!({"nodes": [], "pagesize_kb": null}))
}
