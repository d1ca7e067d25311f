//! Root disks: a qcow2 overlay on the cached image, or a blank one.
//!
//! `qemu-img create -u` writes the overlay without opening the image, so that no helper ever parses a
//! tenant's bytes; the size comes from [`crate::qcow2`]. The overlay is thin, but a disk that could not
//! be filled is not begun.

use crate::images::Images;
use crate::record::ServerDir;
use crate::{exec, files, qcow2};
use canopy_agent_api::ServerSpec;
use canopy_types::effect::effect;
use canopy_types::{Error, Kind};
use std::ffi::OsString;

const GIB: u64 = 1 << 30;

/// Makes the root disk in its final place; there it is complete.
pub async fn make(spec: &ServerSpec, dir: &ServerDir, images: &Images) -> Result<(), Error> {
    let wanted = u64::try_from(spec.flavor.root_gib).unwrap_or(0).saturating_mul(GIB);
    let mut arguments: Vec<OsString> = ["create", "-q", "-f", "qcow2"].map(Into::into).to_vec();
    let size = match &spec.image {
        None => wanted,
        Some(image) => {
            let base = images.ensure(&image.blob).await?;
            let (path, format) = (base.clone(), image.disk_format.clone());
            let least = files::blocking(move || qcow2::virtual_size(&path, &format)).await?;
            arguments.extend(["-u".into(), "-F".into(), image.disk_format.clone().into()]);
            arguments.extend(["-b".into(), base.into_os_string()]);
            // A raw image need not end at a sector.
            wanted.max(least.next_multiple_of(512))
        }
    };
    if size == 0 {
        return Err(Error::new(
            Kind::BadRequest,
            "agent.no_root_disk",
            "A server without an image needs a flavor with a root disk.",
        ));
    }
    images.make_room(size).await?;
    let (disk, temporary) = (dir.disk(), dir.disk().with_extension("new"));
    arguments.extend([temporary.clone().into_os_string(), size.to_string().into()]);
    effect("agent.disk.create", async {
        exec::run("qemu-img", &arguments, "agent.disk_create", "make the server's disk").await?;
        files::blocking(move || {
            std::fs::File::open(&temporary)
                .and_then(|file| file.sync_all())
                .and_then(|()| std::fs::rename(&temporary, &disk))
                .and_then(|()| disk.parent().map_or(Ok(()), files::sync_dir))
                .map_err(|e| files::error("write", &disk, e))
        })
        .await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testing::{self, FakeController};
    use canopy_agent_api::Controller;
    use std::sync::Arc;

    async fn made(spec: &ServerSpec, controller: Arc<FakeController>) -> Result<u64, Error> {
        let state = tempfile::tempdir().unwrap();
        let images = Images::new(state.path(), controller as Arc<dyn Controller>, 1);
        images.open().unwrap();
        let dir = ServerDir::new(state.path(), spec.id);
        dir.save(&Record::new(spec.id, "boot")).await?;
        make(spec, &dir, &images).await?;
        let bytes = std::fs::read(dir.disk()).unwrap();
        Ok(u64::from_be_bytes(bytes[24..32].try_into().unwrap()))
    }

    #[tokio::test]
    async fn the_disk_is_as_large_as_the_larger_of_flavor_and_image() {
        let controller = Arc::new(FakeController::default());
        let mut spec = testing::spec();
        spec.image = Some(testing::image(controller.image(&qcow2::header(3 << 20))));
        spec.flavor.root_gib = 0;
        assert_eq!(made(&spec, Arc::clone(&controller)).await.unwrap(), 3 << 20);
        spec.flavor.root_gib = 1;
        assert_eq!(made(&spec, Arc::clone(&controller)).await.unwrap(), GIB);
        spec.image = None;
        assert_eq!(made(&spec, Arc::clone(&controller)).await.unwrap(), GIB);
        spec.flavor.root_gib = 0;
        assert_eq!(made(&spec, controller).await.unwrap_err().code, "agent.no_root_disk");
    }

    #[tokio::test]
    async fn a_disk_that_could_not_be_filled_is_not_begun() {
        let mut spec = testing::spec();
        spec.image = None;
        spec.flavor.root_gib = 1 << 40;
        let error = made(&spec, Arc::new(FakeController::default())).await.unwrap_err();
        assert_eq!(error.kind, Kind::StorageFull);
        assert!(error.message.starts_with("The host's disk is full: "), "{error}");
    }
}
