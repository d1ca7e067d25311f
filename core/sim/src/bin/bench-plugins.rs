//! `cargo xtask bench plugins`: what plugins cost beside their decisions: to be compiled, to be ready from compiled
//! code, to be started anew, to serve again after a trap, a quota verdict, and the wait of a decision while the
//! scheduler is exchanged. The figures of a plugin itself are those that `canopy plugin stats` shows.

/// Guests of the plugin host's tests, that misbehave.
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the plugin host's own tests")]
#[path = "../../../plugin-host/src/hostile/guests.rs"]
mod guests;

use canopy_placement::placer::HostRows;
use canopy_placement::{Columns, Engine, Fleet, Host, Names, Placer, Request, ResourceColumn, Scorer};
use canopy_plugin_host::{
    Book, Cache, Charge, Claim, Countable, Holder, HolderKind, Live, Options, Package, PluginHost,
    QuotaQuestion, Row, SchedulerPlugin,
};
use canopy_sim::clock;
use canopy_types::{DecisionId, HostId, UserId};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
/// Compilations of one component.
const COLD: usize = 5;

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
    if json {
        let commit = std::env::var("CANOPY_BENCH_COMMIT").unwrap_or_default();
        println!(
            "{:#}",
            json!({"bench": "plugins", "commit": commit, "machine": machine(), "results": results})
        );
        return Ok(());
    }
    for row in &results {
        let number = |name: &str| row[name].as_f64();
        let target = match number("target") {
            None => String::new(),
            Some(target) => {
                format!("(at most {target}){}", if row["ok"] == true { "" } else { "  over the target" })
            }
        };
        let words = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        println!(
            "{:<36} {:<20} {:>10.1} {:<3} {target}",
            words("name"),
            row["params"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, v)| v.to_string())
                .collect::<Vec<_>>()
                .join(" "),
            number("value").unwrap_or_default(),
            words("unit"),
        );
    }
    Ok(())
}

fn machine() -> Value {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({"cpu": model.unwrap_or_default(), "cores": cores})
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
    let mut results = Vec::new();
    for name in ["scheduler-binpack", "quota-limits", "network-bridge"] {
        let (cold, cached) = loads(&host, &folder, &package(name)?)?;
        results.push(row("cold compile and start, p50", name, cold, "ms", None));
        results.push(row("ready from compiled code, p50", name, cached, "ms", Some(2.0)));
    }
    let (binpack, spread) = (package("scheduler-binpack")?, package("scheduler-spread")?);
    results.push(row(
        "instantiate and init, p50",
        "scheduler-binpack",
        started(&host, &binpack)?,
        "us",
        None,
    ));
    results.push(row("trap to serving again, p50", "trapping scorer", recovery(&host)?, "ms", Some(1.0)));
    let rebuilt = rebuilt(&host, &package("placer-bestfit")?)?;
    results.push(row(
        "trap to serving again, CPU, p50",
        "placer-bestfit, 100,000 hosts",
        rebuilt,
        "ms",
        Some(50.0),
    ));
    let quota = verdict(&runtime, &host, &package("quota-limits")?)?;
    results.push(row("quota verdict, p50", "quota-limits", quota.p50, "us", Some(20.0)));
    results.push(row("quota verdict, p99", "quota-limits", quota.p99, "us", None));
    results.push(row("quota verdict with its queue, p50", "quota-limits", quota.asked, "us", None));
    results.push(row("guest memory at most", "quota-limits", quota.memory, "KiB", None));
    let longest = swap(&runtime, &host, &binpack, &spread)?;
    results.push(row("longest decision amid swaps", "binpack, spread", longest, "ms", Some(50.0)));
    let _ = std::fs::remove_dir_all(folder);
    Ok(results)
}

