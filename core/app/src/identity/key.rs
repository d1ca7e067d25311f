//! Keys that seal: 32 random bytes in a file that only the server's user can read.

use canopy_types::effect::effect_sync;
use canopy_types::{Error, Result};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub const KEY_BYTES: usize = 32;

/// Reads the key, making it first where there is none. Processes that start side by side on one folder
/// end up with the same key. Blocks on the disk.
pub fn open(path: &Path) -> Result<[u8; KEY_BYTES]> {
    match read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            effect_sync("identity.key.create", || create(path)).map_err(|e| fault(path, e))?;
            read_existing(path)
        }
        outcome => outcome.map_err(|e| fault(path, e)),
    }
}

/// The same for a key that is there.
pub fn read_existing(path: &Path) -> Result<[u8; KEY_BYTES]> {
    read(path).map_err(|e| fault(path, e))
}

fn fault(path: &Path, e: std::io::Error) -> Error {
    let text = format!("The key {} cannot be read or made: {e}.", path.display());
    Error::unavailable("identity.key", text).with_source(e)
}

fn read(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!(
            "its mode is {mode:o}, so others can read it: set it to 600, or remove it to get a new one"
        );
        return Err(std::io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    std::io::Read::by_ref(&mut file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    bytes
        .try_into()
        .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, format!("it must hold {KEY_BYTES} bytes")))
}

fn create(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut key = [0; KEY_BYTES];
    let mut tag = [0; 8];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    getrandom::fill(&mut tag).map_err(std::io::Error::other)?;
    // Written whole under another name, then linked: a key file is never seen half-written, and linking
    // fails where another process was first.
    let draft = folder.join(format!(".token.{:016x}", u64::from_le_bytes(tag)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let outcome =
        file.write_all(&key).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&draft, path));
    let _ = std::fs::remove_file(&draft);
    match outcome {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Ok(()) => File::open(folder)?.sync_all(),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_for_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/token.key");
        let key = open(&path).unwrap();
        assert_eq!(open(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path().join("keys")).unwrap().count(), 1);
        let other = open(&dir.path().join("other/token.key")).unwrap();
        assert_ne!(other, key);
    }

    #[test]
    fn starting_side_by_side_gives_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/token.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_cut_or_readable_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.key");
        open(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(&path).unwrap_err().message.contains("mode is 644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0; 31]).unwrap();
        assert!(open(&path).unwrap_err().message.contains("must hold 32 bytes"));
    }
}
