//! Doing something inside a network namespace without moving a worker thread there.
//!
//! A socket belongs to the namespace of the thread that made it, so work that needs another namespace
//! runs on a thread of its own, which ends right after.

use canopy_types::{Error, Kind};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where `ip netns` keeps the named namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// The file of a named namespace.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// What tells one namespace from another while something holds it: the inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// The identity behind a namespace file (`/run/netns/…` or `/proc/…/ns/net`).
pub fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok(Identity { device: metadata.st_dev(), inode: metadata.st_ino() })
}

/// Runs `work` on a new thread inside the namespace. The work must be short: nothing cancels it.
pub async fn within<T, F>(path: PathBuf, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (send, receive) = tokio::sync::oneshot::channel();
    let shown = path.display().to_string();
    let body = move || {
        let outcome = File::open(&path)
            .and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from))
            .and_then(|()| work());
        // Nobody listens any more when the caller was cancelled.
        let _ = send.send(outcome);
    };
    std::thread::Builder::new()
        .name("canopy-netns".to_owned())
        .spawn(body)
        .map_err(|e| failed(&shown, &e))?;
    match receive.await {
        Ok(outcome) => outcome.map_err(|e| failed(&shown, &e)),
        Err(_) => Err(failed(&shown, &io::Error::other("the work panicked"))),
    }
}

fn failed(path: &str, source: &io::Error) -> Error {
    Error::new(
        Kind::Internal,
        "network.namespace_failed",
        "Work inside one of the host's network namespaces failed.",
    )
    .with_source(io::Error::new(source.kind(), format!("{path}: {source}")))
}
