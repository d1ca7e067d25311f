//! Tags of an image, one at a time.

use super::id;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::image;
use canopy_authz::actions::image as actions;
use canopy_types::Result;
use http::Method;

pub fn routes() -> Vec<Route> {
    let route = |method, summary, handler| {
        Route::new(Service::Image, method, "/v2/images/{id}/tags/{tag}", summary, handler)
            .action(actions::IMAGES_UPDATE)
    };
    vec![
        route(Method::PUT, "Add a tag", handler!(add)).answers(&[204], &[404, 413]),
        route(Method::DELETE, "Remove a tag", handler!(remove)).answers(&[204], &[404]),
    ]
}

async fn add(req: Req) -> Result<Reply> {
    image::add_tag(&req.app, req.ctx()?, id(&req)?, req.param("tag").to_owned()).await?;
    Ok(Reply::empty(204))
}

async fn remove(req: Req) -> Result<Reply> {
    image::remove_tag(&req.app, req.ctx()?, id(&req)?, req.param("tag").to_owned()).await?;
    Ok(Reply::empty(204))
}
