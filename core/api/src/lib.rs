//! The HTTP surface: OpenStack's services under path prefixes, the native API, consoles, the agent's API.
//!
//! One route table ([`routes`]) is the source of the router, of the OpenAPI documents of all services, of
//! the policy-coverage test and of the tenant-isolation test. Handlers parse, call one use case and shape
//! the answer; [`dispatch`] does everything that is the same for all of them: request id, token, version,
//! body limit, JSON, schema, error shape, headers.

pub mod agent;
mod body;
mod client;
pub mod compute;
pub mod console;
pub mod dispatch;
pub mod errors;
pub mod identity;
pub mod image;
mod leftover;
pub mod links;
pub mod native;
pub mod network;
pub mod openapi;
pub mod placement;
pub mod request;
pub mod route;
pub mod schema;
pub mod version;

pub use dispatch::router;
pub use request::{Reply, Req};
pub use route::{Auth, Body, Route, Service};
pub use version::Microversion;

/// Every route of every service.
pub fn routes() -> Vec<Route> {
    [
        identity::routes(),
        compute::routes(),
        image::routes(),
        network::routes(),
        placement::routes(),
        native::routes(),
        console::routes(),
        agent::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
