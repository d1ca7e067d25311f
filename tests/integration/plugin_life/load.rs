//! The scheduler exchanged and taken out under full load: nobody's request fails for it, and each decision is
//! wholly one plugin's.

use super::guests::hostile;
use super::{activate, install, slot};
use canopy_app::App;
use canopy_app::compute::placement::Scheduler;
use canopy_placement::Request;
use canopy_plugin_host::{Cache, Options, Package, PluginHost};
use canopy_tests::Cloud;
use canopy_types::ServerId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SWAPS: usize = 1_000;
const DEMOTIONS: usize = 100;
const ASKING: usize = 4;

/// Decisions by (digest, score of the winner, whether at fault), and the longest wait for one.
#[derive(Default)]
struct Seen {
    decisions: BTreeMap<(String, u32, bool), u64>,
    longest: Duration,
}

/// Asks for hosts without a pause until told to stop.
fn ask(app: Arc<App>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Seen> {
    tokio::spawn(async move {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            let request = Request { amounts: [("VCPU".to_owned(), 13)].into(), ..Request::default() };
            let since = Instant::now();
            let placed = app.placement.decide(vec![(ServerId::random(), request)], false).await;
            seen.longest = seen.longest.max(since.elapsed());
            let placed = placed.expect("a decision is made");
            let decision = &placed.decisions[0];
            assert!(decision.winner.is_some(), "{decision:?}");
            let score = decision.top.first().map_or(0, |host| host.score.to_bits());
            let key = (decision.plugin.digest.to_string(), score, decision.plugin.fault.is_some());
            *seen.decisions.entry(key).or_default() += 1;
        }
        seen
    })
}

async fn gather(asking: Vec<tokio::task::JoinHandle<Seen>>) -> Seen {
    let mut all = Seen::default();
    for task in asking {
        let seen = task.await.expect("nobody's request failed");
        all.longest = all.longest.max(seen.longest);
        for (key, count) in seen.decisions {
            *all.decisions.entry(key).or_default() += count;
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_swaps_under_load_lose_nothing_and_mix_nothing() {
    let cloud = Cloud::start().await;
    let cache = Cache::open(&cloud.dir().join("cache"), &[7; 32]).unwrap();
    let host = PluginHost::with_options(Options { cache: Some(cache), ..Options::default() }).unwrap();
    let package =
        |score| Package::from_wire(&hostile::wire("scheduler", "s", &hostile::scores(score))).unwrap();
    let packages = [package(3), package(7)];
    let stop = Arc::new(AtomicBool::new(false));
    let fresh = |package: &Package| Scheduler {
        plugin: host.start_scheduler(package, Value::Null).unwrap(),
        files: None,
    };
    cloud.app().placement.swap(fresh(&packages[0]));
    // From here on nobody is asked but these two.
    let first = Request { amounts: [("VCPU".to_owned(), 13)].into(), ..Request::default() };
    cloud.app().placement.decide(vec![(ServerId::random(), first)], false).await.unwrap();
    let asking: Vec<_> = (0..ASKING).map(|_| ask(cloud.app().clone(), stop.clone())).collect();
    let (app, since) = (cloud.app().clone(), Instant::now());
    for n in 0..SWAPS {
        let scheduler = tokio::task::block_in_place(|| fresh(&packages[n % 2]));
        app.placement.swap(scheduler);
        tokio::task::yield_now().await;
    }
    let took = since.elapsed();
    stop.store(true, Ordering::Relaxed);
    let seen = gather(asking).await;
    let total: u64 = seen.decisions.values().sum();
    println!("{SWAPS} swaps in {took:?}; {total} decisions, the longest took {:?}", seen.longest);
    let expected: Vec<_> = packages
        .iter()
        .zip([3.0_f32, 7.0])
        .map(|(package, score)| (package.digest().to_owned(), score.to_bits(), false))
        .collect();
    for key in seen.decisions.keys() {
        assert!(expected.contains(key), "a decision of two plugins: {key:?}");
    }
    assert_eq!(seen.decisions.len(), 2, "both decided: {:?}", seen.decisions);
    // Not a measurement: that is `cargo xtask bench plugins`. Nobody was forgotten.
    assert!(seen.longest < Duration::from_secs(5), "{:?}", seen.longest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_demotions_under_load_lose_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let good = install(&admin, hostile::wire("scheduler", "good", &hostile::scores(3))).await;
    let bad = install(&admin, hostile::wire("scheduler", "bad", &hostile::trapping_scorer())).await;
    activate(&admin, "scheduler", &good).await;
    let limits = json!({"faults": 2, "window_seconds": 3600});
    assert_eq!(admin.put("/canopy/v1/plugin-slots/scheduler/demotion", &limits).await.status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let first = Request { amounts: [("VCPU".to_owned(), 13)].into(), ..Request::default() };
    cloud.app().placement.decide(vec![(ServerId::random(), first)], false).await.unwrap();
    let asking: Vec<_> = (0..2).map(|_| ask(cloud.app().clone(), stop.clone())).collect();
    let since = Instant::now();
    for n in 0..DEMOTIONS {
        activate(&admin, "scheduler", &bad).await;
        cloud
            .until(&format!("demotion {n}"), async || slot(&admin, "scheduler").await["digest"] == good)
            .await;
    }
    println!("{DEMOTIONS} demotions in {:?}", since.elapsed());
    stop.store(true, Ordering::Relaxed);
    let seen = gather(asking).await;
    let healthy = (good.clone(), 3.0_f32.to_bits(), false);
    for key in seen.decisions.keys() {
        assert!(*key == healthy || (key.0 == bad && key.2), "{key:?}");
    }
    let of = bad.clone();
    let counted = cloud
        .app()
        .store
        .read(move |c| {
            Box::pin(async move { canopy_store::plugins::lines(c, None, Some(&of), i64::MAX, 5_000).await })
        })
        .await
        .unwrap();
    assert_eq!(counted.iter().filter(|line| line.what == "demote").count(), DEMOTIONS);
}
