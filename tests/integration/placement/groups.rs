//! Server groups and hints.

use super::{controller, host_of, ready, register};
use canopy_tests::fixtures::{boot, server, show};
use canopy_tests::{Client, engines};
use serde_json::{Value, json};

const GROUPS: &str = "/compute/v2.1/os-server-groups";

async fn group(client: &Client, name: &str, policy: &str) -> String {
    let body = json!({"server_group": {"name": name, "policies": [policy]}});
    let made = client.at("2.37").post(GROUPS, &body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.text_at("/server_group/id").to_owned()
}

fn hinted(flavor: &str, image: &str, hints: Value) -> Value {
    let mut body = server("s", flavor, image);
    body["os:scheduler_hints"] = hints;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_keep_their_servers_together_or_apart_and_forget_them_with_the_server() {
    for engine in engines() {
        let cloud = controller(engine).await;
        register(&cloud, &[("h1", 10), ("h2", 10), ("h3", 10)]).await;
        let (admin, tenant, flavor, image) = ready(&cloud).await;
        let apart = group(&tenant, "apart", "anti-affinity").await;
        let body = hinted(&flavor, &image, json!({"group": apart}));
        let mut hosts = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(boot(&tenant, &body).await);
            hosts.push(host_of(&admin, ids.last().unwrap()).await);
        }
        hosts.sort();
        assert_eq!(hosts, ["h1", "h2", "h3"], "{engine:?}");
        let fourth = show(&tenant, &boot(&tenant, &body).await).await;
        assert_eq!(fourth["status"], "ERROR");
        let message = fourth["fault"]["message"].as_str().unwrap();
        assert!(message.contains("3 of 3 hosts refused by anti-affinity"), "{message}");
        // The refused one is a member too, as in nova.
        let shown = tenant.at("2.13").get(&format!("{GROUPS}/{apart}")).await;
        assert_eq!(shown.json["server_group"]["members"].as_array().unwrap().len(), 4, "{shown:?}");
        assert_eq!(shown.text_at("/server_group/policies/0"), "anti-affinity");
        assert!(shown.text_at("/server_group/project_id").len() == 32);
        // Room comes back with a server that is gone: no agent has it, so an operator's report ends it.
        let together = group(&tenant, "together", "affinity").await;
        let body = hinted(&flavor, &image, json!({"group": together, "same_host": ids[1]}));
        let first = boot(&tenant, &body).await;
        let body = hinted(&flavor, &image, json!({"group": together}));
        let second = boot(&tenant, &body).await;
        assert_eq!(host_of(&admin, &first).await, host_of(&admin, &ids[1]).await);
        assert_eq!(host_of(&admin, &second).await, host_of(&admin, &first).await);
        // Members leave with the group; servers stay.
        assert_eq!(tenant.delete(&format!("{GROUPS}/{together}")).await.status, 204);
        assert_eq!(tenant.get(&format!("{GROUPS}/{together}")).await.status, 404);
        assert_eq!(show(&tenant, &second).await["id"], second.as_str());
        let gone = tenant.at("2.37").post("/compute/v2.1/servers", &body).await;
        assert_eq!(gone.status, 400, "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_choose_hosts_and_wrong_shapes_are_400() {
    let cloud = controller(canopy_tests::Engine::Sqlite).await;
    register(&cloud, &[("h1", 10), ("h2", 10)]).await;
    let (admin, tenant, flavor, image) = ready(&cloud).await;
    let first = boot(&tenant, &server("s", &flavor, &image)).await;
    let same = boot(&tenant, &hinted(&flavor, &image, json!({"same_host": [first]}))).await;
    let other =
        boot(&tenant, &hinted(&flavor, &image, json!({"different_host": first, "colour": "red"}))).await;
    let host = host_of(&admin, &first).await;
    assert_eq!(host_of(&admin, &same).await, host);
    assert_ne!(host_of(&admin, &other).await, host);
    // A server of nobody, or of another tenant, is nowhere.
    let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    let nowhere = boot(&tenant, &hinted(&flavor, &image, json!({"same_host": absent}))).await;
    assert_eq!(show(&tenant, &nowhere).await["status"], "ERROR");
    for hints in [
        json!([]),
        json!("group"),
        json!({"group": 7}),
        json!({"group": "web"}),
        json!({"group": absent}),
        json!({"same_host": []}),
        json!({"same_host": ["x"]}),
        json!({"different_host": {"id": absent}}),
        json!({"different_host": [null]}),
        json!({"cidr": "10.0.0.0"}),
    ] {
        let refused =
            tenant.at("2.37").post("/compute/v2.1/servers", &hinted(&flavor, &image, hints.clone())).await;
        assert_eq!(refused.status, 400, "{hints}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_of_one_request_are_placed_together_or_not_at_all() {
    for engine in engines() {
        let cloud = controller(engine).await;
        register(&cloud, &[("h1", 2), ("h2", 1)]).await;
        let (_, tenant, flavor, image) = ready(&cloud).await;
        let mut body = server("many", &flavor, &image);
        body["server"]["min_count"] = json!(4);
        boot(&tenant, &body).await;
        let listed = tenant.get("/compute/v2.1/servers/detail").await;
        let servers = listed.json["servers"].as_array().unwrap();
        assert_eq!(servers.len(), 4);
        assert!(servers.iter().all(|server| server["status"] == "ERROR"), "{engine:?}");
        let messages: Vec<&str> =
            servers.iter().map(|server| server["fault"]["message"].as_str().unwrap()).collect();
        assert!(messages.iter().filter(|m| m.contains("refused by batch")).count() == 3, "{messages:?}");
        body["server"]["min_count"] = json!(3);
        boot(&tenant, &body).await;
        let listed = tenant.get("/compute/v2.1/servers?status=BUILD").await;
        assert_eq!(listed.json["servers"].as_array().unwrap().len(), 3, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn group_requests_are_checked_counted_and_hidden_from_others() {
    let cloud = canopy_tests::Cloud::start_with(
        canopy_tests::Engine::Sqlite,
        |config| {
            config.quota.defaults.insert("server_groups".into(), 2);
            config.quota.defaults.insert("server_group_members".into(), 1);
        },
        None,
    )
    .await;
    let (admin, tenant, flavor, image) = ready(&cloud).await;
    let bad = |version: &'static str, group: Value| {
        let tenant = tenant.at(version);
        async move { tenant.post(GROUPS, &json!({ "server_group": group })).await.status }
    };
    assert_eq!(bad("2.1", json!({"name": "g", "policies": ["soft-affinity"]})).await, 400);
    assert_eq!(bad("2.15", json!({"name": "g", "policies": []})).await, 400);
    assert_eq!(bad("2.15", json!({"name": "g", "policies": ["affinity", "anti-affinity"]})).await, 400);
    assert_eq!(bad("2.15", json!({"name": "", "policies": ["affinity"]})).await, 400);
    assert_eq!(bad("2.15", json!({"name": "g", "policy": "affinity"})).await, 400);
    let one = group(&tenant, "one", "soft-affinity").await;
    group(&tenant, "two", "affinity").await;
    let third = tenant.post(GROUPS, &json!({"server_group": {"name": "g", "policies": ["affinity"]}})).await;
    assert_eq!(third.status, 403);
    assert!(third.text_at("/forbidden/message").contains("too many server groups"), "{third:?}");
    let body = hinted(&flavor, &image, json!({"group": one}));
    boot(&tenant, &body).await;
    let full = tenant.at("2.37").post("/compute/v2.1/servers", &body).await;
    assert_eq!(full.status, 403);
    assert!(full.text_at("/forbidden/message").contains("too many servers in group"), "{full:?}");
    let other = cloud.tenant("other").await;
    assert_eq!(other.get(&format!("{GROUPS}/{one}")).await.status, 404);
    assert_eq!(other.delete(&format!("{GROUPS}/{one}")).await.status, 404);
    assert_eq!(other.get(GROUPS).await.json["server_groups"], json!([]));
    assert_eq!(other.get(&format!("{GROUPS}?all_projects=1")).await.status, 403);
    let all = admin.get(&format!("{GROUPS}?all_projects=1&limit=1&offset=1")).await;
    assert_eq!(all.json["server_groups"][0]["name"], "two", "{all:?}");
    assert_eq!(tenant.delete(&format!("{GROUPS}/{one}")).await.status, 204);
    group(&tenant, "three", "anti-affinity").await;
}
