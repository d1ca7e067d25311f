//! `cargo xtask bench authz`: what asking permission costs, with the whole shipped bundle, in a controller of
//! its own without hosts.
//!
//! Decisions and lists are medians of wall time, token checks CPU time of the thread that checks. A list is
//! held against the same statements without anybody being asked.

use canopy::config::Config;
use canopy::server::{self, Overrides, Running};
use canopy_app::access::Trail;
use canopy_app::compute::servers;
use canopy_app::identity::{self, Caller};
use canopy_app::{App, Ctx};
use canopy_authz::cases::{self, On};
use canopy_authz::{Bundle, Circumstances, Snapshot, actions};
use canopy_sim::clock;
use canopy_sim::report::{self, at_most, median};
use canopy_store::servers::Filter;
use canopy_types::{Page, RequestId};
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const DECISIONS: usize = 40_000;
const SERVERS: usize = 1_000;
/// Made by one request, at most.
const BATCH: usize = 100;
const LISTS: usize = 101;
const CHECKS: usize = 50_000;

type Res<T> = Result<T, String>;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[tokio::main]
async fn main() -> Res<()> {
    let json = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--json") => true,
        Some(other) => return Err(format!("what is {other}? There is --json")),
    };
    let dir = std::env::temp_dir().join(format!("canopy-bench-authz-{}", std::process::id()));
    let results = measure(&dir).await;
    let _ = std::fs::remove_dir_all(&dir);
    report::print("authz", &results?, json);
    Ok(())
}

async fn measure(dir: &Path) -> Res<Vec<Value>> {
    let mut results = decisions()?;
    let mut config =
        Config { listen: ([127, 0, 0, 1], 0).into(), data_dir: dir.to_owned(), ..Config::default() };
    config.agent.enabled = false;
    config.quota.defaults = ["instances", "cores", "ram"].map(|name| (name.to_owned(), -1)).into();
    let running = server::start(&config, Overrides::default()).await.map_err(words)?;
    let outcome = of_a_cloud(&running, dir).await;
    running.stop().await;
    results.extend(outcome?);
    Ok(results)
}

async fn of_a_cloud(running: &Running, dir: &Path) -> Res<Vec<Value>> {
    let password = std::fs::read_to_string(dir.join("admin-password")).map_err(words)?;
    let token = fill(&format!("http://{}", running.address), password.trim()).await?;
    Ok(vec![lists(&running.app, &token).await?, checks(&running.app, &token).await?])
}

/// Every action, by a member on its own resource and on another's.
fn decisions() -> Res<Vec<Value>> {
    let policies = Snapshot::of(Bundle::embedded().map_err(words)?);
    let caller = cases::Caller {
        user: "u".into(),
        roles: vec!["member".into()],
        scope: "project".into(),
        project: "p".into(),
        domain: "d".into(),
        source: "192.0.2.1".parse().ok(),
        methods: vec!["password".into()],
        ..cases::Caller::default()
    };
    let (who, how) = caller.resolve()?;
    let targets =
        ["p", "q"].map(|project| On { id: "x".into(), project_id: project.into(), ..On::default() }.target());
    let all: Vec<_> = actions::all().collect();
    let timed = |action, target| {
        let started = Instant::now();
        black_box(policies.decide(&who, &how, action, target));
        started.elapsed().as_secs_f64() * 1e6
    };
    let mut times: Vec<f64> =
        (0..DECISIONS).map(|n| timed(all[n % all.len()], &targets[n / all.len() % 2])).collect();
    times.sort_by(f64::total_cmp);
    let params = json!({"policies": policies.bundle().policies().count(), "actions": all.len()});
    // The dearest question: it says what the server is to be.
    let create = cases::action("compute:servers:create")?;
    let one = (0..DECISIONS / 10).map(|_| timed(create, &targets[0])).collect();
    Ok(vec![
        at_most("decision, p50", params.clone(), times[DECISIONS / 2], "us", Some(15.0)),
        at_most("decision, p99", params, times[DECISIONS * 99 / 100], "us", None),
        at_most("decision on a new server, p50", json!({}), median(one), "us", Some(15.0)),
    ])
}

