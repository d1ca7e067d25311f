//! Versions: anonymous, with status 300 as glance has it.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_types::Result;
use http::Method;
use serde_json::json;

/// Newest first. 2.8 (several stores) is not served; 2.7 is hidden images and os_hash, 2.6 imports.
const VERSIONS: [&str; 8] = ["v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"];

pub fn routes() -> Vec<Route> {
    ["", "/versions", "/v2"]
        .into_iter()
        .map(|path| {
            Route::new(Service::Image, Method::GET, path, "API versions", handler!(all))
                .public()
                .answers(&[300], &[])
        })
        .collect()
}

async fn all(req: Req) -> Result<Reply> {
    let versions: Vec<_> = VERSIONS
        .iter()
        .enumerate()
        .map(|(n, id)| {
            json!({
                "id": id,
                "status": if n == 0 { "CURRENT" } else { "SUPPORTED" },
                "links": [{"rel": "self", "href": format!("{}/image/v2/", req.base)}],
            })
        })
        .collect();
    Reply::json(300, &json!({ "versions": versions }))
}
