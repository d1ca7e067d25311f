//! What an output was made from, as one number: it decides whether to build again.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Hash of all files under `folders` (names and bytes) and of `salt`. Build output is left out.
pub(super) fn of(folders: &[&Path], salt: &str) -> Result<String, String> {
    let mut files = BTreeMap::new();
    for folder in folders {
        collect(folder, &mut files)?;
    }
    // Not a digest for safety: a collision costs a stale plugin on a developer's machine.
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    for (path, bytes) in &files {
        path.hash(&mut hasher);
        bytes.hash(&mut hasher);
    }
    Ok(format!("{:016x} {} files\n", hasher.finish(), files.len()))
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_none_or(|extension| extension != "md") {
            let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            files.insert(path, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_a_renamed_file_or_another_toolchain_is_seen_and_output_is_not() {
        let root = std::env::temp_dir().join(format!("canopy-stamp-{}", std::process::id()));
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("a.rs"), "one").unwrap();
        let stamp = |salt: &str| of(&[&root], salt).unwrap();
        let first = stamp("1.95");
        fs::write(root.join("target/out"), "x").unwrap();
        assert_eq!(stamp("1.95"), first);
        assert_ne!(stamp("1.96"), first);
        fs::rename(root.join("a.rs"), root.join("b.rs")).unwrap();
        assert_ne!(stamp("1.95"), first);
        fs::rename(root.join("b.rs"), root.join("a.rs")).unwrap();
        fs::write(root.join("a.rs"), "two").unwrap();
        assert_ne!(stamp("1.95"), first);
        fs::remove_dir_all(&root).unwrap();
    }
}
