//! What an operator puts beside the built-in catalog, which endpoints a project is shown, credentials that
//! are kept, and trees of projects.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::identity_groups_api::id_of;
use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};

const SERVICES: &str = "/identity/v3/services";
const ENDPOINTS: &str = "/identity/v3/endpoints";
const REGIONS: &str = "/identity/v3/regions";

async fn made(admin: &Client, path: &str, kind: &str, body: Value) -> String {
    let answer = admin.post(path, &json!({ kind: body })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text_at(&format!("/{kind}/id")).to_owned()
}

/// The URL of an endpoint in the caller's own catalog.
async fn url_of(client: &Client, kind: &str) -> Option<String> {
    let catalog = client.get("/identity/v3/auth/catalog").await.json["catalog"].clone();
    let service = catalog.as_array().unwrap().iter().find(|service| service["type"] == kind)?.clone();
    service["endpoints"][0]["url"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_services_stand_in_the_catalog_beside_ours() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let project = id_of(&admin, "projects", "t").await;
        let region = made(&admin, REGIONS, "region", json!({"id": "North", "description": "d"})).await;
        assert_eq!(region, "North");
        let service =
            made(&admin, SERVICES, "service", json!({"type": "object-store", "name": "swift"})).await;
        let endpoint = json!({"service_id": service, "interface": "public", "region_id": "North",
            "url": "http://swift.example/v1/AUTH_%(project_id)s"});
        let endpoint = made(&admin, ENDPOINTS, "endpoint", endpoint).await;
        let url = url_of(&tenant, "object-store").await;
        assert_eq!(url, Some(format!("http://swift.example/v1/AUTH_{project}")));
        let one = format!("{ENDPOINTS}/{endpoint}");
        let off = admin.patch(&one, &json!({"endpoint": {"enabled": false}})).await;
        assert_eq!((off.status, &off.json["endpoint"]["enabled"]), (200, &json!(false)));
        assert_eq!(url_of(&tenant, "object-store").await, None);
        assert_eq!(admin.patch(&one, &json!({"endpoint": {"enabled": true}})).await.status, 200);

        // Nothing that a service or endpoint stands in goes from under it, and nothing of ours at all.
        assert_eq!(admin.delete(&format!("{REGIONS}/North")).await.status, 403);
        let ours = admin.get(&format!("{SERVICES}?type=compute")).await.text_at("/services/0/id").to_owned();
        for answer in [
            admin.delete(&format!("{SERVICES}/{ours}")).await,
            admin.patch(&format!("{SERVICES}/{ours}"), &json!({"service": {"enabled": false}})).await,
            admin.delete(&format!("{REGIONS}/RegionOne")).await,
            tenant.post(SERVICES, &json!({"service": {"type": "x"}})).await,
            tenant.delete(&one).await,
        ] {
            assert_eq!(answer.status, 403, "{answer:?}");
        }
        let renamed = admin.patch(&format!("{SERVICES}/{service}"), &json!({"service": {"name": "s"}})).await;
        assert_eq!((renamed.status, &renamed.json["service"]["name"]), (200, &json!("s")));
        assert_eq!(admin.delete(&format!("{SERVICES}/{service}")).await.status, 204);
        assert_eq!(admin.get(&one).await.status, 404, "endpoints go with their service");
        assert_eq!(admin.delete(&format!("{REGIONS}/North")).await.status, 204);
        assert_eq!(admin.get(&format!("{REGIONS}/North")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_nest_without_loops_and_hostile_bodies_make_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let put = admin.put(&format!("{REGIONS}/a"), &json!({"region": {}})).await;
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(admin.put(&format!("{REGIONS}/a"), &json!({"region": {}})).await.status, 409);
    assert_eq!(admin.put(&format!("{REGIONS}/%00"), &json!({"region": {}})).await.status, 400);
    made(&admin, REGIONS, "region", json!({"id": "b", "parent_region_id": "a"})).await;
    let below = admin.get(&format!("{REGIONS}?parent_region_id=a")).await;
    assert_eq!(below.json["regions"][0]["id"], "b");
    for parent in ["a", "b"] {
        let body = json!({"region": {"parent_region_id": parent}});
        let looped = admin.patch(&format!("{REGIONS}/a"), &body).await;
        assert_eq!(looped.status, 400, "{looped:?}");
    }
    assert_eq!(admin.delete(&format!("{REGIONS}/a")).await.status, 204, "with what is below it");
    assert_eq!(admin.get(&format!("{REGIONS}/b")).await.status, 404);
    for (path, body, status) in [
        (REGIONS, json!({"region": {"id": "RegionOne"}}), 409),
        (REGIONS, json!({"region": {"id": "c", "parent_region_id": "none"}}), 404),
        (REGIONS, json!({"region": {"id": 7}}), 400),
        (REGIONS, json!({}), 400),
        (SERVICES, json!({"service": {}}), 400),
        (SERVICES, json!({"service": {"type": ""}}), 400),
        (SERVICES, json!({"service": {"type": "x", "id": "mine"}}), 400),
        (
            ENDPOINTS,
            json!({"endpoint": {"service_id": "none", "interface": "public", "url": "http://x"}}),
            400,
        ),
        (
            ENDPOINTS,
            json!({"endpoint": {"service_id": "none", "interface": "secret", "url": "http://x"}}),
            400,
        ),
        (ENDPOINTS, json!({"endpoint": {"service_id": "none", "interface": "public", "url": "no url"}}), 400),
    ] {
        let answer = admin.post(path, &body).await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_shown_the_endpoints_that_were_chosen_for_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let project = id_of(&admin, "projects", "t").await;
        let service =
            admin.get(&format!("{SERVICES}?type=compute")).await.text_at("/services/0/id").to_owned();
        let query = format!("{ENDPOINTS}?service_id={service}&interface=public");
        let endpoint = admin.get(&query).await.text_at("/endpoints/0/id").to_owned();
        let all = format!("/identity/v3/OS-EP-FILTER/projects/{project}/endpoints");
        let one = format!("{all}/{endpoint}");
        assert_eq!(admin.get(&one).await.status, 404);
        assert_eq!(admin.put(&one, &Value::Null).await.status, 204);
        assert_eq!(admin.get(&one).await.status, 204);
        assert_eq!(admin.get(&all).await.json["endpoints"][0]["id"], endpoint);
        let projects = format!("/identity/v3/OS-EP-FILTER/endpoints/{endpoint}/projects");
        assert_eq!(admin.get(&projects).await.json["projects"][0]["id"], project);
        let catalog = tenant.get("/identity/v3/auth/catalog").await.json["catalog"].clone();
        assert_eq!(catalog.as_array().unwrap().len(), 1, "{catalog}");
        assert_eq!(catalog[0]["endpoints"].as_array().unwrap().len(), 1);
        assert!(url_of(&admin, "image").await.is_some(), "others see all");
        assert_eq!(tenant.delete(&one).await.status, 403);
        for absent in [format!("{all}/none"), one.replace(&project, "none")] {
            assert_eq!(admin.put(&absent, &Value::Null).await.status, 404);
        }
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 404);
        assert!(url_of(&tenant, "image").await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_credentials_are_for_their_owner_and_sealed_at_rest() {
    for engine in engines() {
        let mut cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let (a, b) = (cloud.tenant("a").await, cloud.tenant("b").await);
        let (user, project) = (id_of(&admin, "users", "a").await, id_of(&admin, "projects", "a").await);
        let path = "/identity/v3/credentials";
        let blob = r#"{"access": "AKIA", "secret": "hunter2hunter2"}"#;
        let body = json!({"type": "ec2", "blob": blob, "user_id": user, "project_id": project});
        let id = made(&a, path, "credential", body.clone()).await;
        let one = format!("{path}/{id}");
        assert_eq!(a.post(path, &json!({ "credential": body })).await.status, 409);
        assert_eq!(a.get(&one).await.json["credential"]["blob"], blob);
        assert_eq!(a.get(path).await.json["credentials"].as_array().unwrap().len(), 1);
        assert_eq!(b.get(path).await.json["credentials"], json!([]));
        let of_a = b.get(&format!("{path}?user_id={user}")).await;
        assert_eq!(of_a.json["credentials"], json!([]));
        let change = json!({"credential": {"type": "cert", "blob": "pem"}});
        for answer in [
            b.get(&one).await,
            b.patch(&one, &change).await,
            b.delete(&one).await,
            b.post(path, &json!({"credential": {"type": "x", "blob": "y", "user_id": user}})).await,
            b.get(&format!("{path}/none")).await,
        ] {
            assert_eq!(answer.status, 403, "{answer:?}");
        }
        assert_eq!(a.patch(&one, &change).await.json["credential"]["blob"], "pem");
        let to_b = json!({"credential": {"user_id": id_of(&admin, "users", "b").await}});
        assert_eq!(a.patch(&one, &to_b).await.status, 403, "not to be planted on others");
        for (fields, status) in [
            (json!({"type": "ec2", "blob": "no json", "project_id": project}), 400),
            (json!({"type": "ec2", "blob": blob}), 400),
            (json!({"type": "x", "blob": {"a": 1}}), 400),
            (json!({"type": "x", "blob": ""}), 400),
            (json!({"type": "x"}), 400),
            (json!({"type": "x", "blob": "y", "project_id": "none"}), 404),
        ] {
            let answer = a.post(path, &json!({ "credential": fields })).await;
            assert_eq!(answer.status, status, "{fields} {answer:?}");
        }
        cloud.restart().await;
        let admin = cloud.admin().await;
        assert_eq!(admin.get(&one).await.json["credential"]["blob"], "pem");
        let key = cloud.config.data_dir.join("keys/credentials.key");
        assert_eq!(std::fs::read(&key).unwrap().len(), 32);
        if cloud.config.database.url.is_none() {
            cloud.stop().await;
            let bytes = std::fs::read(cloud.config.data_dir.join("canopy.db")).unwrap();
            let found = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
            assert!(found(id.as_bytes()) && !found(b"hunter2hunter2"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_tree_shows_what_one_may_see() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let t = cloud.tenant("t").await;
    let top = id_of(&admin, "projects", "t").await;
    let projects = "/identity/v3/projects";
    let child = made(&admin, projects, "project", json!({"name": "child", "parent_id": top})).await;
    let leaf = made(&admin, projects, "project", json!({"name": "leaf", "parent_id": child})).await;
    let of = async |client: &Client, id: &str, query: &str| {
        let answer = client.get(&format!("{projects}/{id}?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["project"].clone()
    };
    assert_eq!(
        of(&admin, &leaf, "parents_as_ids").await["parents"],
        json!({child.as_str(): {top.as_str(): null}})
    );
    assert_eq!(
        of(&admin, &top, "subtree_as_ids").await["subtree"],
        json!({child.as_str(): {leaf.as_str(): null}})
    );
    let list = of(&admin, &leaf, "parents_as_list").await["parents"].clone();
    assert_eq!((&list[0]["project"]["id"], &list[1]["project"]["id"]), (&json!(child), &json!(top)));
    let list = of(&admin, &top, "subtree_as_list").await["subtree"].clone();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(of(&t, &top, "subtree_as_list").await["subtree"], json!([]), "nothing that is not one's own");
    assert!(of(&t, &top, "").await.get("subtree").is_none());
    let both = admin.get(&format!("{projects}/{top}?parents_as_list&parents_as_ids")).await;
    assert_eq!(both.status, 400);
}
