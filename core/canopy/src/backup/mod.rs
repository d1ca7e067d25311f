//! Backup and restore of a one-machine cloud.
//!
//! A backup is a folder: a snapshot of the database, the images it names, the keys, and a manifest with the
//! digest of each file, which is written last: a folder without one is no backup. Guests' disks are not in it.

mod restore;
mod take;

pub use restore::restore;
pub use take::backup;

use canopy_types::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "canopy.db";
/// The first admin's password, where it was kept.
const PASSWORD: &str = "admin-password";
/// Version of the manifest.
const FORMAT: u32 = 1;
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The program that made it.
    pub canopy: String,
    /// UTC, ISO 8601.
    pub made_at: String,
    /// Everything that a restore puts back, by path within the data folder.
    pub files: BTreeMap<String, Content>,
    /// Plugins and policies that were configured: they are told, and not kept, as they are installed like the
    /// program is. By path.
    pub beside: BTreeMap<String, Content>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
}

impl Manifest {
    fn read(backup: &Path) -> Result<Self> {
        let path = backup.join(MANIFEST);
        let text = std::fs::read(&path).map_err(|e| {
            bad(format!("{}: {e}. This is not a backup, or one that was never finished.", path.display()))
        })?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|e| bad(format!("{}: {e}", path.display())))?;
        if manifest.format != FORMAT {
            return Err(bad(format!(
                "{}: made by another version of Canopy ({})",
                path.display(),
                manifest.canopy
            )));
        }
        // A manifest is input like another: its paths stay within the folder.
        if let Some(path) = manifest.files.keys().find(|path| !plain(Path::new(path))) {
            return Err(bad(format!("{path:?} leads out of the backup")));
        }
        Ok(manifest)
    }
}

fn plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}

fn bad(text: impl Into<String>) -> Error {
    Error::bad_request("backup.invalid", text)
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("backup.file", format!("cannot {what} {}: {error}", path.display())).with_source(error)
}

/// Copies a file durably, readable by its owner only, and answers what it holds. Nothing is overwritten.
fn copy(from: &Path, to: &Path) -> Result<Content> {
    let mut source = File::open(from).map_err(|e| failed("read", from, e))?;
    if let Some(dir) = to.parent() {
        crate::files::make_dir(dir, 0o700)?;
    }
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|e| failed("write", to, e))?;
    let content =
        hash(&mut source, from, |bytes| target.write_all(bytes).map_err(|e| failed("write", to, e)))?;
    target.sync_all().map_err(|e| failed("write", to, e))?;
    Ok(content)
}

/// What a file holds.
fn content(path: &Path) -> Result<Content> {
    let mut file = File::open(path).map_err(|e| failed("read", path, e))?;
    hash(&mut file, path, |_| Ok(()))
}

fn hash(file: &mut File, path: &Path, mut see: impl FnMut(&[u8]) -> Result<()>) -> Result<Content> {
    let (mut digest, mut size, mut chunk) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk).map_err(|e| failed("read", path, e))?;
        if read == 0 {
            break;
        }
        digest.update(&chunk[..read]);
        see(&chunk[..read])?;
        size += read as u64;
    }
    let sha256 = canopy_types::hex(digest.finalize());
    Ok(Content { size, sha256 })
}

/// Regular files under `dir`, by path within it. None if it is not there; links are not followed.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let path = dir.join(&inner);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed("read", &path, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| failed("read", &path, e))?;
            let kind = entry.file_type().map_err(|e| failed("read", &path, e))?;
            let within = inner.join(entry.file_name());
            if kind.is_dir() {
                open.push(within);
            } else if kind.is_file() {
                found.push(within);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Where the data folder keeps the blob of a digest.
fn blob(digest: &str) -> String {
    format!("images/sha256/{}/{digest}", &digest[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_manifest_stay_within() {
        assert!(plain(Path::new("images/sha256/ab/abc")));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert!(!plain(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn copies_are_private_and_never_overwrite() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("deep/b"));
        std::fs::write(&from, "abc").unwrap();
        let copied = copy(&from, &to).unwrap();
        assert_eq!(copied.size, 3);
        assert_eq!(copied.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(copied, content(&to).unwrap());
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(copy(&from, &to).is_err());
        assert_eq!(files(dir.path()).unwrap(), [PathBuf::from("a"), PathBuf::from("deep/b")]);
        assert!(files(&dir.path().join("none")).unwrap().is_empty());
    }
}
