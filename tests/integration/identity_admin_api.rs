//! What only admins do in identity: domains, roles of one's own, looking at the catalog piece by piece.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_tests::{Client, Cloud, engines, login_body};
use serde_json::{Value, json};

const DOMAINS: &str = "/identity/v3/domains";
const ROLES: &str = "/identity/v3/roles";

async fn domain(admin: &Client, name: &str) -> String {
    let made = admin.post(DOMAINS, &json!({"domain": {"name": name, "description": "d"}})).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text_at("/domain/id").to_owned()
}

/// A user with a role in a project of the domain, and what logging in to it answers.
async fn logged_in(admin: &Client, domain: &str, anonymous: &Client) -> (Value, Client) {
    let project = json!({"project": {"name": "p", "domain_id": domain}});
    let project = admin.post("/identity/v3/projects", &project).await.text_at("/project/id").to_owned();
    let user = json!({"user": {"name": "u", "domain_id": domain, "password": "correct horse"}});
    let user = admin.post("/identity/v3/users", &user).await.text_at("/user/id").to_owned();
    let role = admin.get(&format!("{ROLES}?name=member")).await.text_at("/roles/0/id").to_owned();
    let grant = format!("/identity/v3/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"id": user, "password": "correct horse"}}},
        "scope": {"project": {"id": project}},
    }});
    let answer = anonymous.post("/identity/v3/auth/tokens", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut client = anonymous.clone();
    client.token = answer.header("x-subject-token").unwrap().to_owned();
    (body, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_made_changed_disabled_and_removed_with_what_is_in_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let id = domain(&admin, "acme").await;
        let one = format!("{DOMAINS}/{id}");
        let shown = admin.get(&one).await.json["domain"].clone();
        assert_eq!(
            shown,
            json!({
                "id": id, "name": "acme", "description": "d", "enabled": true, "tags": [], "options": {},
                "links": {"self": format!("{}{one}", cloud.url)},
            })
        );
        let twice = admin.post(DOMAINS, &json!({"domain": {"name": "acme"}})).await;
        assert_eq!(twice.status, 409);
        assert!(twice.text_at("/error/message").contains("Duplicate entry found with name acme"));
        assert_eq!(admin.patch(&one, &json!({"domain": {"name": "Default"}})).await.status, 409);

        let (body, member) = logged_in(&admin, &id, &cloud.anonymous()).await;
        assert_eq!(member.get("/compute/v2.1/servers").await.status, 200);
        let network = member.post("/network/v2.0/networks", &json!({"network": {}})).await;
        let network = format!("/network/v2.0/networks/{}", network.text_at("/network/id"));

        let enabled = admin.delete(&one).await;
        assert_eq!(enabled.status, 403, "{enabled:?}");
        let off = json!({"domain": {"name": "acme-old", "description": null, "enabled": false}});
        let changed = admin.patch(&one, &off).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(changed.json["domain"]["name"], "acme-old");
        assert_eq!(
            (&changed.json["domain"]["description"], &changed.json["domain"]["enabled"]),
            (&json!(""), &json!(false))
        );
        assert_eq!(
            member.get("/compute/v2.1/servers").await.status,
            401,
            "its users' tokens are worth nothing"
        );
        assert_eq!(cloud.anonymous().post("/identity/v3/auth/tokens", &body).await.status, 401);

        let held = admin.delete(&one).await;
        assert_eq!(held.status, 409);
        assert!(held.text_at("/error/message").contains("1 networks"), "{held:?}");
        assert_eq!(admin.delete(&network).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 204);
        for gone in [admin.get(&one).await, admin.delete(&one).await, admin.patch(&one, &off).await] {
            assert_eq!(gone.status, 404, "{gone:?}");
        }
        assert_eq!(admin.get("/identity/v3/users?name=u").await.json["users"], json!([]));
        assert_eq!(admin.get("/identity/v3/projects?name=p").await.json["projects"], json!([]));
        let assignments = admin.get("/identity/v3/role_assignments").await;
        assert_eq!(assignments.json["role_assignments"].as_array().unwrap().len(), 2, "the admin's own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_lock_the_cloud_by_its_default_domain() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let one = format!("{DOMAINS}/default");
    assert_eq!(admin.patch(&one, &json!({"domain": {"enabled": false}})).await.status, 403);
    assert_eq!(admin.delete(&one).await.status, 403);
    let login = login_body("admin", &cloud.admin_password(), "admin");
    assert_eq!(cloud.anonymous().post("/identity/v3/auth/tokens", &login).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_of_ones_own_live_and_the_built_in_ones_stay() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        cloud.tenant("t").await;
        let made = admin.post(ROLES, &json!({"role": {"name": "auditor"}})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text_at("/role/id").to_owned();
        let one = format!("{ROLES}/{id}");
        assert_eq!(
            made.json["role"],
            json!({
                "id": id, "name": "auditor", "domain_id": null, "description": null, "options": {},
                "links": {"self": format!("{}{one}", cloud.url)},
            })
        );
        assert_eq!(admin.post(ROLES, &json!({"role": {"name": "auditor"}})).await.status, 409);
        assert_eq!(admin.patch(&one, &json!({"role": {"name": "admin"}})).await.status, 409);
        let changed =
            admin.patch(&one, &json!({"role": {"name": "watcher", "description": "looks on"}})).await;
        assert_eq!((changed.status, &changed.json["role"]["description"]), (200, &json!("looks on")));

        let user = admin.get("/identity/v3/users?name=t").await.text_at("/users/0/id").to_owned();
        let project = admin.get("/identity/v3/projects?name=t").await.text_at("/projects/0/id").to_owned();
        let grants = format!("/identity/v3/projects/{project}/users/{user}/roles");
        assert_eq!(admin.put(&format!("{grants}/{id}"), &Value::Null).await.status, 204);
        let login = login_body("t", "correct horse", "t");
        let token = cloud.anonymous().post("/identity/v3/auth/tokens", &login).await;
        assert!(token.text().contains("watcher"), "{token:?}");
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 404);
        assert_eq!(admin.get(&grants).await.json["roles"].as_array().unwrap().len(), 1, "taken from all");

        for role in admin.get(ROLES).await.json["roles"].as_array().unwrap() {
            assert_eq!(role["options"], json!({"immutable": true}), "{role}");
            let one = format!("{ROLES}/{}", role["id"].as_str().unwrap());
            assert_eq!(admin.delete(&one).await.status, 403);
            assert_eq!(admin.patch(&one, &json!({"role": {"name": "x"}})).await.status, 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_disabled_after_all_below_it_and_enabled_before_them() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let create = async |name: &str, parent: Option<&str>| {
            let body = json!({"project": {"name": name, "parent_id": parent, "domain_id": "default"}});
            admin.post("/identity/v3/projects", &body).await
        };
        let enable = async |id: &str, enabled: bool| {
            let body = json!({"project": {"enabled": enabled}});
            admin.patch(&format!("/identity/v3/projects/{id}"), &body).await.status
        };
        let parent = create("parent", None).await.text_at("/project/id").to_owned();
        let child = create("child", Some(&parent)).await.text_at("/project/id").to_owned();
        assert_eq!(enable(&parent, false).await, 403, "its child is enabled");
        assert_eq!((enable(&child, false).await, enable(&parent, false).await), (200, 200));
        assert_eq!(enable(&child, true).await, 403, "its parent is disabled");
        assert_eq!(create("grandchild", Some(&child)).await.status, 403);
        assert_eq!((enable(&parent, true).await, enable(&child, true).await), (200, 200));
        assert_eq!(create("grandchild", Some(&child)).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_tagged_and_found_by_their_tags() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let make = async |name: &str, tags: Value| {
            let body = json!({"project": {"name": name, "tags": tags}});
            admin.post("/identity/v3/projects", &body).await
        };
        let red = make("red", json!(["red", "a_b"])).await;
        assert_eq!((red.status, &red.json["project"]["tags"]), (201, &json!(["a_b", "red"])), "{red:?}");
        assert_eq!(make("blue", json!(["blue", "axb", "Red", "\"q\""])).await.status, 201);
        let found = async |query: &str| -> Vec<String> {
            let answer = admin.get(&format!("/identity/v3/projects?{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut names: Vec<String> = answer.json["projects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|project| project["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(found("tags=red").await, ["red"]);
        assert_eq!(found("tags=a_b").await, ["red"], "an underscore is no wildcard");
        assert_eq!(found("tags=red,a_b").await, ["red"]);
        assert_eq!(found("tags=red,blue").await, [""; 0]);
        assert_eq!(found("tags-any=red,blue").await, ["blue", "red"]);
        assert_eq!(found("not-tags-any=red,blue").await, ["admin", "t"]);
        assert_eq!(found("not-tags=red,a_b").await, ["admin", "blue", "t"]);
        assert_eq!(found("tags=%22q%22").await, ["blue"]);
        assert_eq!(found("tags=%25").await, [""; 0]);
        assert_eq!(found("tags=%00").await, [""; 0]);

        let all = format!("/identity/v3/projects/{}/tags", red.text_at("/project/id"));
        let one = format!("{all}/new%20one");
        assert_eq!(admin.get(&one).await.status, 404);
        assert_eq!(admin.delete(&one).await.status, 404);
        for _ in 0..2 {
            assert_eq!(admin.put(&one, &Value::Null).await.status, 201);
        }
        assert_eq!(admin.get(&one).await.status, 204);
        assert_eq!(admin.get(&all).await.json["tags"], json!(["a_b", "new one", "red"]));
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.put(&format!("{all}/a,b"), &Value::Null).await.status, 400);
        let replaced = admin.put(&all, &json!({"tags": ["z", "y"]})).await;
        assert_eq!((replaced.status, &replaced.json["tags"]), (200, &json!(["y", "z"])));
        let many: Vec<String> = (0..80).map(|n| n.to_string()).collect();
        assert_eq!(admin.put(&all, &json!({ "tags": many })).await.status, 200);
        assert_eq!(admin.put(&format!("{all}/one-more"), &Value::Null).await.status, 400);
        for bad in [
            json!(["a", "a"]),
            json!(["a/b"]),
            json!([""]),
            json!([7]),
            json!("a"),
            json!(vec!["x".repeat(256)]),
        ] {
            assert_eq!(admin.put(&all, &json!({ "tags": bad })).await.status, 400, "{bad}");
        }
        assert_eq!(tenant.put(&format!("{all}/mine"), &Value::Null).await.status, 403);
        assert_eq!(admin.delete(&all).await.status, 204);
        assert_eq!(admin.get(&all).await.json["tags"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_make_nothing() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    for (path, kind) in [(DOMAINS, "domain"), (ROLES, "role")] {
        let before = admin.get(path).await.json;
        for body in [
            json!({}),
            json!({ kind: null }),
            json!({ kind: {} }),
            json!({ kind: {"name": ""} }),
            json!({ kind: {"name": " "} }),
            json!({ kind: {"name": "x".repeat(256)} }),
            json!({ kind: {"name": "a\u{0}b"} }),
            json!({ kind: {"name": 7} }),
            json!({ kind: {"name": "a", "enabled": "perhaps", "domain_id": 3} }),
            json!({ kind: {"name": "a", "options": {"immutable": true}} }),
        ] {
            let answer = admin.post(path, &body).await;
            assert_eq!(answer.status, 400, "{body:.100} {answer:?}");
        }
        assert_eq!(tenant.post(path, &json!({ kind: {"name": "mine"} })).await.status, 403);
        assert_eq!(admin.get(path).await.json, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_shown_piece_by_piece_and_is_the_tokens() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let catalog = admin.get("/identity/v3/auth/catalog").await.json["catalog"].clone();
    let services = admin.get("/identity/v3/services").await.json["services"].clone();
    let endpoints = admin.get("/identity/v3/endpoints").await.json["endpoints"].clone();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&services), ids(&catalog));
    let nested: Vec<String> =
        catalog.as_array().unwrap().iter().flat_map(|service| ids(&service["endpoints"])).collect();
    assert_eq!(ids(&endpoints), nested);
    for (kind, all) in [("service", &services), ("endpoint", &endpoints)] {
        let first = &all[0];
        let shown = admin.get(&format!("/identity/v3/{kind}s/{}", first["id"].as_str().unwrap())).await;
        assert_eq!(shown.json[kind], *first);
        assert_eq!(admin.get(&format!("/identity/v3/{kind}s/none")).await.status, 404);
        assert_eq!(tenant.get(&format!("/identity/v3/{kind}s")).await.status, 403);
    }
    let image = admin.get("/identity/v3/services?type=image").await.json["services"].clone();
    assert_eq!((image.as_array().unwrap().len(), &image[0]["name"]), (1, &json!("glance")));
    let service = image[0]["id"].as_str().unwrap();
    let narrowed = format!("/identity/v3/endpoints?service_id={service}&interface=public");
    let narrowed = admin.get(&narrowed).await.json["endpoints"].clone();
    assert_eq!(narrowed[0]["url"], format!("{}/image", cloud.url));
    assert_eq!(narrowed.as_array().unwrap().len(), 1);
    let region = tenant.get("/identity/v3/regions/RegionOne").await;
    assert_eq!(tenant.get("/identity/v3/regions").await.json["regions"], json!([region.json["region"]]));
    assert_eq!(tenant.get("/identity/v3/regions/elsewhere").await.status, 404);
}
