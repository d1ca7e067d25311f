//! What is the same for every route: reading a body, refusing, the headers of an answer.

use super::shape::Shape;
use crate::request::{Reply, Req};
use crate::version::{Microversion, PLACEMENT};
use canopy_app::placement::errors;
use canopy_types::{Error, Kind, ProviderId, Result, Timestamp};
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Value, json};

pub fn shape(req: &Req) -> Shape {
    Shape::of(req.version)
}

/// A JSON body, refused in placement's words.
pub fn body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.is_empty() && !bytes.is_empty() {
        return Err(Error::bad_request(
            "request.media_type",
            "content-type header required when content-length > 0",
        ));
    }
    if !media.eq_ignore_ascii_case("application/json") {
        let media = if media.is_empty() { "None".to_owned() } else { errors::shown(media) };
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            "request.media_type",
            format!("The media type {media} is not supported, use application/json"),
        ));
    }
    serde_json::from_slice(bytes)
        .map_err(|e| Error::bad_request("request.malformed", format!("Malformed JSON: {e}")))
}

/// The body of a refusal.
pub fn refusal(
    version: Option<Microversion>,
    status: u16,
    title: &str,
    error: &Error,
    request_id: &str,
) -> Value {
    let mut one = json!({
        "status": status,
        "title": title,
        "detail": error.message,
        "request_id": request_id,
    });
    if version.is_some_and(|version| Shape::of(version).error_codes) {
        let public = errors::PUBLIC.contains(&error.code);
        one["code"] = json!(if public { error.code } else { "placement.undefined_code" });
    }
    if error.code == "version.unsupported" {
        one["max_version"] = json!(PLACEMENT.max.to_string());
        one["min_version"] = json!(PLACEMENT.min.to_string());
    }
    json!({ "errors": [one] })
}

/// With the headers that tell when it was last changed; `None` means just now.
pub fn answer(req: &Req, status: u16, value: &impl Serialize, modified: Option<Timestamp>) -> Result<Reply> {
    Ok(dated(req, Reply::json(status, value)?, modified))
}

pub fn dated(req: &Req, reply: Reply, modified: Option<Timestamp>) -> Reply {
    if !shape(req).modified {
        return reply;
    }
    // What came with the program has no date.
    let modified = modified.filter(|at| at.0 > 0).unwrap_or_else(|| req.app.now());
    reply.header("last-modified", &modified.http_date()).header("cache-control", "no-cache")
}

/// Refuses callers that take no JSON.
pub fn accepts_json(req: &Req) -> Result<()> {
    let Some(accept) = req.header("accept").filter(|accept| !accept.trim().is_empty()) else { return Ok(()) };
    let fits = accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        !refused && matches!(media.as_str(), "*/*" | "application/*" | "application/json")
    });
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::NotAcceptable, "request.accept", "Only application/json is provided"))
}

/// The provider that the path names; what is no uuid is answered like an unknown one.
pub fn provider_id(req: &Req) -> Result<ProviderId> {
    req.id("uuid", |text| errors::provider_not_found(text))
}

/// A whole number of any size, cut to what fits.
pub fn int(value: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
    let cut = |n: f64| n as i64;
    value
        .as_i64()
        .or_else(|| value.as_u64().map(|_| i64::MAX))
        .or_else(|| value.as_f64().map(cut))
        .unwrap_or_default()
}
