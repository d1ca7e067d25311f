//! Taking a backup while the cloud runs.
//!
//! Blobs are immutable, so those that are there are copied first, then the database as one snapshot, then the
//! blobs that have come since. A blob that went away in between belongs to an image that was deleted while
//! the backup ran; a new snapshot no longer names it.

use super::{
    Content, DATABASE, FORMAT, MANIFEST, Manifest, PASSWORD, bad, blob, content, copy, failed, files,
};
use crate::Config;
use canopy_types::{Clock, Result, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Snapshots that are made at most, each when an image vanished under the one before.
const ATTEMPTS: u32 = 5;

/// Writes a backup of the cloud of this configuration to `to`, which must not be there yet or be empty. The
/// manifest comes last, so what fails leaves a folder that no restore takes.
pub async fn backup(config: &Config, to: &Path) -> Result<Manifest> {
    if config.database.url.is_some() {
        return Err(bad(
            "This cloud keeps its data in PostgreSQL: back it up with pg_dump or by archiving its log, and copy \
             the folders images and keys of data_dir after that.",
        ));
    }
    if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(bad(format!("{} is not empty: name a folder that is not there yet.", to.display())));
    }
    let data = config.data_dir.clone();
    crate::files::make_private_dir(to)?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(to).starts_with(real(&data)) {
        return Err(bad(format!("{} is within data_dir, and would be lost with it.", to.display())));
    }
    let (source, target) = (data.clone(), to.to_owned());
    let mut kept = blocking(move || {
        let shelves = source.join("images/sha256");
        let mut kept = BTreeMap::new();
        for path in files(&shelves)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name.len() == 64 {
                keep_blob(&source, &target, &name, &mut kept)?;
            }
        }
        Ok(kept)
    })
    .await?;
    let needed = snapshot(&data, to, &mut kept).await?;
    let (source, target, beside) = (data, to.to_owned(), beside(config));
    blocking(move || {
        // Copied, and not in the snapshot: an image that was deleted meanwhile.
        for digest in kept.keys().filter(|digest| !needed.contains(*digest)) {
            let path = target.join(blob(digest));
            std::fs::remove_file(&path).map_err(|e| failed("remove", &path, e))?;
        }
        let mut listed: BTreeMap<String, Content> =
            needed.iter().filter_map(|digest| Some((blob(digest), kept.get(digest)?.clone()))).collect();
        for path in files(&source.join("keys"))? {
            let name = format!("keys/{}", path.display());
            listed.insert(name.clone(), copy(&source.join(&name), &target.join(&name))?);
        }
        if source.join(PASSWORD).exists() {
            listed.insert(PASSWORD.into(), copy(&source.join(PASSWORD), &target.join(PASSWORD))?);
        }
        listed.insert(DATABASE.into(), content(&target.join(DATABASE))?);
        let manifest = Manifest {
            format: FORMAT,
            canopy: env!("CARGO_PKG_VERSION").into(),
            made_at: SystemClock.now().seconds_z(),
            files: listed,
            beside: beside?,
        };
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| bad(e.to_string()))?;
        crate::files::write_secret(&target.join(MANIFEST), &text)?;
        sync(&target)?;
        Ok(manifest)
    })
    .await
}

/// A snapshot with every blob that it names. Answers their digests.
async fn snapshot(data: &Path, to: &Path, kept: &mut BTreeMap<String, Content>) -> Result<BTreeSet<String>> {
    let database = to.join(DATABASE);
    for _ in 0..ATTEMPTS {
        canopy_store::backup::snapshot(&data.join(DATABASE), &database).await?;
        let needed = canopy_store::backup::inspect(&database).await?;
        let (source, target, wanted, mut have) =
            (data.to_owned(), to.to_owned(), needed.clone(), std::mem::take(kept));
        let complete;
        (complete, *kept) = blocking(move || {
            let mut complete = true;
            for digest in &wanted {
                complete &= have.contains_key(digest) || keep_blob(&source, &target, digest, &mut have)?;
            }
            Ok((complete, have))
        })
        .await?;
        if complete {
            return Ok(needed);
        }
        std::fs::remove_file(&database).map_err(|e| failed("remove", &database, e))?;
    }
    Err(bad(
        "Images that the database names are not in the images folder. Run `canopy fsck`, which tells which.",
    ))
}

/// Copies one blob and holds it against its name. `false` when it is not there (any more).
fn keep_blob(data: &Path, to: &Path, digest: &str, kept: &mut BTreeMap<String, Content>) -> Result<bool> {
    let name = blob(digest);
    let (from, target) = (data.join(&name), to.join(&name));
    if !from.exists() {
        return Ok(false);
    }
    match copy(&from, &target) {
        Ok(content) if content.sha256 == digest => {
            kept.insert(digest.to_owned(), content);
            Ok(true)
        }
        Ok(_) => Err(bad(format!("{} is damaged: its bytes are not those of its name.", from.display()))),
        // Removed between the look and the copy.
        Err(_) if !from.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Plugins and policies that the configuration names, with their digests.
fn beside(config: &Config) -> Result<BTreeMap<String, Content>> {
    let plugins = [&config.plugins.scheduler, &config.plugins.quota, &config.plugins.network];
    let mut found = BTreeMap::new();
    for dir in plugins.into_iter().chain([&config.policies.dir]).flatten() {
        for path in files(dir)?.into_iter().filter(|path| !path.starts_with(".git")) {
            let path = dir.join(path);
            found.insert(path.display().to_string(), content(&path)?);
        }
    }
    Ok(found)
}

fn sync(dir: &Path) -> Result<()> {
    let work = |path: &Path| std::fs::File::open(path).and_then(|file| file.sync_all());
    work(&dir.join(DATABASE)).map_err(|e| failed("write", dir, e))?;
    work(dir).map_err(|e| failed("write", dir, e))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| canopy_types::Error::internal("backup.task", e))?
}
