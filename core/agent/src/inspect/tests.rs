//! A healthy host is spoiled in every way that can be told, and in ways that only look like it.

use super::servers::settled;
use crate::record::{self, Record};
use crate::testing::{self, FakeController};
use crate::tests::{Host, until};
use crate::{files, qcow2};
use canopy_agent_api::{Ask, HostFinding, HostKind, HostProblem, Inspection, Question, ServerSpec};
use canopy_hypervisor::{DomainState, Hypervisor};
use canopy_types::ServerId;
use canopy_types::server::Phase;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use {HostKind as K, HostProblem as P};

/// A host with two servers that run; only the first has a config drive.
struct Lab {
    host: Host,
    with_drive: ServerSpec,
    without: ServerSpec,
    asked: AtomicU64,
}

impl Lab {
    async fn new() -> Self {
        let mut host = Host::new();
        let (mut with_drive, without) = (host.spec(), host.spec());
        with_drive.config_drive = true;
        host.controller.want(vec![with_drive.clone(), without.clone()], vec![]);
        host.start();
        for id in [with_drive.id, without.id] {
            until("runs", || {
                host.controller.observed(id).is_some_and(|o| o.phase == Phase::Running && o.power_n == 1)
            })
            .await;
        }
        Self { host, with_drive, without, asked: AtomicU64::new(1) }
    }

    async fn ask(&self, repair: bool) -> Inspection {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        self.host.controller.ask(Question { id, server_id: None, ask: Ask::Inspect { repair } });
        let answer = |c: &FakeController| c.answers().into_iter().find(|answer| answer.id == id);
        until("an answer", || answer(&self.host.controller).is_some()).await;
        let text = answer(&self.host.controller).unwrap().outcome.expect("an inspection");
        let inspection: Inspection = serde_json::from_str(&text).unwrap();
        assert!(inspection.unseen.is_empty(), "{inspection:?}");
        inspection
    }

    fn disk(&self) -> PathBuf {
        self.host.dir(self.without.id).join("root.qcow2")
    }

    fn drive(&self) -> PathBuf {
        self.host.dir(self.with_drive.id).join("config.iso")
    }

    fn base(&self) -> PathBuf {
        let digest = &self.without.image.as_ref().unwrap().blob.digest;
        self.host.state.path().join("images/sha256").join(&digest[..2]).join(digest)
    }

    /// A guest that carries Canopy's mark.
    async fn guest(&self, id: ServerId, name: &str) {
        let mut spec = self.host.hypervisor.spec(self.without.id).unwrap();
        (spec.id, spec.name) = (id, name.into());
        self.host.hypervisor.define(&spec).await.unwrap();
    }

