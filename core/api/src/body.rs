//! A request's JSON body, within bounds that depend on who sends it.

use crate::route::{Auth, Service};
use canopy_types::{Error, Kind, Result};
use futures::StreamExt;
use http::{HeaderMap, header};
use std::time::Duration;

/// Largest JSON body of a user, bytes.
pub const MAX_JSON: usize = 1 << 20;
/// Read of a body that is refused, before the connection is given up.
pub const MAX_DRAINED: usize = 16 << 20;

/// How much may come, and how long it may take.
#[derive(Clone, Copy)]
pub struct Bound {
    bytes: usize,
    within: Duration,
}

impl Bound {
    pub fn of(auth: Auth) -> Self {
        let (bytes, seconds) = match auth {
            // Anybody may send it, so little of it is held for a short time.
            Auth::Public => (64 << 10, 10),
            Auth::Token => (MAX_JSON, 30),
            // A report tells of every server of a host, an answer holds a console's text.
            Auth::Agent => (16 << 20, 60),
        };
        Self { bytes, within: Duration::from_secs(seconds) }
    }

    /// A body of another size, from a user who was found to be allowed to send it.
    pub fn larger(bytes: usize, within: Duration) -> Self {
        Self { bytes, within }
    }
}

/// The JSON of a body, if it is some.
pub async fn read_json(
    service: Service,
    bound: Bound,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<serde_json::Value> {
    let bytes = collect(bound, body).await?;
    if service == Service::Placement {
        return crate::placement::body(headers, &bytes);
    }
    if bytes.is_empty() {
        return Err(Error::bad_request("request.empty", "The request needs a JSON body."));
    }
    let media =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let media = media.split(';').next().unwrap_or_default().trim();
    let json_like = media.eq_ignore_ascii_case("application/json")
        || media.to_ascii_lowercase().ends_with("+json")
        || (media.starts_with("application/openstack-") && media.ends_with("-json-patch"));
    if !json_like {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            "request.media_type",
            format!(
                "Unsupported Content-Type {}: use application/json.",
                media.chars().take(64).collect::<String>()
            ),
        ));
    }
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::bad_request("request.malformed", format!("Malformed request body: it is not JSON ({e})."))
    })
}

/// At most `bound.bytes`. What is too large is still read, within bounds: a client that is cut off while
/// it sends never sees the answer.
pub async fn collect(bound: Bound, body: axum::body::Body) -> Result<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    let reading = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| {
                Error::bad_request("request.cut_off", "The request's body ended too soon.").with_source(e)
            })?;
            seen = seen.saturating_add(chunk.len());
            if seen <= bound.bytes {
                bytes.extend_from_slice(&chunk);
            } else if seen > MAX_DRAINED {
                break;
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(bound.within, reading).await;
    if seen > bound.bytes {
        let message = format!("A body may hold at most {} bytes.", bound.bytes);
        return Err(Error::new(Kind::TooLarge, "request.too_large", message));
    }
    match outcome {
        Ok(read) => read.map(|()| bytes),
        Err(_) => Err(Error::bad_request("request.too_slow", "The request's body took too long to arrive.")),
    }
}
