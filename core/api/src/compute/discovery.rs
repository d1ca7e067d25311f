//! Versions: anonymous, at the root and at each version.

use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::{handler, version};
use canopy_types::Result;
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let get =
        |path, handler| Route::new(Service::Compute, Method::GET, path, "API versions", handler).public();
    vec![get("", handler!(all)), get("/v2", handler!(legacy)), get("/v2.1", handler!(current))]
}

/// The first version, which has no microversions.
fn legacy_entry(req: &Req) -> Value {
    json!({
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{}/compute/v2/", req.base)}],
    })
}

fn current_entry(req: &Req) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": version::COMPUTE.max.to_string(),
        "min_version": version::COMPUTE.min.to_string(),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{}/compute/v2.1/", req.base)}],
    })
}

async fn all(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"versions": [legacy_entry(&req), current_entry(&req)]}))
}

async fn legacy(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"version": detailed(legacy_entry(&req), "2")}))
}

async fn current(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"version": detailed(current_entry(&req), "2.1")}))
}

fn detailed(mut entry: Value, number: &str) -> Value {
    let media = format!("application/vnd.openstack.compute+json;version={number}");
    entry["media-types"] = json!([{"base": "application/json", "type": media}]);
    if let Some(links) = entry["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}));
    }
    entry
}
