//! A placer in force: its decisions are made again from the journal alone, explained, and lost to nobody while it is
//! exchanged.

use super::journal::{at_once, copy, replay};
use super::{controller, controller_with, ready, register, report};
use crate::corpus;
use canopy_app::compute::placement::Scheduler;
use canopy_journal::{Entry, PluginFiles, Reader};
use canopy_placement::Request;
use canopy_plugin_host::PluginHost;
use canopy_tests::Engine;
use canopy_tests::fixtures::{flavor, show};
use canopy_tests::process::plugins;
use canopy_types::ServerId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// 13 GiB make the guest trap, or spin when its batch is not the first after a beginning.
const MISCHIEF: &str = r#"
    (if (i64.gt_u (local.get $epoch) (i64.const 1)) (then (loop $spin (br $spin))))
    unreachable"#;

fn scheduler(folder: &Path) -> Scheduler {
    let plugin = PluginHost::new().unwrap().load_scheduler(folder, json!({})).unwrap();
    Scheduler { plugin, files: Some(PluginFiles { dir: folder.to_owned(), config: json!({}) }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_placers_decided_under_load_with_faults_and_swaps_replays_bit_for_bit_elsewhere() {
    let bestfit = plugins().join("placer-bestfit");
    let first = bestfit.clone();
    let mut cloud = controller_with(Engine::Sqlite, |c| c.plugins.scheduler = Some(first)).await;
    let hosts = register(&cloud, &[("h1", 20), ("h2", 20), ("h3", 15), ("h4", 10), ("h5", 5)]).await;
    let (admin, tenant, one, image) = ready(&cloud).await;
    let bad = flavor(&admin, "bad", 1, 64, 13).await;
    let large = flavor(&admin, "large", 1, 64, 18).await;
    let policy = json!({"server_group": {"name": "g", "policies": ["anti-affinity"]}});
    let group = tenant.post("/compute/v2.1/os-server-groups", &policy).await;
    let group = group.text_at("/server_group/id").to_owned();
    let mixed = |n: usize| match n % 8 {
        3 => bad.clone(),
        6 => large.clone(),
        _ => one.clone(),
    };
    let flavors: Vec<String> = (0..40).map(mixed).collect();
    let servers = at_once(&tenant, &image, &flavors, &group).await;
    for id in servers.iter().take(15) {
        assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
    }
    report(&cloud, &hosts, 7, None).await;

    // One that answers the second host always, and fails when 13 GiB are wanted.
    let folder = tempfile::tempdir().unwrap();
    corpus::install(folder.path(), "scheduler", &corpus::placer("", MISCHIEF), "");
    cloud.app().placement.swap(scheduler(folder.path()));
    at_once(&tenant, &image, std::slice::from_ref(&bad), &group).await;
    at_once(&tenant, &image, &flavors, &group).await;
    cloud.app().placement.swap(scheduler(&bestfit));
    let last = at_once(&tenant, &image, &flavors[..4], &group).await;

    // What a decision says.
    let shown = show(&admin, &last[0]).await;
    let decision = admin.get(&format!("/canopy/v1/servers/{}/decision", last[0])).await.json;
    let document = &decision["decision"]["document"];
    assert_eq!(document["plugin"]["name"], "placer-bestfit", "{decision}, {shown}");
    assert_eq!(document["plugin"]["fault"], Value::Null, "{decision}");
    cloud.stop().await;

    let journal = cloud.config.data_dir.join("journal");
    let (mut faults, mut plugins) = (BTreeSet::new(), BTreeSet::new());
    for entry in Reader::new(&journal).entries().unwrap() {
        let Entry::Round(round) = entry else { continue };
        for recorded in round.asked.iter().flat_map(|asked| &asked.decisions) {
            plugins.insert(recorded.plugin.clone());
            faults.extend(recorded.outcome.as_ref().and_then(|outcome| outcome.fault.clone()));
        }
    }
    plugins.remove("");
    assert_eq!(plugins.len(), 2, "one placer, another, and the first again");
    for kind in ["trap:", "answer:"] {
        assert!(faults.iter().any(|fault| fault.starts_with(kind)), "{kind}: {faults:?}");
    }

    let alone = tempfile::tempdir().unwrap();
    copy(&journal, alone.path());
    drop((folder, cloud));
    let report = replay(alone.path(), &[]);
    assert!(report["decisions"].as_u64().unwrap() >= 84, "{report}");
    assert_eq!(report["equal"], report["decisions"], "{report}");
    assert_eq!(report["taken"], 0, "{report}");
    let part = replay(alone.path(), &["--from", "20", "--to", "30"]);
    assert!(part["decisions"].as_u64().unwrap() < report["decisions"].as_u64().unwrap(), "{part}");
    assert_eq!(part["equal"], part["decisions"], "{part}");
    let candidate = canopy_tests::process::plugins().join("scheduler-spread");
    let other = replay(alone.path(), &["--scheduler", &candidate.display().to_string()]);
    assert!(other["moved"].as_u64().unwrap() > 0, "what packs is not what spreads: {other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanging_scorer_and_placer_under_load_loses_nothing_and_mixes_nothing() {
    let cloud = controller(Engine::Sqlite).await;
    register(&cloud, &[("h1", 60), ("h2", 60), ("h3", 60)]).await;
    let folders = ["scheduler-spread", "placer-bestfit"].map(|name| plugins().join(name));
    let stop = Arc::new(AtomicBool::new(false));
    cloud.app().placement.swap(scheduler(&folders[0]));
    let ask = || {
        let (app, stop) = (cloud.app().clone(), stop.clone());
        tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                let request = Request { amounts: [("DISK_GB".to_owned(), 2)].into(), ..Request::default() };
                let placed = app.placement.decide(vec![(ServerId::random(), request)], false).await;
                let decision = placed.expect("a decision is made").decisions.remove(0);
                assert!(decision.winner.is_some(), "{decision:?}");
                assert_eq!(decision.plugin.fault, None);
                // A scorer's has scores, a placer's has none.
                seen.insert((decision.plugin.name, decision.top.is_empty()));
            }
            seen
        })
    };
    // Not before the first was taken over from the built-in.
    let first = Request { amounts: [("DISK_GB".to_owned(), 2)].into(), ..Request::default() };
    cloud.app().placement.decide(vec![(ServerId::random(), first)], false).await.unwrap();
    let asking: Vec<_> = (0..4).map(|_| ask()).collect();
    for n in 0..40 {
        let next = tokio::task::block_in_place(|| scheduler(&folders[(n + 1) % 2]));
        cloud.app().placement.swap(next);
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for task in asking {
        seen.extend(task.await.expect("nobody's request failed"));
    }
    let expected = [("placer-bestfit".into(), true), ("scheduler-spread".into(), false)];
    assert_eq!(seen, expected.into());
}
