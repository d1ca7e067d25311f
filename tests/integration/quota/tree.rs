//! Unified limits, and limits of domains and parents that bound all below them.

use super::{exact, network, project, service};
use canopy_tests::{Client, Cloud, engines, login_body};
use serde_json::{Value, json};

/// A project below `parent`, and a member of it.
async fn below(cloud: &Cloud, admin: &Client, parent: &str, name: &str) -> (String, Client) {
    let project = json!({"project": {"name": name, "parent_id": parent}});
    let project = admin.post("/identity/v3/projects", &project).await.text_at("/project/id").to_owned();
    let user = json!({"user": {"name": name, "password": "correct horse"}});
    let user = admin.post("/identity/v3/users", &user).await.text_at("/user/id").to_owned();
    let role = admin.get("/identity/v3/roles?name=member").await.text_at("/roles/0/id").to_owned();
    let grant = format!("/identity/v3/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let body = login_body(name, "correct horse", name);
    let login = Client::new(&cloud.url, "").post("/identity/v3/auth/tokens", &body).await;
    assert_eq!(login.status, 201, "{login:?}");
    (project, Client::new(&cloud.url, login.header("x-subject-token").unwrap()))
}

async fn limit(admin: &Client, holder: (&str, &str), limit: i64) -> canopy_tests::Answer {
    let mut one = json!({
        "service_id": service(admin, "network").await, "resource_name": "network", "resource_limit": limit,
    });
    one[holder.0] = json!(holder.1);
    admin.post("/identity/v3/limits", &json!({"limits": [one]})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_above_bounds_the_sum_of_all_below() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, top) = (cloud.admin().await, cloud.tenant("top").await);
        let top_id = project(&top).await;
        let (child_id, child) = below(&cloud, &admin, &top_id, "child").await;
        let (_, grandchild) = below(&cloud, &admin, &child_id, "grandchild").await;
        let made = limit(&admin, ("project_id", &top_id), 3).await;
        assert_eq!(made.status, 201, "{made:?}");
        for client in [&top, &child, &grandchild] {
            assert_eq!(network(client).await.status, 201);
        }
        for client in [&top, &child, &grandchild] {
            let over = network(client).await;
            assert_eq!(over.status, 409, "{engine:?} {over:?}");
        }
        let over = network(&grandchild).await;
        let text = over.text_at("/NeutronError/message");
        assert!(
            text.ends_with(&format!("already used 3 of 3 networks of all projects under {top_id}")),
            "{text}"
        );
        // What anyone below gives back is there for all.
        let id = network_of(&child).await;
        assert_eq!(child.delete(&format!("/network/v2.0/networks/{id}")).await.status, 204);
        assert_eq!(network(&grandchild).await.status, 201);

        // A limit of its own cannot promise more than there is above.
        let more = limit(&admin, ("project_id", &child_id), 4).await;
        assert_eq!(more.status, 403, "{more:?}");
        assert_eq!(limit(&admin, ("project_id", &child_id), 2).await.status, 201);
        // The domain's bounds them too, and every other project in it.
        let id = made.text_at("/limits/0/id").to_owned();
        assert_eq!(admin.delete(&format!("/identity/v3/limits/{id}")).await.status, 204);
        assert_eq!(limit(&admin, ("domain_id", "default"), 4).await.status, 201);
        let other = cloud.tenant("other").await;
        assert_eq!((network(&other).await.status, network(&other).await.status), (201, 409));
        exact(&cloud.app().store, "after").await;
    }
}

