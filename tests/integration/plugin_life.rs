//! Plugins while the cloud serves: installed, tried, put in force, failing, taken out; over HTTP and at the desk.

mod guests;
mod harm;
mod load;

use canopy_tests::{Client, Cloud, Engine, engines, fixtures};
use guests::{built, hostile, wire};
use serde_json::{Value, json};

/// Sends a package and answers its id.
async fn install(admin: &Client, package: Vec<u8>) -> String {
    let answer = send(admin, package).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text_at("/plugin/id").to_owned()
}

async fn send(client: &Client, package: Vec<u8>) -> canopy_tests::Answer {
    let request = client.request("POST", "/canopy/v1/plugins");
    client.send(request.header("content-type", "application/octet-stream").body(package)).await
}

async fn activate(admin: &Client, kind: &str, plugin: &str) -> Value {
    let answer =
        admin.put(&format!("/canopy/v1/plugin-slots/{kind}/active"), &json!({ "plugin": plugin })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["slot"].clone()
}

async fn slot(client: &Client, kind: &str) -> Value {
    let answer = client.get(&format!("/canopy/v1/plugin-slots/{kind}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["slot"].clone()
}

/// Creates a server and answers the digest of who decided on it.
async fn decided_by(admin: &Client, tenant: &Client, flavor: &str, image: &str) -> String {
    let id = fixtures::boot(tenant, &fixtures::server("s", flavor, image)).await;
    let decision = admin.get(&format!("/canopy/v1/servers/{id}/decision")).await;
    assert_eq!(decision.status, 200, "{decision:?}");
    tenant.delete(&format!("/compute/v2.1/servers/{id}")).await;
    decision.text_at("/decision/document/plugin/digest").to_owned()
}

async fn log(admin: &Client) -> Vec<(String, String)> {
    let answer = admin.get("/canopy/v1/plugin-log").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    answer.json["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(line, "what"), text(line, "plugin")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn installed_put_in_force_rolled_back_and_kept_over_a_restart() {
    for engine in engines() {
        let mut cloud = Cloud::start_on(engine).await;
        let (mut admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
        let image = fixtures::image(&tenant, "i").await;
        assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, "");

        let spread = install(&admin, wire(&built("scheduler-spread"))).await;
        let binpack = install(&admin, wire(&built("scheduler-binpack"))).await;
        assert_eq!(send(&admin, wire(&built("scheduler-spread"))).await.status, 200, "the same again");
        assert_eq!(
            decided_by(&admin, &tenant, &flavor, &image).await,
            "",
            "installing puts nothing in force"
        );

        let shown = activate(&admin, "scheduler", &spread).await;
        assert_eq!((&shown["digest"], &shown["name"]), (&json!(spread), &json!("scheduler-spread")));
        assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, spread);
        activate(&admin, "scheduler", &binpack).await;
        assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, binpack);

        let path = format!("/canopy/v1/plugins/{binpack}");
        let refused = admin.delete(&path).await;
        assert_eq!(refused.status, 409, "{refused:?}");

        cloud.restart().await;
        admin = cloud.admin().await;
        let tenant = cloud.login("t", "correct horse", "t").await;
        assert_eq!(slot(&admin, "scheduler").await["digest"], binpack);
        assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, binpack);

        let roll_back = async || admin.post("/canopy/v1/plugin-slots/scheduler/rollback", &Value::Null).await;
        for expected in [spread.as_str(), ""] {
            let answer = roll_back().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, expected);
        }
        let answer = roll_back().await;
        assert_eq!((answer.status, answer.text_at("/error/code")), (409, "plugin.no_history"));
        assert_eq!(admin.delete(&path).await.status, 204);
        assert_eq!(admin.get(&path).await.status, 404);
        let log = log(&admin).await;
        for what in ["install", "activate", "rollback", "remove"] {
            assert!(log.iter().any(|(found, _)| found == what), "{what} is not in {log:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_reads_or_changes_plugins() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant_with_role("m", "manager").await;
    for path in ["/plugins", "/plugin-slots/quota", "/plugin-slots/quota/stats", "/plugin-log"] {
        assert_eq!(tenant.get(&format!("/canopy/v1{path}")).await.status, 403, "{path}");
    }
    assert_eq!(send(&tenant, wire(&built("quota-limits"))).await.status, 403);
    let body = json!({"plugin": "built-in"});
    assert_eq!(tenant.put("/canopy/v1/plugin-slots/quota/active", &body).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_its_reason_and_changes_nothing() {
    let cloud =
        Cloud::start_with(Engine::Sqlite, |config| config.plugins.limits.memory_mib = 100, None).await;
    let admin = cloud.admin().await;
    let whole = wire(&built("quota-limits"));
    let greedy = String::from_utf8_lossy(&whole).contains("memory_mib = 16");
    assert!(greedy, "the manifest is as this test expects");
    let text = |bytes: &[u8]| bytes.to_vec();
    let replaced = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    for (what, package, code) in [
        ("nothing", Vec::new(), 400),
        ("a manifest alone", text(b"name = \"x\""), 400),
        ("half a component", whole[..whole.len() - 100].to_vec(), 400),
        ("another kind", replaced("kind = \"quota\"", "kind = \"network\""), 400),
        ("more than the cap", replaced("memory_mib = 16", "memory_mib = 101"), 400),
        ("a newer SDK", replaced("sdk = \"1", "sdk = \"7"), 400),
    ] {
        let answer = send(&admin, package).await;
        assert_eq!(answer.status, code, "{what}: {answer:?}");
        assert!(answer.text_at("/error/message").len() > 20, "{what}: {answer:?}");
    }
    let media = admin.request("POST", "/canopy/v1/plugins").body(whole.clone());
    assert_eq!(admin.send(media).await.status, 415);
    let quota = install(&admin, whole.clone()).await;
    let other = send(&admin, replaced("memory_mib = 16", "memory_mib = 17")).await;
    assert_eq!(other.status, 409, "{other:?}");

    let put = async |path: &str, body: Value| admin.put(&format!("/canopy/v1{path}"), &body).await;
    let answer = put("/plugin-slots/scheduler/active", json!({ "plugin": quota })).await;
    assert_eq!(answer.status, 400, "a quota rule is no scheduler: {answer:?}");
    let answer = put("/plugin-slots/quota/active", json!({"plugin": "0".repeat(64)})).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let answer = put("/plugin-slots/quota/active", json!({"plugin": quota, "config": {"unlisted": 7}})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = put("/plugin-slots/root/active", json!({ "plugin": quota })).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let answer = put(&format!("/plugins/{quota}/config"), json!({"config": {"no": 1}})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = put("/plugin-slots/quota/demotion", json!({"faults": 1001, "window_seconds": 1})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = put("/plugin-slots/quota/active?dry_run=true", json!({ "plugin": quota })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(slot(&admin, "quota").await["active"]["plugin"], "start");
    assert_eq!(slot(&admin, "quota").await["revision"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_into_force_at_once_and_a_rollback_takes_them_back() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let quota = install(&admin, wire(&built("quota-limits"))).await;
    activate(&admin, "quota", &quota).await;
    let config = |unlisted: &str| json!({"config": {"unlisted": unlisted}});
    let path = format!("/canopy/v1/plugins/{quota}/config");
    assert_eq!(admin.put(&path, &config("deny")).await.status, 200);
    let shown = slot(&admin, "quota").await;
    assert_eq!(shown["active"]["config"], json!({"unlisted": "deny"}));
    let create =
        async || tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await.status;
    assert_eq!(create().await, 201);
    let stats = admin.get("/canopy/v1/plugin-slots/quota/stats").await;
    assert!(stats.json["stats"]["active"]["calls"].as_u64().unwrap() > 0, "{stats:?}");
    assert!(stats.json["stats"]["active"]["memory_peak_bytes"].as_u64().unwrap() > 0, "{stats:?}");
    assert!(stats.json["stats"]["active"]["p99_us"].as_f64().unwrap() > 0.0, "{stats:?}");
    let back = admin.post("/canopy/v1/plugin-slots/quota/rollback", &Value::Null).await;
    assert_eq!(back.json["slot"]["active"]["config"], json!({}), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_never_decides() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
    let image = fixtures::image(&tenant, "i").await;
    // A rule that denies everything, and a scheduler that vetoes every host.
    let deny = install(&admin, hostile::wire("quota", "deny", &hostile::deny_cores())).await;
    let veto = install(&admin, hostile::wire("scheduler", "veto", &hostile::veto())).await;
    for (kind, id) in [("quota", &deny), ("scheduler", &veto)] {
        let answer =
            admin.put(&format!("/canopy/v1/plugin-slots/{kind}/shadow"), &json!({ "plugin": id })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    cloud
        .until("both shadows have disagreed", async || {
            assert_eq!(decided_by(&admin, &tenant, &flavor, &image).await, "", "a shadow decides nothing");
            let differs = async |kind: &str| {
                let answer = admin.get(&format!("/canopy/v1/plugin-slots/{kind}/differences")).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                !answer.json["differences"].as_array().unwrap().is_empty()
            };
            differs("quota").await && differs("scheduler").await
        })
        .await;
    let shadow = slot(&admin, "scheduler").await["shadow"].clone();
    assert_eq!(shadow["plugin"], veto);
    assert!(shadow["compared"].as_u64() >= shadow["different"].as_u64() && shadow["different"] != 0);
    let rows = admin.get("/canopy/v1/plugin-slots/scheduler/differences?limit=1").await;
    let row = &rows.json["differences"][0];
    assert_eq!((row["was"].as_str(), row["would"].as_str()), (Some("host-1"), Some("no host")), "{rows:?}");
    let answer = admin.delete(&format!("/canopy/v1/plugins/{veto}")).await;
    assert_eq!(answer.status, 409, "a shadow is in use: {answer:?}");
    assert_eq!(admin.delete("/canopy/v1/plugin-slots/scheduler/shadow").await.status, 200);
    assert_eq!(slot(&admin, "scheduler").await["shadow"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_too_often_goes_back_to_the_one_before_and_all_is_said() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let good = install(&admin, wire(&built("quota-limits"))).await;
    let bad = install(&admin, hostile::wire("quota", "trap", &hostile::trapping_rule())).await;
    activate(&admin, "quota", &good).await;
    let limits = json!({"faults": 3, "window_seconds": 60});
    assert_eq!(admin.put("/canopy/v1/plugin-slots/quota/demotion", &limits).await.status, 200);
    activate(&admin, "quota", &bad).await;
    cloud
        .until("it is demoted", async || {
            let made = tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
            assert_eq!(made.status, 201, "no request fails for it: {made:?}");
            let id = made.text_at("/network/id").to_owned();
            tenant.delete(&format!("/network/v2.0/networks/{id}")).await;
            slot(&admin, "quota").await["digest"] == good
        })
        .await;
    let shown = slot(&admin, "quota").await;
    assert!(shown["active"]["why"].as_str().unwrap().contains("faults within 60 s (3 trap"), "{shown}");
    cloud
        .until("the log says so", async || {
            let log = log(&admin).await;
            log.contains(&("demote".into(), bad.clone())) && log.contains(&("fault".into(), bad.clone()))
        })
        .await;
    let metrics = cloud.anonymous().get("/metrics").await;
    assert!(metrics.text().contains("canopy_plugin_demotions_total"), "{}", metrics.text());
    let events = cloud.app().store.read(|c| Box::pin(canopy_store::events::after(c, 0, 1000))).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "plugin.demote" && event.subject.ends_with(&bad)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_controller_follows() {
    if !engines().contains(&Engine::Postgres) {
        eprintln!("skipped: two controllers need PostgreSQL");
        return;
    }
    let first = Cloud::start_on(Engine::Postgres).await;
    let url = first.config.database.url.clone();
    let second = Cloud::start_with(
        Engine::Sqlite,
        |config| {
            config.database.url = url;
            config.agent.enabled = false;
        },
        None,
    )
    .await;
    let admin = first.admin().await;
    let id = install(&admin, wire(&built("scheduler-spread"))).await;
    activate(&admin, "scheduler", &id).await;
    let password = first.admin_password();
    let other = second.login("admin", &password, "admin").await;
    second
        .until("the other controller has it", async || slot(&other, "scheduler").await["digest"] == id)
        .await;
    assert_eq!(other.post("/canopy/v1/plugin-slots/scheduler/rollback", &Value::Null).await.status, 200);
    first
        .until("and takes it back", async || slot(&admin, "scheduler").await["active"]["plugin"] == "start")
        .await;
}
