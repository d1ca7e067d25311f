//! `cargo xtask bench api`: what users' requests cost a cloud: CPU of its processes per operation, and how fast.
//!
//! Without `--url` it measures a cloud of its own, in a process of its own: eight hosts in memory, whose agents are
//! the real ones, the shipped scheduler and quota rule, the shipped policies, SQLite with durable commits. The targets
//! are shares of what the genuine services took for the same requests on the reference machine (nova 34, keystone 30,
//! eight fake computes, networks none). `--url … --against …` measures any two clouds in turns and prints ratios.

mod client;
mod cloud;

use canopy_sim::clock;
use canopy_sim::report::{self, at_least, at_most, median};
use client::{Client, Made};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Res<T> = Result<T, String>;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Servers that lists are asked of.
const LISTED: usize = 1_000;
/// Requests that are under way at the same time.
const AT_ONCE: usize = 16;
/// Longest wait for what a burst asked for.
const PATIENCE: Duration = Duration::from_secs(900);

/// Milliseconds of CPU that the genuine services took, and the share of them that is aimed at.
const GENUINE: [(&str, f64, f64); 9] = [
    ("token by password", 251.3, 10.0),
    ("token from a token", 5.087, 100.0),
    ("create until ACTIVE, 40", 685.0, 200.0),
    ("create until ACTIVE, 200", 961.4, 200.0),
    ("delete until gone, 40", 411.5, 200.0),
    ("delete until gone, 200", 711.0, 200.0),
    ("list of 1,000 servers", 1_228.6, 200.0),
    ("detail of 1,000 servers", 4_613.3, 200.0),
    ("show among 1,000 servers", 45.15, 200.0),
];
/// A kind of burst: what its rows are called, its servers, and how often it is measured.
const BURSTS: [Burst; 2] = [
    Burst { create: "create until ACTIVE, 40", delete: "delete until gone, 40", servers: 40, rounds: 5 },
    Burst { create: "create until ACTIVE, 200", delete: "delete until gone, 200", servers: 200, rounds: 3 },
];
/// Their memory in MiB (what processes share is counted once), without servers and with 1,000, and the share of it.
const MEMORY: [(&str, f64, f64); 2] =
    [("memory without servers", 2_871.8, 30.0), ("memory with 1,000 servers", 3_510.8, 30.0)];
/// Creates until ACTIVE a second.
const CREATES: f64 = 300.0;
/// Seconds from their start to the first list, and the share of it.
const START: (f64, f64) = (26.0, 50.0);

/// One cloud to measure.
struct Cloud {
    client: Client,
    password: String,
    pids: Vec<i32>,
    /// From the start to the first list; of a cloud of our own.
    start: Option<Duration>,
}

#[derive(Default)]
struct Arguments {
    json: bool,
    plugins: PathBuf,
    /// Keystone's address, admin's password, process ids.
    clouds: Vec<(String, String, Vec<i32>)>,
}

fn arguments() -> Res<Arguments> {
    let mut read = Arguments { plugins: "target/plugins".into(), ..Arguments::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--json" => read.json = true,
            "--plugins" => read.plugins = value()?.into(),
            "--url" | "--against" => read.clouds.push((value()?, String::new(), Vec::new())),
            "--password" => last(&mut read)?.1 = value()?,
            "--pids" => {
                let pids: Result<Vec<i32>, _> = value()?.split(',').map(str::parse).collect();
                last(&mut read)?.2 = pids.map_err(|e| e.to_string())?;
            }
            other => {
                return Err(format!(
                    "what is {other}? There are --json, --plugins FOLDER, and --url KEYSTONE --password WORD --pids 1,2 with \
                     the same once more after --against"
                ));
            }
        }
    }
    Ok(read)
}

fn last(arguments: &mut Arguments) -> Res<&mut (String, String, Vec<i32>)> {
    arguments.clouds.last_mut().ok_or("--url comes first".to_owned())
}

