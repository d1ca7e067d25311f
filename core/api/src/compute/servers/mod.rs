//! Servers over HTTP: a file per verb, shapes apart.

mod actions;
mod consoles;
mod create;
mod diagnostics;
mod filter;
mod fixed_ips;
pub(super) mod groups;
mod history;
mod interfaces;
mod list;
mod longer;
mod notes;
mod schema;
mod shape;
mod topology;

pub(super) use notes::items;
pub(super) use schema::{METADATA, METADATA_ITEM};

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::compute::servers;
use canopy_authz::actions::compute as policy;
use canopy_types::Result;
use http::Method;

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    let mut routes = vec![
        route(Method::GET, "/v2.1/servers", "List servers", handler!(list::brief))
            .action(policy::SERVERS_LIST)
            .query(filter::QUERY),
        route(Method::GET, "/v2.1/servers/detail", "List servers in detail", handler!(list::detail))
            .action(policy::SERVERS_LIST)
            .query(filter::QUERY),
        route(Method::POST, "/v2.1/servers", "Create servers", handler!(create::create))
            .action(policy::SERVERS_CREATE)
            .json(schema::CREATE)
            .answers(&[202], &[409]),
        route(Method::GET, "/v2.1/servers/{server_id}", "Show a server", handler!(list::show))
            .action(policy::SERVERS_SHOW)
            .answers(&[200], &[404]),
        route(Method::DELETE, "/v2.1/servers/{server_id}", "Delete a server", handler!(delete))
            .action(policy::SERVERS_DELETE)
            .answers(&[204], &[404, 409]),
        route(
            Method::GET,
            "/v2.1/servers/{server_id}/ips",
            "Addresses of a server",
            handler!(list::addresses),
        )
        .action(policy::SERVERS_SHOW)
        .answers(&[200], &[404]),
        route(
            Method::GET,
            "/v2.1/servers/{server_id}/ips/{network}",
            "Addresses of a server on one network",
            handler!(list::addresses_on),
        )
        .action(policy::SERVERS_SHOW)
        .answers(&[200], &[404]),
    ];
    routes.extend(actions::routes());
    routes.extend(consoles::routes());
    routes.extend(longer::routes());
    routes.extend(notes::routes());
    routes.extend(fixed_ips::routes());
    routes.extend(diagnostics::routes());
    routes.extend(groups::routes());
    routes.extend(history::routes());
    routes.extend(interfaces::routes());
    routes.extend(topology::routes());
    routes
}

async fn delete(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    servers::delete(&req.app, req.ctx()?, id).await?;
    Ok(Reply::empty(204))
}
