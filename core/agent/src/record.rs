//! What the agent itself remembers of one server, in `servers/<id>/record.json`: one line each time it changed, of
//! which the last whole one counts.
//!
//! The file is also the folder's marker: it is written before anything else of the server is made and
//! removed last, so that a folder or a domain is ours exactly when a record naming it stands there, and
//! an interrupted removal is found and finished.

use crate::files;
use canopy_hypervisor::MAX_SOCKET_PATH;
use canopy_types::effect::effect;
use canopy_types::{Error, ServerId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
const LIMIT: u64 = 256 << 10;
/// Bytes past which the file begins anew.
const LONG: u64 = 32 << 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    pub id: ServerId,
    /// The last power intent that was satisfied; 0 before the first.
    pub power_n: i64,
    /// Hash of the domain's definition, once defined.
    pub definition: Option<String>,
    /// It ran when it was last seen.
    pub was_running: bool,
    /// The host's boot in which it was last seen.
    pub boot_id: String,
    /// The agent has given up on this intent.
    pub failed: Option<Failure>,
    /// The last intent whose guest was brought off, so that what is on again is on for it.
    #[serde(default)]
    pub cycled_n: i64,
    /// The record was lost: something of the server was there when this one was begun, and is never given back.
    #[serde(default)]
    pub found: bool,
    /// An intent that counts as satisfied although it came to nothing: the guest is left as it is.
    #[serde(default)]
    pub dropped: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The power intent that failed.
    pub n: i64,
    /// Fit for the server's fault.
    pub message: String,
}

impl Record {
    pub fn new(id: ServerId, boot_id: &str) -> Self {
        Self {
            v: VERSION,
            id,
            power_n: 0,
            definition: None,
            was_running: false,
            boot_id: boot_id.to_owned(),
            failed: None,
            cycled_n: 0,
            found: false,
            dropped: None,
        }
    }

    /// The record in `dir`; `None` when there is none or it is not one of ours.
    pub fn load(dir: &Path, id: ServerId) -> Result<Option<Self>, Error> {
        let Some(bytes) = files::read(&dir.join(RECORD), LIMIT)? else { return Ok(None) };
        // A line that a crash has cut is no JSON. Earlier versions wrote one record over several lines.
        let last =
            bytes.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice::<Self>(line).ok());
        let record = last.or_else(|| serde_json::from_slice(&bytes).ok());
        Ok(record.filter(|r| r.v == VERSION && r.id == id))
    }

    fn line(&self) -> Result<Vec<u8>, Error> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, self).map_err(|e| Error::internal("agent.record", e))?;
        Ok(line)
    }
}

const RECORD: &str = "record.json";
const KEPT: &str = "root.kept-";

