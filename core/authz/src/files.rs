//! A bundle's files: the schema and every `*.cedar` of one folder, with bounds.

use crate::bundle::SCHEMA;
use canopy_types::{Error, Kind, Result};
use std::io::Read;
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
        files.push((name.to_owned(), text(&path)?));
        if files.len() > MAX_FILES {
            return Err(invalid(format!("{}: holds more than {MAX_FILES} policy files", dir.display())));
        }
    }
    files.sort();
    bounded(&files)?;
    Ok(files)
}

/// The text of a file, of which no more is read than may be in it: a link may lead to what has no end.
pub(crate) fn text(path: &Path) -> Result<String> {
    let fault = |e: std::io::Error| invalid(format!("{}: cannot be read: {e}", path.display()));
    // Asked before it is opened, which waits for a writer where it is a pipe.
    if !std::fs::metadata(path).map_err(fault)?.is_file() {
        return Err(invalid(format!("{}: is not a file", path.display())));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fault)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(fault)?;
    if text.len() as u64 > MAX_FILE {
        return Err(invalid(format!("{}: is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(text)
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
