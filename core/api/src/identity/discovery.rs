//! Version discovery, without a token.

use crate::request::{Reply, Req};
use canopy_types::Result;
use serde_json::{Value, json};

pub async fn versions(req: Req) -> Result<Reply> {
    Reply::json(300, &json!({"versions": {"values": [document(&req.base)]}}))
}

pub async fn version(req: Req) -> Result<Reply> {
    Reply::json(200, &json!({"version": document(&req.base)}))
}

fn document(base: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}
