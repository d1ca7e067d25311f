//! A journal recorded while clients run side by side, with a trap, a time-out and another plugin in the middle,
//! comes out bit for bit from the journal alone, in another process.

use super::{controller_with, ready, register, report};
use crate::corpus;
use canopy_app::compute::placement::Scheduler;
use canopy_journal::{Entry, PluginFiles, Reader};
use canopy_plugin_host::PluginHost;
use canopy_tests::fixtures::{boot, flavor, server};
use canopy_tests::process::{binary, plugins};
use canopy_tests::{Client, Engine};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// When 13 GiB are wanted: 128 MiB beside it make the guest spin, anything else traps.
const MISCHIEF: &str = r#"
    (if (f32.eq (f32.load offset=4 (local.get $wants)) (f32.const 128)) (then (loop $spin (br $spin))))
    unreachable"#;

/// Runs `canopy replay` in a process of its own.
pub(super) fn replay(journal: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(binary())
        .args(["replay", "--json", "--journal"])
        .arg(journal)
        .args(arguments)
        .env("TOKIO_WORKER_THREADS", "1")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}\n{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Creates of mixed sizes, all at once; each entry is a flavor.
pub(super) async fn at_once(tenant: &Client, image: &str, flavors: &[String], group: &str) -> Vec<String> {
    let creates = flavors.iter().enumerate().map(|(n, flavor)| {
        let mut body = server(&format!("s{n}"), flavor, image);
        if n % 3 == 0 {
            body["os:scheduler_hints"] = json!({ "group": group });
        }
        if n % 7 == 0 {
            body["server"]["min_count"] = json!(2);
        }
        async move { boot(tenant, &body).await }
    });
    futures::future::join_all(creates).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_with_a_trap_a_timeout_and_a_swap_replays_bit_for_bit_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    corpus::install(folder.path(), "scheduler", &corpus::packer(MISCHIEF), "");
    let hostile = folder.path().to_owned();
    let mut cloud = controller_with(Engine::Sqlite, |c| c.plugins.scheduler = Some(hostile)).await;
    let disks = [("h1", 60), ("h2", 60), ("h3", 40), ("h4", 40), ("h5", 20)];
    let hosts = register(&cloud, &disks).await;
    let (admin, tenant, one, image) = ready(&cloud).await;
    let trap = flavor(&admin, "trap", 1, 64, 13).await;
    let spin = flavor(&admin, "spin", 1, 128, 13).await;
    let large = flavor(&admin, "large", 1, 64, 55).await;
    let policy = json!({"server_group": {"name": "g", "policies": ["anti-affinity"]}});
    let group = tenant.post("/compute/v2.1/os-server-groups", &policy).await;
    let group = group.text_at("/server_group/id").to_owned();
    let mixed = |n: usize| match n % 8 {
        3 => trap.clone(),
        5 => spin.clone(),
        6 => large.clone(),
        _ => one.clone(),
    };
    let first = at_once(&tenant, &image, &(0..24).map(mixed).collect::<Vec<_>>(), &group).await;

    // Some end, so that room comes back in the middle.
    for id in first.iter().take(10) {
        assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
    }
    report(&cloud, &hosts, 7, None).await;
    let spread = plugins().join("scheduler-spread");
    let plugin = PluginHost::new().unwrap().load_scheduler(&spread, json!({})).unwrap();
    let files = Some(PluginFiles { dir: spread.clone(), config: json!({}) });
    cloud.app().placement.swap(Scheduler { plugin, files });
    at_once(&tenant, &image, &(0..24).map(mixed).collect::<Vec<_>>(), &group).await;
    cloud.stop().await;

    let journal = cloud.config.data_dir.join("journal");
    let (mut faults, mut plugins, mut gone) = (BTreeSet::new(), BTreeSet::new(), 0);
    for entry in Reader::new(&journal).entries().unwrap() {
        let Entry::Round(round) = entry else { continue };
        gone += round.gone.len();
        for recorded in round.asked.iter().flat_map(|asked| &asked.decisions) {
            plugins.insert(recorded.plugin.clone());
            faults.extend(recorded.outcome.as_ref().and_then(|outcome| outcome.fault.clone()));
        }
    }
    plugins.remove("");
    assert_eq!(plugins.len(), 2, "one plugin, then the other");
    assert!(faults.iter().any(|fault| fault.contains("trap")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("deadline")), "{faults:?}");
    assert!(gone > 0, "servers have ended");

    // From the journal alone: neither the plugin's folder nor anything else of the cloud is there.
    let alone = tempfile::tempdir().unwrap();
    copy(&journal, alone.path());
    drop(folder);
    drop(cloud);
    let report = replay(alone.path(), &[]);
    assert!(report["decisions"].as_u64().unwrap() >= 48, "{report}");
    assert_eq!(report["equal"], report["decisions"], "{report}");
    assert!(report["faults"].as_u64().unwrap() >= 2, "{report}");

    let candidate = spread.display().to_string();
    let report = replay(alone.path(), &["--scheduler", &candidate]);
    let of = |key: &str| report[key].as_u64().unwrap();
    assert!(of("moved") > 0, "what packs is not what spreads: {report}");
    assert_eq!(of("equal") + of("moved") + of("refused") + of("fitted"), of("decisions"), "{report}");
    assert_eq!(of("faults"), 0, "{report}");
    assert_eq!(replay(alone.path(), &["--scheduler", &candidate]), report, "no clock has a say");
    let part = replay(alone.path(), &["--from", "5", "--to", "9"]);
    assert!(part["decisions"].as_u64().unwrap() < of("decisions"), "{part}");
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
