//! Fresh disks as `qemu-img` makes them, kept in memory.
//!
//! A disk that nobody has written to is the same bytes for the same image and size, so the program is started once for
//! them and not once a server. Only blocks that hold something are kept: some 12 KiB of a disk.

use crate::images::lock;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Disks kept; the one that was not asked for longest goes.
const KEPT: usize = 32;
/// Bytes of a file's blocks.
const BLOCK: usize = 4 << 10;
/// A file with more bytes is not kept.
const LONGEST: u64 = 4 << 20;

/// Options of `qemu-img create`, and bytes of the disk.
pub type Key = (Vec<OsString>, u64);

#[derive(Default)]
pub struct Fresh(Mutex<VecDeque<(Key, Arc<Disk>)>>);

impl Fresh {
    pub fn get(&self, key: &Key) -> Option<Arc<Disk>> {
        let mut kept = lock(&self.0);
        let at = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(at)?;
        let disk = Arc::clone(&found.1);
        kept.push_back(found);
        Some(disk)
    }

    pub fn keep(&self, key: Key, disk: Disk) {
        let mut kept = lock(&self.0);
        kept.retain(|(known, _)| *known != key);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, Arc::new(disk)));
    }
}

pub struct Disk {
    length: u64,
    /// Where they begin, and what they hold.
    blocks: Vec<(u64, Vec<u8>)>,
}

impl Disk {
    /// `None` for a file that is too long to be kept. Blocking.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length > LONGEST {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let blocks = (0_u64..).step_by(BLOCK).zip(bytes.chunks(BLOCK));
        let held = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        Ok(Some(Self { length, blocks: held.map(|(at, block)| (at, block.to_vec())).collect() }))
    }

    /// Makes the file, or begins it anew. Blocking.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        // As `qemu-img` makes it.
        let file = File::options().write(true).create(true).truncate(true).mode(0o644).open(path)?;
        for (at, block) in &self.blocks {
            file.write_all_at(block, *at)?;
        }
        file.set_len(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let mut bytes = vec![0_u8; 3 * BLOCK + 17];
        (bytes[5], bytes[2 * BLOCK], bytes[3 * BLOCK + 16]) = (1, 2, 3);
        for cut in [bytes.len(), 3 * BLOCK + 16, 2 * BLOCK, 1, 0] {
            std::fs::write(&one, &bytes[..cut]).unwrap();
            // Longer than it is to be, as an interrupted one may have left it.
            std::fs::write(&other, vec![9; 5 * BLOCK]).unwrap();
            Disk::read(&one).unwrap().unwrap().write(&other).unwrap();
            assert_eq!(std::fs::read(&other).unwrap(), bytes[..cut]);
        }
    }

    #[test]
    fn what_was_not_asked_for_longest_goes() {
        let fresh = Fresh::default();
        let key = |n: usize| (vec![OsString::from(n.to_string())], 0);
        for n in 0..KEPT {
            fresh.keep(key(n), Disk { length: 0, blocks: Vec::new() });
        }
        assert!(fresh.get(&key(0)).is_some());
        fresh.keep(key(KEPT), Disk { length: 0, blocks: Vec::new() });
        assert!(fresh.get(&key(0)).is_some() && fresh.get(&key(1)).is_none());
        assert_eq!(lock(&fresh.0).len(), KEPT);
    }
}
