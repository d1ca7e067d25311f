//! `/images/{id}/metadata`: an image's properties as nova shows and sets them.

use super::images::{id, not_found};
use crate::compute::servers::{METADATA, METADATA_ITEM, items};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Service};
use crate::version::{Microversion, v};
use canopy_app::image::{self, Properties};
use canopy_app::{App, Ctx};
use canopy_authz::{Action, actions::image as actions};
use canopy_types::{Error, ImageId, Kind, Result};
use http::Method;
use serde_json::json;

/// The last version that has it: it outlived the images.
const UNTIL: Microversion = v(2, 38);

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, action: Action, handler: Handler| {
        Route::new(Service::Compute, method, path, summary, handler)
            .action(action)
            .versions(v(2, 1), UNTIL)
            .answers(&[200], &[404])
    };
    let (all, item) = ("/v2.1/images/{id}/metadata", "/v2.1/images/{id}/metadata/{key}");
    let (show, put) = (actions::IMAGES_SHOW, actions::IMAGES_UPDATE);
    vec![
        route(Method::GET, all, "Show an image's metadata", show, handler!(metadata)),
        route(Method::POST, all, "Add to an image's metadata", put, handler!(add)).json(METADATA),
        route(Method::PUT, all, "Replace an image's metadata", put, handler!(replace)).json(METADATA),
        route(Method::GET, item, "Show one item of an image's metadata", show, handler!(show_item)),
        route(Method::PUT, item, "Set one item of an image's metadata", put, handler!(set_item))
            .json(METADATA_ITEM),
        route(Method::DELETE, item, "Remove one item of an image's metadata", put, handler!(delete_item))
            .answers(&[204], &[404]),
    ]
}

async fn read(app: &App, ctx: &Ctx, id: ImageId) -> Result<Properties> {
    Ok(image::show(app, ctx, id).await.map_err(not_found)?.properties)
}

fn refusal(error: Error) -> Error {
    match error.kind {
        Kind::OverQuota => {
            let why = format!("Image metadata limit exceeded. {}", error.message);
            Error::new(Kind::OverQuota, error.code, why)
        }
        _ => not_found(error),
    }
}

async fn metadata(req: Req) -> Result<Reply> {
    let metadata = read(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({ "metadata": metadata }))
}

async fn write(req: Req, replace: bool) -> Result<Reply> {
    let (id, given) = (id(&req)?, items(&req.json["metadata"]));
    let image = image::set_properties(&req.app, req.ctx()?, id, given, replace).await.map_err(refusal)?;
    Reply::json(200, &json!({"metadata": image.properties}))
}

async fn add(req: Req) -> Result<Reply> {
    write(req, false).await
}

async fn replace(req: Req) -> Result<Reply> {
    write(req, true).await
}

async fn show_item(req: Req) -> Result<Reply> {
    let key = req.param("key");
    let value = read(&req.app, req.ctx()?, id(&req)?).await?.remove(key);
    let value =
        value.ok_or_else(|| Error::not_found("image.property_absent", "The resource could not be found."))?;
    Reply::json(200, &json!({"meta": {key: value}}))
}

async fn set_item(req: Req) -> Result<Reply> {
    let (id, given) = (id(&req)?, items(&req.json["meta"]));
    if !given.contains_key(req.param("key")) {
        return Err(Error::bad_request("image.metadata_key", "Request body and URI mismatch"));
    }
    image::set_properties(&req.app, req.ctx()?, id, given, false).await.map_err(refusal)?;
    Reply::json(200, &json!({"meta": req.json["meta"]}))
}

async fn delete_item(req: Req) -> Result<Reply> {
    let (id, key) = (id(&req)?, req.param("key").to_owned());
    image::remove_property(&req.app, req.ctx()?, id, key).await.map_err(|error| match error.code {
        "image.not_found" => not_found(error),
        _ => error,
    })?;
    Ok(Reply::empty(204))
}
