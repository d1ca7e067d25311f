//! A qcow2 that needs nothing but itself, after QEMU's `docs/interop/qcow2.txt`.
//!
//! Beyond the header, the tables that map the disk are walked, so that an image cut off in transit is found
//! here and not by the guest. Each table is read once, so the work is bounded by the length of the file.

use super::{MAX_VIRTUAL_SIZE, Refusal, bytes_at, refuse};
use std::io::{Read, Seek};

const HEADER_V2: u64 = 72;
const HEADER_V3: u64 = 104;
/// QEMU's own bounds.
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65_536;
const MAX_EXTENSIONS: usize = 64;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const EXT_END: u32 = 0;
const EXT_DATA_FILE: u32 = 0x4441_5441;
const EXT_ENCRYPTION: u32 = 0x0537_be77;

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

struct Header {
    cluster_bits: u32,
    size: u64,
    l1_entries: u64,
    l1_offset: u64,
    /// Bytes of one entry of a second-level table.
    entry: u64,
}

/// The size of the disk, if all is well.
pub(super) fn check(content: &mut (impl Read + Seek), length: u64) -> Result<u64, Refusal> {
    let header = header(content, length)?;
    let tables = first_level(content, length, &header)?;
    for table in tables {
        second_level(content, length, &header, table)?;
    }
    Ok(header.size)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn header(content: &mut (impl Read + Seek), length: u64) -> Result<Header, Refusal> {
    if length < HEADER_V2 {
        return refuse("The qcow2 header is truncated.");
    }
    let head = bytes_at(content, length, 0, 112)?;
    let version = be32(&head, 4);
    if !(2..=3).contains(&version) {
        return refuse(format!("qcow2 version {version} is not supported: use version 2 or 3."));
    }
    if version == 3 && length < HEADER_V3 {
        return refuse("The qcow2 header is truncated.");
    }
    if be64(&head, 8) != 0 || be32(&head, 16) != 0 {
        return refuse(
            "The qcow2 image has a backing file. Make it self-contained first: qemu-img convert -O qcow2 IN OUT.",
        );
    }
    let cluster_bits = be32(&head, 20);
    if !(9..=21).contains(&cluster_bits) {
        return refuse(format!(
            "The qcow2 image has clusters of 2^{cluster_bits} bytes: 2^9 to 2^21 are possible."
        ));
    }
    let cluster = 1_u64 << cluster_bits;
    let size = be64(&head, 24);
    if size == 0 || size > MAX_VIRTUAL_SIZE {
        return refuse("The qcow2 image's disk must be larger than 0 and at most 16 TiB.");
    }
    if be32(&head, 32) != 0 {
        return refuse("The qcow2 image is encrypted: upload it decrypted.");
    }
    let incompatible = if version == 3 { be64(&head, 72) } else { 0 };
    features(&head, version, incompatible)?;
    let header_length = if version == 3 { u64::from(be32(&head, 100)) } else { HEADER_V2 };
    if version == 3
        && (header_length < HEADER_V3 || !header_length.is_multiple_of(8) || header_length > cluster)
    {
        return refuse("The qcow2 header's length is out of range.");
    }
    if version == 3 && be32(&head, 96) > 6 {
        return refuse("The qcow2 image's refcounts are wider than 64 bits.");
    }
    extensions(content, length, header_length, cluster)?;
    let entry = if incompatible & EXTENDED_L2 == 0 { 8 } else { 16 };
    if entry == 16 && cluster_bits < 14 {
        return refuse("A qcow2 image with extended L2 entries needs clusters of at least 16 KiB.");
    }
    let header = Header {
        cluster_bits,
        size,
        l1_entries: u64::from(be32(&head, 36)),
        l1_offset: be64(&head, 40),
        entry,
    };
    let table = |name, offset: u64, bytes: u64, bound: u64| match offset.checked_add(bytes) {
        Some(end) if offset.is_multiple_of(cluster) && bytes <= bound && end <= length => Ok(()),
        _ => refuse(format!(
            "The qcow2 image is truncated or damaged: its {name} does not lie within the file."
        )),
    };
    table("L1 table", header.l1_offset, header.l1_entries * 8, MAX_L1_BYTES)?;
    table(
        "refcount table",
        be64(&head, 48),
        u64::from(be32(&head, 56)) << cluster_bits,
        MAX_REFCOUNT_TABLE_BYTES,
    )?;
    let snapshots = be32(&head, 60);
    // The smallest entry of the snapshot table has 40 bytes.
    table(
        "snapshot table",
        if snapshots == 0 { 0 } else { be64(&head, 64) },
        u64::from(snapshots) * 40,
        u64::from(MAX_SNAPSHOTS) * 40,
    )?;
    Ok(header)
}

fn features(head: &[u8], version: u32, incompatible: u64) -> Result<(), Refusal> {
    if incompatible & EXTERNAL_DATA != 0 {
        return refuse(
            "The qcow2 image keeps its data in another file. Make it self-contained first: qemu-img convert -O qcow2 IN OUT.",
        );
    }
    if incompatible & (DIRTY | CORRUPT) != 0 {
        return refuse(
            "The qcow2 image was not closed cleanly. Repair it first: qemu-img check -r all FILE.",
        );
    }
    if incompatible & !(COMPRESSION_TYPE | EXTENDED_L2) != 0 {
        return refuse("The qcow2 image needs features that are not known here.");
    }
    let has_type = version == 3 && be32(head, 100) >= 112;
    let compression = if has_type { head.get(104).copied().unwrap_or(0) } else { 0 };
    let flagged = incompatible & COMPRESSION_TYPE != 0;
    // 0 is zlib, 1 is zstd; the flag is set exactly for what is not zlib.
    if compression > 1 || flagged != (compression == 1) {
        return refuse("The qcow2 image's compression type is not known here.");
    }
    Ok(())
}

/// Extensions lie between the header and the end of the first cluster, each padded to 8 bytes.
fn extensions(
    content: &mut (impl Read + Seek),
    length: u64,
    header_length: u64,
    cluster: u64,
) -> Result<(), Refusal> {
    let area = bytes_at(content, length, header_length, cluster.saturating_sub(header_length))?;
    let mut at = 0_usize;
    for _ in 0..MAX_EXTENSIONS {
        if at + 8 > area.len() {
            return Ok(());
        }
        let (kind, size) = (be32(&area, at), be32(&area, at + 4) as usize);
        if kind == EXT_END {
            return Ok(());
        }
        if kind == EXT_DATA_FILE {
            return refuse("The qcow2 image names an external data file.");
        }
        if kind == EXT_ENCRYPTION {
            return refuse("The qcow2 image is encrypted: upload it decrypted.");
        }
        // At most 4 GiB and 1 << 21: no overflow on 64 bits.
        at += 8 + size.div_ceil(8) * 8;
        if at > area.len() {
            return refuse("The qcow2 image's header extensions do not end within its first cluster.");
        }
    }
    refuse("The qcow2 image has too many header extensions.")
}

/// Offsets of the second-level tables, each checked to lie within the file and to be named once.
fn first_level(content: &mut (impl Read + Seek), length: u64, header: &Header) -> Result<Vec<u64>, Refusal> {
    let cluster = 1_u64 << header.cluster_bits;
    let covered = cluster * (cluster / header.entry);
    if header.l1_entries < header.size.div_ceil(covered) {
        return refuse("The qcow2 image is damaged: its L1 table is smaller than its disk.");
    }
    let l1 = bytes_at(content, length, header.l1_offset, header.l1_entries * 8)?;
    let mut tables: Vec<u64> =
        l1.chunks_exact(8).map(|entry| be64(entry, 0) & OFFSET_MASK).filter(|offset| *offset != 0).collect();
    tables.sort_unstable();
    if tables.windows(2).any(|pair| pair[0] == pair[1]) {
        return refuse("The qcow2 image is damaged: two parts of its disk share one L2 table.");
    }
    if tables.iter().any(|offset| !offset.is_multiple_of(cluster) || offset.saturating_add(cluster) > length)
    {
        return refuse("The qcow2 image is truncated or damaged: an L2 table does not lie within the file.");
    }
    Ok(tables)
}

/// Checks that every cluster of data begins within the file. The last one may be shorter than a cluster.
fn second_level(
    content: &mut (impl Read + Seek),
    length: u64,
    header: &Header,
    offset: u64,
) -> Result<(), Refusal> {
    let cluster = 1_u64 << header.cluster_bits;
    let table = bytes_at(content, length, offset, cluster)?;
    let compressed_mask = (1_u64 << (62 - (header.cluster_bits - 8))) - 1;
    for at in (0..table.len()).step_by(usize::try_from(header.entry).unwrap_or(8)) {
        let entry = be64(&table, at);
        let data = if entry & COMPRESSED != 0 { entry & compressed_mask } else { entry & OFFSET_MASK };
        if data == 0 {
            continue;
        }
        if data >= length || (entry & COMPRESSED == 0 && !data.is_multiple_of(cluster)) {
            return refuse("The qcow2 image is truncated or damaged: data of its disk lies past its end.");
        }
    }
    Ok(())
}