fn main() -> Res<()> {
    let serving = cloud::asked_to_serve();
    if serving.is_some() {
        canopy::memory::hold_little();
    }
    let runtime = tokio::runtime::Runtime::new().map_err(words)?;
    if let Some(dir) = serving {
        return runtime.block_on(cloud::serve(&dir));
    }
    let arguments = arguments()?;
    let results = runtime.block_on(measure(&arguments))?;
    report::print("api", &results, arguments.json);
    Ok(())
}

async fn measure(arguments: &Arguments) -> Res<Vec<Value>> {
    if arguments.clouds.is_empty() {
        let own = cloud::Own::start(&arguments.plugins).await?;
        let measured = figures(&own.cloud().await?).await;
        return Ok(against_targets(&measured?));
    }
    let mut all = Vec::new();
    for (url, password, pids) in &arguments.clouds {
        let client = Client::login(url, password).await?;
        let cloud = Cloud { client, password: password.clone(), pids: pids.clone(), start: None };
        all.push(figures(&cloud).await?);
    }
    Ok(side_by_side(&all))
}

/// One kind of request, as it went.
struct Figure {
    name: &'static str,
    /// Milliseconds of CPU of one.
    cpu: f64,
    /// Milliseconds that one took, the middle one; of a burst, of all by their number.
    took: f64,
}

struct Burst {
    create: &'static str,
    delete: &'static str,
    servers: usize,
    rounds: usize,
}

struct Figures {
    of: Vec<Figure>,
    /// MiB, as in [`MEMORY`].
    memory: [f64; 2],
    start: Option<Duration>,
}

async fn figures(cloud: &Cloud) -> Res<Figures> {
    let client = &cloud.client;
    let empty = memory(&cloud.pids)?;
    let mut of = vec![
        many(cloud, "token by password", 64, || client.token_by_password(&cloud.password)).await?,
        many(cloud, "token from a token", 2_000, || client.token_from_token()).await?,
    ];
    let made = client.prepare().await?;
    for kind in &BURSTS {
        of.extend(bursts(cloud, kind, &made).await?);
    }
    let one = client.fill(&made, LISTED, PATIENCE).await?;
    let list = "/servers?limit=1000";
    of.push(many(cloud, "list of 1,000 servers", 64, || client.count(list, LISTED)).await?);
    let detail = "/servers/detail?limit=1000";
    of.push(many(cloud, "detail of 1,000 servers", 64, || client.count(detail, LISTED)).await?);
    let show = format!("/servers/{one}");
    of.push(many(cloud, "show among 1,000 servers", 1_000, || client.get(&show)).await?);
    let full = memory(&cloud.pids)?;
    client.clear(PATIENCE).await?;
    Ok(Figures { of, memory: [empty, full], start: cloud.start })
}

/// The same request, [`AT_ONCE`] at a time.
async fn many<F: Future<Output = Res<()>>>(
    cloud: &Cloud,
    name: &'static str,
    count: usize,
    ask: impl Fn() -> F,
) -> Res<Figure> {
    // The first ones fill caches and connections.
    stream::iter(0..AT_ONCE).map(|_| ask()).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let before = cpu(&cloud.pids)?;
    let timed = |_| async {
        let began = Instant::now();
        ask().await.map(|()| began.elapsed().as_secs_f64() * 1e3)
    };
    let times = stream::iter(0..count).map(timed).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(Figure { name, cpu: (cpu(&cloud.pids)? - before) * 1e3 / count as f64, took: median(times) })
}

