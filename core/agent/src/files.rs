//! Files that are either whole or absent, whatever stops the process.
//!
//! What the agent keeps (desired state, records, config drives) goes through [`replace`]: a temporary
//! name in the same folder, fsync, rename, fsync of the folder. What changes often is added to with
//! [`append`], one fsync and no new file. Blocking: call them from [`blocking`].

use canopy_types::{Error, Kind};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Runs blocking work off the async threads; a panic in it is an internal error, not a lost task.
pub async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::internal("agent.task", e)))
}

/// The error for a failed file operation: a full disk is told apart, since it is the user's to solve.
pub fn error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Error::new(Kind::StorageFull, "agent.disk_full", "The host's disk is full.")
            .with_source(source);
    }
    let context = io::Error::new(source.kind(), format!("{doing} {}: {source}", path.display()));
    Error::new(Kind::Internal, "agent.file", format!("The host could not {doing} one of its files."))
        .with_source(context)
}

/// Makes a folder and its parents that QEMU's user can pass through but not list.
pub fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(|e| error("make", path, e))?;
    // The umask may have taken bits away, and an older folder may have others.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).map_err(|e| error("make", path, e))
}

/// Replaces `path` by `bytes` with `mode`, durably.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let written = write_new(temporary, bytes, mode)
        .and_then(|()| fs::rename(temporary, path))
        .and_then(|()| path.parent().map_or(Ok(()), sync_dir));
    written.map_err(|e| {
        let _ = fs::remove_file(temporary);
        error("write", path, e)
    })
}

/// Adds `bytes` to a file that is there, durably, and says how long it is now; `None` when there is none. After a crash
/// any part of `bytes` may be at its end: the reader must be able to tell.
pub fn append(path: &Path, bytes: &[u8]) -> Result<Option<u64>, Error> {
    let mut file = match OpenOptions::new().append(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error("write", path, e)),
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_data()).and_then(|()| file.metadata());
    written.map(|metadata| Some(metadata.len())).map_err(|e| error("write", path, e))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename or a removal in this folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads at most `limit` bytes; `None` when the file does not exist. A longer file is an error.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error("read", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| error("read", path, e))?;
    if bytes.len() as u64 > limit {
        return Err(error("read", path, io::Error::other(format!("longer than {limit} bytes"))));
    }
    Ok(Some(bytes))
}

/// Removes a file; no error when it does not exist.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error("remove", path, e)),
        _ => Ok(()),
    }
}

/// What is under this name, a link itself and not what it leads to; `None` when there is nothing.
pub fn kind(path: &Path) -> Result<Option<fs::Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(error("read", path, e)),
    }
}

pub fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| error("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_has_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one", 0o600).unwrap();
        // Left by a crash between write and rename.
        fs::write(dir.path().join("f.new"), b"torn").unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path, 3).unwrap().as_deref(), Some(b"two".as_slice()));
        assert!(read(&path, 2).is_err(), "bounded");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path, 9).unwrap(), None);
    }
}
