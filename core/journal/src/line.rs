//! A line: eight hex digits of CRC-32, a blank, JSON.

use crate::Entry;
use canopy_types::{Error, Result};

/// Longest line that is read back, bytes: a checkpoint of some 300,000 hosts.
pub(crate) const MAX: usize = 256 << 20;

pub(crate) fn encode(entry: &Entry) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(entry).map_err(|e| Error::internal("journal.serialise", e))?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
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
        let line = encode(&entry).unwrap();
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
