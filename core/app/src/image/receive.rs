//! From a stream of bytes to a stored blob: hashed, checked and written in one pass.
//!
//! The stream is read in async code; a thread of its own hashes and writes, fed through a short queue, so a
//! slow disk slows the client down and nothing piles up in memory.

use super::blobs::{Blobs, Inner, Placed, Temp, io};
use super::inspect::{Expect, Refusal, inspect};
use bytes::Bytes;
use canopy_store::images::Content;
use canopy_types::effect::effect_sync;
use canopy_types::{Error, ImageId, Kind, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Chunks between the reader and the writer.
const QUEUE: usize = 8;
/// A client that sends nothing for this long has gone.
const IDLE: Duration = Duration::from_secs(60);
/// In each such while at least this many bytes must come, so that none holds its place with a trickle.
const TRICKLE: u64 = 64 << 10;

/// The body of an upload. An error ends it.
pub type Body = BoxStream<'static, Result<Bytes>>;

enum Piece {
    Bytes(Bytes),
    /// All has arrived. A queue that ends without it belongs to an upload that was broken off.
    End,
}

impl Blobs {
    /// Receives, checks and stores `body` of at most `limit` bytes. `declared` is its length as the client
    /// stated it. After an error `body` may hold more, and nothing of it stays on disk.
    pub async fn receive(
        &self,
        body: &mut Body,
        declared: Option<u64>,
        limit: u64,
        expect: Expect,
    ) -> Result<Placed> {
        self.pump(body, declared, limit, move |inner, queue| write(inner, queue, expect)).await
    }

    /// Receives `body` like [`Blobs::receive`], to be looked into later: it waits under the image's id.
    pub async fn stage(
        &self,
        body: &mut Body,
        declared: Option<u64>,
        limit: u64,
        image: ImageId,
    ) -> Result<()> {
        let work = move |inner: &Arc<Inner>, queue| {
            let failed = |e| io(e).during("image.stage");
            let mut temp = effect_sync("image.temp.create", || inner.temp()).map_err(failed)?;
            effect_sync("image.temp.write", || drain_into(queue, &mut temp, |_| {}))?;
            effect_sync("image.stage.store", || inner.put_staged(temp, image)).map_err(failed)
        };
        self.pump(body, declared, limit, work).await
    }

    /// Feeds `body` to `work`, which runs where it may block.
    async fn pump<T, F>(&self, body: &mut Body, declared: Option<u64>, limit: u64, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Inner>, mpsc::Receiver<Piece>) -> Result<T> + Send + 'static,
    {
        let too_large = || {
            Error::new(Kind::TooLarge, "image.too_large", format!("An image may hold at most {limit} bytes."))
        };
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let (pieces, queue) = mpsc::channel(QUEUE);
        let inner = self.inner.clone();
        let span = tracing::Span::current();
        let writer = tokio::task::spawn_blocking(move || span.in_scope(|| work(&inner, queue)));
        let fed = feed(body, &pieces, declared, limit, too_large).await;
        drop(pieces);
        let written = writer.await.map_err(|e| Error::internal("image.writer", e))?;
        // What the client did wrong says more than the writer's "broken off".
        fed.and(written)
    }
}

async fn feed(
    body: &mut Body,
    pieces: &mpsc::Sender<Piece>,
    declared: Option<u64>,
    limit: u64,
    too_large: impl Fn() -> Error,
) -> Result<()> {
    let slow = || {
        Error::bad_request(
            "image.upload_idle",
            format!("The upload was broken off: less than {TRICKLE} bytes came in 60 seconds."),
        )
    };
    let mut total = 0_u64;
    let (mut until, mut enough) = (Instant::now() + IDLE, TRICKLE);
    loop {
        let next = tokio::time::timeout_at(until, body.next()).await.map_err(|_| slow())?;
        let Some(chunk) = next.transpose()? else { break };
        total = total.saturating_add(chunk.len() as u64);
        if total >= enough {
            (until, enough) = (Instant::now() + IDLE, total.saturating_add(TRICKLE));
        }
        if total > limit {
            return Err(too_large());
        }
        // A writer that has gone away answers with its own error.
        if pieces.send(Piece::Bytes(chunk)).await.is_err() {
            return Ok(());
        }
    }
    if declared.is_some_and(|length| length != total) {
        return Err(Error::bad_request(
            "image.upload_truncated",
            format!("The upload was broken off: {total} bytes came of those that Content-Length told."),
        ));
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn write(inner: &Arc<Inner>, queue: mpsc::Receiver<Piece>, expect: Expect) -> Result<Placed> {
    let failed = |e| io(e).during("image.write");
    let mut temp = effect_sync("image.temp.create", || inner.temp()).map_err(failed)?;
    let hashed = effect_sync("image.temp.write", || copy(queue, &mut temp))?;
    let virtual_size = inspect(&mut temp.file, hashed.size, expect).map_err(|refusal| match refusal {
        Refusal::Content(text) => Error::new(Kind::UnsupportedMediaType, "image.content", text),
        Refusal::Io(e) => failed(e),
    })?;
    let content = Content {
        size: signed(hashed.size)?,
        virtual_size: virtual_size.map(signed).transpose()?,
        checksum: hex(&hashed.md5),
        os_hash_value: hex(&hashed.sha512),
        digest: hex(&hashed.sha256),
    };
    effect_sync("image.blob.store", || inner.place(temp, content)).map_err(failed)
}

struct Hashed {
    size: u64,
    md5: Vec<u8>,
    sha256: Vec<u8>,
    sha512: Vec<u8>,
}

fn copy(queue: mpsc::Receiver<Piece>, temp: &mut Temp) -> Result<Hashed> {
    let (mut md5, mut sha256, mut sha512) = (Md5::new(), Sha256::new(), Sha512::new());
    let size = drain_into(queue, temp, |bytes| {
        md5.update(bytes);
        sha256.update(bytes);
        sha512.update(bytes);
    })?;
    let digests = (md5.finalize().to_vec(), sha256.finalize().to_vec(), sha512.finalize().to_vec());
    Ok(Hashed { size, md5: digests.0, sha256: digests.1, sha512: digests.2 })
}

/// Writes all that arrives and shows it to `see`. Answers how many bytes it was.
fn drain_into(mut queue: mpsc::Receiver<Piece>, temp: &mut Temp, mut see: impl FnMut(&[u8])) -> Result<u64> {
    let mut size = 0_u64;
    loop {
        match queue.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                size += bytes.len() as u64;
                see(&bytes);
                temp.file.write_all(&bytes).map_err(|e| io(e).during("image.write"))?;
            }
            Some(Piece::End) => return Ok(size),
            None => return Err(Error::bad_request("image.upload_broken", "The upload was broken off.")),
        }
    }
}

fn signed(size: u64) -> Result<i64> {
    i64::try_from(size).map_err(|e| Error::internal("image.size", e))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
