//! A small ISO 9660 writer: a tree of files in memory becomes one image.
//!
//! Two directory trees share the same data: the primary one with Rock Ridge (Linux, BSD: long
//! lower-case names), and Joliet (Windows, and readers without Rock Ridge). Written by hand because the
//! crates that exist are early releases with far more than a config drive needs, and a config drive must
//! be the same bytes for the same content. Layout, in sectors of 2 KiB:
//!
//! ```text
//! 0-15 unused | 16 primary | 17 Joliet | 18 terminator | 19-22 path tables (2 × little, big endian)
//! 23… primary directories | Joliet directories | files
//! ```

use canopy_types::Error;
use std::collections::BTreeMap;

const SECTOR: usize = 2048;
const FIRST_DIRECTORY: usize = 23;
/// Joliet's limit on a name, in characters.
pub const NAME_MAX: usize = 64;
/// Levels below the root that ISO 9660 allows.
const DEPTH_MAX: usize = 7;
/// Far beyond a config drive: 64 MiB.
const TOTAL_MAX: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    RockRidge,
    Joliet,
}

struct Directory {
    parent: usize,
    name: String,
    directories: Vec<usize>,
    files: Vec<(String, usize)>,
}

/// Extent of one directory or file: first sector and length in bytes.
#[derive(Clone, Copy, Default)]
struct Extent {
    sector: usize,
    length: usize,
}

fn bad(why: String) -> Error {
    Error::internal("agent.iso9660", std::io::Error::other(why))
}

