//! The log as written, and everything that can be done to it afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_audit::{Event, Log, Options, Outcome, lines, verify};
use canopy_types::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn event(n: usize) -> Event {
    Event {
        at: Timestamp(1_700_000_000_000_000),
        request_id: format!("req-{n}"),
        action: "compute:servers:delete".into(),
        outcome: if n.is_multiple_of(2) { Outcome::Allowed } else { Outcome::Denied },
        policies: vec!["p".into()],
        bundle: "c0ffee".into(),
        user_id: "u".into(),
        project_id: "p".into(),
        domain_id: "d".into(),
        source: "192.0.2.1".into(),
        resource: "Server".into(),
        target_id: "x\n\"y".into(),
        target_project_id: "p".into(),
        question: json!({"principal": {"user": "u"}}),
        left_out: 0,
    }
}

fn options(dir: &Path, file_bytes: u64, total_bytes: u64) -> Options {
    Options { dir: dir.to_owned(), file_bytes, total_bytes }
}

fn written(dir: &Path, count: usize, file_bytes: u64, total_bytes: u64) {
    let log = Log::open(options(dir, file_bytes, total_bytes), Timestamp(1)).unwrap();
    for n in 0..count {
        log.record(event(n));
        if n % 50 == 49 {
            log.flush(Duration::from_secs(20));
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn lines_come_in_order_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 120, 1 << 20, 1 << 30);
    written(dir.path(), 3, 1 << 20, 1 << 30);
    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    let mut counts: Vec<u64> = verified.chains.values().map(|chain| chain.lines).collect();
    counts.sort_unstable();
    assert_eq!(counts, [4, 121], "each with the line that ends it");
    assert!(verified.chains.values().all(|chain| chain.ended && chain.first == 0));
    let mut seen: Vec<Value> = Vec::new();
    lines(dir.path(), |event| seen.push(event)).unwrap();
    let first = seen.iter().find(|event| event["tags"][0] == "request:req-1").unwrap();
    assert_eq!(first["typeURI"], "http://schemas.dmtf.org/cloud/audit/1.0/event");
    assert_eq!((&first["outcome"], &first["reason"]["reasonCode"]), (&json!("failure"), &json!("deny")));
    assert_eq!(first["initiator"]["host"]["address"], "192.0.2.1");
    assert_eq!(first["target"]["id"], "x\n\"y");
}

#[test]
fn a_full_log_loses_its_oldest_files_and_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 1_000, 32_768, 200_000);
    let total: u64 = files(dir.path()).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(total <= 200_000 + 65_536, "{total}");
    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    let chain = verified.chains.values().next().unwrap();
    assert!(chain.first + chain.lines > 1_001, "each removal is a line too");
    assert!(chain.first > 0);
}

/// What was done, to the lines of the only file, and what verifying says then.
#[test]
fn tampering_shows() {
    type Tamper = fn(&mut Vec<String>);
    let cases: [(&str, Tamper, &str); 8] = [
        ("a word", |l| l[3] = l[3].replace("\"failure\"", "\"success\""), ":4: was changed"),
        ("a hash", |l| l[3] = l[3].replacen("\"hash\":\"", "\"hash\":\"0", 1), ":4: was changed"),
        ("a line gone", |l| drop(l.remove(4)), ":5: is line 5 after line 3"),
        ("the first gone", |l| drop(l.remove(0)), ":1: is not the first"),
        ("two swapped", |l| l.swap(4, 5), ":5: is line 5 after line 3"),
        ("one twice", |l| l.insert(5, l[4].clone()), ":6: is line 4 after line 4"),
        ("spaces", |l| l[2].insert(1, ' '), ":3: is not written as"),
        ("a made-up line", |l| l.insert(2, "{}".into()), ":3: has no place"),
    ];
    for (what, tamper, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 10, 1 << 20, 1 << 30);
        let path = files(dir.path()).remove(0);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        tamper(&mut lines);
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let faults = verify(dir.path()).unwrap().faults;
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{what}: {faults:?}");
    }
}

#[test]
fn a_shortened_log_does_not_look_like_one_that_ended() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 10, 1 << 20, 1 << 30);
    let head = verify(dir.path()).unwrap().chains.values().next().unwrap().head.clone();
    let path = files(dir.path()).remove(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let shorter: Vec<&str> = text.lines().take(7).collect();
    std::fs::write(&path, shorter.join("\n") + "\n").unwrap();
    let verified = verify(dir.path()).unwrap();
    let chain = verified.chains.values().next().unwrap();
    assert!(!chain.ended && chain.head != head && chain.lines == 7);
    std::fs::write(&path, shorter.join("\n")).unwrap();
    assert!(verify(dir.path()).unwrap().faults[0].contains("is cut off"));
}

#[test]
fn a_front_that_somebody_else_took_shows_and_so_does_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300, 32_768, 1 << 30);
    let all = files(dir.path());
    std::fs::remove_file(&all[0]).unwrap();
    let faults = verify(dir.path()).unwrap().faults;
    assert!(faults.len() == 1 && faults[0].contains("no line says"), "{faults:?}");
    // The same with what is left of a file under the next one's name.
    let text = std::fs::read_to_string(&all[1]).unwrap();
    let rest: Vec<&str> = text.lines().skip(5).collect();
    std::fs::write(&all[1], rest.join("\n") + "\n").unwrap();
    assert_eq!(verify(dir.path()).unwrap().faults.len(), 1);
    for path in &all[1..] {
        std::fs::remove_file(path).unwrap();
    }
    assert!(verify(dir.path()).unwrap().faults[0].contains("no line of an audit log"));
}

#[test]
fn a_middle_file_that_is_gone_shows() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300, 32_768, 1 << 30);
    let all = files(dir.path());
    assert!(all.len() >= 4, "{}", all.len());
    std::fs::remove_file(&all[1]).unwrap();
    assert_eq!(verify(dir.path()).unwrap().faults.len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Log::open(options(&file.path().join("audit"), 1 << 20, 1 << 30), Timestamp(1)).err().unwrap();
    assert_eq!(error.code, "audit.folder");
    assert!(verify(Path::new("/nowhere")).is_err());
}
