//! Bytes of an image, in and out, never held in memory.

use super::id;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use canopy_app::image::{self, Body};
use canopy_authz::actions::image as actions;
use canopy_types::{Error, Kind, Result};
use futures::{StreamExt, TryStreamExt};
use http::Method;
use std::io::SeekFrom;
use std::ops::Range;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes read from disk at once.
const CHUNK: usize = 256 << 10;

pub fn routes() -> Vec<Route> {
    let route = |method, summary, handler| {
        Route::new(Service::Image, method, "/v2/images/{id}/file", summary, handler)
    };
    vec![
        route(Method::PUT, "Upload an image's data", handler!(upload))
            .action(actions::IMAGES_UPLOAD)
            .stream()
            .answers(&[204], &[404, 409, 410, 413, 415]),
        route(Method::GET, "Download an image's data", handler!(download))
            .action(actions::IMAGES_DOWNLOAD)
            .answers(&[200, 204, 206], &[404, 416]),
    ]
}

/// The bytes that a request brings, and its Content-Length.
pub(super) fn received(req: &mut Req) -> Result<(Option<u64>, Body)> {
    let media = req.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/octet-stream") {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            "image.upload_media_type",
            "Unsupported Content-Type: use application/octet-stream.",
        ));
    }
    let declared = match req.header("content-length") {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            Error::bad_request("image.content_length", "Content-Length must be a whole number.")
        })?),
    };
    let body = req.stream.take().unwrap_or_default().into_data_stream();
    let body = body.map_err(|e| {
        Error::bad_request("image.upload_broken", "The upload was broken off: the connection ended.")
            .with_source(e)
    });
    Ok((declared, body.boxed()))
}

async fn upload(mut req: Req) -> Result<Reply> {
    let (declared, body) = received(&mut req)?;
    image::upload(&req.app, req.ctx()?, id(&req)?, declared, body).await?;
    Ok(Reply::empty(204))
}

async fn download(req: Req) -> Result<Reply> {
    let Some(download) = image::download(&req.app, req.ctx()?, id(&req)?).await? else {
        return Ok(Reply::empty(204));
    };
    let size = u64::try_from(download.content.size).unwrap_or(0);
    let mut file = download.file;
    let part = match (req.header("range"), req.header("content-range")) {
        (Some(text), _) => Some(range(text, size)?),
        (None, Some(text)) => Some(content_range(text, size)?),
        (None, None) => None,
    };
    let (status, part) = part.map_or((200, 0..size), |part| (206, part));
    file.seek(SeekFrom::Start(part.start)).await.map_err(|e| Error::internal("image.read", e))?;
    let bytes = ReaderStream::with_capacity(file.take(part.end - part.start), CHUNK);
    let mut reply = Reply::stream(status, axum::body::Body::from_stream(bytes))
        .header("content-type", "application/octet-stream")
        .header("content-length", &(part.end - part.start).to_string());
    if status == 206 {
        reply = reply.header("content-range", &format!("bytes {}-{}/{size}", part.start, part.end - 1));
    } else {
        // Digests of the whole, so not of a part.
        reply = reply.header("content-md5", &download.content.checksum);
    }
    Ok(reply)
}

/// One range of bytes, e.g. `bytes=0-99`, `bytes=100-`, `bytes=-5`.
fn range(text: &str, size: u64) -> Result<Range<u64>> {
    let unsatisfiable = || {
        Error::new(
            Kind::RangeNotSatisfiable,
            "image.range",
            format!("Invalid range: the image has {size} bytes."),
        )
    };
    let (from, to) =
        text.trim().strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(unsatisfiable)?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Some(from), None) if to.trim().is_empty() => from..size,
        (None, Some(last)) if from.trim().is_empty() && last > 0 => size.saturating_sub(last)..size,
        _ => return Err(unsatisfiable()),
    };
    if range.start < range.end { Ok(range) } else { Err(unsatisfiable()) }
}

/// glance's older way to ask for a part: `Content-Range: bytes 0-99/*`. The length, if told, must be right.
fn content_range(text: &str, size: u64) -> Result<Range<u64>> {
    let wrong = || {
        Error::new(
            Kind::RangeNotSatisfiable,
            "image.range",
            format!("Invalid Content-Range: the image has {size} bytes."),
        )
    };
    let (bytes, length) =
        text.trim().strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    if length.trim() != "*" && length.trim().parse() != Ok(size) {
        return Err(wrong());
    }
    range(&format!("bytes={}", bytes.trim()), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_asks_like_a_range() {
        assert_eq!(content_range("bytes 2-4/10", 10).unwrap(), 2..5);
        assert_eq!(content_range("bytes 2-4/*", 10).unwrap(), 2..5);
        for bad in ["bytes 2-4/11", "bytes 2-4", "bytes=2-4/10", "bytes 10-11/10", "bytes */10", ""] {
            assert_eq!(content_range(bad, 10).unwrap_err().kind, Kind::RangeNotSatisfiable, "{bad}");
        }
    }

    #[test]
    fn ranges_lie_within_the_image() {
        assert_eq!(range("bytes=0-4", 10).unwrap(), 0..5);
        assert_eq!(range("bytes=5-", 10).unwrap(), 5..10);
        assert_eq!(range("bytes=-3", 10).unwrap(), 7..10);
        assert_eq!(range("bytes=-30", 10).unwrap(), 0..10);
        assert_eq!(range("bytes=9-18446744073709551615", 10).unwrap(), 9..10);
        for bad in [
            "bytes=10-",
            "bytes=5-4",
            "bytes=-",
            "bytes=-0",
            "bytes=a-b",
            "0-4",
            "bytes=0-1,3-4",
            "items=0-1",
        ] {
            assert_eq!(range(bad, 10).unwrap_err().kind, Kind::RangeNotSatisfiable, "{bad}");
        }
    }
}
