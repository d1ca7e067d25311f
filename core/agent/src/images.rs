//! The host's image cache: read-only files named by their sha256, shared by every guest made from them.
//!
//! A file in its final place is complete and right: it is fetched under a temporary name, its digest is
//! checked, it is synced, made read-only and then renamed. One fetch per digest at a time, however many
//! servers wait for it; a bounded number of fetches in all. When the disk runs low, images that no
//! server here needs go, least recently used first.

use crate::fresh::Fresh;
use crate::{files, space};
use canopy_agent_api::{Blob, Controller};
use canopy_types::effect::effect;
use canopy_types::{Error, Kind};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A fetch that takes longer is given up and tried again: 1 hour.
const DEADLINE: Duration = Duration::from_secs(3600);

pub struct Images {
    root: PathBuf,
    controller: Arc<dyn Controller>,
    downloads: Semaphore,
    /// A lock per digest under way; whoever gets it second finds the file.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Digests that servers of this host need.
    referenced: Mutex<BTreeSet<String>>,
    temporary: std::sync::atomic::AtomicU64,
    /// Disks that stand on them.
    pub fresh: Fresh,
}

impl Images {
    pub fn new(state_dir: &Path, controller: Arc<dyn Controller>, downloads: usize) -> Self {
        Self {
            root: state_dir.join("images"),
            controller,
            downloads: Semaphore::new(downloads.max(1)),
            flights: Mutex::default(),
            referenced: Mutex::default(),
            temporary: Default::default(),
            fresh: Fresh::default(),
        }
    }

    /// Makes the folders and removes what an interrupted fetch left. Blocking.
    pub fn open(&self) -> Result<(), Error> {
        files::make_dir(&self.root.join("sha256"))?;
        let temporary = self.temporary_dir();
        match std::fs::remove_dir_all(&temporary) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(files::error("remove", &temporary, e)),
            _ => files::make_dir(&temporary),
        }
    }

    fn temporary_dir(&self) -> PathBuf {
        self.root.join("fetching")
    }

    /// Where the image is or will be; an error when the digest is none.
    pub fn path(&self, blob: &Blob) -> Result<PathBuf, Error> {
        let digest = &blob.digest;
        if digest.len() != 64 || !digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::new(
                Kind::Unprocessable,
                "agent.bad_digest",
                "The image has no valid digest.",
            ));
        }
        Ok(self.root.join("sha256").join(&digest[..2]).join(digest))
    }

    /// Whether it is here. Blocking, but one stat.
    pub fn has(&self, blob: &Blob) -> bool {
        self.path(blob).is_ok_and(|path| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && i64::try_from(m.len()) == Ok(blob.size))
        })
    }

    /// Replaces the set of digests that must stay.
    pub fn set_referenced(&self, digests: BTreeSet<String>) {
        *lock(&self.referenced) = digests;
    }

    /// Returns the image's path, fetching it first when it is not here.
    pub async fn ensure(&self, blob: &Blob) -> Result<PathBuf, Error> {
        self.fetch_alone(blob, false).await
    }

    /// Fetches the image although it is here: what is here is not what its name says.
    pub async fn renew(&self, blob: &Blob) -> Result<PathBuf, Error> {
        self.fetch_alone(blob, true).await
    }

    /// One fetch of an image at a time; who waits finds it there.
    async fn fetch_alone(&self, blob: &Blob, anew: bool) -> Result<PathBuf, Error> {
        let path = self.path(blob)?;
        let flight = Flight {
            images: self,
            digest: &blob.digest,
            alone: Arc::clone(lock(&self.flights).entry(blob.digest.clone()).or_default()),
        };
        let _alone = flight.alone.lock().await;
        self.fetch(blob, &path, anew).await?;
        Ok(path)
    }

    /// Names of what interrupted fetches have left. Blocking.
    pub fn left_over(&self) -> Result<Vec<String>, Error> {
        let dir = self.temporary_dir();
        let entries = std::fs::read_dir(&dir).map_err(|e| files::error("read", &dir, e))?;
        let flying = lock(&self.flights);
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // Only what we name so is ours.
        let ours = |name: &String| match name.split_once('.') {
            Some((digest, number)) => {
                digest.len() == 64
                    && digest.bytes().all(|b| b.is_ascii_hexdigit())
                    && number.parse::<u64>().is_ok()
                    && !flying.contains_key(digest)
            }
            None => false,
        };
        Ok(names.filter(ours).collect())
    }

    /// Removes one of those, if it still is one.
    pub async fn remove_left_over(&self, name: &str) -> Result<(), Error> {
        if !self.left_over()?.iter().any(|left| left == name) {
            return Ok(());
        }
        let path = self.temporary_dir().join(name);
        effect("agent.image.clean", files::blocking(move || files::remove(&path))).await
    }

    async fn fetch(&self, blob: &Blob, path: &Path, anew: bool) -> Result<(), Error> {
        if !anew && self.has(blob) {
            let path = path.to_owned();
            return files::blocking(move || {
                touch(&path);
                Ok(())
            })
            .await;
        }
        let _permit =
            self.downloads.acquire().await.map_err(|e| Error::internal("agent.image_downloads", e))?;
        let size = u64::try_from(blob.size).map_err(|_| bad_content())?;
        self.make_room(size).await?;
        let number = self.temporary.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let temporary = self.temporary_dir().join(format!("{}.{number}", blob.digest));
        let guard = RemoveOnDrop(temporary.clone());
        effect("agent.image.fetch", async {
            tokio::time::timeout(DEADLINE, self.controller.fetch_image(blob, &temporary)).await.map_err(
                |_| Error::unavailable("agent.image_timeout", "The image could not be fetched in time."),
            )??;
            let (blob, path) = (blob.clone(), path.to_owned());
            files::blocking(move || keep(&blob, &temporary, &path)).await
        })
        .await?;
        drop(guard);
        Ok(())
    }

    /// Evicts unreferenced images until `needed` bytes fit, or says how much is missing.
    pub async fn make_room(&self, needed: u64) -> Result<(), Error> {
        let (root, referenced) = (self.root.clone(), lock(&self.referenced).clone());
        let flying: BTreeSet<String> = lock(&self.flights).keys().cloned().collect();
        files::blocking(move || {
            let free = space::free(&root)?;
            if space::check(needed, free).is_ok() {
                return Ok(());
            }
            for (path, digest) in by_age(&root)? {
                if referenced.contains(&digest) || flying.contains(&digest) {
                    continue;
                }
                files::remove(&path)?;
                tracing::info!(digest, "image evicted from the host's cache: the disk is low");
                if space::check(needed, space::free(&root)?).is_ok() {
                    return Ok(());
                }
            }
            space::check(needed, space::free(&root)?)
        })
        .await
    }
}

