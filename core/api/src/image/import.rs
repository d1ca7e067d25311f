//! Importing: staged bytes or a URI, what may be done with them, and what became of it.

use super::file::received;
use super::id;
use super::images::ANY;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::schema::text;
use canopy_app::image::{self, Import, STORE};
use canopy_authz::actions::image as actions;
use canopy_types::Result;
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Image, method, path, summary, handler);
    vec![
        route(Method::PUT, "/v2/images/{id}/stage", "Stage an image's data", handler!(stage))
            .action(actions::IMAGES_UPLOAD)
            .stream()
            .answers(&[204], &[404, 409, 410, 413, 415]),
        route(Method::POST, "/v2/images/{id}/import", "Import staged data", handler!(import))
            .action(actions::IMAGES_UPLOAD)
            .json(&[(ANY, import_schema)])
            .answers(&[202], &[404, 409]),
        route(Method::GET, "/v2/info/import", "Import methods", handler!(methods)),
        route(Method::GET, "/v2/info/stores", "Stores", handler!(stores)),
    ]
}

fn import_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "method": {
                "type": "object",
                "properties": {"name": text(64), "uri": text(2_048)},
                "required": ["name"],
            },
            "stores": {"type": "array", "maxItems": 16, "items": text(255)},
            "all_stores": {"type": "boolean"},
            "all_stores_must_succeed": {"type": "boolean"},
        },
        "required": ["method"],
    })
}

async fn stage(mut req: Req) -> Result<Reply> {
    let (declared, body) = received(&mut req)?;
    image::stage(&req.app, req.ctx()?, id(&req)?, declared, body).await?;
    Ok(Reply::empty(204))
}

async fn import(req: Req) -> Result<Reply> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let method = req.json["method"]["name"].as_str().unwrap_or_default().to_owned();
    let uri = req.json["method"]["uri"].as_str().map(str::to_owned);
    // Of the request only what is understood is kept and shown.
    let mut input = json!({"method": {"name": method}, "stores": req.json["stores"]});
    if let Some(uri) = &uri {
        input["method"]["uri"] = uri.as_str().into();
    }
    let ask = Import { method, uri, stores: texts(&req.json["stores"]), input };
    image::import(&req.app, req.ctx()?, id(&req)?, ask).await?;
    Ok(Reply::empty(202))
}

async fn methods(req: Req) -> Result<Reply> {
    let body = json!({"import-methods": {
        "description": "Import methods available.",
        "type": "array",
        "value": image::methods(&req.app),
    }});
    Reply::json(200, &body)
}

async fn stores(_: Req) -> Result<Reply> {
    let store = json!({"id": STORE, "description": "Files on this cloud's disk.", "default": "true"});
    Reply::json(200, &json!({"stores": [store]}))
}
