//! Compiled components, kept so that a plugin is ready in a millisecond instead of a tenth of a second.
//!
//! Compiled code is native code: whoever can write it here runs in this process. So each file carries a MAC
//! under a key of this installation over (component, engine configuration, code), and is loaded from the very
//! bytes that were checked; the folder is ours alone (0700, our user's, no symbolic link). Whatever does not
//! check is removed and compiled again: a poisoned cache costs time and a line in the log.

mod native;

use blake2::Blake2bMac512;
use blake2::digest::{KeyInit, Mac};
use canopy_types::Error;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

const MAC: usize = 64;
/// Files that are kept; the least recently written go.
const FILES: usize = 64;
/// Bytes of one file; more is not cached, or not ours.
const MOST: u64 = 512 << 20;

/// A folder of compiled components.
#[derive(Clone)]
pub struct Cache {
    dir: PathBuf,
    key: [u8; 32],
}

impl Cache {
    /// Makes the folder, or checks that nobody else can write what is in it. `secret` is this installation's
    /// own and stays the same between runs; at least 32 bytes.
    pub fn open(dir: &Path, secret: &[u8]) -> Result<Self, Error> {
        let unusable = |why: String| {
            let what = format!("{} cannot hold compiled plugins: {why}", dir.display());
            Error::unavailable("plugin.cache", what)
        };
        if secret.len() < 32 {
            return Err(unusable("the key has fewer than 32 bytes".to_owned()));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| unusable(e.to_string()))?;
        owned(dir, 0o077).map_err(unusable)?;
        Ok(Self { dir: dir.to_owned(), key: Sha256::digest(secret).into() })
    }

    /// The compiled component, if it is here and exactly as it was written.
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(engine, digest);
        match self.load(engine, digest, &path) {
            Ok(component) => {
                metrics::counter!("canopy_plugin_cache_total", "outcome" => "hit").increment(1);
                component
            }
            Err(why) => {
                tracing::warn!(file = %path.display(), why, "a compiled plugin is not as it was written: removed, compiled again");
                metrics::counter!("canopy_plugin_cache_total", "outcome" => "refused").increment(1);
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn load(&self, engine: &Engine, digest: &str, path: &Path) -> Result<Option<Component>, String> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        if !meta.is_file() || meta.len() > MOST {
            return Err("it is no file of ours".to_owned());
        }
        owned(path, 0o177)?;
        let bytes = fs::read(path).map_err(|e| e.to_string())?;
        let (mac, code) = bytes.split_at_checked(MAC).ok_or("it is cut off")?;
        self.mac(engine, digest, code)
            .and_then(|expected| expected.verify_slice(mac).ok())
            .ok_or("its MAC does not fit")?;
        native::load(engine, code).map(Some).map_err(|e| e.to_string())
    }

    /// Keeps a compiled component; without room or rights it is compiled again next time.
    pub(crate) fn put(&self, engine: &Engine, digest: &str, component: &Component) {
        let path = self.path(engine, digest);
        if let Err(why) = self.store(engine, digest, component, &path) {
            tracing::warn!(file = %path.display(), why, "a compiled plugin could not be kept");
        }
    }

    fn store(&self, engine: &Engine, digest: &str, component: &Component, path: &Path) -> Result<(), String> {
        let code = component.serialize().map_err(|e| e.to_string())?;
        let mac = self.mac(engine, digest, &code).ok_or("no MAC")?.finalize().into_bytes();
        // Several threads may write the same: each its own file, and any of them may come last.
        let part = self.dir.join(format!("{digest}.{:x}.part", rand()));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(&mac)?;
            file.write_all(&code)?;
            file.sync_all()?;
            fs::rename(&part, path)
        };
        let written: std::io::Result<()> = write();
        written.map_err(|e| {
            let _ = fs::remove_file(&part);
            e.to_string()
        })?;
        self.prune().map_err(|e| e.to_string())
    }

    /// Removes what was compiled of a component.
    pub fn forget(&self, digest: &str) {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let of = format!("{digest}-");
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&of)) {
            let _ = fs::remove_file(file.path());
        }
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        let gone = files.len().saturating_sub(FILES);
        for (_, path) in files.into_iter().take(gone) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", configuration(engine)))
    }

    fn mac(&self, engine: &Engine, digest: &str, code: &[u8]) -> Option<Blake2bMac512> {
        let mut mac = <Blake2bMac512 as KeyInit>::new_from_slice(&self.key).ok()?;
        mac.update(digest.as_bytes());
        mac.update(&configuration(engine).to_le_bytes());
        mac.update(code);
        Some(mac)
    }
}

/// Everything of an engine that its compiled code depends on: version, features, tunables, processor.
fn configuration(engine: &Engine) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// A name that no other thread uses now; not a secret.
fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (u64::from(std::process::id()) << 32) + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Ours, and with none of the `open` permissions.
fn owned(path: &Path, open: u32) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    if meta.file_type().is_symlink() {
        return Err("it is a symbolic link".to_owned());
    }
    let me = fs::metadata("/proc/self").map_err(|e| e.to_string())?.uid();
    if meta.uid() != me {
        return Err(format!("it belongs to user {}, not to user {me}", meta.uid()));
    }
    if meta.mode() & open != 0 {
        return Err(format!("its mode {:o} lets others in", meta.mode() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
