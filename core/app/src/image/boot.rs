//! What a server needs of its image: checked, and reduced to digests that stay valid whatever becomes of it.

use super::find;
use crate::{App, Ctx, access};
use canopy_agent_api::{Blob, ImageSpec};
use canopy_authz::actions::image::IMAGES_SHOW;
use canopy_store::Conn;
use canopy_store::images::{self, Image, Status};
use canopy_types::{Error, ImageId, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct BootImage {
    pub spec: ImageSpec,
    pub name: String,
    /// GiB that the flavor's disk must have.
    pub min_disk: i64,
    /// MiB that the flavor's memory must have.
    pub min_ram: i64,
    /// Bytes of the disk a guest sees.
    pub virtual_size: i64,
    /// Every image that a guest of it is made from: its own, kernel's and ramdisk's.
    pub contents: Vec<(ImageId, String)>,
}

/// Checks that the caller may boot from this image now. The transaction that writes the server calls
/// [`pin`], as an image may be deleted in between.
pub async fn resolve_for_boot(app: &App, ctx: &Ctx, id: ImageId) -> Result<BootImage> {
    let image = usable(app, ctx, id).await?;
    let format = match image.disk_format.as_deref() {
        Some("qcow2") => "qcow2",
        Some("raw" | "ami") => "raw",
        other => {
            return Err(Error::bad_request(
                "image.not_bootable",
                format!(
                    "Image {id} is unacceptable: a server cannot boot from disk format {}. Use raw or qcow2.",
                    other.unwrap_or("none")
                ),
            ));
        }
    };
    let blob = blob(&image)?;
    let virtual_size = image.content.as_ref().and_then(|content| content.virtual_size).unwrap_or(blob.size);
    let kernel = boot_file(app, ctx, &image, "kernel_id").await?;
    let ramdisk = boot_file(app, ctx, &image, "ramdisk_id").await?;
    let parts = [&kernel, &ramdisk].into_iter().flatten().map(|(id, blob)| (*id, blob.digest.clone()));
    let contents = [(id, blob.digest.clone())].into_iter().chain(parts).collect();
    Ok(BootImage {
        contents,
        name: image.name.unwrap_or_default(),
        min_disk: image.min_disk,
        min_ram: image.min_ram,
        virtual_size,
        spec: ImageSpec {
            id,
            blob,
            disk_format: format.to_owned(),
            kernel: kernel.map(|(_, blob)| blob),
            ramdisk: ramdisk.map(|(_, blob)| blob),
            properties: image.properties,
        },
    })
}

async fn boot_file(app: &App, ctx: &Ctx, image: &Image, property: &str) -> Result<Option<(ImageId, Blob)>> {
    let Some(text) = image.properties.get(property) else { return Ok(None) };
    let id = text.parse().map_err(|_| unknown(text))?;
    Ok(Some((id, blob(&usable(app, ctx, id).await?)?)))
}

/// Holds what [`resolve_for_boot`] found for the rest of the transaction, or says what has been deleted since.
pub async fn pin(conn: &mut Conn, contents: &[(ImageId, String)]) -> Result<()> {
    // In id order, so that two requests cannot wait for each other.
    let mut contents: Vec<_> = contents.iter().collect();
    contents.sort();
    for (id, digest) in contents {
        if !images::pin(conn, *id, digest).await? {
            return Err(Error::bad_request("image.gone", format!("Image {id} was deleted a moment ago.")));
        }
    }
    Ok(())
}

/// An active image that the caller may read.
async fn usable(app: &App, ctx: &Ctx, id: ImageId) -> Result<Image> {
    let (image, target) = find(app, ctx, id).await?.ok_or_else(|| unknown(id))?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_SHOW, &target, || unknown(id))?;
    if image.status != Status::Active {
        return Err(Error::bad_request("image.not_active", format!("Image {id} is not active.")));
    }
    Ok(image)
}

fn blob(image: &Image) -> Result<Blob> {
    image
        .content
        .as_ref()
        .map(|content| Blob { digest: content.digest.clone(), size: content.size })
        .ok_or_else(|| {
            Error::internal("image.no_content", format!("image {} is active without content", image.id))
        })
}

/// nova's answer to an image that is not there, given with 400.
fn unknown(id: impl std::fmt::Display) -> Error {
    tracing::debug!(image = %id, "no such image");
    Error::bad_request("image.unknown", "Can not find requested image")
}