/// A project with servers; the token of its admin. Without hosts they are in ERROR, which a list does not mind.
async fn fill(url: &str, password: &str) -> Res<String> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(words)?;
    let domain = json!({"id": "default"});
    let login = json!({"auth": {
        "identity": {"methods": ["password"],
                     "password": {"user": {"name": "admin", "password": password, "domain": domain}}},
        "scope": {"project": {"name": "admin", "domain": domain}}}});
    let answer =
        client.post(format!("{url}/identity/v3/auth/tokens")).json(&login).send().await.map_err(words)?;
    let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
    let token = token.ok_or("the login failed")?.to_owned();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{url}{path}")).header("x-auth-token", &token);
        let request = request.header("openstack-api-version", "compute 2.37").json(&body);
        let answer = request.send().await.map_err(words)?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(words)?;
        if status.is_success() { Ok(body) } else { Err(format!("POST {path}: {status} {body}")) }
    };
    let flavor = json!({"flavor": {"name": "f", "vcpus": 1, "ram": 64, "disk": 1}});
    let flavor = post("/compute/v2.1/flavors", flavor).await?["flavor"]["id"].clone();
    let image = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let image = post("/image/v2/images", image).await?["id"].as_str().unwrap_or_default().to_owned();
    let upload = client.put(format!("{url}/image/v2/images/{image}/file")).header("x-auth-token", &token);
    let upload = upload.header("content-type", "application/octet-stream").body(vec![0_u8; 4_096]);
    upload.send().await.map_err(words)?.error_for_status().map_err(words)?;
    for batch in 0..SERVERS / BATCH {
        let server = json!({"server": {
            "name": format!("s{batch}"), "flavorRef": flavor, "imageRef": image, "networks": "none",
            "metadata": {"purpose": "measuring", "batch": batch.to_string()},
            "min_count": BATCH, "max_count": BATCH}});
        post("/compute/v2.1/servers", server).await?;
    }
    Ok(token)
}

/// The same thousand rows with and without asking about each.
async fn lists(app: &App, token: &str) -> Res<Value> {
    let Caller { who, methods, delegation } = identity::authenticate(app, token).await.map_err(words)?;
    let how = Circumstances { methods, ..Circumstances::default() };
    let policies = app.authorizer.snapshot();
    let ctx = Ctx {
        request_id: RequestId::random(),
        who,
        how,
        delegation,
        policies,
        asked: String::new(),
        mutating: false,
        trail: Trail::default(),
    };
    let filter = Filter { project_id: ctx.who.project_id().cloned(), ..Filter::default() };
    let page = Page { limit: u32::try_from(SERVERS).ok(), marker: None };
    let (mut plain, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let started = Instant::now();
        let rows = unfiltered(app, filter.clone(), page.clone()).await?;
        let alone = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let listed =
            servers::list(app, &ctx, Filter::default(), &servers::Matching::default(), false, page.clone())
                .await
                .map_err(words)?;
        ratios.push(started.elapsed().as_secs_f64() / alone);
        plain.push(alone * 1e3);
        if (rows, listed.len()) != (SERVERS, SERVERS) {
            return Err(format!("{rows} and {} servers are listed, of {SERVERS}", listed.len()));
        }
    }
    let params = json!({"servers": SERVERS, "unfiltered_ms": median(plain)});
    Ok(at_most("list, filtered to unfiltered", params, median(ratios), "ratio", Some(1.2)))
}

/// What a list reads, and nobody asked.
async fn unfiltered(app: &App, filter: Filter, page: Page) -> Res<usize> {
    let recent = app.store.recent();
    let rows = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::servers::list(c, &recent, &filter, &page).await }))
        .await
        .map_err(words)?;
    let ids: Vec<_> = rows.iter().map(|server| server.id).collect();
    let read = app.store.read(move |c| {
        Box::pin(async move {
            let addresses = canopy_store::ports::of_servers(c, &ids).await?;
            Ok((addresses, canopy_store::hosts::all(c).await?))
        })
    });
    black_box(read.await.map_err(words)?);
    Ok(rows.len())
}

async fn checks(app: &App, token: &str) -> Res<Value> {
    // Nothing in it waits, so all of it runs on this thread.
    let before = clock::cpu();
    for _ in 0..CHECKS {
        black_box(identity::authenticate(app, black_box(token)).await.map_err(words)?);
    }
    let spent = (clock::cpu() - before).as_secs_f64();
    if spent == 0.0 {
        return Err("the system does not tell a thread's CPU time".into());
    }
    Ok(at_most("token check, CPU", json!({}), spent * 1e6 / CHECKS as f64, "us", Some(20.0)))
}
