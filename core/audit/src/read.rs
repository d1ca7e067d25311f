//! Reading and verifying: every line where it was written, as it was written.

use crate::chain::{self, REMOVED, START};
use canopy_types::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line, bytes: far beyond what is written.
const MAX_LINE: u64 = 1 << 20;

/// One process's chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub lines: u64,
    /// The first line that is there; more than 0 where older files were removed.
    pub first: u64,
    /// The hash that it follows.
    pub follows: String,
    /// Hash of the newest line: keep it elsewhere to notice a shortened log.
    pub head: String,
    /// Whether the process ended in order. If not it runs, or was killed.
    pub ended: bool,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub chains: BTreeMap<String, Chain>,
    /// File and line of everything that is not as it was written.
    pub faults: Vec<String>,
}

/// The log's files, oldest first.
pub(crate) fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("audit-") && name.ends_with(".jsonl")
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Gives every line to `each`, oldest file first: the file, the line's number from 1, its text, and whether
/// the line is whole.
fn walk(dir: &Path, mut each: impl FnMut(&Path, u64, &str, bool)) -> Result<()> {
    let fault = |path: &Path, e: std::io::Error| {
        Error::unavailable("audit.read", format!("{}: cannot be read: {e}", path.display()))
    };
    for path in files(dir).map_err(|e| fault(dir, e))? {
        let mut reader = BufReader::new(File::open(&path).map_err(|e| fault(&path, e))?);
        for number in 1.. {
            let mut bytes = Vec::new();
            let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes);
            if read.map_err(|e| fault(&path, e))? == 0 {
                break;
            }
            let whole = bytes.last() == Some(&b'\n');
            let text = String::from_utf8_lossy(&bytes);
            each(&path, number, text.trim_end_matches('\n'), whole);
        }
    }
    Ok(())
}

/// The hash of a file's last line.
pub(crate) fn head_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE))).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rev().find_map(|line| Some(chain::open(line).ok()?.1.hash))
}

/// Checks every chain of a folder.
pub fn verify(dir: &Path) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut ends: BTreeMap<String, chain::Link> = BTreeMap::new();
    let mut removed: BTreeSet<String> = BTreeSet::new();
    walk(dir, |path, number, text, whole| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut fault = |what: &str| verified.faults.push(format!("{name}:{number}: {what}"));
        if !whole {
            return fault("is cut off: the process was killed here, or somebody shortened the file");
        }
        let link = match chain::open(text) {
            Ok((event, link)) => {
                if event["action"] == REMOVED {
                    let heads = event["heads"].as_array().into_iter().flatten();
                    removed.extend(heads.filter_map(|head| head.as_str().map(str::to_owned)));
                }
                link
            }
            Err(what) => return fault(&what),
        };
        if !name.contains(&link.process) {
            fault("is of another process");
        }
        match ends.get(&link.process) {
            Some(last) if last.sequence + 1 != link.sequence => {
                fault(&format!("is line {} after line {}", link.sequence, last.sequence));
            }
            Some(last) if last.hash != link.previous => fault("does not follow the line before it"),
            None if link.sequence == 0 && link.previous != START => fault("is not the first of its chain"),
            // Older files may have been removed, whole ones, by the bound on the log's size.
            None if link.sequence > 0 && number > 1 => fault("is not the first of its chain"),
            None if link.sequence > 0 && name.ends_with("-000000.jsonl") => {
                fault("is not the first of its chain");
            }
            _ => {}
        }
        let chain = verified.chains.entry(link.process.clone()).or_insert_with(|| Chain {
            first: link.sequence,
            follows: link.previous.clone(),
            ..Chain::default()
        });
        chain.lines += 1;
        chain.head.clone_from(&link.hash);
        chain.ended = link.end;
        ends.insert(link.process.clone(), link);
    })?;
    for (process, chain) in &verified.chains {
        if chain.first > 0 && !removed.contains(&chain.follows) {
            let what = format!(
                "process {process}: {} lines are gone, and no line says that they were removed",
                chain.first
            );
            verified.faults.push(what);
        }
    }
    if verified.chains.is_empty() {
        verified.faults.push(format!("{}: there is no line of an audit log", dir.display()));
    }
    Ok(verified)
}

/// Gives every readable event to `each`, oldest first.
pub fn lines(dir: &Path, mut each: impl FnMut(Value)) -> Result<()> {
    walk(dir, |_, _, text, _| {
        if let Ok(event) = serde_json::from_str(text) {
            each(event);
        }
    })
}
