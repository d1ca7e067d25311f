//! Schemas that clients may ask for: what fields an image has, which of them they may set, and with what.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::schema::uuid;
use canopy_app::image::{CONTAINER_FORMATS, MAX_PROPERTY, MemberStatus, Status, inspect::DISK_FORMATS};
use canopy_types::Result;
use http::Method;
use serde_json::{Map, Value, json};

pub fn routes() -> Vec<Route> {
    let get = |path, handler| Route::new(Service::Image, Method::GET, path, "A schema", handler).public();
    vec![
        get("/v2/schemas/image", handler!(image)),
        get("/v2/schemas/images", handler!(images)),
        get("/v2/schemas/member", handler!(member)),
        get("/v2/schemas/members", handler!(members)),
    ]
}

/// Fields that a client may set when it creates an image.
pub(super) fn settable() -> Value {
    let or_null = |values: &[&str]| {
        let values: Vec<Value> = values.iter().map(|v| json!(v)).chain([Value::Null]).collect();
        json!({ "enum": values })
    };
    let uuid_or_null = json!({"anyOf": [uuid(), {"type": "null"}]});
    let amount = json!({"type": "integer", "minimum": 0, "maximum": i32::MAX});
    json!({
        "id": uuid(),
        "name": {"type": ["null", "string"], "maxLength": 255},
        "visibility": {"enum": ["community", "public", "private", "shared"]},
        "protected": {"type": "boolean"},
        "os_hidden": {"type": "boolean"},
        "owner": {"type": ["null", "string"], "maxLength": 255},
        "disk_format": or_null(&DISK_FORMATS),
        "container_format": or_null(&CONTAINER_FORMATS),
        "min_disk": amount,
        "min_ram": amount,
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
        "kernel_id": uuid_or_null,
        "ramdisk_id": uuid_or_null,
    })
}

fn read_only() -> Value {
    let of = |kind: Value| json!({"type": kind, "readOnly": true});
    let (text, maybe_text, maybe_number) =
        (of(json!("string")), of(json!(["null", "string"])), of(json!(["null", "integer"])));
    json!({
        "status": {"enum": Status::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>(), "readOnly": true},
        "size": maybe_number,
        "virtual_size": maybe_number,
        "checksum": maybe_text,
        "os_hash_algo": maybe_text,
        "os_hash_value": maybe_text,
        "created_at": text,
        "updated_at": text,
        "stores": text,
        "self": text,
        "file": text,
        "schema": text,
    })
}

fn schema() -> Value {
    let mut properties = Map::new();
    for part in [settable(), read_only()] {
        properties.extend(part.as_object().cloned().unwrap_or_default());
    }
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string", "maxLength": MAX_PROPERTY},
        "links": [
            {"href": "{self}", "rel": "self"},
            {"href": "{file}", "rel": "enclosure"},
            {"href": "{schema}", "rel": "describedby"},
        ],
    })
}

async fn image(_: Req) -> Result<Reply> {
    Reply::json(200, &schema())
}

async fn images(_: Req) -> Result<Reply> {
    let body = json!({
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": schema()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"href": "{first}", "rel": "first"},
            {"href": "{next}", "rel": "next"},
            {"href": "{schema}", "rel": "describedby"},
        ],
    });
    Reply::json(200, &body)
}

fn member_schema() -> Value {
    let answers: Vec<&str> = MemberStatus::ALL.iter().map(|status| status.as_str()).collect();
    json!({
        "name": "member",
        "properties": {
            "member_id": {"type": "string", "maxLength": 255, "description": "The id of a project."},
            "image_id": uuid(),
            "status": {"type": "string", "enum": answers},
            "created_at": {"type": "string", "readOnly": true},
            "updated_at": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
        },
    })
}

async fn member(_: Req) -> Result<Reply> {
    Reply::json(200, &member_schema())
}

async fn members(_: Req) -> Result<Reply> {
    let body = json!({
        "name": "members",
        "properties": {
            "members": {"type": "array", "items": member_schema()},
            "schema": {"type": "string"},
        },
        "links": [{"href": "{schema}", "rel": "describedby"}],
    });
    Reply::json(200, &body)
}
