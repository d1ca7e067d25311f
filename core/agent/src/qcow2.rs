//! The few fields of a qcow2 header that the agent must trust before a guest uses the image.
//!
//! A backing file or an external data file named inside an image would make QEMU open any path of the
//! host. The image service refuses such uploads; the host looks again, because it is the one that opens
//! the file. Read here rather than by `qemu-img info`, which would itself open what the header names.

use canopy_types::{Error, Kind};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Longest name of a backing file, as the format has it.
const MAX_NAME: u64 = 1_023;
const EXTERNAL_DATA: u64 = 1 << 2;
/// Larger than any real disk (8 EiB would overflow signed arithmetic elsewhere): 1 PiB.
const MAX: u64 = 1 << 50;

fn bad(why: &str) -> Error {
    Error::new(Kind::Unprocessable, "agent.bad_image", format!("The image cannot be used: {why}."))
}

/// The virtual size in bytes of the image at `path`, whose format is `format` (`raw` or `qcow2`). Blocking.
pub fn virtual_size(path: &Path, format: &str) -> Result<u64, Error> {
    let mut file = File::open(path).map_err(|e| crate::files::error("read", path, e))?;
    let length = file.metadata().map_err(|e| crate::files::error("read", path, e))?.len();
    let size = match format {
        "raw" => length,
        "qcow2" => {
            let mut header = [0; 104];
            let mut have = 0;
            while have < header.len() {
                match file.read(&mut header[have..]).map_err(|e| crate::files::error("read", path, e))? {
                    0 => break,
                    n => have += n,
                }
            }
            parse(&header[..have])?
        }
        other => return Err(bad(&format!("the disk format {other} is not raw or qcow2"))),
    };
    if size == 0 || size > MAX {
        return Err(bad("its size is out of bounds"));
    }
    Ok(size)
}

/// The name of the file that a disk of ours stands on; `None` for one that stands alone. Blocking.
pub fn backing(path: &Path) -> Result<Option<String>, Error> {
    let failed = |e| crate::files::error("read", path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut header = [0; 24];
    file.read_exact(&mut header).map_err(|_| short())?;
    if !header.starts_with(b"QFI\xfb") {
        return Err(bad("it is not in qcow2 format"));
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let (offset, length) = (number(&header[8..16]), number(&header[16..20]));
    if offset == 0 {
        return Ok(None);
    }
    if length > MAX_NAME {
        return Err(bad("the name of its backing file is too long"));
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut name = Vec::new();
    file.take(length).read_to_end(&mut name).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&name).into_owned()))
}

/// The virtual size in bytes of a disk that the agent has made itself, backing file and all. `None` when there is
/// no such file. Blocking.
pub fn size_of_own(path: &Path) -> Result<Option<u64>, Error> {
    let mut header = [0; 32];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(crate::files::error("read", path, e)),
    }
    let size = header[24..32].try_into().map(u64::from_be_bytes).map_err(|_| short())?;
    if header[..4] == *b"QFI\xfb" { Ok(Some(size)) } else { Err(bad("it is not in qcow2 format")) }
}

fn parse(header: &[u8]) -> Result<u64, Error> {
    let u32_at = |at: usize| {
        header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes).ok_or_else(short)
    };
    let u64_at = |at: usize| {
        header.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes).ok_or_else(short)
    };
    if header.get(..4) != Some(b"QFI\xfb") {
        return Err(bad("it is not in qcow2 format"));
    }
    let version = u32_at(4)?;
    if !(2..=3).contains(&version) {
        return Err(bad("its qcow2 version is unknown"));
    }
    if u64_at(8)? != 0 {
        return Err(bad("it names a backing file"));
    }
    if version == 3 && u64_at(72)? & EXTERNAL_DATA != 0 {
        return Err(bad("it names an external data file"));
    }
    u64_at(24)
}

fn short() -> Error {
    bad("it is cut off")
}

/// An empty image of this many bytes that qemu opens too: header, reference counts and the first table, a cluster of
/// 64 KiB each. For tests of other modules.
#[cfg(test)]
pub fn header(size: u64) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut bytes = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let cluster = |n: usize| ((n * CLUSTER) as u64).to_be_bytes();
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    // Each entry of the first table is for 512 MiB.
    put(36, &u32::try_from(size.div_ceil(1 << 29)).unwrap_or(u32::MAX).to_be_bytes());
    put(40, &cluster(3));
    put(48, &cluster(1));
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &cluster(2));
    for n in 0..4 {
        put(2 * CLUSTER + 2 * n, &1_u16.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_self_contained_image_has_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        let size = |bytes: &[u8], format: &str| {
            std::fs::write(&path, bytes).unwrap();
            virtual_size(&path, format).map_err(|e| e.message)
        };
        assert_eq!(size(&header(1 << 30), "qcow2"), Ok(1 << 30));
        assert_eq!(size(b"abc", "raw"), Ok(3));
        assert!(size(b"", "raw").is_err());
        assert!(size(&header(u64::MAX), "qcow2").is_err());
        assert!(size(&header(1)[..20], "qcow2").is_err());
        assert!(size(b"abc", "vmdk").is_err());
        let mut backing = header(1);
        backing[15] = 1;
        assert_eq!(size(&backing, "qcow2"), Err("The image cannot be used: it names a backing file.".into()));
        let mut external = header(1);
        external[79] = 4;
        assert!(size(&external, "qcow2").unwrap_err().contains("external data file"));
    }
}
