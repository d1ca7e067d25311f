//! The compute API (nova's v2.1).

mod aggregates;
mod discovery;
mod flavor_access;
mod flavors;
mod gone;
mod hosts;
mod hypervisors;
mod keypairs;
mod limits;
mod proxies;
mod quotas;
mod server_groups;
mod servers;
mod services;
mod usage;
mod zones;

pub use gone::gone;

use crate::route::Route;
use canopy_types::{Error, Kind};

pub fn routes() -> Vec<Route> {
    [
        discovery::routes(),
        flavors::routes(),
        flavor_access::routes(),
        keypairs::routes(),
        servers::routes(),
        server_groups::routes(),
        aggregates::routes(),
        services::routes(),
        hypervisors::routes(),
        hosts::routes(),
        zones::routes(),
        quotas::routes(),
        limits::routes(),
        proxies::routes(),
        usage::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Turns errors of other services' use cases into what nova answers when a request to it names their things.
pub(crate) fn as_compute(error: Error) -> Error {
    match error.kind {
        // An image, network, key or flavor named in a body: the request is wrong, not the URL.
        Kind::NotFound => Error::bad_request(error.code, error.message),
        _ => error,
    }
}
