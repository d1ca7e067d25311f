//! Deleting an image: the row goes in one transaction, the bytes as soon as nothing else needs them.

use super::update::note;
use super::{absent, collect, target_for};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_DELETE, IMAGES_SHOW};
use canopy_store::images::{self, Image};
use canopy_store::{Conn, quota};
use canopy_types::quota::{IMAGE_BYTES, IMAGES};
use canopy_types::{Error, ImageId, Result, Timestamp, UserId};
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
                remove(c, &ctx.who.user_id, &image, now).await?;
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

/// The locked row goes, and what it counted with. Its bytes go when nobody needs them.
pub(super) async fn remove(conn: &mut Conn, user: &UserId, image: &Image, now: Timestamp) -> Result<()> {
    images::delete(conn, image.id).await?;
    let bytes = image.content.as_ref().map_or(0, |content| content.size);
    let spend = quota::Spend {
        project_id: image.project_id.clone(),
        user_id: user.clone(),
        zone: String::new(),
        amounts: [(IMAGES.to_owned(), 1), (IMAGE_BYTES.to_owned(), bytes)].into(),
    };
    quota::refund(conn, &spend).await?;
    note(conn, image, "image.delete", now).await
}
