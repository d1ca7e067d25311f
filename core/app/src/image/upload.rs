//! Receiving an image's bytes.
//!
//! The work runs in a task of its own: when the client goes away the connection's future is dropped, and
//! somebody must still put the image back to queued and the space back to the disk.

use super::inspect::Expect;
use super::receive::Body;
use super::slots::Slot;
use super::update::note;
use super::{absent, target_for};
use crate::quota::{Ask, charged};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_SHOW, IMAGES_UPLOAD};
use canopy_store::images::{self, Content, Image, Status};
use canopy_types::quota::IMAGE_BYTES;
use canopy_types::{Error, ImageId, Kind, ProjectId, Result, UserId};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How much of a refused upload is read, so that the client hears the answer instead of a reset.
const DRAIN_BYTES: u64 = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Attempts to put a failed upload's image back to queued, a second apart.
const ABANDON_ATTEMPTS: u32 = 10;

/// Stores `body` as the content of a queued image. `declared` is its Content-Length.
pub async fn upload(
    app: &Arc<App>,
    ctx: &Ctx,
    id: ImageId,
    declared: Option<u64>,
    mut body: Body,
) -> Result<()> {
    let (app, ctx) = (app.clone(), ctx.clone());
    let work = async move {
        let outcome = store(&app, &ctx, id, declared, &mut body).await;
        if outcome.is_err() {
            drain(&mut body).await;
        }
        outcome
    };
    tokio::spawn(work.in_current_span()).await.map_err(|e| Error::internal("image.upload", e))?
}

async fn store(app: &Arc<App>, ctx: &Ctx, id: ImageId, declared: Option<u64>, body: &mut Body) -> Result<()> {
    let (project, expect, _slot) = claim(app, ctx, id).await?;
    let received = app.blobs.receive(body, declared, app.settings.image_max_bytes, expect).await;
    let finished = match received {
        // The blob is held until its row is committed.
        Ok(placed) => finish(app, &ctx.who.user_id, &project, id, placed.content.clone()).await,
        Err(error) => Err(error),
    };
    if finished.is_err() {
        abandon(app, id).await;
    }
    finished
}

/// queued → saving, by a caller who may, with a place among the uploads. Answers whose the image is and what the content must be.
async fn claim(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<(ProjectId, Expect, Slot)> {
    let now = app.now();
    let inner = (app.clone(), ctx.clone());
    app.store
        .write("image.upload_begin", move |c| {
            let (app, ctx) = inner.clone();
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, IMAGES_UPLOAD, &target, || absent(id))?;
                let expect = ready(&image)?;
                let slot = app.blobs.slots.take(&image.project_id)?;
                images::begin_saving(c, id, now).await?;
                Ok((image.project_id, expect, slot))
            })
        })
        .await
}

fn ready(image: &Image) -> Result<Expect> {
    if image.status != Status::Queued {
        return Err(Error::conflict(
            "image.not_queued",
            format!("Image status transition from {} to saving is not allowed", image.status.as_str()),
        ));
    }
    formats(image)
}

/// What the bytes of an image must be, from the formats that it names.
pub(super) fn formats(image: &Image) -> Result<Expect> {
    let missing: Vec<&str> =
        [("disk_format", &image.disk_format), ("container_format", &image.container_format)]
            .into_iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
    if !missing.is_empty() {
        return Err(Error::bad_request(
            "image.no_format",
            format!("Properties {} must be set prior to saving data.", missing.join(", ")),
        ));
    }
    let format = image.disk_format.as_deref().unwrap_or_default();
    Expect::of(format).ok_or_else(|| {
        Error::bad_request("image.format", format!("Images of format {format} are not supported."))
    })
}

/// Charged with the bytes there are, not those that the client announced.
pub(super) async fn finish(
    app: &Arc<App>,
    user: &UserId,
    project: &ProjectId,
    id: ImageId,
    content: Content,
) -> Result<()> {
    let now = app.now();
    let ask = Ask::new(project, user, IMAGE_BYTES, content.size);
    let finished = charged(app, &ask, "image.upload_finish", move |c| {
        let content = content.clone();
        Box::pin(async move {
            let gone = || {
                Error::new(
                    Kind::Gone,
                    "image.deleted_meanwhile",
                    format!("Image {id} was deleted during the upload; its data was discarded."),
                )
            };
            let image = images::lock(c, id).await?.ok_or_else(gone)?;
            if !images::finish_saving(c, id, &content, now).await? {
                return Err(gone());
            }
            note(c, &image, "image.upload", now).await
        })
    });
    finished.await
}

/// saving → queued. Tried for a while, as the database may be what failed; after that the next start does it.
pub(super) async fn abandon(app: &Arc<App>, id: ImageId) {
    for attempt in 1..=ABANDON_ATTEMPTS {
        let now = app.now();
        let outcome = app
            .store
            .write("image.upload_abandon", move |c| {
                Box::pin(async move { images::abandon_saving(c, id, now).await })
            })
            .await;
        match outcome {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(image = %id, attempt, error = error.chain(), "image stays in saving for now");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

pub(super) async fn drain(body: &mut Body) {
    let read = async {
        let mut total = 0_u64;
        while let Some(Ok(chunk)) = body.next().await {
            total += chunk.len() as u64;
            if total > DRAIN_BYTES {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}
