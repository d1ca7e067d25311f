//! Staged bytes: files named by their image's id, which wait to be imported.

use super::blobs::{Blobs, Inner, Temp, io, modified};
use super::receive::Body;
use canopy_types::effect::effect_sync;
use canopy_types::{Error, ImageId, Result, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use std::fs::File;
use std::path::PathBuf;
use tokio::io::AsyncReadExt;

/// Bytes read from disk at once.
const CHUNK: usize = 256 << 10;

impl Inner {
    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Makes a finished file the staged bytes of an image, durably.
    pub(super) fn put_staged(&self, mut temp: Temp, image: ImageId) -> std::io::Result<()> {
        temp.file.sync_all()?;
        std::fs::rename(&temp.path, self.staging().join(image.to_string()))?;
        temp.placed = true;
        File::open(self.staging())?.sync_all()
    }
}

impl Blobs {
    /// Whether an image's bytes are staged, all of them.
    pub fn staged(&self, image: ImageId) -> bool {
        self.inner.staging().join(image.to_string()).exists()
    }

    /// Images whose bytes are staged, with when they were. Blocking.
    pub fn list_staged(&self) -> Result<Vec<(ImageId, Timestamp)>> {
        let work = || -> std::io::Result<Vec<(ImageId, Timestamp)>> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(self.inner.staging())?.flatten() {
                // What is not named by an image is not ours; what has gone meanwhile is not there.
                let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
                if let (Some(id), Ok(meta)) = (id, entry.metadata()) {
                    found.push((id, modified(&meta)));
                }
            }
            Ok(found)
        };
        work().map_err(|e| io(e).during("image.staged"))
    }

    /// Staged bytes as a body, with how many there are.
    pub async fn read_staged(&self, image: ImageId) -> Result<(Body, u64)> {
        let failed = |e| io(e).during("image.staged");
        let path = self.inner.staging().join(image.to_string());
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let size = file.metadata().await.map_err(failed)?.len();
        let chunks = stream::try_unfold(file, |mut file| async move {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
            let read = file.read_buf(&mut chunk).await?;
            Ok((read > 0).then(|| (chunk.freeze(), file)))
        });
        let chunks = chunks.map_err(|e: std::io::Error| Error::internal("image.staged", e));
        Ok((chunks.boxed(), size))
    }

    /// Removes staged bytes; it is no error if there are none.
    pub async fn unstage(&self, image: ImageId) -> Result<()> {
        let path = self.inner.staging().join(image.to_string());
        let work = move || effect_sync("image.stage.remove", || std::fs::remove_file(path));
        match tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("image.blocking", e))? {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io(error).during("image.unstage"))
            }
            _ => Ok(()),
        }
    }
}
