//! The placement API on every engine: rows and their owners, generations, trees, allocations, candidates,
//! versions, refusals, races.

#[path = "placement_api/allocations.rs"]
mod allocations;
#[path = "placement_api/bad_input.rs"]
mod bad_input;
#[path = "placement_api/candidates.rs"]
mod candidates;
#[path = "placement_api/hosts.rs"]
mod hosts;
#[path = "placement_api/inventories.rs"]
mod inventories;
#[path = "placement_api/names.rs"]
mod names;
#[path = "placement_api/trees.rs"]
mod trees;

use canopy_tests::{Answer, Client, Cloud, engines, fixtures};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PROVIDERS: &str = "/placement/resource_providers";

/// At a microversion of placement.
fn at(client: &Client, version: &str) -> Client {
    client.with_header("openstack-api-version", &format!("placement {version}"))
}

async fn admin(cloud: &Cloud) -> Client {
    at(&cloud.admin().await, "1.39")
}

fn refused(answer: &Answer, status: u16, code: &str) {
    let error = &answer.json["errors"][0];
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!((&error["status"], &error["code"]), (&json!(status), &json!(code)), "{answer:?}");
    assert!(error["detail"].as_str().is_some_and(|d| !d.is_empty() && d.len() < 1_000), "{answer:?}");
    assert!(error["request_id"].as_str().is_some_and(|id| id.starts_with("req-")));
    assert!(error["title"].is_string());
}

const UNDEFINED: &str = "placement.undefined_code";
const CONFLICT: &str = "placement.concurrent_update";

async fn made(client: &Client, name: &str, parent: Option<&str>) -> String {
    let body = json!({"name": name, "parent_provider_uuid": parent});
    let answer = client.post(PROVIDERS, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("location").unwrap().ends_with(answer.text_at("/uuid")));
    answer.text_at("/uuid").to_owned()
}

async fn generation(client: &Client, id: &str) -> i64 {
    let shown = client.get(&format!("{PROVIDERS}/{id}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.json["generation"].as_i64().unwrap()
}

/// Class, total and what else.
async fn stock(client: &Client, id: &str, inventories: Value) -> Answer {
    let generation = generation(client, id).await;
    let body = json!({"resource_provider_generation": generation, "inventories": inventories});
    client.put(&format!("{PROVIDERS}/{id}/inventories"), &body).await
}

async fn mark(client: &Client, id: &str, traits: &[&str], aggregates: &[&str]) {
    for name in traits.iter().filter(|name| name.starts_with("CUSTOM_")) {
        assert!(client.put(&format!("/placement/traits/{name}"), &Value::Null).await.status < 300);
    }
    let now = generation(client, id).await;
    let body = json!({"traits": traits, "resource_provider_generation": now});
    let answer = client.put(&format!("{PROVIDERS}/{id}/traits"), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body =
        json!({"aggregates": aggregates, "resource_provider_generation": generation(client, id).await});
    let answer = client.put(&format!("{PROVIDERS}/{id}/aggregates"), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn uuid() -> String {
    canopy_types::ConsumerId::random().to_string()
}

fn allocation(provider: &str, resources: Value, generation: Option<i64>) -> Value {
    json!({
        "allocations": {provider: {"resources": resources}},
        "project_id": "p1", "user_id": "u1", "consumer_type": "INSTANCE", "consumer_generation": generation,
    })
}

async fn used(client: &Client, provider: &str) -> Value {
    client.get(&format!("{PROVIDERS}/{provider}/usages")).await.json["usages"].clone()
}

fn refused_at_old(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["errors"][0]["status"], status);
}

fn requests(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["allocation_requests"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_says_what_is_served_and_versions_are_negotiated() {
    let cloud = Cloud::start().await;
    let anonymous = cloud.anonymous();
    for path in ["/placement", "/placement/"] {
        let answer = anonymous.get(path).await;
        let version = &answer.json["versions"][0];
        assert_eq!((&version["min_version"], &version["max_version"]), (&json!("1.0"), &json!("1.39")));
        assert_eq!(answer.header("openstack-api-version"), Some("placement 1.0"));
    }
    let admin = cloud.admin().await;
    let latest = at(&admin, "latest").get(PROVIDERS).await;
    assert_eq!(latest.header("openstack-api-version"), Some("placement 1.39"));
    assert!(latest.header("last-modified").is_some_and(|v| v.ends_with(" GMT")));
    assert_eq!(latest.header("cache-control"), Some("no-cache"));
    assert_eq!(at(&admin, "1.14").get(PROVIDERS).await.header("last-modified"), None);
    let far = at(&admin, "1.40").get(PROVIDERS).await;
    assert_eq!((far.status, &far.json["errors"][0]["max_version"]), (406, &json!("1.39")), "{far:?}");
    assert_eq!(at(&admin, "1.x").get(PROVIDERS).await.status, 400);
    // What a version does not know is not there.
    assert_eq!(at(&admin, "1.5").get("/placement/traits").await.status, 404);
    assert_eq!(at(&admin, "1.9").get("/placement/allocation_candidates?resources=VCPU:1").await.status, 404);
    let old = at(&admin, "1.4").delete(&format!("{PROVIDERS}/{}/inventories", uuid())).await;
    assert_eq!(old.status, 405, "{old:?}");
    assert_eq!(old.header("allow"), Some("DELETE, GET, POST, PUT"));
    assert!(
        at(&admin, "1.22").get(&format!("{PROVIDERS}/{}", uuid())).await.json["errors"][0]
            .get("code")
            .is_none()
    );
    let catalog = admin.get("/identity/v3/auth/catalog").await;
    let listed = catalog.json["catalog"].as_array().unwrap().iter().any(|s| s["type"] == "placement");
    assert!(listed, "{catalog:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placement_is_for_admins_and_services_and_a_tenant_sees_its_own_usage() {
    let cloud = Cloud::start().await;
    let tenant = at(&cloud.tenant("t").await, "1.39");
    let service = at(&cloud.tenant_with_role("svc", "service").await, "1.39");
    let host = cloud.hosts().await.remove(0).id.to_string();
    for path in [
        PROVIDERS.to_owned(),
        format!("{PROVIDERS}/{host}"),
        format!("{PROVIDERS}/{}", uuid()),
        "/placement/traits".into(),
    ] {
        refused(&tenant.get(&path).await, 403, UNDEFINED);
    }
    assert_eq!(service.get(PROVIDERS).await.status, 200);
    assert_eq!(service.post(PROVIDERS, &json!({"name": "s"})).await.status, 200);
    let project =
        cloud.admin().await.get("/identity/v3/projects?name=t").await.text_at("/projects/0/id").to_owned();
    assert_eq!(tenant.get(&format!("/placement/usages?project_id={project}")).await.status, 200);
    refused(&tenant.get("/placement/usages?project_id=another").await, 403, UNDEFINED);
}
