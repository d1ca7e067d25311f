//! A bundle's files: the schema and every `*.cedar` of one folder, with bounds.

use crate::bundle::SCHEMA;
use canopy_types::{Error, Kind, Result};
use std::path::Path;

/// Largest policy or schema file, bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Most files in a bundle.
pub const MAX_FILES: usize = 256;
/// Largest bundle, bytes of all its files.
pub const MAX_BUNDLE: usize = 4 << 20;

/// Name and text of each file, sorted by name.
pub type Files = Vec<(String, String)>;

/// Whether a bundle has a file of this name.
pub fn belongs(name: &str) -> bool {
    name == SCHEMA || (name.ends_with(".cedar") && !name.starts_with('.'))
}

/// The files of a folder: the schema and every `*.cedar`, by name.
pub fn read_dir(dir: &Path) -> Result<Files> {
    let fault = |path: &Path, e: std::io::Error| invalid(format!("{}: cannot be read: {e}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| fault(dir, e))? {
        let path = entry.map_err(|e| fault(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !belongs(name) {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|e| fault(&path, e))?.len();
        if size > MAX_FILE {
            return Err(invalid(format!("{}: is larger than {MAX_FILE} bytes", path.display())));
        }
        files.push((name.to_owned(), std::fs::read_to_string(&path).map_err(|e| fault(&path, e))?));
        if files.len() > MAX_FILES {
            return Err(invalid(format!("{}: holds more than {MAX_FILES} policy files", dir.display())));
        }
    }
    files.sort();
    bounded(&files)?;
    Ok(files)
}

/// Refuses a bundle beyond the bounds, wherever its files come from.
pub fn bounded(files: &[(String, String)]) -> Result<()> {
    if let Some((name, _)) = files.iter().find(|(_, text)| text.len() as u64 > MAX_FILE) {
        return Err(invalid(format!("{name}: is larger than {MAX_FILE} bytes")));
    }
    if files.len() > MAX_FILES {
        return Err(invalid(format!("the bundle holds more than {MAX_FILES} policy files")));
    }
    if files.iter().map(|(_, text)| text.len()).sum::<usize>() > MAX_BUNDLE {
        return Err(invalid(format!("the bundle is larger than {MAX_BUNDLE} bytes")));
    }
    Ok(())
}

pub(crate) fn invalid(message: String) -> Error {
    Error::new(Kind::Unprocessable, "policy.invalid", message)
}
