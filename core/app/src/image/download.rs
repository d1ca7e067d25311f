//! An image's bytes.

use super::{absent, find};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_DOWNLOAD, IMAGES_DOWNLOAD_DEACTIVATED, IMAGES_SHOW};
use canopy_store::images::{Content, Status};
use canopy_types::{Error, ImageId, Result};

pub struct Download {
    pub content: Content,
    pub file: tokio::fs::File,
}

/// `None` while there are no bytes yet.
pub async fn download(app: &App, ctx: &Ctx, id: ImageId) -> Result<Option<Download>> {
    let (image, target) = find(app, ctx, id).await?.ok_or_else(|| absent(id))?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_DOWNLOAD, &target, || absent(id))?;
    if image.status == Status::Deactivated && !access::allowed(app, ctx, IMAGES_DOWNLOAD_DEACTIVATED, &target)
    {
        return Err(Error::forbidden(
            "image.deactivated",
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    let Some(content) = image.content else { return Ok(None) };
    let (file, size) = app.blobs.read(&content.digest).await?;
    if i64::try_from(size) != Ok(content.size) {
        return Err(Error::internal("image.damaged", format!("blob {} has {size} bytes", content.digest)));
    }
    Ok(Some(Download { content, file }))
}
