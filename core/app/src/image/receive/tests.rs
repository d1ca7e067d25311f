use super::*;
use std::path::Path;

fn body(chunks: Vec<Result<Bytes>>) -> Body {
    futures::stream::iter(chunks).boxed()
}

fn of(text: &'static str) -> Body {
    body(vec![Ok(Bytes::from_static(text.as_bytes()))])
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries.flatten().map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
    })
}

#[tokio::test]
async fn content_is_hashed_stored_once_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    for _ in 0..2 {
        let placed = blobs.receive(&mut of("abc"), Some(3), 10, Expect::Raw).await.unwrap();
        let content = &placed.content;
        assert_eq!(content.checksum, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(content.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(content.os_hash_value.starts_with("ddaf35a193617aba"));
        assert_eq!((content.size, content.virtual_size), (3, Some(3)));
        assert_eq!(std::fs::read(blobs.path(&content.digest)).unwrap(), b"abc");
        assert_eq!(blobs.read(&content.digest).await.unwrap().1, 3);
    }
    assert_eq!(files(dir.path()), 1);
}

#[tokio::test]
async fn what_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let broken = || vec![Ok(Bytes::from_static(b"abc")), Err(Error::bad_request("gone", "gone"))];
    let cases = [
        (body(broken()), None, 100, Expect::Raw, Kind::BadRequest),
        (of("abcdef"), None, 5, Expect::Raw, Kind::TooLarge),
        (of("abc"), Some(500), 100, Expect::Raw, Kind::TooLarge),
        (of("abc"), Some(4), 100, Expect::Raw, Kind::BadRequest),
        (of("abc"), None, 100, Expect::Qcow2, Kind::UnsupportedMediaType),
        (of("QFI\u{fb}"), None, 100, Expect::Qcow2, Kind::UnsupportedMediaType),
        (of(""), None, 100, Expect::Any, Kind::UnsupportedMediaType),
    ];
    for (mut body, declared, limit, expect, kind) in cases {
        let error = blobs.receive(&mut body, declared, limit, expect).await.err().unwrap();
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(files(dir.path()), 0);
    }
}

#[tokio::test]
async fn an_upload_whose_caller_goes_away_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let mut endless =
        futures::stream::iter([Ok(Bytes::from_static(b"abc"))]).chain(futures::stream::pending()).boxed();
    let cut =
        tokio::time::timeout(Duration::from_millis(50), blobs.receive(&mut endless, None, 100, Expect::Raw));
    assert!(cut.await.is_err());
    for _ in 0..500 {
        if files(dir.path()) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the half-received image is still there");
}

#[tokio::test]
async fn opening_removes_what_a_stopped_process_left() {
    let dir = tempfile::tempdir().unwrap();
    drop(Blobs::open(dir.path()).unwrap());
    std::fs::write(dir.path().join("tmp/0"), "half").unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    assert_eq!(files(dir.path()), 0);
    blobs.receive(&mut of("abc"), None, 10, Expect::Any).await.unwrap();
}

#[tokio::test]
async fn garbage_collection_leaves_blobs_that_are_held_or_were_stored_anew() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let placed = blobs.receive(&mut of("abc"), None, 10, Expect::Raw).await.unwrap();
    let seen = blobs.find(&placed.content.digest).unwrap();
    assert!(!blobs.remove(&seen).unwrap(), "held");
    drop(placed);
    drop(blobs.receive(&mut of("abc"), None, 10, Expect::Raw).await.unwrap());
    assert!(!blobs.remove(&seen).unwrap(), "stored anew");
    let found = blobs.list().unwrap();
    assert_eq!(found.len(), 1);
    assert!(blobs.remove(&found[0]).unwrap());
    assert!(!blobs.remove(&found[0]).unwrap(), "gone");
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn names_that_are_no_digest_reach_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    for name in ["", "..", "../../etc/passwd", &"A".repeat(64), &"é".repeat(32)] {
        assert!(blobs.find(name).is_none());
        assert!(blobs.read(name).await.is_err());
        assert!(blobs.path(name).starts_with(dir.path().join("sha256")));
    }
}
