//! Putting a backup back, into a data folder that holds no cloud.

use super::{DATABASE, MANIFEST, Manifest, PASSWORD, bad, copy, failed};
use crate::Config;
use canopy_types::{Error, Result};
use std::path::Path;

/// What may already be in the data folder: the host's own state with its guests' disks.
const ALLOWED: [&str; 1] = ["agent"];
/// Everything lies here until all of it has been checked.
const PART: &str = "restore.part";

/// Restores the backup in `from` to the data folder of this configuration, which must hold no cloud. All is
/// copied and held against the manifest first; the database is put in place last, so that what a crash leaves
/// is not served.
pub async fn restore(config: &Config, from: &Path) -> Result<Manifest> {
    if config.database.url.is_some() {
        return Err(bad("This configuration keeps its data in PostgreSQL: restore that with its own tools."));
    }
    let (data, from) = (config.data_dir.clone(), from.to_owned());
    let (source, target) = (from.clone(), data.clone());
    let manifest = blocking(move || stage(&source, &target)).await?;
    let database = data.join(PART).join(DATABASE);
    canopy_store::backup::inspect(&database).await?;
    canopy_store::backup::put_ahead(&database).await?;
    blocking(move || place(&data).map(|()| manifest)).await
}

fn stage(from: &Path, data: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(from)?;
    if !manifest.files.contains_key(DATABASE) {
        return Err(bad(format!("{MANIFEST} names no {DATABASE}")));
    }
    crate::files::make_dir(data, 0o711)?;
    for entry in std::fs::read_dir(data).map_err(|e| failed("read", data, e))?.flatten() {
        let name = entry.file_name();
        if !ALLOWED.iter().any(|allowed| name == *allowed) {
            return Err(bad(format!(
                "{} holds {:?} already: a backup is restored to an empty data folder only. Move what is there away \
                 first (the folder agent, with the guests' disks, may stay).",
                data.display(),
                name
            )));
        }
    }
    let part = data.join(PART);
    crate::files::make_private_dir(&part)?;
    for (name, expected) in &manifest.files {
        let found = copy(&from.join(name), &part.join(name));
        match found {
            Ok(found) if found == *expected => {}
            Ok(_) => {
                return Err(give_up(&part, bad(format!("{name} in the backup is not as it was written"))));
            }
            Err(error) => return Err(give_up(&part, error)),
        }
    }
    Ok(manifest)
}

/// Removes what was copied, so that the restore can be tried again.
fn give_up(part: &Path, error: Error) -> Error {
    match std::fs::remove_dir_all(part) {
        Ok(()) => error,
        Err(e) => failed("remove", part, e),
    }
}

/// Tokens of before the backup end with it: some were revoked after it, and nobody would know. The first start makes
/// another key.
fn retire_tokens(keys: &Path) -> Result<()> {
    for entry in std::fs::read_dir(keys).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("token") && name.ends_with(".key") {
            std::fs::remove_file(entry.path()).map_err(|e| failed("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

fn place(data: &Path) -> Result<()> {
    let part = data.join(PART);
    retire_tokens(&part.join("keys"))?;
    // The database last: without it there is nothing to serve.
    for name in ["keys", "images", PASSWORD, DATABASE] {
        let (from, to) = (part.join(name), data.join(name));
        match std::fs::rename(&from, &to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed("place", &to, e)),
            _ => {}
        }
    }
    std::fs::remove_dir_all(&part).map_err(|e| failed("remove", &part, e))?;
    std::fs::File::open(data).and_then(|dir| dir.sync_all()).map_err(|e| failed("write", data, e))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("backup.task", e))?
}
