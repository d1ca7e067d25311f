//! The versions there are.

use super::reply::answer;
use crate::request::{Reply, Req};
use crate::version::PLACEMENT;
use canopy_types::Result;
use serde_json::json;

pub async fn versions(req: Req) -> Result<Reply> {
    let version = json!({
        "id": format!("v{}", PLACEMENT.min),
        "min_version": PLACEMENT.min.to_string(),
        "max_version": PLACEMENT.max.to_string(),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    });
    answer(&req, 200, &json!({ "versions": [version] }), None)
}