/// Takes the digest off the list of those under way, also when the caller gives up waiting.
struct Flight<'a> {
    images: &'a Images,
    digest: &'a str,
    alone: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = lock(&self.images.flights);
        // The list and this call hold it: nobody else waits.
        if Arc::strong_count(&self.alone) <= 2 {
            flights.remove(self.digest);
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bad_content() -> Error {
    Error::new(
        Kind::Unprocessable,
        "agent.image_digest",
        "The image's content does not match its checksum. Upload the image again.",
    )
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // One unlink of a file that usually was renamed already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Checks what was fetched and puts it in its place, durably.
fn keep(blob: &Blob, temporary: &Path, path: &Path) -> Result<(), Error> {
    let file = std::fs::File::open(temporary).map_err(|e| files::error("read", temporary, e))?;
    let length = file.metadata().map_err(|e| files::error("read", temporary, e))?.len();
    if i64::try_from(length) != Ok(blob.size) || digest_of(temporary)? != blob.digest {
        return Err(bad_content());
    }
    let dir = path.parent().unwrap_or(path);
    files::make_dir(dir)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o444))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(temporary, path))
        .and_then(|()| files::sync_dir(dir))
        .map_err(|e| files::error("write", path, e))
}

/// The sha256 of a file, in hex. Blocking.
pub fn digest_of(path: &Path) -> Result<String, Error> {
    let mut file = std::fs::File::open(path).map_err(|e| files::error("read", path, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(|e| files::error("read", path, e))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Marks as used just now; only the order of eviction depends on it.
fn touch(path: &Path) {
    use canopy_types::Clock;
    let now = u64::try_from(canopy_types::SystemClock.now().0).unwrap_or_default();
    let time = std::time::UNIX_EPOCH + Duration::from_micros(now);
    let times = std::fs::FileTimes::new().set_modified(time);
    let _ = std::fs::File::open(path).and_then(|file| file.set_times(times));
}

/// Every cached image, least recently used first.
fn by_age(root: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let dir = root.join("sha256");
    let mut found = Vec::new();
    for shard in std::fs::read_dir(&dir).map_err(|e| files::error("read", &dir, e))?.flatten() {
        let Ok(entries) = std::fs::read_dir(shard.path()) else { continue };
        for entry in entries.flatten() {
            let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else {
                continue;
            };
            // Only what we name so is ours.
            if metadata.is_file() && name.len() == 64 {
                found.push((metadata.modified().ok(), entry.path(), name));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path, name)| (path, name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeController, blob_of};

    fn images(state: &Path, controller: &Arc<FakeController>) -> Images {
        let images = Images::new(state, Arc::clone(controller) as Arc<dyn Controller>, 2);
        images.open().unwrap();
        images
    }

    #[tokio::test]
    async fn an_image_is_fetched_once_however_many_wait() {
        let state = tempfile::tempdir().unwrap();
        let controller = Arc::new(FakeController::default());
        let blob = controller.image(b"content");
        let images = images(state.path(), &controller);
        let all = futures::future::join_all((0..5).map(|_| images.ensure(&blob))).await;
        for path in all {
            let path = path.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"content");
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        }
        assert_eq!(controller.fetches(), 1);
        assert!(lock(&images.flights).is_empty());
        assert_eq!(std::fs::read_dir(images.temporary_dir()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn wrong_bytes_are_refused_and_leave_nothing() {
        let state = tempfile::tempdir().unwrap();
        let controller = Arc::new(FakeController::default());
        let mut blob = controller.image(b"content");
        controller.corrupt(&blob);
        let images = images(state.path(), &controller);
        let error = images.ensure(&blob).await.unwrap_err();
        assert_eq!(error.code, "agent.image_digest");
        assert!(!images.has(&blob));
        assert_eq!(std::fs::read_dir(images.temporary_dir()).unwrap().count(), 0);
        blob.digest = "../../../etc/passwd".into();
        assert_eq!(images.ensure(&blob).await.unwrap_err().code, "agent.bad_digest");
    }

    #[tokio::test]
    async fn only_unreferenced_images_give_room_the_oldest_first() {
        let state = tempfile::tempdir().unwrap();
        let controller = Arc::new(FakeController::default());
        let images = images(state.path(), &controller);
        let (kept, old) = (controller.image(b"kept"), controller.image(b"old"));
        images.ensure(&kept).await.unwrap();
        images.ensure(&old).await.unwrap();
        images.set_referenced([kept.digest.clone()].into());
        let error = images.make_room(u64::MAX / 2).await.unwrap_err();
        assert_eq!(error.kind, Kind::StorageFull);
        assert!(images.has(&kept) && !images.has(&old));
        assert_eq!(blob_of(b"kept"), kept);
    }
}
