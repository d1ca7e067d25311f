//! The image API (glance's v2).

mod activation;
mod discovery;
mod file;
mod filters;
mod images;
mod import;
mod members;
mod metadefs;
mod patch;
mod schemas;
mod tags;
mod tasks;
mod usage;
mod view;

use crate::request::Req;
use crate::route::Route;
use canopy_app::image::absent;
use canopy_types::{ImageId, Result};

pub fn routes() -> Vec<Route> {
    [
        discovery::routes(),
        images::routes(),
        file::routes(),
        tags::routes(),
        activation::routes(),
        members::routes(),
        import::routes(),
        tasks::routes(),
        metadefs::routes(),
        schemas::routes(),
        usage::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The image that the path names; what is no id is answered like an unknown one.
fn id(req: &Req) -> Result<ImageId> {
    req.id("id", |text| absent(text))
}