async fn network_of(client: &Client) -> String {
    client.get("/network/v2.0/networks").await.text_at("/networks/0/id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_under_one_limit_above_never_exceed_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, top) = (cloud.admin().await, cloud.tenant("top").await);
        let top_id = project(&top).await;
        let mut clients = vec![top];
        for n in 0..3 {
            clients.push(below(&cloud, &admin, &top_id, &format!("child{n}")).await.1);
        }
        assert_eq!(limit(&admin, ("project_id", &top_id), 10).await.status, 201);
        let creates = (0..80).map(|n| network(&clients[n % clients.len()]));
        let answers = futures::future::join_all(creates).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        let refused = answers.iter().filter(|answer| answer.status == 409).count();
        assert_eq!((made, refused), (10, 70), "{engine:?}");
        exact(&cloud.app().store, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_limits_are_the_defaults_and_limits_the_quotas() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let id = project(&tenant).await;
        let compute = service(&admin, "compute").await;
        let all = tenant.get("/identity/v3/registered_limits").await;
        assert_eq!(all.status, 200, "{all:?}");
        assert!(all.json["registered_limits"].as_array().unwrap().len() >= 12);
        let path = format!("/identity/v3/registered_limits?service_id={compute}&resource_name=servers");
        let servers = admin.get(&path).await;
        assert_eq!(servers.json["registered_limits"].as_array().unwrap().len(), 1);
        assert_eq!(servers.json["registered_limits"][0]["default_limit"], 10);
        let registered =
            format!("/identity/v3/registered_limits/{}", servers.text_at("/registered_limits/0/id"));
        let changed = admin.patch(&registered, &json!({"registered_limit": {"default_limit": 7}})).await;
        assert_eq!(changed.json["registered_limit"]["default_limit"], 7, "{changed:?}");
        let quota = format!("/compute/v2.1/os-quota-sets/{id}");
        assert_eq!(tenant.get(&quota).await.json["quota_set"]["instances"], 7);

        let one =
            json!({"project_id": id, "service_id": compute, "resource_name": "servers", "resource_limit": 2});
        let made = admin.post("/identity/v3/limits", &json!({"limits": [one]})).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(tenant.get(&quota).await.json["quota_set"]["instances"], 2);
        assert_eq!(admin.post("/identity/v3/limits", &json!({"limits": [one]})).await.status, 409);
        let limit = format!("/identity/v3/limits/{}", made.text_at("/limits/0/id"));
        let own = tenant.get("/identity/v3/limits").await;
        assert_eq!(own.json["limits"][0]["resource_limit"], 2, "{own:?}");
        let other = cloud.tenant("other").await;
        assert_eq!(other.get("/identity/v3/limits").await.json["limits"], json!([]));
        assert_eq!((tenant.get(&limit).await.status, other.get(&limit).await.status), (200, 403));
        let changed =
            admin.patch(&limit, &json!({"limit": {"resource_limit": 3, "description": "more"}})).await;
        assert_eq!(
            (&changed.json["limit"]["resource_limit"], &changed.json["limit"]["description"]),
            (&json!(3), &json!("more"))
        );
        // While a project has a limit of it, the resource stays registered.
        assert_eq!(admin.delete(&registered).await.status, 403);
        assert_eq!(admin.delete(&limit).await.status, 204);
        assert_eq!(admin.delete(&registered).await.status, 204);
        assert_eq!(tenant.get(&quota).await.json["quota_set"]["instances"], 10);
        assert_eq!(admin.get(&limit).await.status, 404);
        let model = tenant.get("/identity/v3/limits/model").await;
        assert_eq!(model.text_at("/model/name"), "strict_two_level");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_of_flavors_is_registered_and_counted() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let compute = service(&admin, "compute").await;
    let class = json!({"service_id": compute, "resource_name": "class:CUSTOM_GPU", "default_limit": 1});
    let made = admin.post("/identity/v3/registered_limits", &json!({"registered_limits": [class]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        admin.post("/identity/v3/registered_limits", &json!({"registered_limits": [class]})).await.status,
        409
    );
    let flavor = canopy_tests::fixtures::flavor(&admin, "gpu", 1, 64, 1).await;
    let specs = json!({"extra_specs": {"resources:CUSTOM_GPU": "2"}});
    let specs = admin.post(&format!("/compute/v2.1/flavors/{flavor}/os-extra_specs"), &specs).await;
    assert_eq!(specs.status, 200, "{specs:?}");
    let image = canopy_tests::fixtures::image(&tenant, "img").await;
    let body = canopy_tests::fixtures::server("s", &flavor, &image);
    let over = tenant.at("2.37").post("/compute/v2.1/servers", &body).await;
    let text = "Quota exceeded for class:CUSTOM_GPU: Requested 2, but already used 0 of 1 class:CUSTOM_GPU";
    assert_eq!(over.text_at("/forbidden/message"), text, "{over:?}");
    let id = made.text_at("/registered_limits/0/id").to_owned();
    assert_eq!(admin.delete(&format!("/identity/v3/registered_limits/{id}")).await.status, 204);
    // No host has any, but the quota lets it.
    assert_eq!(tenant.at("2.37").post("/compute/v2.1/servers", &body).await.status, 202);
    exact(&cloud.app().store, "after").await;
    for bad in [
        json!({"service_id": compute, "resource_name": "volumes", "default_limit": 1}),
        json!({"service_id": "none", "resource_name": "servers", "default_limit": 1}),
        json!({"service_id": compute, "resource_name": "servers", "default_limit": -2}),
        json!({"service_id": compute, "resource_name": "servers", "default_limit": 1, "region_id": "elsewhere"}),
        json!({"service_id": compute}),
    ] {
        let answer = admin.post("/identity/v3/registered_limits", &json!({"registered_limits": [bad]})).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let nobody =
        json!({"service_id": compute, "resource_name": "servers", "resource_limit": 1, "project_id": "none"});
    assert_eq!(admin.post("/identity/v3/limits", &json!({"limits": [nobody]})).await.status, 404);
    assert_eq!(tenant.post("/identity/v3/limits", &json!({"limits": [nobody]})).await.status, 403);
}