/// Servers that are made by as many requests, and deleted; the medians of some rounds.
async fn bursts(cloud: &Cloud, kind: &Burst, made: &Made) -> Res<[Figure; 2]> {
    let client = &cloud.client;
    let (mut creates, mut deletes) = (Vec::new(), Vec::new());
    for _ in 0..kind.rounds {
        let (before, began) = (cpu(&cloud.pids)?, Instant::now());
        let ids = client.create(made, kind.servers, AT_ONCE).await?;
        client.until_active(PATIENCE).await?;
        creates.push(each(cloud, before, began, kind.servers)?);
        let (before, began) = (cpu(&cloud.pids)?, Instant::now());
        client.delete(&ids, AT_ONCE).await?;
        client.until_none(PATIENCE).await?;
        deletes.push(each(cloud, before, began, kind.servers)?);
    }
    Ok([(kind.create, creates), (kind.delete, deletes)].map(|(name, rounds)| {
        let (cpu, took) = rounds.into_iter().unzip();
        Figure { name, cpu: median(cpu), took: median(took) }
    }))
}

/// Milliseconds of CPU, and of time, that one of so many took.
fn each(cloud: &Cloud, before: f64, began: Instant, count: usize) -> Res<(f64, f64)> {
    let took = began.elapsed().as_secs_f64() * 1e3 / count as f64;
    Ok(((cpu(&cloud.pids)? - before) * 1e3 / count as f64, took))
}

/// Seconds of CPU of all threads of these processes.
fn cpu(pids: &[i32]) -> Res<f64> {
    let of = |pid: &i32| {
        let spent = clock::of(*pid).ok_or(format!("there is no process {pid}"))?;
        Ok(spent.as_secs_f64())
    };
    pids.iter().map(of).sum()
}

/// MiB in memory; what several processes share is counted once. One alone is counted whole: this program may share its
/// pages with it.
fn memory(pids: &[i32]) -> Res<f64> {
    let counted = if pids.len() == 1 { "Rss:" } else { "Pss:" };
    let of = |pid: &i32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_err(words)?;
        let line = rollup.lines().find_map(|line| line.strip_prefix(counted));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or(format!("process {pid} says nothing of its memory"))
    };
    pids.iter().map(of).sum()
}

fn against_targets(measured: &Figures) -> Vec<Value> {
    let mut results = Vec::new();
    for figure in &measured.of {
        let genuine = GENUINE.iter().find(|(name, ..)| *name == figure.name);
        let params = json!({"genuine_ms": genuine.map(|(_, ms, _)| ms), "took_ms": figure.took});
        let target = genuine.map(|(_, ms, share)| ms / share);
        results.push(at_most(&format!("{}, CPU", figure.name), params, figure.cpu, "ms", target));
        if BURSTS.iter().any(|burst| burst.create == figure.name) {
            results.push(at_least(
                "creates until ACTIVE",
                json!({"burst": figure.name}),
                1e3 / figure.took,
                "1/s",
                Some(CREATES),
            ));
        }
    }
    for ((name, genuine, share), mib) in MEMORY.into_iter().zip(measured.memory) {
        let params = json!({"genuine_mib": genuine});
        results.push(at_most(name, params, mib, "MiB", Some(genuine / share)));
    }
    if let Some(start) = measured.start {
        let start = start.as_secs_f64();
        results.push(at_most("start until the first list", json!({}), start, "s", Some(START.0 / START.1)));
    }
    results
}

fn side_by_side(clouds: &[Figures]) -> Vec<Value> {
    let mut results = Vec::new();
    for (at, cloud) in clouds.iter().enumerate() {
        for figure in &cloud.of {
            let params = json!({"cloud": at + 1, "took_ms": figure.took});
            results.push(at_most(&format!("{}, CPU", figure.name), params, figure.cpu, "ms", None));
        }
        for ((name, ..), mib) in MEMORY.into_iter().zip(cloud.memory) {
            results.push(at_most(name, json!({"cloud": at + 1}), mib, "MiB", None));
        }
    }
    if let [one, other] = clouds {
        for (one, other) in one.of.iter().zip(&other.of) {
            let params = json!({"took": other.took / one.took});
            let name = format!("{}, CPU of the second to the first", one.name);
            results.push(at_most(&name, params, other.cpu / one.cpu, "ratio", None));
        }
    }
    results
}
