//! `/v2/info/usage`: what the project may store and does store.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::access;
use canopy_app::quota::sets::{self, Asked};
use canopy_authz::actions::image as actions;
use canopy_types::Result;
use http::Method;
use serde_json::{Map, Value, json};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Service::Image,
            Method::GET,
            "/v2/info/usage",
            "Show what the project may store and does store",
            handler!(show),
        )
        .action(actions::USAGE_SHOW),
    ]
}

async fn show(req: Req) -> Result<Reply> {
    let ctx = req.ctx()?;
    let project = access::project(ctx)?.to_string();
    let asked = Asked { service: "image", action: actions::USAGE_SHOW };
    let lines = sets::show(&req.app, ctx, asked, &project, None).await?;
    let mut usage: Map<String, Value> = Map::new();
    for (countable, line) in sets::resources("image").zip(lines) {
        let limit = if line.limit < 0 { -1 } else { line.limit / countable.unit };
        // A part of a MiB is used as a whole one.
        let used = line.used.saturating_add(countable.unit - 1) / countable.unit;
        usage.insert(countable.unified.to_owned(), json!({"limit": limit, "usage": used}));
    }
    Reply::json(200, &json!({ "usage": usage }))
}
