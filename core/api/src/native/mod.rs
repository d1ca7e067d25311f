//! The native API under `/canopy/v1`.

mod image_cache;
mod plugins;

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::compute::{decisions, servers};
use canopy_app::{fsck, policies};
use canopy_authz::actions::canopy as policy;
use canopy_types::Result;
use http::Method;

pub fn routes() -> Vec<Route> {
    let route = |path, summary, handler| {
        Route::new(Service::Native, Method::GET, path, summary, handler).answers(&[200], &[404])
    };
    let (one, of_server) = ("/decisions/{decision_id}", "/servers/{server_id}/decision");
    let mut routes = vec![
        route(one, "Why a server is where it is, or nowhere", handler!(decision))
            .action(policy::DECISIONS_SHOW),
        route("/decisions/{decision_id}/hosts", "What each host had to say to a decision", handler!(hosts))
            .action(policy::DECISIONS_SHOW_HOSTS)
            .answers(&[200], &[404, 410]),
        route(of_server, "The newest decision on a server", handler!(of_server_id))
            .action(policy::DECISIONS_SHOW),
        Route::new(
            Service::Native,
            Method::GET,
            "/policies",
            "The policies in force: their commit, their ids, and why a newer bundle was not loaded",
            handler!(show_policies),
        )
        .action(policy::POLICIES_SHOW)
        .answers(&[200], &[]),
        Route::new(
            Service::Native,
            Method::POST,
            "/policies/reload",
            "Load the policies anew; an invalid bundle is refused and the last good one stays in force",
            handler!(reload_policies),
        )
        .action(policy::POLICIES_RELOAD)
        .answers(&[200], &[409, 422]),
        Route::new(
            Service::Native,
            Method::GET,
            "/fsck",
            "What is kept twice and does not agree",
            handler!(show_fsck),
        )
        .action(policy::FSCK_SHOW)
        .answers(&[200], &[]),
        Route::new(
            Service::Native,
            Method::POST,
            "/fsck",
            "Put right what does not agree and can only mean one thing",
            handler!(repair_fsck),
        )
        .action(policy::FSCK_REPAIR)
        .answers(&[200], &[]),
    ];
    routes.extend(image_cache::routes());
    routes.extend(plugins::routes());
    routes
}

async fn show_policies(req: Req) -> Result<Reply> {
    Reply::json(200, &policies::show(&req.app, req.ctx()?)?)
}

async fn reload_policies(req: Req) -> Result<Reply> {
    Reply::json(200, &policies::reload(&req.app, req.ctx()?).await?)
}

async fn show_fsck(req: Req) -> Result<Reply> {
    Reply::json(200, &fsck::show(&req.app, req.ctx()?).await?)
}

async fn repair_fsck(req: Req) -> Result<Reply> {
    Reply::json(200, &fsck::repair(&req.app, req.ctx()?).await?)
}

async fn decision(req: Req) -> Result<Reply> {
    let id = req.id("decision_id", decisions::absent)?;
    Reply::json(200, &decisions::show(&req.app, req.ctx()?, id).await?)
}

async fn hosts(req: Req) -> Result<Reply> {
    let id = req.id("decision_id", decisions::absent)?;
    let page = req.query.page()?;
    Reply::json(200, &decisions::hosts(&req.app, req.ctx()?, id, page).await?)
}

async fn of_server_id(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    Reply::json(200, &decisions::show_of_server(&req.app, req.ctx()?, id).await?)
}
