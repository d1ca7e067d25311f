//! A line: eight hex digits of CRC-32, a blank, JSON.

use crate::Entry;
use canopy_types::{Error, Result};

/// Longest line that is read back, bytes: a checkpoint of some 300,000 hosts.
pub(crate) const MAX: usize = 256 << 20;

/// Room that is kept for the next line: a full round's.
const KEPT: usize = 256 << 10;

/// Makes `line` the entry's.
pub(crate) fn encode(entry: &Entry, line: &mut Vec<u8>) -> Result<()> {
    line.clear();
    line.shrink_to(KEPT);
    // The sum goes before what it is of.
    line.extend_from_slice(b"00000000 ");
    serde_json::to_writer(&mut *line, entry).map_err(|e| Error::internal("journal.serialise", e))?;
    let sum = format!("{:08x}", crc32fast::hash(&line[9..]));
    line[..8].copy_from_slice(sum.as_bytes());
    line.push(b'\n');
    Ok(())
}

/// `None` for what is no whole line of ours: the end of what was written before a crash.
pub(crate) fn decode(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = (line.get(..8)?, line.get(9..)?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (crc32fast::hash(json) == sum).then(|| serde_json::from_slice(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Round;

    #[test]
    fn a_line_comes_back_whole_or_not_at_all() {
        let entry = Entry::Round(Round { first: 7, ..Round::default() });
        let mut line = b"the line before".to_vec();
        encode(&entry, &mut line).unwrap();
        assert_eq!(decode(&line), Some(entry));
        for cut in 0..line.len() {
            assert_eq!(decode(&line[..cut]), None, "cut at {cut}");
        }
        for at in 0..line.len() - 1 {
            let mut bad = line.clone();
            bad[at] ^= 1;
            // Hex digits have two spellings and the blank is not looked at.
            assert!(decode(&bad).is_none() || at <= 8, "changed at {at}");
        }
    }
}
