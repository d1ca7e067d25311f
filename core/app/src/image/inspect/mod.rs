//! What an upload really is, read from its bytes alone, before anything that could act on it sees it.
//!
//! An image comes from a tenant and is later opened by QEMU on a host: a qcow2 that names a backing or a
//! data file would read the host's disk, and a "raw" image that begins like a qcow2 would do so as soon as
//! somebody lets QEMU guess. So the content must be of the stated format, and a qcow2 must keep to what a
//! self-contained disk needs. Pure: no file names, no processes; memory and reads are bounded by the file.

mod qcow2;

use std::io::{Read, Seek, SeekFrom};

/// Largest disk that an image may describe, bytes.
pub const MAX_VIRTUAL_SIZE: u64 = 16 << 40;

/// What the content must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A disk without a format: anything that is not recognised as another format.
    Raw,
    Qcow2,
    Iso,
    /// Kernels and ramdisks, which are never opened as disks.
    Any,
}

/// Formats that an image may state.
pub const DISK_FORMATS: [&str; 6] = ["ami", "ari", "aki", "raw", "qcow2", "iso"];

impl Expect {
    pub fn of(disk_format: &str) -> Option<Self> {
        match disk_format {
            "raw" | "ami" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            "iso" => Some(Self::Iso),
            "aki" | "ari" => Some(Self::Any),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Iso => "iso",
            Self::Any => "any",
        }
    }
}

#[derive(Debug)]
pub enum Refusal {
    /// The content is not what was stated, or must not be accepted; the text is for the client.
    Content(String),
    /// The file could not be read.
    Io(std::io::Error),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        // Reading past the end means that the content names more than there is.
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::Content("The image is truncated: it refers to data past its end.".into())
        } else {
            Self::Io(error)
        }
    }
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Content(text.into()))
}

/// Checks `length` bytes of content and answers the size of the disk a guest would see, if it is a disk.
pub fn inspect(
    content: &mut (impl Read + Seek),
    length: u64,
    expect: Expect,
) -> Result<Option<u64>, Refusal> {
    if length == 0 {
        return refuse("The upload is empty: an image needs at least one byte.");
    }
    if expect == Expect::Any {
        return Ok(None);
    }
    let found = recognise(content, length)?;
    match (expect, found) {
        (Expect::Raw, None) => {
            if length > MAX_VIRTUAL_SIZE {
                return refuse("The disk is larger than 16 TiB.");
            }
            Ok(Some(length))
        }
        (Expect::Iso, Some("iso")) => Ok(Some(length)),
        (Expect::Qcow2, Some("qcow2")) => qcow2::check(content, length).map(Some),
        (_, found) => refuse(format!(
            "The image's disk_format is '{}', but its content is in {} format. State the format it has.",
            expect.name(),
            found.unwrap_or("raw (no known)")
        )),
    }
}

/// At the start of the content.
const HEADS: [(&[u8], &str); 11] = [
    (b"QFI\xfb", "qcow2"),
    (b"QED\0", "qed"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"LUKS\xba\xbe", "luks"),
    (b"WithoutFreeSpace", "parallels"),
    (b"WithouFreSpacExt", "parallels"),
    (b"OOOM", "cow"),
];

const SECTOR: u64 = 512;

/// The format that the content shows by its marks, or `None` for a plain disk (an MBR or GPT is plain).
fn recognise(content: &mut (impl Read + Seek), length: u64) -> Result<Option<&'static str>, Refusal> {
    let head = bytes_at(content, length, 0, 64 << 10)?;
    if let Some((_, name)) = HEADS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Ok(Some(name));
    }
    // VirtualBox: the signature follows 64 bytes of free text.
    if head.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Ok(Some("vdi"));
    }
    // ISO 9660: a volume descriptor in each of the first sectors from 16 on.
    if (0..3).any(|n| head.get(0x8001 + n * 2048..0x8006 + n * 2048) == Some(b"CD001")) {
        return Ok(Some("iso"));
    }
    // Fixed VHD and DMG carry their marks at the end only.
    if length >= SECTOR {
        let tail = bytes_at(content, length, length - SECTOR, SECTOR)?;
        if tail.starts_with(b"conectix") {
            return Ok(Some("vhd"));
        }
        if tail.starts_with(b"koly") {
            return Ok(Some("dmg"));
        }
    }
    Ok(None)
}

/// Up to `count` bytes from `offset`, fewer where the content ends.
fn bytes_at(
    content: &mut (impl Read + Seek),
    length: u64,
    offset: u64,
    count: u64,
) -> Result<Vec<u8>, Refusal> {
    let count = count.min(length.saturating_sub(offset));
    content.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
    content.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