/// `ok` is null where nothing was promised.
fn row(name: &str, plugin: &str, value: f64, unit: &str, target: Option<f64>) -> Value {
    let ok = target.map(|target| value <= target);
    json!({"name": name, "params": {"plugin": plugin}, "value": value, "unit": unit, "target": target, "ok": ok})
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// From the package in memory to a plugin that has answered `init`, ms: compiled now, and compiled before.
fn loads(host: &PluginHost, cache: &Path, package: &Package) -> Result<(f64, f64), String> {
    let once = || {
        let since = Instant::now();
        host.try_out(package, Value::Null).map_err(|e| e.to_string())?;
        Ok::<_, String>(since.elapsed())
    };
    let mut cold = Vec::new();
    for _ in 0..COLD {
        for entry in std::fs::read_dir(cache).map_err(|e| e.to_string())? {
            std::fs::remove_file(entry.map_err(|e| e.to_string())?.path()).map_err(|e| e.to_string())?;
        }
        cold.push(once()?);
    }
    let cached = (0..ROUNDS).map(|_| once()).collect::<Result<_, _>>()?;
    Ok((millis(median(cold)), millis(median(cached))))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A new instance that has answered `init`, us: what a trap, a demotion or another set of names costs.
fn started(host: &PluginHost, package: &Package) -> Result<f64, String> {
    let mut scorer = host.start_scorer(package, Value::Null).map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    for n in 0..2 * ROUNDS {
        // Another name at every turn: the instance is replaced before it is asked.
        let mut columns = question();
        columns.names = Arc::new(Names { resources: vec![format!("CLASS_{}", n % 2)], signals: Vec::new() });
        let since = Instant::now();
        scorer.score(&columns)?;
        let renewed = since.elapsed();
        let since = Instant::now();
        scorer.score(&columns)?;
        times.push(renewed.saturating_sub(since.elapsed()));
    }
    Ok(median(times).as_secs_f64() * 1e6)
}

fn question() -> Columns {
    Columns {
        names: Arc::new(Names { resources: vec!["VCPU".into()], signals: Vec::new() }),
        want: vec![1.0],
        hosts: vec![0],
        capacity: vec![8.0],
        free: vec![8.0],
        signals: Vec::new(),
    }
}

/// A scorer that traps when 13 are wanted: from the trapping question to the next answer, ms.
fn recovery(host: &PluginHost) -> Result<f64, String> {
    let component = guests::scorer("", "unreachable", "");
    let text =
        "name = \"trapping\"\nversion = \"1\"\nkind = \"scheduler\"\nsdk = \"1.0\"\ncomponent = \"t.wasm\"\n";
    let package = Package::new(text.to_owned(), component).map_err(|e| e.to_string())?;
    let mut scorer = host.start_scorer(&package, Value::Null).map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut trapping = question();
        trapping.want = vec![13.0];
        let since = Instant::now();
        if scorer.score(&trapping).is_ok() {
            return Err("the trapping scorer did not trap".to_owned());
        }
        scorer.score(&question())?;
        times.push(since.elapsed());
    }
    Ok(millis(median(times)))
}

/// A placer that knows 100,000 hosts traps: until it has decided again, for which a new instance was told them all: the thread's
/// time, ms.
fn rebuilt(host: &PluginHost, package: &Package) -> Result<f64, String> {
    let hosts: u32 = 100_000;
    let id = |n: u32| HostId(uuid::Uuid::from_u64_pair(1, u64::from(n) + 1));
    let named = |n: u32| Host::new(id(n), format!("h{n:06}"), format!("zone-{}", n % 3));
    let used = |most: u32| (0..hosts).map(|n| i64::from(n.wrapping_mul(2_654_435_761) % most)).collect();
    let column =
        |class: &str, total, most| ResourceColumn::new(class, vec![total; hosts as usize], used(most));
    let mut engine = Engine::new(Fleet {
        revision: 1,
        hosts: (0..hosts).map(named).collect(),
        resources: vec![
            column("DISK_GB", 4_000, 3_000),
            column("MEMORY_MB", 262_144, 200_000),
            column("VCPU", 64, 60),
        ],
        ..Fleet::default()
    });
    let mut placer = host.start_scorer(package, Value::Null).map_err(|e| e.to_string())?;
    let amounts = [("VCPU", 2), ("MEMORY_MB", 4_096), ("DISK_GB", 20)];
    let amounts = amounts.map(|(class, amount)| (class.to_owned(), amount)).into();
    let request = Request { amounts, ..Request::default() };
    // A cell by so high a number is an index that no memory has room for.
    let poison = HostRows { at: vec![0], cells: vec![u32::MAX - 1], free: vec![0; 3], ..HostRows::default() };
    let mut times = Vec::new();
    for _ in 0..ROUNDS / 10 {
        let decide = |engine: &mut Engine, placer: &mut dyn Scorer| {
            let decision = engine.decide(DecisionId::random(), &request, placer);
            decision.plugin.fault.map_or(Ok(()), Err)
        };
        decide(&mut engine, &mut placer)?;
        Placer::hosts(&mut placer, &poison)?;
        let since = clock::cpu();
        if decide(&mut engine, &mut placer).is_ok() {
            return Err("the placer did not trap".to_owned());
        }
        decide(&mut engine, &mut placer)?;
        times.push(clock::cpu() - since);
    }
    Ok(millis(median(times)))
}

struct Verdicts {
    p50: f64,
    p99: f64,
    /// As a request sees it: through the queue and back.
    asked: f64,
    memory: f64,
}

fn verdict(
    runtime: &tokio::runtime::Runtime,
    host: &PluginHost,
    package: &Package,
) -> Result<Verdicts, String> {
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
    let times = runtime.block_on(async {
        let mut times = Vec::new();
        for _ in 0..10 * ROUNDS {
            let question = question.clone();
            let since = Instant::now();
            plugin.check(question).await;
            times.push(since.elapsed());
        }
        times
    });
    // The guest's own time; the queue's is the machine's.
    let stats = plugin.stats().ok_or("the built-in answered")?;
    if !stats.faults().is_empty() {
        return Err(format!("the rule failed: {:?}", stats.faults()));
    }
    let micros = |share| stats.quantile(share).unwrap_or_default().as_secs_f64() * 1e6;
    Ok(Verdicts {
        p50: micros(0.5),
        p99: micros(0.99),
        asked: median(times).as_secs_f64() * 1e6,
        memory: stats.memory_peak() as f64 / 1024.0,
    })
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
