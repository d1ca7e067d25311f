//! A thousand creates and deletes around a limit: it is never exceeded, nothing is left counted, and every answer is
//! a yes or a no. Usage is held against what there is while it goes on, in one state of the database at a time.

use super::{exact, project};
use canopy_store::{Options, Store};
use canopy_tests::fixtures::{flavor, image, server};
use canopy_tests::process::Process;
use canopy_tests::{Client, Cloud, Engine, engines};
use futures::StreamExt;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const LIMIT: i64 = 20;
const REQUESTS: usize = 1_000;
const AT_ONCE: usize = 64;

/// One try: makes a network, and gives it back two times of three. A controller may ask to come again.
async fn network(client: &Client, n: usize, refused: &AtomicU64) {
    for _ in 0..200 {
        let answer = super::network(client).await;
        match answer.status {
            201 if n.is_multiple_of(3) => return,
            201 => {
                let path = format!("/network/v2.0/networks/{}", answer.text_at("/network/id"));
                while client.delete(&path).await.status == 503 {}
                return;
            }
            409 => {
                refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            503 => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("never had an answer");
}

/// Runs `work` with the counters held against the truth, and usage against the limit, all the while.
async fn watched(store: &Store, id: &str, resource: &'static str, work: impl Future<Output = ()>) {
    let done = AtomicBool::new(false);
    let watch = async {
        let mut looks = 0;
        while !done.load(Ordering::Relaxed) || looks < 3 {
            exact(store, "meanwhile").await;
            let project = id.to_owned().into();
            let usage = store
                .read(move |c| Box::pin(async move { canopy_store::quota::usage(c, &project).await }))
                .await
                .unwrap();
            let used = usage.used.get(resource).copied().unwrap_or(0);
            assert!(used <= LIMIT, "{used} {resource} of {LIMIT}");
            looks += 1;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let work = async {
        work.await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(work, watch);
}

async fn prove_networks(admin: &Client, clients: &[Client], store: &Store) {
    let id = project(&clients[0]).await;
    let quota = json!({"quota": {"network": LIMIT}});
    assert_eq!(admin.put(&format!("/network/v2.0/quotas/{id}"), &quota).await.status, 200);
    let refused = AtomicU64::new(0);
    let work = async {
        let work = (0..REQUESTS).map(|n| network(&clients[n % clients.len()], n, &refused));
        futures::stream::iter(work).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    };
    watched(store, &id, "networks", work).await;
    // What is left fits exactly, and one more is refused at once.
    for _ in 0..=LIMIT {
        super::network(&clients[0]).await;
    }
    let listed = clients[0].get("/network/v2.0/networks").await;
    assert_eq!(listed.json["networks"].as_array().unwrap().len(), LIMIT as usize);
    assert_eq!(super::network(&clients[0]).await.status, 409);
    assert!(refused.load(Ordering::Relaxed) > 0);
    exact(store, "in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_creates_and_deletes_never_exceed_a_limit() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        prove_networks(&admin, &[tenant], &cloud.app().store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_exceed_a_limit_between_them() {
    if !engines().contains(&Engine::Postgres) {
        return;
    }
    let server = std::env::var("CANOPY_TEST_POSTGRES").unwrap();
    let name = format!("canopy_quota_{}", std::process::id());
    let url = canopy_store::testing::create_database(&server, &name).await.unwrap();
    let more = format!("[database]\nurl = \"{url}\"\n");
    let [mut one, mut two] = ["q1", "q2"].map(|name| Process::controller(name, &more));
    one.start_ready().await;
    two.start_ready().await;
    let store = Store::open(&Options::url(url)).await.unwrap();
    let admin = one.admin().await;
    // Only the first has made the user, and knows its password.
    let password = std::fs::read_to_string(one.data().join("admin-password")).unwrap();
    let body = canopy_tests::login_body("admin", password.trim(), "admin");
    let login = Client::new(&two.url(), "").post("/identity/v3/auth/tokens", &body).await;
    let second = Client::new(&two.url(), login.header("x-subject-token").unwrap());
    prove_networks(&admin, &[one.admin().await, second], &store).await;
    store.close().await;
    drop((one, two));
    canopy_store::testing::drop_database(&server, &name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_come_and_go_are_counted_at_every_commit() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let (small, image) = (flavor(&admin, "small", 1, 64, 1).await, image(&tenant, "img").await);
        let id = project(&tenant).await;
        super::set(&admin, &id, json!({"instances": LIMIT, "cores": -1, "ram": -1})).await;
        let body = server("s", &small, &image);
        let compute = tenant.at("2.37");
        let one = async |n: usize| {
            let mut answer = compute.post("/compute/v2.1/servers", &body).await;
            while answer.status == 503 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                answer = compute.post("/compute/v2.1/servers", &body).await;
            }
            match answer.status {
                202 if !n.is_multiple_of(3) => {
                    let path = format!("/compute/v2.1/servers/{}", answer.text_at("/server/id"));
                    while compute.delete(&path).await.status == 503 {}
                }
                202 | 403 => {}
                _ => panic!("{answer:?}"),
            }
        };
        let work = async {
            futures::stream::iter((0..200).map(one)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        };
        watched(&cloud.app().store, &id, "instances", work).await;
        exact(&cloud.app().store, "in the end").await;
    }
}
