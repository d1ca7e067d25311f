//! Blobs that nothing refers to are removed: at once when their last image is deleted, and by a reconciler
//! for what a crash left between storing a blob and writing its row.

use super::blobs::Found;
use crate::App;
use canopy_store::images;
use canopy_types::{Error, Result};
use std::sync::Arc;

/// A blob without a row is left alone for this long, seconds.
pub const GRACE_SECONDS: i64 = 3_600;

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub seen: usize,
    pub removed: usize,
    pub bytes: u64,
}

/// One pass over all blobs. Safe to run at any time and to stop anywhere.
pub async fn collect_garbage(app: &Arc<App>, grace_seconds: i64) -> Result<Collected> {
    let blobs = app.blobs.clone();
    let found = blocking(move || blobs.list()).await?;
    let latest = app.now().plus_seconds(-grace_seconds);
    let mut collected = Collected { seen: found.len(), ..Collected::default() };
    for blob in found.into_iter().filter(|blob| blob.modified <= latest) {
        let size = blob.size;
        if remove_unused(app, blob).await? {
            collected.removed += 1;
            collected.bytes += size;
        }
    }
    if collected.removed > 0 {
        tracing::info!(
            blobs = collected.removed,
            bytes = collected.bytes,
            "removed blobs that nothing refers to"
        );
    }
    Ok(collected)
}

/// Gives the space of a blob back if nothing refers to it any more.
pub(super) async fn collect_one(app: &Arc<App>, digest: String) -> Result<()> {
    let blobs = app.blobs.clone();
    match blocking(move || Ok(blobs.find(&digest))).await? {
        Some(found) => remove_unused(app, found).await.map(|_| ()),
        None => Ok(()),
    }
}

/// The blob was looked at before the rows are, so one that is stored anew in between is not removed.
async fn remove_unused(app: &Arc<App>, found: Found) -> Result<bool> {
    let digest = found.digest.clone();
    let used =
        app.store.read(move |c| Box::pin(async move { images::digest_in_use(c, &digest).await })).await?;
    if used {
        return Ok(false);
    }
    let blobs = app.blobs.clone();
    blocking(move || blobs.remove(&found)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("image.blocking", e))?
}

/// At start: uploads that were under way ended with the process, so their images are queued again.
pub async fn recover(app: &App) -> Result<u64> {
    let now = app.now();
    app.store
        .write("image.recover", move |c| Box::pin(async move { images::abandon_all_saving(c, now).await }))
        .await
}
