//! What is put right in the background: level-triggered, argument-free, one function each.

use crate::App;
use canopy_types::Timestamp;
use canopy_types::time::SECOND;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(60);
/// Bytes that no row names may belong to an upload that is about to finish.
const BLOB_GRACE_SECONDS: i64 = 3_600;
/// How long a deleted server can still be listed.
const TOMBSTONE_SECONDS: i64 = 30 * 86_400;

/// Rounds between two looks at everything: what it finds is there for long, and looking reads all rows.
const CHECK_ROUNDS: u32 = 10;

/// Runs until `stopped`. A failure is logged and tried again at the next round.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut rounds = 0_u32;
    loop {
        round(&app).await;
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(CHECK_ROUNDS)
            && let Err(error) = crate::fsck::watch(&app).await
        {
            tracing::warn!(reconciler = "fsck", error = error.chain(), "failed, a later round tries again");
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn round(app: &Arc<App>) {
    if let Err(error) = purge_tombstones(app).await {
        tracing::warn!(reconciler = "tombstones", error = error.chain(), "failed, next round tries again");
    }
    if let Err(error) = image_leftovers(app).await {
        tracing::warn!(reconciler = "imports", error = error.chain(), "failed, next round tries again");
    }
    if let Err(error) = crate::compute::servers::overdue(app).await {
        tracing::warn!(reconciler = "overdue", error = error.chain(), "failed, next round tries again");
    }
    if let Err(error) = crate::image::collect_garbage(app, BLOB_GRACE_SECONDS).await {
        tracing::warn!(reconciler = "blobs", error = error.chain(), "failed, next round tries again");
    }
}

async fn image_leftovers(app: &Arc<App>) -> canopy_types::Result<()> {
    crate::image::unstage_old(app).await?;
    crate::image::purge_tasks(app).await
}

async fn purge_tombstones(app: &App) -> canopy_types::Result<()> {
    let now = app.now();
    let before = Timestamp(now.0 - TOMBSTONE_SECONDS * SECOND);
    let keys = now.plus_seconds(-crate::compute::servers::KEPT_SECONDS);
    app.store
        .write("server.purge", move |c| {
            Box::pin(async move {
                canopy_store::idempotency::purge(c, keys).await?;
                canopy_store::console_tokens::purge(c, now).await?;
                canopy_store::servers::purge(c, before).await.map(|_| ())
            })
        })
        .await
}
