//! Images in hosts' caches.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use canopy_app::image;
use canopy_authz::actions::canopy as policy;
use canopy_types::Result;
use http::Method;
use serde_json::json;

const HOSTS: &[(Microversion, Schema)] = &[(v(0, 0), || {
    json!({"type": "object", "additionalProperties": false, "properties": {
        "hosts": {"type": "array", "minItems": 1, "maxItems": image::MAX_HOSTS, "uniqueItems": true,
            "items": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "Names of hosts; all of them if left out"}}})
})];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Service::Native,
            Method::POST,
            "/images/{id}/prefetch",
            "Hosts fetch an image into their caches; asked again, it tells how far they are",
            handler!(prefetch),
        )
        .action(policy::IMAGES_PREFETCH)
        .json(HOSTS)
        .answers(&[202], &[400, 404]),
    ]
}

async fn prefetch(req: Req) -> Result<Reply> {
    let id = req.id("id", |text| image::absent(text))?;
    let named = |names: &Vec<serde_json::Value>| {
        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let hosts = req.json["hosts"].as_array().map(named);
    let told = image::prefetch(&req.app, req.ctx()?, id, hosts).await?;
    Reply::json(202, &json!({"image_id": id, "hosts": told}))
}
