//! Where things are: the checkout, its state folder, and the demo's data.

use crate::run::{self, Res, failed, text};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Used when the checkout lies where QEMU's own user may not go.
const ELSEWHERE: &str = "/var/lib/canopy-demo";
/// In `ELSEWHERE`: the checkout it belongs to.
const OWNER: &str = "checkout";

/// The checkout's top folder.
pub fn root() -> Res<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(own) => PathBuf::from(own),
        None => std::env::current_dir().map_err(|e| format!("the current folder is gone: {e}"))?,
    };
    let start = start.canonicalize().map_err(|e| failed("find", &start, &e))?;
    let top = start.ancestors().find(|folder| folder.join("core/xtask/Cargo.toml").is_file());
    top.map(Path::to_owned).ok_or_else(|| "run this inside a checkout of Canopy".to_owned())
}

/// Cargo's target folder, wherever the environment or its configuration put it.
pub fn target(root: &Path) -> Res<PathBuf> {
    let json = text(run::cargo(root).args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let value: serde_json::Value = serde_json::from_str(&json).map_err(|e| format!("cargo metadata: {e}"))?;
    let folder = value["target_directory"].as_str().ok_or("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

/// What both `demo` and `test` keep: guest image, client, lint tools.
pub fn cache(root: &Path) -> PathBuf {
    root.join("state/cache")
}

/// Folders of the demo. Only `data` may lie outside the checkout.
pub struct Demo {
    pub state: PathBuf,
    pub data: PathBuf,
    /// Whether `data` is inside the checkout.
    pub inside: bool,
}

impl Demo {
    pub fn of(root: &Path) -> Self {
        let state = root.join("state/demo");
        let inside = passable(root) && plain(&state);
        let data = if inside { state.join("data") } else { PathBuf::from(ELSEWHERE) };
        Self { state, data, inside }
    }

    /// Creates what is missing.
    pub fn create(&self) -> Res<()> {
        for folder in [self.state.parent().unwrap_or(&self.state), &self.state] {
            fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
            // QEMU's user passes through; what must stay private is so by itself.
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, mode).map_err(|e| failed("change", folder, &e))?;
        }
        run::quiet(run::as_root("mkdir").args(["-p", "-m", "0755"]).arg(&self.data))?;
        if self.inside {
            return Ok(());
        }
        let owner = self.data.join(OWNER);
        let own = self.state.to_string_lossy().into_owned();
        match fs::read_to_string(&owner) {
            Ok(other) if other != own => {
                Err(format!("{ELSEWHERE} belongs to {other}: run `cargo xtask down` there first"))
            }
            Ok(_) => Ok(()),
            Err(_) => run::quiet(
                run::as_root("sh").args(["-c", "printf %s \"$1\" > \"$2\"", "sh", &own]).arg(&owner),
            ),
        }
    }

    /// Whether the data folder is there and this checkout's.
    pub fn data_is_ours(&self) -> bool {
        self.inside
            || fs::read_to_string(self.data.join(OWNER))
                .is_ok_and(|own| *own == *self.state.to_string_lossy())
    }

    pub fn config(&self) -> PathBuf {
        self.state.join("canopy.toml")
    }

    pub fn log(&self) -> PathBuf {
        self.state.join("server.log")
    }

    pub fn clouds(&self) -> PathBuf {
        self.state.join("clouds.yaml")
    }

    pub fn key(&self) -> PathBuf {
        self.state.join("id_ed25519")
    }

    /// Notes about daemons we started.
    pub fn started(&self) -> PathBuf {
        self.state.join("started")
    }

    /// Held by `demo` and `down` while they work; the kernel lets go of it however they end.
    pub fn lock(&self) -> Res<File> {
        let path = self.state.join("lock");
        let file = File::create(&path).map_err(|e| failed("create", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err("another `cargo xtask demo` or `down` is at work here".to_owned())
            }
            Err(TryLockError::Error(e)) => Err(failed("lock", &path, &e)),
        }
    }
}

/// Whether any user may pass through the folder and all above it.
fn passable(folder: &Path) -> bool {
    folder.ancestors().all(|f| fs::metadata(f).is_ok_and(|m| m.permissions().mode() & 0o001 != 0))
}

/// Whether the path has only characters that the agent writes into other programs' configuration as they are.
fn plain(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_or_odd_checkout_keeps_its_data_elsewhere() {
        assert!(plain(Path::new("/home/a-b/canopy_1.0+x")));
        assert!(!plain(Path::new("/home/my cloud")));
        assert!(passable(Path::new("/usr")));
        assert!(!passable(Path::new("/nowhere/at/all")));
    }
}
