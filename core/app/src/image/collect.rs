//! Blobs that nothing refers to are removed: at once when their last image is deleted, and by a reconciler
//! for what a crash left between storing a blob and writing its row.

use super::blobs::Found;
use super::import::{STAGED_SECONDS, TASK_SECONDS};
use crate::App;
use canopy_store::images::{self, Status};
use canopy_types::{Error, ImageId, Result};
use std::sync::Arc;

/// A blob without a row is left alone for this long, seconds.
pub const GRACE_SECONDS: i64 = 3_600;

/// What the task of an import says that a stop cut off.
const INTERRUPTED: &str =
    "The import was cut off by a restart of the image service. Stage the data again and import it.";

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

/// Blobs that nothing refers to, older than `grace_seconds`.
pub async fn unused(app: &Arc<App>, grace_seconds: i64) -> Result<Vec<Found>> {
    let blobs = app.blobs.clone();
    let latest = app.now().plus_seconds(-grace_seconds);
    let mut unused = Vec::new();
    for blob in blocking(move || blobs.list()).await?.into_iter().filter(|blob| blob.modified <= latest) {
        if !in_use(app, &blob.digest).await? {
            unused.push(blob);
        }
    }
    Ok(unused)
}

/// Gives the space of a blob back if nothing refers to it any more.
pub async fn collect_one(app: &Arc<App>, digest: String) -> Result<()> {
    let blobs = app.blobs.clone();
    match blocking(move || Ok(blobs.find(&digest))).await? {
        Some(found) => remove_unused(app, found).await.map(|_| ()),
        None => Ok(()),
    }
}

/// The blob was looked at before the rows are, so one that is stored anew in between is not removed.
async fn remove_unused(app: &Arc<App>, found: Found) -> Result<bool> {
    if in_use(app, &found.digest).await? {
        return Ok(false);
    }
    let blobs = app.blobs.clone();
    blocking(move || blobs.remove(&found)).await
}

async fn in_use(app: &Arc<App>, digest: &str) -> Result<bool> {
    let digest = digest.to_owned();
    app.store.read(move |c| Box::pin(async move { images::digest_in_use(c, &digest).await })).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("image.blocking", e))?
}

/// At start: uploads and imports that were under way ended with the process, so their images are queued again.
/// What was staged whole still waits. Answers how many there were.
pub async fn recover(app: &Arc<App>) -> Result<u64> {
    let now = app.now();
    let staging = app.store.read(|c| Box::pin(async move { images::staging(c).await })).await?;
    let broken: Vec<ImageId> = staging
        .into_iter()
        .filter(|(id, status, _)| *status == Status::Importing || !app.blobs.staged(*id))
        .map(|(id, _, _)| id)
        .collect();
    let lost = broken.clone();
    let recovered = app
        .store
        .write("image.recover", move |c| {
            let lost = lost.clone();
            Box::pin(async move {
                let mut count = images::abandon_all_saving(c, now).await?;
                for id in lost {
                    let from = [Status::Uploading, Status::Importing];
                    count += u64::from(images::turn(c, id, &from, Status::Queued, now).await?);
                }
                let expires = now.plus_seconds(TASK_SECONDS);
                images::tasks::end_all(c, INTERRUPTED, now, expires).await?;
                Ok(count)
            })
        })
        .await?;
    for id in broken {
        app.blobs.unstage(id).await?;
    }
    Ok(recovered)
}

/// Queues images again whose staged bytes nobody has imported within [`STAGED_SECONDS`], and gives the space of
/// bytes back that wait for no image. Safe to run at any time.
pub async fn unstage_old(app: &Arc<App>) -> Result<()> {
    let blobs = app.blobs.clone();
    // The folder is looked at before the rows are: bytes that are staged in between have a row that counts.
    let files = blocking(move || blobs.list_staged()).await?;
    let rows = app.store.read(|c| Box::pin(async move { images::staging(c).await })).await?;
    let now = app.now();
    for (id, status, since) in &rows {
        let id = *id;
        if *status != Status::Uploading || *since > now.plus_seconds(-STAGED_SECONDS) {
            continue;
        }
        let turned = app
            .store
            .write("image.unstage", move |c| {
                Box::pin(async move { images::turn(c, id, &[Status::Uploading], Status::Queued, now).await })
            })
            .await?;
        if turned {
            app.blobs.unstage(id).await?;
        }
    }
    for (id, modified) in files {
        let waits = rows.iter().any(|(image, _, _)| *image == id);
        if !waits && modified <= now.plus_seconds(-GRACE_SECONDS) {
            app.blobs.unstage(id).await?;
        }
    }
    Ok(())
}
