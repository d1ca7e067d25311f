//! `cargo xtask bench plugins`: what plugins cost beside their decisions: to be ready from compiled code, to serve
//! again after a trap, a quota verdict, and the wait of a decision while the scheduler is exchanged.

use canopy_placement::{Fleet, Host, Request, ResourceColumn};
use canopy_plugin_host::{
    Book, Cache, Charge, Claim, Countable, Holder, HolderKind, Live, Options, Package, PluginHost,
    QuotaQuestion, Row, SchedulerPlugin,
};
use canopy_types::{DecisionId, HostId, UserId};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;

fn main() -> Result<(), String> {
    let mut json = false;
    let mut plugins = PathBuf::from("target/plugins");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--plugins" => plugins = arguments.next().ok_or("--plugins wants a folder")?.into(),
            other => return Err(format!("what is {other}? There are --json and --plugins FOLDER")),
        }
    }
    let results = measure(&plugins)?;
    let commit = std::env::var("CANOPY_BENCH_COMMIT").unwrap_or_default();
    if json {
        println!("{:#}", json!({"bench": "plugins", "commit": commit, "results": results}));
        return Ok(());
    }
    for row in &results {
        let (name, value, unit) = (row["name"].as_str(), row["value"].as_f64(), row["unit"].as_str());
        let verdict = if row["ok"] == true { "" } else { "  over the target" };
        println!(
            "{:<44} {:>10.1} {:<3} (at most {}){verdict}",
            name.unwrap_or_default(),
            value.unwrap_or_default(),
            unit.unwrap_or_default(),
            row["target"]
        );
    }
    Ok(())
}

fn measure(plugins: &Path) -> Result<Vec<Value>, String> {
    let folder = std::env::temp_dir().join(format!("canopy-bench-plugins-{}", std::process::id()));
    let cache = Cache::open(&folder, &[7; 32]).map_err(|e| e.to_string())?;
    let host = PluginHost::with_options(Options { cache: Some(cache), ..Options::default() })
        .map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let package = |name: &str| {
        Package::read(&plugins.join(name)).map_err(|e| format!("{e}: run `cargo xtask plugins`"))
    };
    let results = vec![
        row("ready from compiled code, p50", ready(&host, &package("scheduler-binpack")?)?, "ms", 2.0),
        row("quota verdict, p50", verdict(&runtime, &host, &package("quota-limits")?)?, "us", 20.0),
        row(
            "longest decision while schedulers are swapped",
            swap(&runtime, &host, &package("scheduler-binpack")?, &package("scheduler-spread")?)?,
            "ms",
            50.0,
        ),
    ];
    let _ = std::fs::remove_dir_all(folder);
    Ok(results)
}

fn row(name: &str, value: f64, unit: &str, target: f64) -> Value {
    json!({"name": name, "value": value, "unit": unit, "target": target, "ok": value <= target})
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// From the package in memory to a plugin that has answered `init`.
fn ready(host: &PluginHost, package: &Package) -> Result<f64, String> {
    host.try_out(package, Value::Null).map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        host.start_scheduler(package, Value::Null).map_err(|e| e.to_string())?;
        times.push(since.elapsed());
    }
    Ok(median(times).as_secs_f64() * 1e3)
}

/// As a request sees it: through the queue and back.
fn verdict(runtime: &tokio::runtime::Runtime, host: &PluginHost, package: &Package) -> Result<f64, String> {
    let plugin = host.start_quota(package, Value::Null).map_err(|e| e.to_string())?;
    let countable = |name: &str| Countable { name: name.to_owned(), per_claim: false };
    let claim = Claim {
        user_id: UserId("1".repeat(32)),
        zone: String::new(),
        charges: [0, 1, 2].map(|resource| Charge { resource, amount: 1 }).into(),
        attributes: vec![("flavor".into(), "m1".into())],
    };
    let book = Book {
        resources: ["instances", "cores", "ram"].map(countable).into(),
        holders: vec![Holder { kind: HolderKind::Project, id: "0".repeat(32), zone: String::new() }],
        rows: [0, 1, 2].map(|resource| Row { holder: 0, resource, limit: 1_000_000, used: 5 }).into(),
    };
    let question = QuotaQuestion { book, claims: vec![claim] };
    runtime.block_on(async {
        for _ in 0..10 * ROUNDS {
            plugin.check(question.clone()).await;
        }
    });
    // The guest's own time; the queue's is the machine's.
    let stats = plugin.stats().ok_or("the built-in answered")?;
    Ok(stats.quantile(0.5).unwrap_or_default().as_secs_f64() * 1e6)
}

fn fleet() -> Fleet {
    let host = |n: usize| Host::new(HostId::random(), format!("h{n:04}"), "nova");
    Fleet {
        revision: 1,
        hosts: (0..200).map(host).collect(),
        resources: vec![ResourceColumn::new("VCPU", vec![64; 200], vec![3; 200])],
        ..Fleet::default()
    }
}

/// Four that ask without a pause while two schedulers take turns, each loaded anew.
fn swap(
    runtime: &tokio::runtime::Runtime,
    host: &PluginHost,
    one: &Package,
    other: &Package,
) -> Result<f64, String> {
    let start = |package: &Package| host.start_scheduler(package, Value::Null).map_err(|e| e.to_string());
    let live: Live<SchedulerPlugin> = Live::new(start(one)?);
    start(other)?;
    let (stop, fleet) = (Arc::new(AtomicBool::new(false)), Arc::new(fleet()));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (live, stop, fleet) = (live.clone(), Arc::clone(&stop), Arc::clone(&fleet));
            runtime.spawn(async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let amounts = [("VCPU".to_owned(), 2)].into();
                    let request = Request { amounts, ..Request::default() };
                    let since = Instant::now();
                    let decision = live.now().decide(DecisionId::random(), Arc::clone(&fleet), request).await;
                    longest = longest.max(since.elapsed());
                    assert!(decision.winner.is_some() && decision.plugin.fault.is_none(), "{decision:?}");
                }
                longest
            })
        })
        .collect();
    for n in 0..ROUNDS {
        live.set(start(if n % 2 == 0 { other } else { one })?);
        std::thread::sleep(Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for task in asking {
        longest = longest.max(runtime.block_on(task).map_err(|e| e.to_string())?);
    }
    Ok(longest.as_secs_f64() * 1e3)
}
