use super::*;
use std::io::Cursor;

/// A valid, empty qcow2 v3 of 1 MiB with 64 KiB clusters: header, refcount table, refcount block, L1, L2.
fn qcow2() -> Vec<u8> {
    let cluster = 64 << 10;
    let mut image = vec![0; 6 * cluster];
    put(&mut image, 0, b"QFI\xfb");
    put32(&mut image, 4, 3);
    put32(&mut image, 20, 16);
    put64(&mut image, 24, 1 << 20);
    put32(&mut image, 36, 1);
    put64(&mut image, 40, 3 * cluster as u64);
    put64(&mut image, 48, cluster as u64);
    put32(&mut image, 56, 1);
    put32(&mut image, 96, 4);
    put32(&mut image, 100, 112);
    // L1[0] → the L2 table in cluster 4; L2[0] → data in cluster 5.
    put64(&mut image, 3 * cluster, (4 * cluster as u64) | (1 << 63));
    put64(&mut image, 4 * cluster, (5 * cluster as u64) | (1 << 63));
    image
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put32(image: &mut [u8], at: usize, value: u32) {
    put(image, at, &value.to_be_bytes());
}

fn put64(image: &mut [u8], at: usize, value: u64) {
    put(image, at, &value.to_be_bytes());
}

fn look(bytes: &[u8], expect: Expect) -> Result<Option<u64>, String> {
    inspect(&mut Cursor::new(bytes), bytes.len() as u64, expect).map_err(|refusal| match refusal {
        Refusal::Content(text) => text,
        Refusal::Io(error) => panic!("a cursor cannot fail: {error}"),
    })
}

/// The good image with one change must be refused, with `says` in the text.
fn refused(says: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut image = qcow2();
    change(&mut image);
    let text = look(&image, Expect::Qcow2).expect_err(says);
    assert!(text.contains(says), "{text:?} lacks {says:?}");
}

#[test]
fn a_good_qcow2_tells_its_virtual_size() {
    assert_eq!(look(&qcow2(), Expect::Qcow2), Ok(Some(1 << 20)));
    let mut second = qcow2();
    put32(&mut second, 4, 2);
    // Version 2 ends at byte 72: what follows is an extension area.
    second[72..112].fill(0);
    assert_eq!(look(&second, Expect::Qcow2), Ok(Some(1 << 20)));
}

#[test]
fn a_qcow2_that_reaches_outside_is_refused() {
    refused("backing file", |image| {
        put64(image, 8, 512);
        put32(image, 16, 11);
        put(image, 512, b"/etc/passwd");
    });
    refused("another file", |image| put64(image, 72, 1 << 2));
    refused("external data file", |image| {
        put32(image, 112, 0x4441_5441);
        put32(image, 116, 11);
    });
    refused("encrypted", |image| put32(image, 32, 1));
    refused("encrypted", |image| put32(image, 112, 0x0537_be77));
}

#[test]
fn a_qcow2_with_unknown_or_unsafe_features_is_refused() {
    refused("not known here", |image| put64(image, 72, 1 << 5));
    refused("not known here", |image| put64(image, 72, 1 << 63));
    refused("closed cleanly", |image| put64(image, 72, 1));
    refused("closed cleanly", |image| put64(image, 72, 2));
    refused("compression type", |image| put64(image, 72, 1 << 3));
    refused("compression type", |image| image[104] = 7);
    refused("version 1", |image| put32(image, 4, 1));
    refused("version 4", |image| put32(image, 4, 4));
}

#[test]
fn a_qcow2_with_sizes_out_of_range_is_refused() {
    refused("clusters of", |image| put32(image, 20, 8));
    refused("clusters of", |image| put32(image, 20, 63));
    refused("16 TiB", |image| put64(image, 24, 0));
    refused("16 TiB", |image| put64(image, 24, (16 << 40) + 1));
    refused("16 TiB", |image| put64(image, 24, u64::MAX));
    refused("L1 table", |image| put64(image, 24, 1 << 40));
    refused("L1 table", |image| put32(image, 36, u32::MAX));
    refused("L1 table", |image| put64(image, 40, u64::MAX));
    refused("L1 table", |image| put64(image, 40, 1));
    refused("refcount table", |image| put32(image, 56, u32::MAX));
    refused("snapshot table", |image| put32(image, 60, u32::MAX));
    refused("header's length", |image| put32(image, 100, 100));
    refused("header's length", |image| put32(image, 100, 1 << 30));
    refused("64 bits", |image| put32(image, 96, 7));
    refused("first cluster", |image| {
        put32(image, 112, 7);
        put32(image, 116, u32::MAX);
    });
    refused("too many", |image| {
        for n in 0..65 {
            put32(image, 112 + n * 8, 7);
        }
    });
}

#[test]
fn a_truncated_qcow2_is_refused_wherever_it_was_cut() {
    let image = qcow2();
    for cut in [4, 71, 103, 64 << 10, 2 << 16, 3 << 16, (3 << 16) + 7, 4 << 16, (5 << 16) - 1, 5 << 16] {
        let text = look(&image[..cut], Expect::Qcow2).expect_err("cut");
        assert!(text.contains("truncated"), "{cut}: {text}");
    }
    assert!(look(&image[..(5 << 16) + 1], Expect::Qcow2).is_ok(), "the last cluster may be short");
}

#[test]
fn tables_that_loop_are_refused_rather_than_read_again_and_again() {
    refused("share one L2", |image| {
        put32(image, 36, 2);
        put64(image, (3 << 16) + 8, 4 << 16);
    });
    refused("past its end", |image| put64(image, (4 << 16) + 8, (5 << 16) + 512));
    refused("past its end", |image| put64(image, (4 << 16) + 8, (1 << 62) | (1 << 40)));
}

#[test]
fn content_must_be_of_the_stated_format() {
    let raw = vec![7; 4096];
    assert_eq!(look(&raw, Expect::Raw), Ok(Some(4096)));
    assert!(look(&raw, Expect::Qcow2).is_err());
    assert!(look(&raw, Expect::Iso).is_err());
    assert_eq!(look(&raw, Expect::Any), Ok(None));
    assert!(look(&[], Expect::Any).is_err());
    for (mark, name) in HEADS {
        let mut image = vec![0; 4096];
        put(&mut image, 0, mark);
        assert!(look(&image, Expect::Raw).expect_err(name).contains(name));
    }
    for (at, mark, name) in [
        (0x40, &[0x7f_u8, 0x10, 0xda, 0xbe][..], "vdi"),
        (0x8001, b"CD001", "iso"),
        (0x8801, b"CD001", "iso"),
        ((80 << 10) - 512, b"conectix", "vhd"),
        ((80 << 10) - 512, b"koly", "dmg"),
    ] {
        let mut image = vec![0; 80 << 10];
        put(&mut image, at, mark);
        assert!(look(&image, Expect::Raw).expect_err(name).contains(name), "{name}");
    }
}

#[test]
fn a_partitioned_disk_is_raw() {
    let mut image = vec![0; 4096];
    put(&mut image, 510, &[0x55, 0xaa]);
    put(&mut image, 512, b"EFI PART");
    assert_eq!(look(&image, Expect::Raw), Ok(Some(4096)));
}

/// A small generator with a fixed seed: the same hostile inputs at each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn no_input_makes_it_panic_or_read_without_end() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let good = qcow2();
    for round in 0..3_000 {
        let mut image = good.clone();
        // Headers and tables take most of the hits.
        for _ in 0..=(noise.next() % 6) {
            let region = [0_u64, 112, 3 << 16, 4 << 16][(noise.next() % 4) as usize];
            let at = ((region + noise.next() % 128) as usize).min(image.len() - 1);
            image[at] = noise.next() as u8;
        }
        image.truncate((noise.next() % (good.len() as u64 * 2)) as usize);
        for expect in [Expect::Raw, Expect::Qcow2, Expect::Iso, Expect::Any] {
            let outcome = look(&image, expect);
            if let Ok(Some(size)) = outcome {
                assert!(size <= MAX_VIRTUAL_SIZE, "round {round}");
            }
        }
    }
}

/// Images that QEMU's own tool makes must pass; skipped where the tool is not installed.
#[test]
fn images_of_qemu_img_are_accepted() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, (0..3_000_000_u32).map(|n| (n / 7) as u8).collect::<Vec<u8>>()).expect("written");
    for (name, options) in [
        ("plain", &["-O", "qcow2"][..]),
        ("old", &["-O", "qcow2", "-o", "compat=0.10"]),
        ("compressed", &["-O", "qcow2", "-c"]),
        ("small", &["-O", "qcow2", "-o", "cluster_size=512"]),
        ("extended", &["-O", "qcow2", "-o", "extended_l2=on"]),
    ] {
        let out = dir.path().join(name);
        let status =
            std::process::Command::new("qemu-img").arg("convert").args(options).arg(&raw).arg(&out).status();
        let Ok(status) = status else { return };
        assert!(status.success(), "{name}");
        let bytes = std::fs::read(&out).expect("read");
        assert_eq!(look(&bytes, Expect::Qcow2), Ok(Some(3_000_320)), "{name}");
    }
}
