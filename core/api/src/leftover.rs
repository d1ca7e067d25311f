//! What an early answer leaves unread of a request's body.
//!
//! A connection with an unread body cannot carry another request, and closing it may destroy the answer on
//! its way: the client sees a reset instead of why it was refused. So what is left is read, within bounds;
//! what is more, or comes too slowly, or waits to be asked for (`Expect: 100-continue`), ends the connection
//! and the answer says so.

use crate::body::MAX_DRAINED;
use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long reading a body that nobody wants may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Where a watched body goes when it is dropped before its end.
pub struct Leftover {
    place: Arc<Mutex<Option<Body>>>,
    asked_for: bool,
}

/// The body, and what will be left of it. `None` when there is nothing that could be left.
pub fn watch(headers: &HeaderMap, body: Body) -> (Body, Option<Leftover>) {
    if body.is_end_stream() {
        return (body, None);
    }
    let place = Arc::<Mutex<Option<Body>>>::default();
    let leftover = Leftover { place: place.clone(), asked_for: headers.contains_key(header::EXPECT) };
    (Body::new(Watched { inner: body, place }), Some(leftover))
}

impl Leftover {
    /// Reads what is left, or says in `answer` that the connection ends.
    pub async fn settle(self, answer: &mut HeaderMap) {
        let left = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(left) = left else { return };
        if self.asked_for || !ends(left).await {
            answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether the body came to its end within the bounds.
async fn ends(body: Body) -> bool {
    let mut chunks = body.into_data_stream();
    let mut seen = 0_usize;
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            seen = seen.saturating_add(chunk.len());
            if seen > MAX_DRAINED {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(WITHIN, reading).await.unwrap_or(false)
}

struct Watched {
    inner: Body,
    place: Arc<Mutex<Option<Body>>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.inner.is_end_stream() {
            let left = std::mem::take(&mut self.inner);
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        }
    }
}
