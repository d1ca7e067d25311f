//! Components at rest: in the store, from which every controller has them, and in this one's folder, from which
//! they are loaded and which the journal copies. The folder is a copy; what is missing or damaged is written again.

use super::absent;
use crate::App;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canopy_plugin_host::Package;
use canopy_store::plugins as store;
use canopy_types::{Error, Result};
use std::path::{Path, PathBuf};

/// Bytes of one part: no transaction holds up the others for long.
const PART: usize = 512 << 10;

/// Where a component of this digest is, or would be, on this controller.
pub(super) fn folder(app: &App, digest: &str) -> PathBuf {
    app.plugins.dir.join("sha256").join(digest)
}

/// Writes the parts of a package whose row is there.
pub(super) async fn keep(app: &App, package: &Package) -> Result<()> {
    for (number, part) in (0..).zip(package.component().chunks(PART)) {
        let (digest, text) = (package.digest().to_owned(), STANDARD.encode(part));
        app.store
            .write("plugin.part", move |c| {
                let (digest, text) = (digest.clone(), text.clone());
                Box::pin(async move { store::put_part(c, &digest, number, &text).await })
            })
            .await?;
    }
    let digest = package.digest().to_owned();
    app.store
        .write("plugin.complete", move |c| {
            let digest = digest.clone();
            Box::pin(async move { store::complete(c, &digest).await })
        })
        .await?;
    lay_down(app, package.clone()).await
}

/// The installed package: from the folder, else from the store.
pub(super) async fn get(app: &App, digest: &str) -> Result<Package> {
    let (dir, wanted) = (folder(app, digest), digest.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        Package::read(&dir).ok().filter(|package| package.digest() == wanted)
    })
    .await
    .map_err(|e| Error::internal("plugin.read", e))?;
    if let Some(package) = read {
        return Ok(package);
    }
    let package = fetch(app, digest).await?;
    lay_down(app, package.clone()).await?;
    Ok(package)
}

async fn fetch(app: &App, digest: &str) -> Result<Package> {
    let id = digest.to_owned();
    let row = app.store.read(move |c| Box::pin(async move { store::get(c, &id).await })).await?;
    let row = row.filter(|row| row.complete).ok_or_else(|| absent(digest))?;
    let mut component = Vec::with_capacity(usize::try_from(row.size).unwrap_or(0));
    for number in 0.. {
        let id = digest.to_owned();
        let part =
            app.store.read(move |c| Box::pin(async move { store::part(c, &id, number).await })).await?;
        let Some(part) = part else { break };
        let bytes = STANDARD.decode(part).map_err(|e| Error::internal("plugin.corrupt", e))?;
        component.extend_from_slice(&bytes);
        if component.len() > usize::try_from(row.size).unwrap_or(0) {
            break;
        }
    }
    let package = Package::new(row.manifest, component)?;
    if package.digest() != digest {
        let why = format!("the component in the store has the digest {}, not {digest}", package.digest());
        return Err(Error::internal("plugin.corrupt", why));
    }
    Ok(package)
}

async fn lay_down(app: &App, package: Package) -> Result<()> {
    let dir = folder(app, package.digest());
    tokio::task::spawn_blocking(move || write(&dir, &package))
        .await
        .map_err(|e| Error::internal("plugin.write", e))?
}

/// Whole or not at all: a folder under its name is complete.
fn write(dir: &Path, package: &Package) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::unavailable("plugin.write", format!("The plugin cannot be kept in {}: {e}", dir.display()))
    };
    if Package::read(dir)
        .is_ok_and(|there| there.digest() == package.digest() && there.text() == package.text())
    {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(parent).map_err(failed)?;
    let part = tempdir(parent).map_err(failed)?;
    let fill = || {
        std::fs::write(part.join("plugin.toml"), package.text())?;
        std::fs::write(part.join(&package.manifest().component), package.component())?;
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::rename(&part, dir)
    };
    fill().map_err(|e| {
        let _ = std::fs::remove_dir_all(&part);
        failed(e)
    })
}

fn tempdir(parent: &Path) -> std::io::Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(".part-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let part = parent.join(name);
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir(&part)?;
    Ok(part)
}

/// Removes this controller's copy.
pub(super) async fn discard(app: &App, digest: &str) {
    let (dir, host, digest) = (folder(app, digest), app.plugins.host.clone(), digest.to_owned());
    let removed = tokio::task::spawn_blocking(move || {
        host.forget(&digest);
        std::fs::remove_dir_all(dir)
    });
    let _ = removed.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_whole_and_one_that_is_damaged_is_written_again() {
        let root = tempfile::tempdir().unwrap();
        let text = "name = \"q\"\nversion = \"1\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"q.wasm\"\n";
        let package = Package::new(text.to_owned(), b"\0asm".to_vec()).unwrap();
        let dir = root.path().join("sha256").join(package.digest());
        for damage in [None, Some("q.wasm"), Some("plugin.toml")] {
            if let Some(file) = damage {
                std::fs::write(dir.join(file), "else").unwrap();
            }
            write(&dir, &package).unwrap();
            assert_eq!(Package::read(&dir).unwrap().digest(), package.digest());
        }
        assert_eq!(std::fs::read_dir(root.path().join("sha256")).unwrap().count(), 1);
    }
}
