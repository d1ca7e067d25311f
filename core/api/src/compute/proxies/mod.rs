//! What nova shows of other services to clients that know no other: gone since 2.36, metadata of images since 2.39.
//!
//! These are views of the services' own use cases, which ask the services' own policies: there is one way to an
//! image or a network, and one permission.

mod image_metadata;
mod images;
mod networks;
mod security_groups;

use crate::route::Route;
use crate::version::{Microversion, v};
use canopy_types::{Error, Kind};

/// The last version that has them.
const UNTIL: Microversion = v(2, 35);

pub fn routes() -> Vec<Route> {
    [images::routes(), image_metadata::routes(), networks::routes(), security_groups::routes()]
        .into_iter()
        .flatten()
        .collect()
}

/// nova's words for what is not there, whatever the service behind it calls it.
fn absent_as(words: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error.kind {
        Kind::NotFound => Error::not_found(error.code, words),
        _ => error,
    }
}
