//! The native API under `/canopy/v1`.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::compute::decisions;
use canopy_authz::actions::canopy as policy;
use canopy_types::Result;
use http::Method;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Service::Native,
            Method::GET,
            "/decisions/{decision_id}",
            "Why a server is where it is, or nowhere",
            handler!(decision),
        )
        .action(policy::DECISIONS_SHOW)
        .answers(&[200], &[404]),
    ]
}

async fn decision(req: Req) -> Result<Reply> {
    let id = req.id("decision_id", decisions::absent)?;
    Reply::json(200, &decisions::show(&req.app, req.ctx()?, id).await?)
}