fn kept(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(files::error("read", dir, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| files::error("read", dir, e))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(KEPT)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Where everything of one server lives. The id is a uuid, so that no name from outside becomes a path.
#[derive(Clone, Debug)]
pub struct ServerDir(PathBuf);

impl ServerDir {
    pub fn new(state_dir: &Path, id: ServerId) -> Self {
        Self(all(state_dir).join(id.to_string()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn disk(&self) -> PathBuf {
        self.0.join("root.qcow2")
    }

    /// The root disk as it was before the resize of this intent.
    pub fn kept_disk(&self, n: i64) -> PathBuf {
        self.0.join(format!("{KEPT}{n}.qcow2"))
    }

    /// A copy of the disk on its way to the image store.
    pub fn snapshot(&self) -> PathBuf {
        self.0.join("snapshot.qcow2")
    }

    pub fn rescue_disk(&self) -> PathBuf {
        self.0.join("rescue.qcow2")
    }

    /// Removes every disk that a resize has kept.
    pub async fn drop_kept(&self) -> Result<(), Error> {
        let dir = self.0.clone();
        effect(
            "agent.disk.drop_kept",
            files::blocking(move || {
                for path in kept(&dir)? {
                    files::remove(&path)?;
                }
                files::sync_dir(&dir).map_err(|e| files::error("write", &dir, e))
            }),
        )
        .await
    }

    /// Whether any disk of a resize is kept. Blocking.
    pub fn keeps_any(&self) -> Result<bool, Error> {
        Ok(!kept(&self.0)?.is_empty())
    }

    pub fn config_drive(&self) -> PathBuf {
        self.0.join("config.iso")
    }

    pub fn console_log(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// Where the serial console is joined; `None` where the path would be too long for a socket's.
    pub fn console_socket(&self) -> Option<PathBuf> {
        Some(self.0.join("serial")).filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH)
    }

    /// Saves the record, making the folder when it is missing.
    pub async fn save(&self, record: &Record) -> Result<(), Error> {
        let (dir, line) = (self.0.clone(), record.line()?);
        let kept = files::blocking(move || {
            let path = dir.join(RECORD);
            if files::append(&path, &line)?.is_some_and(|length| length < LONG) {
                return Ok(());
            }
            files::make_dir(&dir)?;
            files::replace(&path, &line, 0o600)
        });
        effect("agent.state.save", kept).await
    }

    /// Removes disk, config drive and everything else but the record: a failed build gives its space back.
    pub async fn clear(&self) -> Result<(), Error> {
        let dir = self.0.clone();
        effect("agent.server.remove", files::blocking(move || remove_files(&dir, true))).await
    }

    /// Removes everything, the record last. No error when there is nothing.
    pub async fn remove(&self) -> Result<(), Error> {
        let dir = self.0.clone();
        effect(
            "agent.server.remove",
            files::blocking(move || {
                if !exists(&dir)? {
                    return Ok(());
                }
                remove_files(&dir, false)?;
                std::fs::remove_dir(&dir).map_err(|e| files::error("remove", &dir, e))?;
                let parent = dir.parent().unwrap_or(&dir);
                files::sync_dir(parent).map_err(|e| files::error("remove", parent, e))
            }),
        )
        .await
    }
}

fn exists(dir: &Path) -> Result<bool, Error> {
    dir.try_exists().map_err(|e| files::error("read", dir, e))
}

/// Also when it is gone by now.
fn is_empty(dir: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        // A file, named like a server.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(files::error("read", dir, e)),
    }
}

fn remove_files(dir: &Path, keep_record: bool) -> Result<(), Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(files::error("read", dir, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| files::error("read", dir, e))?;
        if entry.file_name() == RECORD {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| files::error("read", &path, e))?;
        if kind.is_dir() {
            std::fs::remove_dir_all(&path).map_err(|e| files::error("remove", &path, e))?;
        } else {
            files::remove(&path)?;
        }
    }
    if keep_record { Ok(()) } else { files::remove(&dir.join(RECORD)) }
}

/// The folder of all servers.
pub fn all(state_dir: &Path) -> PathBuf {
    state_dir.join("servers")
}

/// Every record on this host. A folder without our marker is not ours and is left out. Blocking.
pub fn scan(state_dir: &Path) -> Result<Vec<Record>, Error> {
    let dir = all(state_dir);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(files::error("read", &dir, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| files::error("read", &dir, e))?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<ServerId>().ok()) else {
            continue;
        };
        // Only the spelling that we write ourselves.
        if entry.file_name().to_str() != Some(id.to_string().as_str()) {
            continue;
        }
        match Record::load(&entry.path(), id) {
            Ok(Some(record)) => found.push(record),
            Ok(None) => {
                tracing::warn!(folder = %entry.path().display(), "not a server of this agent: left alone")
            }
            Err(error) => {
                tracing::warn!(folder = %entry.path().display(), error = %error.chain(), "unreadable record")
            }
        }
    }
    Ok(found)
}

/// Folders named like a server's that hold things and no record of ours. One whose server is just being
/// removed loses its record last, so it is empty then. Blocking.
pub fn strange(state_dir: &Path, records: &[Record]) -> Result<Vec<ServerId>, Error> {
    let dir = all(state_dir);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(files::error("read", &dir, e)),
    };
    let named = entries.flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<ServerId>().ok()?;
        Some((id, entry.path()))
    });
    let unrecorded = named.filter(|(id, _)| !records.iter().any(|record| record.id == *id));
    let mut strange = Vec::new();
    for (id, path) in unrecorded {
        if !is_empty(&path)? {
            strange.push(id);
        }
    }
    Ok(strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_ours_only_with_a_record_that_names_it() {
        let state = tempfile::tempdir().unwrap();
        let (ours, copied, bare) = (ServerId::random(), ServerId::random(), ServerId::random());
        let dir = ServerDir::new(state.path(), ours);
        dir.save(&Record::new(ours, "boot")).await.unwrap();
        let other = all(state.path()).join(copied.to_string());
        std::fs::create_dir(&other).unwrap();
        std::fs::copy(dir.path().join(RECORD), other.join(RECORD)).unwrap();
        std::fs::create_dir(all(state.path()).join(bare.to_string())).unwrap();
        std::fs::create_dir(all(state.path()).join("notes")).unwrap();
        let ids: Vec<_> = scan(state.path()).unwrap().into_iter().map(|r| r.id).collect();
        assert_eq!(ids, [ours]);
    }

    #[tokio::test]
    async fn the_last_whole_line_counts_and_the_file_stays_short() {
        let state = tempfile::tempdir().unwrap();
        let id = ServerId::random();
        let dir = ServerDir::new(state.path(), id);
        let path = dir.path().join(RECORD);
        let of = |n| Record { power_n: n, ..Record::new(id, "boot") };
        let power_n = || Record::load(dir.path(), id).unwrap().unwrap().power_n;
        for n in 1..=1_000 {
            dir.save(&of(n)).await.unwrap();
            assert_eq!(power_n(), n);
            assert!(std::fs::metadata(&path).unwrap().len() < LONG);
        }
        let mut cut = std::fs::read(&path).unwrap();
        cut.extend(&of(2_000).line().unwrap()[..40]);
        std::fs::write(&path, &cut).unwrap();
        assert_eq!(power_n(), 1_000);
        dir.save(&of(1_001)).await.unwrap();
        assert_eq!(power_n(), 1_001);
        // As versions before wrote it.
        std::fs::write(&path, serde_json::to_vec_pretty(&of(7)).unwrap()).unwrap();
        assert_eq!(power_n(), 7);
        dir.save(&of(8)).await.unwrap();
        assert_eq!(power_n(), 8);
    }

    #[tokio::test]
    async fn clear_keeps_the_record_and_remove_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let id = ServerId::random();
        let dir = ServerDir::new(state.path(), id);
        let record = Record::new(id, "boot");
        dir.save(&record).await.unwrap();
        std::fs::write(dir.disk(), b"x").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        dir.clear().await.unwrap();
        assert!(!dir.disk().exists());
        assert_eq!(Record::load(dir.path(), id).unwrap(), Some(record));
        dir.remove().await.unwrap();
        dir.remove().await.unwrap();
        assert_eq!(std::fs::read_dir(all(state.path())).unwrap().count(), 0);
    }
}
