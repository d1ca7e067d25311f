//! Images: create, list, show, change, delete.

use super::{filters, id, patch, view};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::schema::text;
use crate::version::{Microversion, v};
use canopy_app::image::{self, MAX_PROPERTY};
use canopy_authz::actions::image as actions;
use canopy_types::{Error, Kind, Result};
use http::Method;
use serde_json::{Value, json};

pub(super) const ANY: Microversion = v(0, 0);

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Image, method, path, summary, handler);
    vec![
        route(Method::GET, "/v2/images", "List images", handler!(list)).action(actions::IMAGES_LIST),
        route(Method::POST, "/v2/images", "Create an image", handler!(create))
            .action(actions::IMAGES_CREATE)
            .json(&[(ANY, create_schema)])
            .answers(&[201], &[409, 413, 415]),
        route(Method::GET, "/v2/images/{id}", "Show an image", handler!(show))
            .action(actions::IMAGES_SHOW)
            .answers(&[200], &[404]),
        route(Method::PATCH, "/v2/images/{id}", "Change an image", handler!(update))
            .action(actions::IMAGES_UPDATE)
            .json(&[(ANY, patch_schema)])
            .answers(&[200], &[404, 409, 413, 415]),
        route(Method::DELETE, "/v2/images/{id}", "Delete an image", handler!(delete))
            .action(actions::IMAGES_DELETE)
            .answers(&[204], &[404]),
    ]
}

/// Fields that only the server sets are left open here: naming one is 403, not a malformed body.
fn create_schema() -> Value {
    json!({
        "type": "object",
        "properties": super::schemas::settable(),
        "patternProperties": {
            "^(checksum|created_at|deleted|deleted_at|direct_url|file|locations?|os_hash_algo|os_hash_value|schema|self|size|status|stores|updated_at|virtual_size)$": {},
        },
        "additionalProperties": text_value(),
    })
}

fn text_value() -> Value {
    json!({"type": "string", "maxLength": MAX_PROPERTY})
}

fn patch_schema() -> Value {
    json!({
        "type": "array",
        "maxItems": 512,
        "items": {
            "type": "object",
            "properties": {"op": text(16), "path": text(1_024), "value": {}},
        },
    })
}

async fn create(req: Req) -> Result<Reply> {
    let fields = req
        .json
        .as_object()
        .ok_or_else(|| Error::bad_request("image.malformed", "The body must be an object."))?;
    let image = image::create(&req.app, req.ctx()?, fields).await?;
    let location = format!("{}/image/v2/images/{}", req.base, image.id);
    Ok(Reply::json(201, &view::image(&image))?
        .header("location", &location)
        .header("openstack-image-import-methods", &image::methods(&req.app).join(","))
        .header("openstack-image-store-ids", image::STORE))
}

async fn show(req: Req) -> Result<Reply> {
    let image = image::show(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &view::image(&image))
}

async fn delete(req: Req) -> Result<Reply> {
    image::delete(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}

async fn update(req: Req) -> Result<Reply> {
    let media = req.header("content-type").unwrap_or_default();
    let parse = match media.split(';').next().unwrap_or_default().trim() {
        "application/openstack-images-v2.1-json-patch" => patch::parse,
        "application/openstack-images-v2.0-json-patch" => patch::parse_old,
        _ => {
            return Err(Error::new(
                Kind::UnsupportedMediaType,
                "image.patch_media_type",
                "Unsupported Content-Type: use application/openstack-images-v2.1-json-patch.",
            ));
        }
    };
    let id = id(&req)?;
    let changes = parse(&req.json)?;
    let image = image::update(&req.app, req.ctx()?, id, changes).await?;
    Reply::json(200, &view::image(&image))
}

async fn list(req: Req) -> Result<Reply> {
    let query = filters::parse(&req.query)?;
    let listed = image::list(&req.app, req.ctx()?, &query).await?;
    let mut body = json!({
        "images": listed.images.iter().map(view::image).collect::<Vec<_>>(),
        "first": filters::link(&req.query, None),
        "schema": "/v2/schemas/images",
    });
    if listed.more
        && let Some(last) = listed.images.last()
    {
        body["next"] = filters::link(&req.query, Some(last.id)).into();
    }
    Reply::json(200, &body)
}
