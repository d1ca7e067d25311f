//! Root disks: a qcow2 overlay on the cached image, or a blank one.
//!
//! `qemu-img create -u` writes the overlay without opening the image, so that no helper ever parses a
//! tenant's bytes; the size comes from [`crate::qcow2`]. The overlay is thin, but a disk that could not
//! be filled is not begun.

use crate::fresh::{self, Fresh, Key};
use crate::images::Images;
use crate::record::ServerDir;
use crate::{exec, files, qcow2};
use canopy_agent_api::{ImageSpec, ServerSpec};
use canopy_types::effect::effect;
use canopy_types::{Error, Kind};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

/// Bytes that the flavor asks for; 0 leaves it to the image.
pub fn wanted(spec: &ServerSpec) -> u64 {
    u64::try_from(spec.flavor.root_gib).unwrap_or(0).saturating_mul(GIB)
}

/// Whether the disk is there and has fewer bytes than are wanted. Blocking.
pub fn smaller(disk: &Path, wanted: u64) -> Result<bool, Error> {
    Ok(wanted > 0 && qcow2::size_of_own(disk)?.is_some_and(|size| size < wanted))
}

/// Makes the root disk in its final place; there it is complete.
pub async fn make(spec: &ServerSpec, dir: &ServerDir, images: &Images) -> Result<(), Error> {
    create(spec.image.as_ref(), wanted(spec), dir.disk(), images).await
}

/// Makes the disk that a guest is rescued with, as large as its image.
pub async fn make_rescue(spec: &ServerSpec, dir: &ServerDir, images: &Images) -> Result<(), Error> {
    create(spec.rescue.as_ref(), 0, dir.rescue_disk(), images).await
}

