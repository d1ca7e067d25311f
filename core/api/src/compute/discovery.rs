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
    vec![get("", handler!(all)), get("/v2.1", handler!(one))]
}

fn entry(req: &Req) -> Value {
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
    Reply::json(200, &json!({"versions": [entry(&req)]}))
}

async fn one(req: Req) -> Result<Reply> {
    let mut version = entry(&req);
    version["media-types"] =
        json!([{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]);
    if let Some(links) = version["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}));
    }
    Reply::json(200, &json!({ "version": version }))
}
