//! Secrets on disk: made once, readable by their owner only.

use canopy_types::{Error, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a folder, and its parents, with this mode; one that is there stays as it is.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| cannot("make", path, e))
}

/// Makes a folder that only its owner may enter, also when it was there and open to others.
pub fn make_private_dir(path: &Path) -> Result<()> {
    make_dir(path, 0o700)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|e| cannot("close", path, e))
}

/// Writes a secret with mode 0600: whole, or not at all.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| cannot("write", path, e))
}

/// The token in this file, made at first use.
pub fn token(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
        Ok(_) => {
            Err(Error::bad_request("config.token", format!("{}: too short for a token", path.display())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|e| Error::internal("random", e.to_string()))?;
            let token = canopy_types::hex(bytes);
            write_secret(path, &token)?;
            Ok(token)
        }
        Err(e) => Err(cannot("read", path, e)),
    }
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("config.file", format!("Cannot {verb} {}: {error}", path.display()))
}
