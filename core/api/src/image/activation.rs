//! Taking an image out of use, and back.

use super::id;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::image;
use canopy_authz::actions::image as actions;
use canopy_types::Result;
use http::Method;

pub fn routes() -> Vec<Route> {
    let route = |path, summary, handler| {
        Route::new(Service::Image, Method::POST, path, summary, handler).answers(&[204], &[404])
    };
    vec![
        route("/v2/images/{id}/actions/deactivate", "Deactivate an image", handler!(deactivate))
            .action(actions::IMAGES_DEACTIVATE),
        route("/v2/images/{id}/actions/reactivate", "Reactivate an image", handler!(reactivate))
            .action(actions::IMAGES_REACTIVATE),
    ]
}

async fn deactivate(req: Req) -> Result<Reply> {
    image::deactivate(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}

async fn reactivate(req: Req) -> Result<Reply> {
    image::reactivate(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}