async fn create(image: Option<&ImageSpec>, wanted: u64, disk: PathBuf, images: &Images) -> Result<(), Error> {
    let mut options: Vec<OsString> = Vec::new();
    let size = match image {
        None => wanted,
        Some(image) => {
            let base = images.ensure(&image.blob).await?;
            let (path, format) = (base.clone(), image.disk_format.clone());
            let least = files::blocking(move || qcow2::virtual_size(&path, &format)).await?;
            options.extend(["-u".into(), "-F".into(), image.disk_format.clone().into()]);
            options.extend(["-b".into(), base.into_os_string()]);
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
    let temporary = disk.with_extension("new");
    effect("agent.disk.create", async {
        let what = (options, size);
        if let Some(made) = images.fresh.get(&what) {
            return files::blocking(move || {
                made.write(&temporary).map_err(|e| files::error("write", &temporary, e))?;
                put(&temporary, &disk)
            })
            .await;
        }
        make_anew(what, &temporary, &images.fresh).await?;
        files::blocking(move || put(&temporary, &disk)).await
    })
    .await
}

/// Writes the disk that `qemu-img` makes of these options and bytes, and keeps it for the next one.
async fn make_anew(what: Key, disk: &Path, known: &Fresh) -> Result<(), Error> {
    let path = disk.to_owned();
    let mut arguments: Vec<OsString> = ["create", "-q", "-f", "qcow2"].map(Into::into).to_vec();
    arguments.extend(what.0.iter().cloned());
    arguments.extend([disk.as_os_str().to_owned(), what.1.to_string().into()]);
    exec::run("qemu-img", &arguments, "agent.disk_create", "make the server's disk").await?;
    let read = move || fresh::Disk::read(&path).map_err(|e| files::error("read", &path, e));
    if let Some(made) = files::blocking(read).await? {
        known.keep(what, made);
    }
    Ok(())
}

/// Puts a finished file in its final place, durably. Blocking.
fn put(temporary: &Path, disk: &Path) -> Result<(), Error> {
    std::fs::File::open(temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(temporary, disk))
        .and_then(|()| disk.parent().map_or(Ok(()), files::sync_dir))
        .map_err(|e| files::error("write", disk, e))
}

/// Gives the disk's present content a second name, under which it stays when the disk is grown.
pub async fn keep(dir: &ServerDir, n: i64) -> Result<(), Error> {
    let (disk, kept) = (dir.disk(), dir.kept_disk(n));
    let linked = files::blocking(move || {
        match std::fs::hard_link(&disk, &kept) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => kept.parent().map_or(Ok(()), files::sync_dir),
        }
        .map_err(|e| files::error("write", &kept, e))
    });
    effect("agent.disk.keep", linked).await
}

/// Makes the disk as large as the flavor says: a copy is grown and takes its place, so that whatever interrupts
/// this leaves a whole disk, and a kept one stays as it is.
pub async fn grow(spec: &ServerSpec, dir: &ServerDir, images: &Images) -> Result<(), Error> {
    let (disk, temporary) = (dir.disk(), dir.disk().with_extension("new"));
    let (from, size) = (disk.clone(), wanted(spec));
    let held = files::blocking(move || {
        let metadata = std::fs::metadata(&from).map_err(|e| files::error("read", &from, e))?;
        Ok(metadata.len())
    })
    .await?;
    images.make_room(held.max(size)).await?;
    effect("agent.disk.grow", async {
        let copy: [OsString; 5] = [
            "--sparse=always".into(),
            "--reflink=auto".into(),
            "--".into(),
            disk.clone().into_os_string(),
            temporary.clone().into_os_string(),
        ];
        exec::run_long("cp", &copy, "agent.disk_copy", "copy the server's disk").await?;
        let resize: [OsString; 6] = [
            "resize".into(),
            "-q".into(),
            "-f".into(),
            "qcow2".into(),
            temporary.clone().into_os_string(),
            size.to_string().into(),
        ];
        exec::run("qemu-img", &resize, "agent.disk_grow", "make the server's disk larger").await?;
        files::blocking(move || put(&temporary, &disk)).await
    })
    .await
}

/// The kept disk takes its place again.
pub async fn put_back(dir: &ServerDir, n: i64) -> Result<(), Error> {
    let (disk, kept) = (dir.disk(), dir.kept_disk(n));
    let back = files::blocking(move || {
        // Two names of one file are left as they are by a rename.
        std::fs::rename(&kept, &disk).map_err(|e| files::error("rename", &kept, e))?;
        files::remove(&kept)?;
        disk.parent().map_or(Ok(()), files::sync_dir).map_err(|e| files::error("write", &disk, e))
    });
    effect("agent.disk.put_back", back).await
}

/// Makes sure that a copy without a backing file has room.
pub async fn room_for_copy(spec: &ServerSpec, dir: &ServerDir, images: &Images) -> Result<(), Error> {
    let disk = dir.disk();
    let own = files::blocking(move || {
        let metadata = std::fs::metadata(&disk).map_err(|e| files::error("read", &disk, e))?;
        Ok(metadata.len())
    })
    .await?;
    let below = spec.image.as_ref().map_or(0, |image| u64::try_from(image.blob.size).unwrap_or(0));
    images.make_room(own.saturating_add(below)).await
}

/// Copies a disk that nobody writes to, with what it stands on.
pub async fn flatten(disk: &Path, copy: &Path) -> Result<(), Error> {
    let mut arguments: Vec<OsString> =
        ["convert", "-q", "-f", "qcow2", "-O", "qcow2"].map(Into::into).to_vec();
    arguments.extend([disk.as_os_str().to_owned(), copy.as_os_str().to_owned()]);
    let convert = exec::run_long("qemu-img", &arguments, "agent.disk_copy", "copy the server's disk");
    effect("agent.disk.copy", convert).await
}

/// A rescued guest's other disk goes.
pub async fn drop_rescue(dir: &ServerDir) -> Result<(), Error> {
    let disk = dir.rescue_disk();
    effect("agent.disk.drop_rescue", files::blocking(move || files::remove(&disk))).await
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