/// Builds the image. Paths are relative, of plain names separated by `/`.
pub fn build(label: &str, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    if total > TOTAL_MAX || label.len() > 16 || !label.is_ascii() {
        return Err(bad(format!("{total} bytes under label {label}")));
    }
    let directories = arrange(files)?;
    let mut next = FIRST_DIRECTORY;
    let mut place = |length: usize| {
        let extent = Extent { sector: next, length };
        next += length.div_ceil(SECTOR);
        extent
    };
    let [primary, joliet] = [Tree::RockRidge, Tree::Joliet].map(|tree| {
        directories.iter().map(|d| place(directory_size(d, &directories, tree))).collect::<Vec<_>>()
    });
    // Equal files are stored apart: libarchive takes two names of one extent for a hard link and then
    // extracts only the first.
    let contents: Vec<Extent> = files.iter().map(|(_, bytes)| place(bytes.len())).collect();
    let sectors = next;

    let mut image = vec![0; sectors * SECTOR];
    for (tree, extents, descriptor, table) in
        [(Tree::RockRidge, &primary, 16, 19), (Tree::Joliet, &joliet, 17, 21)]
    {
        let (little, big) = path_tables(&directories, extents, tree);
        if little.len() > SECTOR {
            return Err(bad("too many directories".into()));
        }
        put(&mut image, table, &little);
        put(&mut image, table + 1, &big);
        put(&mut image, descriptor, &volume(label, tree, sectors, extents[0], table, little.len()));
        for (index, extent) in extents.iter().enumerate() {
            put(&mut image, extent.sector, &entries(&directories, index, extents, &contents, tree));
        }
    }
    put(&mut image, 18, b"\xffCD001\x01");
    for (extent, (_, bytes)) in contents.iter().zip(files) {
        put(&mut image, extent.sector, bytes);
    }
    Ok(image)
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    let at = sector * SECTOR;
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The directories, breadth first as the path table wants them, the root first; names in order.
fn arrange(files: &[(String, Vec<u8>)]) -> Result<Vec<Directory>, Error> {
    let mut tree: BTreeMap<Vec<&str>, BTreeMap<&str, usize>> =
        BTreeMap::from([(Vec::new(), BTreeMap::new())]);
    for (index, (path, _)) in files.iter().enumerate() {
        let parts: Vec<&str> = path.split('/').collect();
        let plain = |name: &&str| {
            !name.is_empty()
                && name.len() <= NAME_MAX
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-=".contains(&b))
                && !name.bytes().all(|b| b == b'.')
        };
        if !parts.iter().all(plain) || parts.len() > DEPTH_MAX {
            return Err(bad(format!("path {path}")));
        }
        let Some((name, dirs)) = parts.split_last() else { continue };
        for depth in 0..=dirs.len() {
            tree.entry(dirs[..depth].to_vec()).or_default();
        }
        if tree.entry(dirs.to_vec()).or_default().insert(name, index).is_some() {
            return Err(bad(format!("path {path} twice")));
        }
    }
    let mut paths: Vec<&Vec<&str>> = tree.keys().collect();
    paths.sort_by_key(|path| (path.len(), *path));
    let place = |path: &[&str]| paths.iter().position(|p| p.as_slice() == path).unwrap_or(0);
    let mut directories: Vec<Directory> = paths
        .iter()
        .map(|path| Directory {
            parent: path.split_last().map_or(0, |(_, parent)| place(parent)),
            name: path.last().map_or(String::new(), |name| (*name).to_owned()),
            directories: Vec::new(),
            files: tree[*path].iter().map(|(name, index)| ((*name).to_owned(), *index)).collect(),
        })
        .collect();
    for index in 1..directories.len() {
        let parent = directories[index].parent;
        if directories[parent].files.iter().any(|(name, _)| *name == directories[index].name) {
            return Err(bad(format!("{} is both file and directory", directories[index].name)));
        }
        directories[parent].directories.push(index);
    }
    Ok(directories)
}

/// The identifier in the directory record. In the primary tree it is a unique 8.3 name made from the
/// position, since every reader that shows it without Rock Ridge reads Joliet.
fn identifier(name: &str, position: usize, directory: bool, tree: Tree) -> Vec<u8> {
    match tree {
        Tree::Joliet if directory => utf16(name),
        Tree::Joliet => utf16(&format!("{name};1")),
        Tree::RockRidge if directory => format!("D{position:07}").into_bytes(),
        Tree::RockRidge => format!("F{position:07}.;1").into_bytes(),
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn both16(value: usize) -> [u8; 4] {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], b[0], b[1]]
}

fn both32(value: usize) -> [u8; 8] {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    let mut out = [0; 8];
    out[..4].copy_from_slice(&value.to_le_bytes());
    out[4..].copy_from_slice(&value.to_be_bytes());
    out
}

/// Rock Ridge: owner root, readable by all (the mount decides), and the real name.
fn rock_ridge(name: Option<&str>, directory: bool, root: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if root {
        out.extend_from_slice(b"SP\x07\x01\xbe\xef\x00");
    }
    out.extend_from_slice(b"PX\x24\x01");
    for value in [if directory { 0o040_555 } else { 0o100_444 }, if directory { 2 } else { 1 }, 0, 0] {
        out.extend(both32(value));
    }
    if root {
        out.extend_from_slice(b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A");
    }
    if let Some(name) = name {
        out.extend_from_slice(b"NM");
        out.push(u8::try_from(name.len() + 5).unwrap_or(u8::MAX));
        out.extend_from_slice(b"\x01\x00");
        out.extend_from_slice(name.as_bytes());
    }
    out
}

fn record(identifier: &[u8], extent: Extent, directory: bool, extra: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(both32(extent.sector));
    out.extend(both32(if directory { extent.length.next_multiple_of(SECTOR) } else { extent.length }));
    // 1980-01-01: the same content is the same image.
    out.extend_from_slice(&[80, 1, 1, 0, 0, 0, 0, if directory { 2 } else { 0 }, 0, 0]);
    out.extend(both16(1));
    out.push(u8::try_from(identifier.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(identifier);
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
    out.extend_from_slice(extra);
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
    out[0] = u8::try_from(out.len()).unwrap_or(u8::MAX);
    out
}

/// The records of one directory; none crosses a sector.
fn entries(
    directories: &[Directory],
    index: usize,
    extents: &[Extent],
    contents: &[Extent],
    tree: Tree,
) -> Vec<u8> {
    let this = &directories[index];
    let extra = |name: Option<&str>, directory, root| match tree {
        Tree::RockRidge => rock_ridge(name, directory, root),
        Tree::Joliet => Vec::new(),
    };
    let extent_of = |d: usize| extents.get(d).copied().unwrap_or_default();
    let mut named: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for &d in &this.directories {
        let name = &directories[d].name;
        let id = identifier(name, d, true, tree);
        named.push((id.clone(), record(&id, extent_of(d), true, &extra(Some(name), true, false))));
    }
    for (name, f) in &this.files {
        let id = identifier(name, *f, false, tree);
        let extent = contents.get(*f).copied().unwrap_or_default();
        named.push((id.clone(), record(&id, extent, false, &extra(Some(name), false, false))));
    }
    named.sort();
    let mut out = record(&[0], extent_of(index), true, &extra(None, true, index == 0));
    let dots = record(&[1], extent_of(this.parent), true, &extra(None, true, false));
    for bytes in std::iter::once(dots).chain(named.into_iter().map(|(_, bytes)| bytes)) {
        if out.len() % SECTOR + bytes.len() > SECTOR {
            out.resize(out.len().next_multiple_of(SECTOR), 0);
        }
        out.extend(bytes);
    }
    out
}

/// The length does not depend on where things are, so it is known before they are placed.
fn directory_size(this: &Directory, directories: &[Directory], tree: Tree) -> usize {
    let index = directories.iter().position(|d| std::ptr::eq(d, this)).unwrap_or(0);
    entries(directories, index, &[], &[], tree).len()
}

fn path_tables(directories: &[Directory], extents: &[Extent], tree: Tree) -> (Vec<u8>, Vec<u8>) {
    let (mut little, mut big) = (Vec::new(), Vec::new());
    for (index, (directory, extent)) in directories.iter().zip(extents).enumerate() {
        let id = if index == 0 { vec![0] } else { identifier(&directory.name, index, true, tree) };
        let sector = u32::try_from(extent.sector).unwrap_or(u32::MAX);
        let parent = u16::try_from(directory.parent + 1).unwrap_or(u16::MAX);
        let head = [u8::try_from(id.len()).unwrap_or(u8::MAX), 0];
        for (out, sector, parent) in [
            (&mut little, sector.to_le_bytes(), parent.to_le_bytes()),
            (&mut big, sector.to_be_bytes(), parent.to_be_bytes()),
        ] {
            out.extend_from_slice(&head);
            out.extend_from_slice(&sector);
            out.extend_from_slice(&parent);
            out.extend_from_slice(&id);
            if !out.len().is_multiple_of(2) {
                out.push(0);
            }
        }
    }
    (little, big)
}

fn volume(label: &str, tree: Tree, sectors: usize, root: Extent, table: usize, table_len: usize) -> Vec<u8> {
    let joliet = tree == Tree::Joliet;
    // Text fields are padded with spaces, in Joliet with 16-bit ones.
    let text = |value: &str, length: usize| {
        let mut out = if joliet { utf16(value) } else { value.as_bytes().to_vec() };
        while out.len() < length {
            if joliet && out.len() + 1 < length {
                out.push(0);
            }
            out.push(b' ');
        }
        out
    };
    let mut out = vec![if joliet { 2 } else { 1 }];
    out.extend_from_slice(b"CD001\x01\x00");
    out.extend(text("", 32));
    out.extend(text(label, 32));
    out.extend([0; 8]);
    out.extend(both32(sectors));
    let mut escapes = [0; 32];
    if joliet {
        // UCS-2 level 3.
        escapes[..3].copy_from_slice(b"%/E");
    }
    out.extend(escapes);
    out.extend(both16(1));
    out.extend(both16(1));
    out.extend(both16(SECTOR));
    out.extend(both32(table_len));
    let table = u32::try_from(table).unwrap_or(u32::MAX);
    out.extend(table.to_le_bytes());
    out.extend([0; 4]);
    out.extend((table + 1).to_be_bytes());
    out.extend([0; 4]);
    out.extend(record(&[0], root, true, &[]));
    for length in [128, 128, 128, 128, 37, 37, 37] {
        out.extend(text("", length));
    }
    for _ in 0..4 {
        out.extend_from_slice(b"0000000000000000\x00");
    }
    out.extend_from_slice(&[1, 0]);
    out
}

#[cfg(test)]
pub mod reader {
    //! Reads an image back, by the other end of the standard: from the root record down.
    use super::SECTOR;
    use std::collections::BTreeMap;

    fn le(bytes: &[u8]) -> usize {
        u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
    }

    /// Path to content, by the tree of descriptor 16 (Rock Ridge) or 17 (Joliet).
    pub fn files(image: &[u8], descriptor: usize) -> BTreeMap<String, Vec<u8>> {
        let volume = &image[descriptor * SECTOR..(descriptor + 1) * SECTOR];
        assert_eq!(&volume[1..6], b"CD001");
        assert_eq!(le(&volume[80..]) * SECTOR, image.len());
        let mut found = BTreeMap::new();
        walk(image, &volume[156..190], "", descriptor == 17, &mut found);
        found
    }

    fn walk(image: &[u8], record: &[u8], at: &str, joliet: bool, found: &mut BTreeMap<String, Vec<u8>>) {
        let (sector, length) = (le(&record[2..]), le(&record[10..]));
        let data = &image[sector * SECTOR..sector * SECTOR + length];
        let mut position = 0;
        while position < data.len() {
            let n = usize::from(data[position]);
            if n == 0 {
                position = (position / SECTOR + 1) * SECTOR;
                continue;
            }
            let entry = &data[position..position + n];
            position += n;
            let id = &entry[33..33 + usize::from(entry[32])];
            if id == [0] || id == [1] {
                continue;
            }
            let name = if joliet {
                let units: Vec<u16> =
                    id.chunks(2).map(|c| u16::from_be_bytes(c.try_into().unwrap())).collect();
                String::from_utf16(&units).unwrap().trim_end_matches(";1").to_owned()
            } else {
                rock_ridge_name(&entry[33 + id.len() + usize::from(id.len().is_multiple_of(2))..])
            };
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            if entry[25] & 2 == 2 {
                walk(image, entry, &path, joliet, found);
            } else {
                let (sector, length) = (le(&entry[2..]), le(&entry[10..]));
                found.insert(path, image[sector * SECTOR..sector * SECTOR + length].to_vec());
            }
        }
    }

    fn rock_ridge_name(mut area: &[u8]) -> String {
        while area.len() >= 4 {
            let n = usize::from(area[2]);
            if &area[..2] == b"NM" {
                return String::from_utf8(area[5..n].to_vec()).unwrap();
            }
            area = &area[n..];
        }
        panic!("no Rock Ridge name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_trees_read_back_whole() {
        let long = "n".repeat(NAME_MAX);
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("openstack/latest/meta_data.json".into(), b"{}".to_vec()),
            ("openstack/latest/user_data".into(), vec![7; 5000]),
            ("openstack/2012-08-10/meta_data.json".into(), Vec::new()),
            (format!("ec2/{long}/{long}"), b"x".to_vec()),
        ];
        // A directory of several sectors.
        files.extend((0..60).map(|i| (format!("many/{i:02}-{}", "m".repeat(40)), vec![i])));
        let image = build("config-2", &files).unwrap();
        let expected: BTreeMap<_, _> = files.iter().cloned().collect();
        assert_eq!(reader::files(&image, 16), expected);
        assert_eq!(reader::files(&image, 17), expected);
        assert_eq!(&image[16 * SECTOR + 40..16 * SECTOR + 49], b"config-2 ");
        assert_eq!(image, build("config-2", &files).unwrap(), "same content, same bytes");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let one = |path: &str| build("config-2", &[(path.to_owned(), Vec::new())]);
        assert!(one("a/../b").is_err());
        assert!(one("/a").is_err());
        assert!(one(&"n".repeat(NAME_MAX + 1)).is_err());
        assert!(one("1/2/3/4/5/6/7/8").is_err());
        assert!(build("config-2", &[("a".into(), vec![]), ("a/b".into(), vec![])]).is_err());
        assert!(build("config-2", &[("a".into(), vec![]), ("a".into(), vec![])]).is_err());
        assert!(build("config-2", &[("a".into(), vec![0; TOTAL_MAX + 1])]).is_err());
        assert!(build("config-2", &[]).is_ok());
    }
}
