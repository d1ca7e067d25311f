//! `cargo xtask bench placement`: allocation candidates through HTTP, and what the journal costs a decision.
//!
//! Candidates are asked of a controller of its own, without hosts, by another process, so that this process's CPU
//! time is the server's: reading the request, the token, the policies, the search, the answer. The targets are a
//! two-hundredth of what the genuine placement service took for the same request over the same providers on the
//! reference machine, its own processes alone, without their database.
//!
//! Journalling is CPU time of the deciding thread beside the same decisions without a journal, in turns.

use canopy::config::Config;
use canopy::server::{self, Overrides, Running};
use canopy_journal::{Limits, Round, Writer, takes};
use canopy_placement::Scorer;
use canopy_plugin_host::PluginHost;
use canopy_sim::clock;
use canopy_sim::cloud::{Cloud, FILL};
use canopy_sim::report::{self, at_most, median};
use canopy_types::{DecisionId, ServerId, Timestamp};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// (providers, limit, the genuine service's milliseconds of CPU).
const GENUINE: [(usize, usize, f64); 4] =
    [(1_000, 10, 147.2), (1_000, 1_000, 175.2), (10_000, 10, 1_238.3), (10_000, 1_000, 1_223.3)];
const REQUESTS: usize = 200;
const CANDIDATE_ROUNDS: usize = 5;
/// Providers that are made at the same time.
const AT_ONCE: usize = 32;
/// Inventories in one request.
const BATCH: usize = 500;

const JOURNAL_ROUNDS: usize = 15;
/// Decisions of one round, and of the desk's round that is written as one line.
const DECISIONS: usize = 4_096;
const DESK: usize = 64;

type Res<T> = Result<T, String>;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn main() -> Res<()> {
    let (mut json, mut plugins) = (false, PathBuf::from("target/plugins"));
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Runtime::new().map_err(words)?;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--plugins" => plugins = arguments.next().ok_or("--plugins wants a folder")?.into(),
            "--ask" => return runtime.block_on(ask(&arguments.collect::<Vec<_>>())),
            other => return Err(format!("what is {other}? There are --json and --plugins FOLDER")),
        }
    }
    let dir = std::env::temp_dir().join(format!("canopy-bench-placement-{}", std::process::id()));
    let results = runtime.block_on(candidates(&dir)).and_then(|mut results| {
        results.extend(journal(&dir.join("bench-journal"), &plugins)?);
        Ok(results)
    });
    let _ = std::fs::remove_dir_all(&dir);
    report::print("placement", &results?, json);
    Ok(())
}

async fn candidates(dir: &Path) -> Res<Vec<Value>> {
    let mut config =
        Config { listen: ([127, 0, 0, 1], 0).into(), data_dir: dir.to_owned(), ..Config::default() };
    config.agent.enabled = false;
    let running = server::start(&config, Overrides::default()).await.map_err(words)?;
    let outcome = of_a_cloud(&running, dir).await;
    running.stop().await;
    outcome
}

async fn of_a_cloud(running: &Running, dir: &Path) -> Res<Vec<Value>> {
    let password = std::fs::read_to_string(dir.join("admin-password")).map_err(words)?;
    let admin = Client::login(&format!("http://{}", running.address), password.trim()).await?;
    let (mut results, mut made) = (Vec::new(), 0);
    for (providers, limit, genuine) in GENUINE {
        admin.providers(made, providers).await?;
        made = providers;
        let asked = format!(
            "/placement/allocation_candidates?resources=VCPU:1,MEMORY_MB:512,DISK_GB:1&limit={limit}"
        );
        let found = admin.get(&asked).await?;
        let count = found["allocation_requests"].as_array().map_or(0, Vec::len);
        if count != limit {
            return Err(format!("{count} candidates where {limit} were to be found"));
        }
        let mut times = Vec::new();
        for _ in 0..CANDIDATE_ROUNDS {
            let before = clock::process();
            let own = std::env::current_exe().map_err(words)?;
            let mut asking = tokio::process::Command::new(own);
            asking.args(["--ask", &format!("{}{asked}", admin.url), &admin.token, &REQUESTS.to_string()]);
            let status = asking.status().await.map_err(words)?;
            if !status.success() {
                return Err(format!("asking for candidates ended with {status}"));
            }
            times.push((clock::process() - before).as_secs_f64() * 1e3 / REQUESTS as f64);
        }
        let params = json!({"providers": providers, "limit": limit, "genuine_ms": genuine});
        let target = Some(genuine / 200.0);
        results.push(at_most("candidates, CPU of a request", params, median(times), "ms", target));
    }
    Ok(results)
}

struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    async fn login(url: &str, password: &str) -> Res<Self> {
        let http = reqwest::Client::builder().no_proxy().build().map_err(words)?;
        let domain = json!({"id": "default"});
        let login = json!({"auth": {
            "identity": {"methods": ["password"],
                         "password": {"user": {"name": "admin", "password": password, "domain": domain}}},
            "scope": {"project": {"name": "admin", "domain": domain}}}});
        let answer = http.post(format!("{url}/identity/v3/auth/tokens")).json(&login).send().await;
        let answer = answer.map_err(words)?;
        let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        Ok(Self { token: token.ok_or("the login failed")?.to_owned(), url: url.to_owned(), http })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Res<Value> {
        let request = request.header("x-auth-token", &self.token).header("openstack-api-version", VERSION);
        let answer = request.send().await.map_err(words)?;
        let (status, body) = (answer.status(), answer.text().await.map_err(words)?);
        if !status.is_success() {
            return Err(format!("{status} {body}"));
        }
        Ok(serde_json::from_str(&body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Res<Value> {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Res<Value> {
        self.send(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// Providers of 64 vCPUs, 256 GiB and 4 TB, as the genuine service was measured with.
    async fn providers(&self, from: usize, to: usize) -> Res<()> {
        let id = |n: usize| uuid_of(n);
        for first in (from..to).step_by(AT_ONCE) {
            let making = (first..to.min(first + AT_ONCE)).map(|n| {
                let provider = json!({"name": format!("provider-{n}"), "uuid": id(n)});
                async move { self.post("/placement/resource_providers", &provider).await }
            });
            futures::future::try_join_all(making).await?;
        }
        let stock = json!({
            "VCPU": {"total": 64, "allocation_ratio": 4.0},
            "MEMORY_MB": {"total": 262_144},
            "DISK_GB": {"total": 4_000}});
        for first in (from..to).step_by(BATCH) {
            let some = first..to.min(first + BATCH);
            let of = |n| (id(n), json!({"resource_provider_generation": 0, "inventories": stock}));
            let inventories: serde_json::Map<String, Value> = some.map(of).collect();
            let body = json!({"inventories": inventories, "allocations": {}});
            self.post("/placement/reshaper", &body).await?;
        }
        Ok(())
    }
}

/// Knows trees, so that the answers are those that compute asks for.
const VERSION: &str = "placement 1.36";

fn uuid_of(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// The other process: asks the same again and again on one connection.
async fn ask(arguments: &[String]) -> Res<()> {
    let [url, token, count] = arguments else { return Err("--ask wants URL, TOKEN and COUNT".into()) };
    let http = reqwest::Client::builder().no_proxy().build().map_err(words)?;
    let client = Client { http, url: String::new(), token: token.clone() };
    for _ in 0..count.parse::<usize>().map_err(words)? {
        client.get(url).await?;
    }
    Ok(())
}

fn journal(dir: &Path, plugins: &Path) -> Res<Vec<Value>> {
    let host = PluginHost::new().map_err(words)?;
    let mut scorer = host
        .load_scorer(&plugins.join("scheduler-binpack"), Value::Null)
        .map_err(|e| format!("{e}: run `cargo xtask plugins`"))?;
    let hosts = 10_000;
    let mut clouds = [Cloud::filled(hosts, &mut scorer), Cloud::filled(hosts, &mut scorer)];
    let mut writer = Writer::open(dir, Limits::default()).map_err(words)?;
    writer.plugin(scorer.identity(), None);
    writer.begin(clouds[1].engine.fleet().clone(), 0, Timestamp::default());
    writer.flusher().flush();
    let (mut plain, mut more, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..JOURNAL_ROUNDS {
        let without = timed(&mut clouds[0], &mut scorer, None);
        let all = clock::process();
        let with = timed(&mut clouds[1], &mut scorer, Some(&mut writer));
        writer.flusher().flush();
        let all = (clock::process() - all).as_secs_f64() * 1e6 / DECISIONS as f64;
        if writer.behind() {
            return Err("the journal's disk does not follow".into());
        }
        plain.push(without);
        more.push(with / without - 1.0);
        written.push(all - with);
    }
    let params = json!({"hosts": hosts, "fill": FILL, "scheduler": "scheduler-binpack"});
    let of = |name: &str, value, unit, target| at_most(name, params.clone(), value, unit, target);
    Ok(vec![
        of("decision without a journal", median(plain), "us", None),
        of("journal, share of a decision", median(more), "ratio", Some(0.1)),
        of("journal, its own thread, per decision", median(written), "us", None),
    ])
}

/// Microseconds of a decision, of the deciding thread.
fn timed(cloud: &mut Cloud, scorer: &mut dyn Scorer, mut writer: Option<&mut Writer>) -> f64 {
    let began = clock::cpu();
    for _ in 0..DECISIONS / DESK {
        desk(cloud, scorer, writer.as_deref_mut());
    }
    (clock::cpu() - began).as_secs_f64() * 1e6 / DECISIONS as f64
}

/// One round as the desk holds it: servers end, others come, and all of it is told to the journal, if there is one.
fn desk(cloud: &mut Cloud, scorer: &mut dyn Scorer, writer: Option<&mut Writer>) {
    let mut round = Round::default();
    for _ in 0..DESK {
        let (host, gone) = cloud.end_one();
        let change = takes(host, &cloud.requests[gone], -1);
        cloud.engine.take(host, &cloud.requests[gone], -1);
        round.changes.push(change);
        let class = cloud.class();
        // Made by those who ask, with or without a journal.
        let batch = [(DecisionId::random(), ServerId::random(), Arc::new(cloud.requests[class].clone()))];
        let winner = if writer.is_some() {
            let decided = canopy_journal::decide(&mut cloud.engine, &batch, false, |engine, at| {
                engine.decide(batch[at].0, &batch[at].2, scorer)
            });
            round.asked.push(decided.asked);
            decided.decisions[0].winner
        } else {
            let winner = cloud.engine.decide(batch[0].0, &batch[0].2, scorer).winner;
            // What it takes stays reserved, whether or not it is told to anybody.
            std::hint::black_box(winner.map(|host| takes(host, &batch[0].2, 1)));
            winner
        };
        if let Some(host) = winner {
            cloud.engine.take(host, &batch[0].2, 1);
            cloud.began(host, class);
        }
    }
    if let Some(writer) = writer {
        writer.round(round);
    }
}
