//! A thousand creates at once: exactly as many as fit are placed, the rest is in ERROR with its decision, and no
//! host is over its total. On SQLite with one controller, on PostgreSQL with two processes.

use super::{controller_with, register, registration};
use canopy_app::compute::placement::Scheduler;
use canopy_plugin_host::{PluginHost, Stats};
use canopy_store::{Options, Store};
use canopy_tests::fixtures::{flavor, image, server};
use canopy_tests::process::{Process, plugins};
use canopy_tests::{Client, Engine, engines, login_body};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

const HOSTS: usize = 10;
/// 1-GiB servers that fit on a host.
const SLOTS: i64 = 30;
const GROUPS: usize = 5;
/// Creates of each group.
const GROUPED: usize = 60;
/// Creates without a group.
const PLAIN: usize = 700;
const TENANTS: usize = 8;
const AT_ONCE: usize = 96;

/// A new project with a user in it, at whichever of the controllers its requests go to.
async fn tenant(admin: &Client, base: &str, name: &str) -> Client {
    let project = admin.post("/identity/v3/projects", &json!({"project": {"name": name}})).await;
    let user = json!({"user": {"name": name, "password": "correct horse"}});
    let user = admin.post("/identity/v3/users", &user).await;
    let roles = admin.get("/identity/v3/roles?name=member").await;
    let (project, user) = (project.text_at("/project/id"), user.text_at("/user/id"));
    let role = roles.text_at("/roles/0/id");
    let grant = format!("/identity/v3/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let body = login_body(name, "correct horse", name);
    let login = Client::new(base, "").post("/identity/v3/auth/tokens", &body).await;
    assert_eq!(login.status, 201, "{login:?}");
    Client::new(base, login.header("x-subject-token").unwrap())
}

/// Sends the creates, [`AT_ONCE`] at a time. A controller may ask to come again; nothing else may fail.
async fn create_all(bodies: Vec<(Client, Value)>) {
    let create = |(client, body): (Client, Value)| async move {
        for attempt in 0..200 {
            let answer = client.at("2.37").post("/compute/v2.1/servers", &body).await;
            match answer.status {
                202 => return,
                503 if attempt < 199 => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                _ => panic!("{answer:?}"),
            }
        }
    };
    futures::stream::iter(bodies).map(create).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// The whole proof; `urls` are the controllers, `store` what they share.
async fn prove(admin: &Client, urls: &[String], store: &Store, what: &str) {
    let small = flavor(admin, "one", 1, 64, 1).await;
    let boot = image(admin, "img").await;
    let public = json!([{"op": "replace", "path": "/visibility", "value": "public"}]);
    let patch = admin
        .request("PATCH", &format!("/image/v2/images/{boot}"))
        .header("content-type", "application/openstack-images-v2.1-json-patch")
        .body(public.to_string());
    assert_eq!(admin.send(patch).await.status, 200);
    let mut tenants = Vec::new();
    for n in 0..TENANTS {
        tenants.push(tenant(admin, &urls[n % urls.len()], &format!("tenant-{n}")).await);
    }
    let body = server("s", &small, &boot);

    let mut grouped = Vec::new();
    for (n, client) in tenants.iter().enumerate().take(GROUPS) {
        let policy = json!({"server_group": {"name": format!("g{n}"), "policies": ["anti-affinity"]}});
        let made = client.post("/compute/v2.1/os-server-groups", &policy).await;
        let mut body = body.clone();
        body["os:scheduler_hints"] = json!({"group": made.text_at("/server_group/id")});
        grouped.extend((0..GROUPED).map(|_| (client.clone(), body.clone())));
    }
    // Neighbours in the queue are of different projects, and of different controllers.
    let grouped =
        (0..GROUPED).flat_map(|i| (0..GROUPS).map(move |g| g * GROUPED + i)).map(|at| grouped[at].clone());
    create_all(grouped.collect()).await;
    let placed = check(store, what).await;
    assert_eq!(placed, GROUPS * HOSTS, "{what}: one server of each group on each host");

    create_all((0..PLAIN).map(|n| (tenants[n % TENANTS].clone(), body.clone())).collect()).await;
    let placed = check(store, what).await;
    assert_eq!(placed, HOSTS * SLOTS as usize, "{what}: every slot is used, none twice");
}

/// What must hold at any time; answers how many servers are placed.
async fn check(store: &Store, what: &str) -> usize {
    let (rows, servers, decisions) = store
        .read(|c| {
            Box::pin(async move {
                let rows = canopy_store::fleet::load(c, None).await?;
                let mut servers = Vec::new();
                let mut decisions = HashMap::new();
                let mut page = canopy_store::Page { limit: Some(1_000), marker: None };
                loop {
                    let some =
                        canopy_store::servers::list(c, &Default::default(), &Default::default(), &page)
                            .await?;
                    let Some(last) = some.last() else { break };
                    page.marker = Some(last.id.to_string());
                    servers.extend(some);
                }
                for server in &servers {
                    let decision = canopy_store::decisions::get(c, server.decision_id).await?;
                    decisions.insert(server.id, decision);
                }
                Ok((rows, servers, decisions))
            })
        })
        .await
        .unwrap();
    for row in &rows.inventories {
        assert!(row.used <= row.capacity(), "{what}: {row:?}");
    }
    for (_, host, servers) in &rows.groups {
        assert_eq!(*servers, 1, "{what}: host {host} has {servers} servers of an anti-affinity group");
    }
    let mut on_host: HashMap<_, i64> = HashMap::new();
    for server in &servers {
        let decision = decisions[&server.id].as_ref().unwrap_or_else(|| panic!("{what}: no decision"));
        let document: Value = serde_json::from_str(&decision.document).unwrap();
        match server.host_id {
            Some(host) => {
                *on_host.entry(host).or_default() += 1;
                assert_eq!(document["winner"], json!(host), "{what}");
            }
            None => {
                assert_eq!(document["winner"], Value::Null, "{what}");
                let fault = &server.fault.as_ref().unwrap().message;
                assert!(fault.starts_with("No valid host was found."), "{what}: {fault}");
                assert!(fault.contains(&decision.id.to_string()), "{what}: {fault}");
            }
        }
    }
    for row in rows.inventories.iter().filter(|row| row.class == "DISK_GB") {
        let counted = on_host.get(&canopy_types::HostId(row.provider_id.0)).copied().unwrap_or(0);
        assert_eq!(row.used, counted, "{what}: what is used is what is there");
    }
    servers.iter().filter(|server| server.host_id.is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_creates_at_once_fill_every_slot_and_none_twice() {
    alone(None, "SQLite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_creates_at_once_through_a_placer_fill_every_slot_and_none_twice() {
    let stats = alone(Some(plugins().join("placer-bestfit")), "SQLite, placer").await;
    let stats = stats.expect("a plugin decided");
    assert!(stats.calls() > 0 && stats.faults().is_empty(), "{:?}", stats.notes());
}

async fn alone(scheduler: Option<PathBuf>, what: &str) -> Option<Arc<Stats>> {
    let plugin = scheduler
        .as_ref()
        .map(|folder| PluginHost::new().unwrap().load_scheduler(folder, Value::Null).unwrap());
    let cloud = controller_with(Engine::Sqlite, |_| {}).await;
    if let Some(plugin) = plugin.clone() {
        cloud.app().placement.swap(Scheduler { plugin, files: None });
    }
    let names: Vec<String> = (0..HOSTS).map(|n| format!("h{n}")).collect();
    let disks: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), SLOTS)).collect();
    register(&cloud, &disks).await;
    let admin = cloud.admin().await;
    prove(&admin, std::slice::from_ref(&cloud.url), &cloud.app().store, what).await;
    plugin.and_then(|plugin| plugin.stats())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_on_postgresql_fill_every_slot_and_none_twice() {
    two("", "two").await;
}

/// Both fill the same host first, so that most claims of one or the other fail at the database.
#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_with_a_placer_each_fill_every_slot_and_none_twice() {
    let folder = plugins().join("placer-bestfit");
    two(&format!("[plugins]\nscheduler = {:?}\n", folder.display().to_string()), "two_placers").await;
}

async fn two(plugins: &str, what: &str) {
    if !engines().contains(&Engine::Postgres) {
        return;
    }
    let server = std::env::var("CANOPY_TEST_POSTGRES").unwrap();
    let name = format!("canopy_{what}_{}", std::process::id());
    let url = canopy_store::testing::create_database(&server, &name).await.unwrap();
    let more = format!(
        "[database]\nurl = \"{url}\"\n[quota.defaults]\ninstances = -1\ncores = -1\nram = -1\n\
         server_groups = -1\nserver_group_members = -1\n{plugins}"
    );
    let [mut one, mut two] = ["one", "two"].map(|name| Process::controller(&format!("{what}-{name}"), &more));
    one.start_ready().await;
    two.start_ready().await;
    let token = std::fs::read_to_string(one.data().join("keys/agent.token")).unwrap();
    let agent = Client::new(&one.url(), "").with_header("authorization", &format!("Bearer {}", token.trim()));
    for n in 0..HOSTS {
        let body = serde_json::to_value(registration(&format!("h{n}"), SLOTS)).unwrap();
        let answer = agent.post(&format!("{}/register", canopy_agent_api::PATH), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let store = Store::open(&Options::url(url)).await.unwrap();
    prove(&one.admin().await, &[one.url(), two.url()], &store, "PostgreSQL").await;
    store.close().await;
    drop((one, two));
    canopy_store::testing::drop_database(&server, &name).await.unwrap();
}
