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
use client::Client;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Res<T> = Result<T, String>;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Servers that lists are asked of.
const LISTED: usize = 1_000;
/// Servers of a burst, and requests that are under way at the same time.
const BURST: usize = 400;
const AT_ONCE: usize = 16;
/// Longest wait for what a burst asked for.
const PATIENCE: Duration = Duration::from_secs(900);

/// Milliseconds of CPU that the genuine services took, and the share of them that is aimed at.
const GENUINE: [(&str, f64, f64); 7] = [
    ("token by password", 251.3, 10.0),
    ("token from a token", 5.087, 100.0),
    ("list of 1,000 servers", 1_162.0, 200.0),
    ("detail of 1,000 servers", 4_613.0, 200.0),
    ("show", 43.8, 200.0),
    ("create until ACTIVE", 685.0, 200.0),
    ("delete until gone", 411.5, 200.0),
];
/// Their resident memory in MiB, and the share of it.
const MEMORY: (f64, f64) = (2_900.0, 30.0);
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

struct Figures {
    of: Vec<Figure>,
    memory_mib: f64,
    start: Option<Duration>,
}

async fn figures(cloud: &Cloud) -> Res<Figures> {
    let client = &cloud.client;
    let mut of = vec![
        one_by_one(cloud, "token by password", 20, || client.token_by_password(&cloud.password)).await?,
        one_by_one(cloud, "token from a token", 400, || client.token_from_token()).await?,
    ];
    let made = client.prepare().await?;
    let ids = {
        let (before, began) = (cpu(&cloud.pids)?, Instant::now());
        let ids = client.create(&made, BURST, AT_ONCE).await?;
        client.until_active(PATIENCE).await?;
        of.push(burst("create until ACTIVE", cloud, before, began, BURST)?);
        ids
    };
    client.fill(&made, LISTED, PATIENCE).await?;
    let list = "/servers?limit=1000";
    of.push(one_by_one(cloud, "list of 1,000 servers", 20, || client.count(list, LISTED)).await?);
    let detail = "/servers/detail?limit=1000";
    of.push(one_by_one(cloud, "detail of 1,000 servers", 20, || client.count(detail, LISTED)).await?);
    let show = format!("/servers/{}", ids.first().ok_or("no server was made")?);
    of.push(one_by_one(cloud, "show", 400, || client.get(&show)).await?);
    let memory_mib = resident(&cloud.pids)?;
    let (before, began) = (cpu(&cloud.pids)?, Instant::now());
    client.delete(&ids, AT_ONCE).await?;
    client.until_left(LISTED - BURST, PATIENCE).await?;
    of.push(burst("delete until gone", cloud, before, began, BURST)?);
    client.clear(PATIENCE).await?;
    Ok(Figures { of, memory_mib, start: cloud.start })
}

async fn one_by_one<F: Future<Output = Res<()>>>(
    cloud: &Cloud,
    name: &'static str,
    count: usize,
    ask: impl Fn() -> F,
) -> Res<Figure> {
    // The first fills caches and connections.
    ask().await?;
    let before = cpu(&cloud.pids)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        ask().await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (cpu(&cloud.pids)? - before) * 1e3 / count as f64;
    Ok(Figure { name, cpu, took: median(times) })
}

fn burst(name: &'static str, cloud: &Cloud, before: f64, began: Instant, count: usize) -> Res<Figure> {
    let took = began.elapsed().as_secs_f64() * 1e3 / count as f64;
    Ok(Figure { name, cpu: (cpu(&cloud.pids)? - before) * 1e3 / count as f64, took })
}

/// Seconds of CPU of all threads of these processes.
fn cpu(pids: &[i32]) -> Res<f64> {
    let of = |pid: &i32| {
        let spent = clock::of(*pid).ok_or(format!("there is no process {pid}"))?;
        Ok(spent.as_secs_f64())
    };
    pids.iter().map(of).sum()
}

fn resident(pids: &[i32]) -> Res<f64> {
    let of = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(words)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
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
        if figure.name == "create until ACTIVE" {
            results.push(at_least(
                "creates until ACTIVE",
                json!({}),
                1e3 / figure.took,
                "1/s",
                Some(CREATES),
            ));
        }
    }
    let memory = Some(MEMORY.0 / MEMORY.1);
    results.push(at_most("resident memory", json!({"servers": LISTED}), measured.memory_mib, "MiB", memory));
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
        results.push(at_most("resident memory", json!({"cloud": at + 1}), cloud.memory_mib, "MiB", None));
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
