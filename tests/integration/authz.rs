//! The default policies as tenants meet them: who gets what answer through the API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_tests::{Client, Cloud};
use serde_json::{Value, json};

const READS: &[&str] = &[
    "/compute/v2.1/servers",
    "/compute/v2.1/servers/detail",
    "/compute/v2.1/flavors",
    "/compute/v2.1/os-keypairs",
    "/image/v2/images",
    "/network/v2.0/networks",
    "/network/v2.0/subnets",
    "/network/v2.0/ports",
    "/network/v2.0/security-groups",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_does_not_write() {
    let cloud = Cloud::start().await;
    let reader = cloud.tenant_with_role("r", "reader").await;
    for path in READS {
        let answer = reader.get(path).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
    }
    let network = reader.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    assert_eq!(network.status, 403, "{network:?}");
    let image = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    assert_eq!(reader.post("/image/v2/images", &image).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_writes_in_its_project_and_only_there() {
    let cloud = Cloud::start().await;
    let (admin, a, b) = (cloud.admin().await, cloud.tenant("a").await, cloud.tenant("b").await);
    let made = a.post("/network/v2.0/networks", &json!({"network": {"name": "mine"}})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/network/v2.0/networks/{}", made.text_at("/network/id"));
    let absent = "/network/v2.0/networks/5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    for (forbidden, unknown) in
        [(b.get(&path).await, b.get(absent).await), (b.delete(&path).await, b.delete(absent).await)]
    {
        assert_eq!((forbidden.status, unknown.status), (404, 404), "another's answers as an absent one");
        assert_eq!(forbidden.json["NeutronError"]["type"], unknown.json["NeutronError"]["type"]);
    }
    let listed = b.get("/network/v2.0/networks").await;
    assert_eq!(listed.json["networks"], json!([]));
    assert_eq!(admin.get(&path).await.status, 200);
    assert_eq!(a.delete(&path).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_admins_is_refused_to_members_and_managers() {
    let cloud = Cloud::start().await;
    for (name, role) in [("m", "member"), ("g", "manager")] {
        let client = cloud.tenant_with_role(name, role).await;
        let flavor = json!({"flavor": {"name": "f", "vcpus": 1, "ram": 64, "disk": 1}});
        let attempts = [
            client.post("/compute/v2.1/flavors", &flavor).await,
            client.get("/identity/v3/users").await,
            client.get("/identity/v3/projects").await,
            client.get("/identity/v3/roles").await,
            client.get("/identity/v3/domains").await,
            client.get("/identity/v3/role_assignments").await,
            client.get("/identity/v3/users/0123456789abcdef0123456789abcdef").await,
            client.post("/identity/v3/users", &json!({"user": {"name": "x"}})).await,
            client.post("/identity/v3/projects", &json!({"project": {"name": "x"}})).await,
        ];
        for (at, answer) in attempts.iter().enumerate() {
            assert_eq!(answer.status, 403, "{role} {at} {answer:?}");
        }
    }
}

/// The shortest way up: giving oneself a role.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_oneself_a_role() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant_with_role("m", "manager").await);
    let at = |list: &'static str, name: &'static str| {
        let admin = admin.clone();
        async move {
            let answer = admin.get(&format!("/identity/v3/{list}?name={name}")).await;
            answer.text_at(&format!("/{list}/0/id")).to_owned()
        }
    };
    let (user, project, role) =
        (at("users", "m").await, at("projects", "m").await, at("roles", "admin").await);
    for place in [format!("projects/{project}"), "domains/default".into(), "system".into()] {
        let path = format!("/identity/v3/{place}/users/{user}/roles/{role}");
        assert_eq!(tenant.put(&path, &Value::Null).await.status, 403, "{path}");
        assert_eq!(tenant.get(&path).await.status, 403);
    }
    let own = format!("/identity/v3/projects/{project}");
    assert_eq!(tenant.get(&own).await.status, 200, "one's own project may be seen");
    assert_eq!(tenant.patch(&own, &json!({"project": {"name": "y"}})).await.status, 403);
    assert_eq!(tenant.delete(&own).await.status, 403);
    // A forbidden project and an absent one are the same.
    let admins = at("projects", "admin").await;
    let (theirs, absent) = (
        tenant.get(&format!("/identity/v3/projects/{admins}")).await,
        tenant.get("/identity/v3/projects/0123456789abcdef0123456789abcdef").await,
    );
    assert_eq!((theirs.status, &theirs.json), (absent.status, &absent.json));
    assert_eq!(theirs.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_project_does_nothing_in_projects() {
    let cloud = Cloud::start().await;
    cloud.tenant("t").await;
    let body = json!({"auth": {"scope": "unscoped", "identity": {"methods": ["password"], "password": {"user": {
        "name": "t", "domain": {"id": "default"}, "password": "correct horse"}}}}});
    let answer = cloud.anonymous().post("/identity/v3/auth/tokens", &body).await;
    let client = Client::new(&cloud.url, answer.header("x-subject-token").unwrap());
    for path in READS {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 403, "{path} {answer:?}");
    }
    let mine = client.get("/identity/v3/auth/projects").await;
    assert_eq!(mine.json["projects"].as_array().unwrap().len(), 1, "but it shows where one can go");
}
