//! Deleting an image: the row goes in one transaction, the bytes as soon as nothing else needs them.

use super::update::note;
use super::{absent, collect, target_for};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_DELETE, IMAGES_SHOW};
use canopy_store::{images, quota};
use canopy_types::quota::{IMAGE_BYTES, IMAGES};
use canopy_types::{Error, ImageId, Result};
use std::sync::Arc;

/// Deletes an image. Servers made from it keep their disks.
pub async fn delete(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<()> {
    let now = app.now();
    let inner = (app.clone(), ctx.clone());
    let digest = app
        .store
        .write("image.delete", move |c| {
            let (app, ctx) = inner.clone();
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, IMAGES_DELETE, &target, || absent(id))?;
                if image.protected {
                    return Err(Error::forbidden(
                        "image.protected",
                        format!("Image {id} is protected and cannot be deleted."),
                    ));
                }
                images::delete(c, id).await?;
                let bytes = image.content.as_ref().map_or(0, |content| content.size);
                let amounts = [(IMAGES.to_owned(), 1), (IMAGE_BYTES.to_owned(), bytes)].into();
                let user_id = ctx.who.user_id.clone();
                let project_id = image.project_id.clone();
                let spend = quota::Spend { project_id, user_id, zone: String::new(), amounts };
                quota::refund(c, &spend).await?;
                note(c, &image, "image.delete", now).await?;
                Ok(image.content.map(|content| content.digest))
            })
        })
        .await?;
    if let Err(error) = app.blobs.unstage(id).await {
        tracing::warn!(image = %id, error = error.chain(), "staged bytes were not removed yet");
    }
    if let Some(digest) = digest
        && let Err(error) = collect::collect_one(app, digest).await
    {
        // The image is gone; the reconciler removes the bytes later.
        tracing::warn!(image = %id, error = error.chain(), "an unused blob was not removed yet");
    }
    Ok(())
}
