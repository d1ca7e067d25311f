//! The bytes of images: files named by their sha256, written once and never changed.
//!
//! `sha256/ab/<digest>`; what is still arriving lies in `tmp`, which is emptied at start; what waits to be
//! imported lies in `staging`, under its image's id. A blob is stored
//! by fsync, rename and fsync of the folder, and only then does a row name it. Content that is already
//! there is received and written all the same, so neither time nor status tells what others have stored.
//!
//! A blob that no row names is garbage. [`Blobs::remove`] and the placing of a blob exclude each other, and a
//! blob whose row is not yet committed is held by its [`Placed`], so garbage collection never races an upload.

use super::slots::Slots;
use canopy_store::images::Content;
use canopy_types::effect::effect_sync;
use canopy_types::{Error, Kind, Result, Timestamp};
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    pub(super) inner: Arc<Inner>,
    pub(super) slots: Slots,
}

pub(super) struct Inner {
    pub(super) root: PathBuf,
    /// Blobs in place whose row is not yet committed, with how many uploads hold each.
    held: Mutex<HashMap<String, usize>>,
    serial: AtomicU64,
}

/// A blob as the folder shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub digest: String,
    pub size: u64,
    pub modified: Timestamp,
    inode: u64,
}

impl Blobs {
    /// Opens the folder, makes it if need be (mode 0700), and removes what a stopped process left half-written.
    pub fn open(root: &Path) -> Result<Self> {
        let work = || -> std::io::Result<()> {
            for dir in ["sha256", "staging", "tmp"] {
                DirBuilder::new().recursive(true).mode(0o700).create(root.join(dir))?;
            }
            for entry in std::fs::read_dir(root.join("tmp"))? {
                effect_sync("image.temp.remove", || std::fs::remove_file(entry?.path()))?;
            }
            Ok(())
        };
        work().map_err(|e| io(e).during("image.open"))?;
        let inner = Inner { root: root.to_owned(), held: Mutex::default(), serial: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner), slots: Slots::default() })
    }

    /// Where the blob of a digest lies, whether it is there or not. Text that is no digest names no file.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.inner.path(digest)
    }

    /// A blob's bytes and how many there are.
    pub async fn read(&self, digest: &str) -> Result<(tokio::fs::File, u64)> {
        let file = tokio::fs::File::open(self.path(digest)).await.map_err(|e| io(e).during("image.read"))?;
        let size = file.metadata().await.map_err(|e| io(e).during("image.read"))?.len();
        Ok((file, size))
    }

    /// Every blob there is. Blocking.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut work = || -> std::io::Result<()> {
            for shelf in std::fs::read_dir(self.inner.root.join("sha256"))? {
                for entry in std::fs::read_dir(shelf?.path())? {
                    let entry = entry?;
                    let name = entry.file_name();
                    let Some(digest) = name.to_str().filter(|name| is_digest(name)) else { continue };
                    match entry.metadata() {
                        Ok(meta) => found.push(Found::new(digest, &meta)),
                        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                        Err(e) => return Err(e),
                    }
                }
            }
            Ok(())
        };
        work().map_err(|e| io(e).during("image.list"))?;
        Ok(found)
    }

    /// The blob of a digest, if it is there. Blocking.
    pub fn find(&self, digest: &str) -> Option<Found> {
        if !is_digest(digest) {
            return None;
        }
        std::fs::metadata(self.path(digest)).ok().map(|meta| Found::new(digest, &meta))
    }

    /// Removes a blob that nothing named when it was `found`. `false` when it has been stored anew since, or
    /// is held by an upload. Blocking.
    pub fn remove(&self, found: &Found) -> Result<bool> {
        let held = self.inner.held();
        let unchanged = self.find(&found.digest).is_some_and(|now| now == *found);
        if !unchanged || held.contains_key(&found.digest) {
            return Ok(false);
        }
        effect_sync("image.blob.remove", || std::fs::remove_file(self.path(&found.digest)))
            .map_err(|e| io(e).during("image.remove"))?;
        Ok(true)
    }
}

impl Inner {
    fn path(&self, digest: &str) -> PathBuf {
        let digest = if is_digest(digest) { digest } else { "none" };
        self.root.join("sha256").join(&digest[..2]).join(digest)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new, empty file for bytes that arrive.
    pub(super) fn temp(&self) -> std::io::Result<Temp> {
        let path = self.root.join("tmp").join(self.serial.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Temp { file, path, placed: false })
    }

    /// Makes a finished file the blob of its digest, durably.
    pub(super) fn place(self: &Arc<Self>, mut temp: Temp, content: Content) -> std::io::Result<Placed> {
        temp.file.sync_all()?;
        let path = self.path(&content.digest);
        let shelf = path.parent().unwrap_or(&self.root).to_owned();
        DirBuilder::new().recursive(true).mode(0o700).create(&shelf)?;
        let mut held = self.held();
        std::fs::rename(&temp.path, &path)?;
        temp.placed = true;
        *held.entry(content.digest.clone()).or_default() += 1;
        drop(held);
        let placed = Placed { content, inner: self.clone() };
        File::open(&shelf)?.sync_all()?;
        File::open(self.root.join("sha256"))?.sync_all()?;
        Ok(placed)
    }
}

impl Found {
    fn new(digest: &str, meta: &std::fs::Metadata) -> Self {
        Self { digest: digest.to_owned(), size: meta.len(), modified: modified(meta), inode: meta.ino() }
    }
}

pub(super) fn modified(meta: &std::fs::Metadata) -> Timestamp {
    Timestamp(meta.mtime().saturating_mul(1_000_000).saturating_add(meta.mtime_nsec() / 1_000))
}

/// A file in `tmp`; gone when dropped, unless it became a blob.
pub(super) struct Temp {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) placed: bool,
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = effect_sync("image.temp.remove", || std::fs::remove_file(&self.path))
        {
            tracing::warn!(path = %self.path.display(), %error, "a half-received image stays until the next start");
        }
    }
}

/// A stored blob that no row names yet: keep it until the row is committed.
pub struct Placed {
    pub content: Content,
    inner: Arc<Inner>,
}

impl Drop for Placed {
    fn drop(&mut self) {
        let mut held = self.inner.held();
        if let Some(count) = held.get_mut(&self.content.digest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.content.digest);
            }
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What the file system refused, before it is known what for.
pub(super) struct Failed(std::io::Error);

pub(super) fn io(error: std::io::Error) -> Failed {
    Failed(error)
}

impl Failed {
    /// A full disk is the client's to know; anything else is ours.
    pub(super) fn during(self, code: &'static str) -> Error {
        use std::io::ErrorKind as K;
        match self.0.kind() {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Error::new(
                Kind::StorageFull,
                "image.storage_full",
                "Image storage media is full: there is not enough disk space to store the image. Delete images, \
                 or ask the operator for space, then upload again.",
            )
            .with_source(self.0),
            _ => Error::internal(code, self.0),
        }
    }
}