    /// A folder with a record, as an agent that was killed while it removed a server leaves.
    async fn leftover(&self, id: ServerId) {
        let dir = record::ServerDir::new(self.host.state.path(), id);
        dir.save(&Record::new(id, "boot-1")).await.unwrap();
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    files::replace(path, bytes, mode).unwrap();
}

/// Spoils one thing. `true`: a repair can mean only one thing.
async fn spoil(lab: &Lab, kind: K, problem: P) -> bool {
    let host = &lab.host;
    match (kind, problem) {
        (K::Domain, P::Missing) => assert!(host.hypervisor.forget(lab.without.id)),
        (K::Domain, P::Changed) => {
            assert!(host.hypervisor.edit(lab.without.id, |spec| spec.memory_mib += 1));
        }
        (K::Domain, P::Extra) => {
            let id = ServerId::random();
            lab.leftover(id).await;
            lab.guest(id, "instance-000000aa").await;
        }
        (K::Disk, P::Missing) => {
            std::fs::remove_file(lab.disk()).unwrap();
            return false;
        }
        (K::Disk, P::Changed) => {
            write(&lab.disk(), &qcow2::header(1 << 20), 0o600);
            return false;
        }
        (K::Disk, P::Extra) => lab.leftover(ServerId::random()).await,
        (K::ConfigDrive, P::Missing) => std::fs::remove_file(lab.drive()).unwrap(),
        (K::ConfigDrive, P::Changed) => write(&lab.drive(), &[0; 4096], 0o600),
        (K::ConfigDrive, P::Extra) => {
            std::fs::copy(lab.drive(), host.dir(lab.without.id).join("config.iso")).unwrap();
        }
        (K::ImageCache, P::Missing) => std::fs::remove_file(lab.base()).unwrap(),
        (K::ImageCache, P::Changed) => write(&lab.base(), b"other", 0o444),
        (K::ImageCache, P::Extra) => {
            let name = format!("{}.99", "0".repeat(64));
            write(&host.state.path().join("images/fetching").join(name), b"part", 0o600);
        }
        // Held against the kernel in the integration tests.
        (K::Tap | K::Bridge | K::Namespace | K::Dhcp | K::Filter, _) => unreachable!("of the network"),
    }
    true
}

fn hits(inspection: &[HostFinding], kind: K, problem: P) -> usize {
    inspection.iter().filter(|one| (one.kind, one.problem) == (kind, problem)).count()
}

/// Everything on the host but what tasks note for themselves (and are just about to), by path and content.
fn everything(host: &Host) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let note = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        matches!(name.strip_suffix(".new").unwrap_or(&name), "record.json" | "desired.json")
    };
    let (mut all, mut open) = (BTreeSet::new(), vec![host.state.path().to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false if note(&entry.file_name()) => {}
                false => drop(all.insert((entry.path(), std::fs::read(entry.path()).unwrap()))),
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_thing_is_found_missing_extra_and_changed() {
    let of_the_network = [K::Tap, K::Bridge, K::Namespace, K::Dhcp, K::Filter];
    for kind in K::ALL.into_iter().filter(|kind| !of_the_network.contains(kind)) {
        for problem in [P::Missing, P::Extra, P::Changed] {
            let mut lab = Lab::new().await;
            assert_eq!(lab.ask(true).await.findings, [], "a healthy host has no findings");
            let repairable = spoil(&lab, kind, problem).await;
            let spoiled = everything(&lab.host);
            let found = lab.ask(false).await.findings;
            let what = format!("{kind:?} {problem:?}: {found:#?}");
            assert!(hits(&found, kind, problem) > 0, "{what}");
            assert!(found.iter().all(|one| one.repairable == repairable), "{what}");
            assert_eq!(everything(&lab.host), spoiled, "looking changes nothing: {what}");
            let after = lab.ask(true).await;
            if repairable {
                assert_eq!(after.findings, [], "{what}");
                assert_eq!(hits(&after.repaired, kind, problem), hits(&found, kind, problem), "{what}");
            } else {
                assert_eq!(
                    (after.findings, after.repaired),
                    (found, vec![]),
                    "what only a person can decide"
                );
                assert_eq!(everything(&lab.host), spoiled, "{what}");
            }
            lab.host.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_brings_back_what_was_there() {
    let mut lab = Lab::new().await;
    let (id, drive) = (lab.without.id, lab.drive());
    let (defined, base) = (lab.host.hypervisor.spec(id), std::fs::read(lab.base()).unwrap());
    // The same length, so that only its mode tells.
    write(&lab.base(), &vec![7; base.len()], 0o644);
    lab.host.hypervisor.forget(id);
    write(&drive, &std::fs::read(&drive).unwrap(), 0o644);
    assert_eq!(lab.ask(true).await.findings, []);
    assert_eq!(lab.host.hypervisor.spec(id), defined);
    assert_eq!(lab.host.hypervisor.state(id), Some(DomainState::Stopped), "defined, and not started");
    assert_eq!(std::fs::read(lab.base()).unwrap(), base);
    assert_eq!(
        lab.host.hypervisor.state(lab.with_drive.id),
        Some(DomainState::Running),
        "nothing else stopped"
    );
    lab.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_ours_is_told_or_left_out_and_never_touched() {
    let mut lab = Lab::new().await;
    let state = lab.host.state.path().to_owned();
    let (lost, other_scope, copied) = (ServerId::random(), ServerId::random(), ServerId::random());
    lab.guest(lost, "instance-000000ab").await;
    lab.guest(other_scope, "instance-000000ab-b").await;
    lab.host.hypervisor.add_foreign("web");
    // A folder that somebody copied: its record names another server.
    let folder = record::all(&state).join(copied.to_string());
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(lab.host.dir(lab.without.id).join("record.json"), folder.join("record.json")).unwrap();
    write(&record::all(&state).join("notes/todo"), b"mine", 0o644);
    write(&state.join("images/fetching/notes"), b"mine", 0o644);
    write(&state.join("images/sha256/ab/readme"), b"mine", 0o644);
    let before = everything(&lab.host);
    let after = lab.ask(true).await;
    let told: BTreeSet<(K, String)> =
        after.findings.iter().map(|one| (one.kind, one.subject.clone())).collect();
    assert_eq!(told, [(K::Domain, lost.to_string()), (K::Disk, copied.to_string())].into());
    assert!(after.findings.iter().all(|one| one.problem == P::Extra && !one.repairable), "{after:?}");
    assert_eq!(after.repaired, []);
    assert_eq!(everything(&lab.host), before);
    for id in [lost, other_scope] {
        assert!(lab.host.hypervisor.spec(id).is_some());
    }
    lab.host.stop().await;
}

#[test]
fn a_server_whose_work_is_not_done_is_left_out() {
    let mut spec = testing::spec();
    let mut record = Record { power_n: 1, ..Record::new(spec.id, "boot") };
    assert!(settled(&spec, &record, "boot"));
    assert!(!settled(&spec, &record, "a later boot"));
    spec.power.n = 2;
    assert!(!settled(&spec, &record, "boot"), "an intent is open");
    spec.power.n = 1;
    record.failed = Some(record::Failure { n: 1, message: String::new() });
    assert!(!settled(&spec, &record, "boot"), "a failed build has nothing");
    record.failed = None;
    spec.deleted = true;
    assert!(!settled(&spec, &record, "boot"));
}
