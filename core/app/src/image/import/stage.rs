//! Staging: bytes of a queued image are received as they are, to be looked at when they are imported.

use crate::image::receive::Body;
use crate::image::slots::Slot;
use crate::image::update::note;
use crate::image::upload::drain;
use crate::image::{absent, target_for};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_SHOW, IMAGES_UPLOAD};
use canopy_store::images::{self, Status};
use canopy_types::{Error, ImageId, Kind, Result};
use std::sync::Arc;
use tracing::Instrument;

/// Stages `body` for a queued image. `declared` is its Content-Length.
pub async fn stage(
    app: &Arc<App>,
    ctx: &Ctx,
    id: ImageId,
    declared: Option<u64>,
    mut body: Body,
) -> Result<()> {
    let (app, ctx) = (app.clone(), ctx.clone());
    // In a task of its own, as an upload is: the client may go away at any point.
    let work = async move {
        let outcome = store(&app, &ctx, id, declared, &mut body).await;
        if outcome.is_err() {
            drain(&mut body).await;
        }
        outcome
    };
    tokio::spawn(work.in_current_span()).await.map_err(|e| Error::internal("image.stage", e))?
}

async fn store(app: &Arc<App>, ctx: &Ctx, id: ImageId, declared: Option<u64>, body: &mut Body) -> Result<()> {
    let _slot = claim(app, ctx, id).await?;
    let received = app.blobs.stage(body, declared, app.settings.image_max_bytes, id).await;
    if let Err(error) = received {
        super::run::reopen(app, id, Status::Uploading).await;
        return Err(error);
    }
    let image = app.store.read(move |c| Box::pin(async move { images::get(c, id).await })).await?;
    if image.is_some_and(|image| image.status == Status::Uploading) {
        return Ok(());
    }
    app.blobs.unstage(id).await?;
    Err(Error::new(
        Kind::Gone,
        "image.deleted_meanwhile",
        format!("Image {id} was deleted during the upload; its data was discarded."),
    ))
}

/// queued → uploading, by a caller who may, with a place among the uploads.
async fn claim(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<Slot> {
    let now = app.now();
    let inner = (app.clone(), ctx.clone());
    app.store
        .write("image.stage_begin", move |c| {
            let (app, ctx) = inner.clone();
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, IMAGES_UPLOAD, &target, || absent(id))?;
                let slot = app.blobs.slots.take(&image.project_id)?;
                if !images::turn(c, id, &[Status::Queued], Status::Uploading, now).await? {
                    return Err(Error::conflict(
                        "image.not_queued",
                        format!(
                            "Image status transition from {} to uploading is not allowed",
                            image.status.as_str()
                        ),
                    ));
                }
                note(c, &image, "image.stage", now).await?;
                Ok(slot)
            })
        })
        .await
}
