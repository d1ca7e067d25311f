//! Flavors and key pairs through the API, in each microversion's shape.

use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0jgjxw5hQ+3kQU0Yc5dP0Ah6XG3R8zjl7OeSKqM5XV me@host";

fn flavor(fields: Value) -> Value {
    let mut flavor = json!({"name": "small", "ram": 512, "vcpus": 1, "disk": 1});
    for (name, value) in fields.as_object().into_iter().flatten() {
        flavor[name] = value.clone();
    }
    json!({ "flavor": flavor })
}

async fn make(admin: &Client, fields: Value) -> Value {
    let made = admin.post("/compute/v2.1/flavors", &flavor(fields)).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.json["flavor"].clone()
}

/// In alphabetical order.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flavor_that_is_not_public_is_for_the_projects_that_were_given_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, one, two) = (cloud.admin().await, cloud.tenant("one").await, cloud.tenant("two").await);
        let groups = one.get("/network/v2.0/security-groups").await;
        let project = groups.text_at("/security_groups/0/project_id").to_owned();
        let private = json!({"name": "private", "id": "p", "os-flavor-access:is_public": false});
        make(&admin, private).await;
        make(&admin, json!({"name": "public", "id": "o"})).await;
        let listed = async |client: &Client, query: &str| -> Vec<String> {
            let answer = client.get(&format!("/compute/v2.1/flavors{query}")).await;
            let flavors = answer.json["flavors"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
            flavors.iter().map(|flavor| flavor["id"].as_str().unwrap().to_owned()).collect()
        };
        let act = async |client: &Client, id: &str, key: &str, tenant: &str| {
            let body = json!({key: {"tenant": tenant}});
            client.post(&format!("/compute/v2.1/flavors/{id}/action"), &body).await
        };
        let (add, remove) = ("addTenantAccess", "removeTenantAccess");
        let path = "/compute/v2.1/flavors/p/os-flavor-access";
        assert_eq!(admin.get(path).await.json, json!({"flavor_access": []}));
        assert_eq!(one.get("/compute/v2.1/flavors/p").await.status, 404);

        let given = act(&admin, "p", add, &project).await;
        let has = json!({"flavor_access": [{"flavor_id": "p", "tenant_id": project}]});
        assert_eq!((given.status, &given.json), (200, &has), "{given:?}");
        assert_eq!(admin.get(path).await.json, has);
        assert_eq!(act(&admin, "p", add, &project).await.status, 409, "it has it already");
        assert_eq!(listed(&one, "").await, ["o", "p"]);
        assert_eq!(listed(&one, "?is_public=false").await, ["o", "p"], "not a member's to ask");
        assert_eq!(listed(&two, "").await, ["o"]);
        assert_eq!(listed(&admin, "").await, ["o"]);
        assert_eq!(listed(&admin, "?is_public=none").await, ["o", "p"]);
        assert_eq!(one.get("/compute/v2.1/flavors/p").await.status, 200);
        assert_eq!(two.get("/compute/v2.1/flavors/p").await.status, 404);
        // It is used by whom it was given to.
        let image = canopy_tests::fixtures::image(&admin, "img").await;
        let publish = json!([{"op": "replace", "path": "/visibility", "value": "public"}]);
        let patch = admin.request("PATCH", &format!("/image/v2/images/{image}"));
        let patch = patch.header("content-type", "application/openstack-images-v2.1-json-patch");
        assert_eq!(admin.send(patch.body(publish.to_string())).await.status, 200);
        let server = canopy_tests::fixtures::server("s", "p", &image);
        assert_eq!(one.at("2.37").post("/compute/v2.1/servers", &server).await.status, 202);
        let refused = two.at("2.37").post("/compute/v2.1/servers", &server).await;
        assert!(refused.status == 400 && refused.text().contains("could not be found"), "{refused:?}");

        for (client, status) in [(&one, 403), (&two, 403)] {
            assert_eq!(client.get(path).await.status, status);
            assert_eq!(act(client, "p", add, &project).await.status, status);
            assert_eq!(act(client, "p", remove, &project).await.status, status);
        }
        assert_eq!(act(&admin, "p", add, &"0".repeat(32)).await.status, 400, "there is no such project");
        assert_eq!(act(&admin, "o", add, &project).await.status, 409, "it is public");
        assert_eq!(admin.get("/compute/v2.1/flavors/o/os-flavor-access").await.status, 404);
        assert_eq!(act(&admin, "x", add, &project).await.status, 404);
        for bad in
            [json!({add: {}}), json!({add: {"tenant": ""}}), json!({add: {"tenant": 1}}), json!({"x": {}})]
        {
            let answer = admin.post("/compute/v2.1/flavors/p/action", &bad).await;
            assert_eq!(answer.status, 400, "{bad}");
        }
        let taken = act(&admin, "p", remove, &project).await;
        assert_eq!((taken.status, &taken.json["flavor_access"]), (200, &json!([])), "{taken:?}");
        assert_eq!(act(&admin, "p", remove, &project).await.status, 404);
        assert_eq!(listed(&one, "").await, ["o"]);
        // One that was given is deleted with what was given.
        assert_eq!(act(&admin, "p", add, &project).await.status, 200);
        assert_eq!(admin.delete("/compute/v2.1/flavors/p").await.status, 202);
        make(&admin, json!({"name": "again", "id": "p", "os-flavor-access:is_public": false})).await;
        assert_eq!(one.get("/compute/v2.1/flavors/p").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flavors_have_novas_shape_and_are_made_by_admins_only() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let made =
            make(&admin, json!({"id": "m1 small", "ram": "512", "swap": 64, "rxtx_factor": 2.5})).await;
        let mut expected = [
            "OS-FLV-DISABLED:disabled",
            "OS-FLV-EXT-DATA:ephemeral",
            "disk",
            "id",
            "links",
            "name",
            "os-flavor-access:is_public",
            "ram",
            "rxtx_factor",
            "swap",
            "vcpus",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&made), expected);
        assert_eq!(
            (&made["ram"], &made["swap"], &made["rxtx_factor"]),
            (&json!(512), &json!(64), &json!(2.5))
        );
        assert_eq!(made["links"][0]["href"], format!("{}/compute/v2.1/flavors/m1%20small", cloud.url));
        let plain = make(&admin, json!({"name": "other"})).await;
        assert_eq!((plain["swap"].clone(), plain["rxtx_factor"].clone()), (json!(""), json!(1.0)));
        assert_eq!(plain["id"].as_str().map(str::len), Some(36));

        let shown = tenant.get("/compute/v2.1/flavors/m1%20small").await;
        assert_eq!((shown.status, &shown.json["flavor"]), (200, &made));
        let missing = tenant.get("/compute/v2.1/flavors/nothing").await;
        assert_eq!(
            (missing.status, missing.text_at("/itemNotFound/message")),
            (404, "Flavor nothing could not be found.")
        );
        assert_eq!(tenant.post("/compute/v2.1/flavors", &flavor(json!({"name": "mine"}))).await.status, 403);
        assert_eq!(tenant.delete("/compute/v2.1/flavors/m1%20small").await.status, 403);

        let name = admin.post("/compute/v2.1/flavors", &flavor(json!({}))).await;
        assert_eq!(
            (name.status, name.text_at("/conflictingRequest/message")),
            (409, "Flavor with name small already exists.")
        );
        let id = admin.post("/compute/v2.1/flavors", &flavor(json!({"name": "new", "id": "m1 small"}))).await;
        assert_eq!(
            (id.status, id.text_at("/conflictingRequest/message")),
            (409, "Flavor with ID m1 small already exists.")
        );

        let gone = admin.delete("/compute/v2.1/flavors/m1%20small").await;
        assert_eq!((gone.status, gone.body.len()), (202, 0));
        assert_eq!(admin.delete("/compute/v2.1/flavors/m1%20small").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_flavors_are_absent_for_tenants() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    make(&admin, json!({"id": "open"})).await;
    make(&admin, json!({"name": "closed", "id": "closed", "os-flavor-access:is_public": false})).await;
    let names = async |client: &Client, query: &str| -> Vec<String> {
        let list = client.get(&format!("/compute/v2.1/flavors?{query}")).await;
        assert_eq!(list.status, 200, "{list:?}");
        list.json["flavors"]
            .as_array()
            .expect("flavors")
            .iter()
            .map(|f| f["id"].as_str().unwrap().into())
            .collect()
    };
    for query in ["", "is_public=None", "is_public=false"] {
        assert_eq!(names(&tenant, query).await, ["open"], "{query}");
    }
    assert_eq!(names(&admin, "").await, ["open"]);
    assert_eq!(names(&admin, "is_public=None").await, ["closed", "open"]);
    assert_eq!(names(&admin, "is_public=false").await, ["closed"]);
    let hidden = tenant.get("/compute/v2.1/flavors/closed").await;
    assert_eq!(
        (hidden.status, hidden.text_at("/itemNotFound/message")),
        (404, "Flavor closed could not be found.")
    );
    assert_eq!(tenant.get("/compute/v2.1/flavors?marker=closed").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn flavor_lists_filter_sort_and_page() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        for (id, ram, disk) in [("a", 300, 9), ("b", 100, 5), ("c", 100, 1), ("d", 200, 0)] {
            make(&admin, json!({"id": id, "name": id, "ram": ram, "disk": disk})).await;
        }
        let ids = async |path: &str| -> Vec<String> {
            let list = tenant.get(&format!("/compute/v2.1/flavors{path}")).await;
            assert_eq!(list.status, 200, "{path}: {list:?}");
            list.json["flavors"]
                .as_array()
                .expect("flavors")
                .iter()
                .map(|f| f["id"].as_str().unwrap().into())
                .collect()
        };
        assert_eq!(ids("").await, ["a", "b", "c", "d"]);
        assert_eq!(ids("?minRam=200").await, ["a", "d"]);
        assert_eq!(ids("/detail?minDisk=5").await, ["a", "b"]);
        assert_eq!(ids("?sort_key=memory_mb").await, ["b", "c", "d", "a"]);
        assert_eq!(ids("?sort_key=memory_mb&sort_dir=desc").await, ["a", "d", "c", "b"]);
        assert_eq!(ids("?marker=b").await, ["c", "d"]);
        for query in ["limit=1", "limit=2&sort_key=memory_mb&sort_dir=desc", "limit=3&sort_key=is_public"] {
            let (mut next, mut seen) =
                (format!("{}/compute/v2.1/flavors/detail?{query}", cloud.url), Vec::new());
            for _ in 0..10 {
                let page = tenant.get(next.strip_prefix(cloud.url.as_str()).expect("our host")).await;
                seen.extend(
                    page.json["flavors"].as_array().expect("flavors").iter().map(|f| f["id"].clone()),
                );
                match page.json["flavors_links"][0]["href"].as_str() {
                    Some(href) => next = href.to_owned(),
                    None => break,
                }
            }
            let whole = ids(&format!("?{}", query.split_once('&').map_or("", |q| q.1))).await;
            assert_eq!(seen, whole, "{query}");
        }
        for bad in [
            "minRam=x",
            "minDisk=-x",
            "sort_key=owner",
            "sort_dir=up",
            "limit=-1",
            "marker=zzz",
            "marker=%00",
        ] {
            assert_eq!(tenant.get(&format!("/compute/v2.1/flavors?{bad}")).await.status, 400, "{bad}");
        }
        assert_eq!(admin.get("/compute/v2.1/flavors?is_public=maybe").await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_flavors_are_refused_and_make_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let bodies = [
        json!({}),
        json!([]),
        json!({"flavor": null}),
        json!({"flavor": {"name": "x"}}),
        flavor(json!({"ram": 0})),
        flavor(json!({"ram": -1})),
        flavor(json!({"ram": "x"})),
        flavor(json!({"ram": 1_u64 << 40})),
        flavor(json!({"ram": "9999999999"})),
        flavor(json!({"ram": 1.5})),
        flavor(json!({"vcpus": 0})),
        flavor(json!({"disk": -1})),
        flavor(json!({"swap": null})),
        flavor(json!({"name": ""})),
        flavor(json!({"name": " a"})),
        flavor(json!({"name": "a\u{0}b"})),
        flavor(json!({"name": "x".repeat(256)})),
        flavor(json!({"id": ""})),
        flavor(json!({"id": "a/b"})),
        flavor(json!({"id": " a"})),
        flavor(json!({"id": "x".repeat(256)})),
        flavor(json!({"rxtx_factor": 0})),
        flavor(json!({"rxtx_factor": "0.0"})),
        flavor(json!({"rxtx_factor": "1e400"})),
        flavor(json!({"rxtx_factor": -1})),
        flavor(json!({"os-flavor-access:is_public": "perhaps"})),
        flavor(json!({"unknown": 1})),
    ];
    for body in bodies {
        let answer = admin.post("/compute/v2.1/flavors", &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.json["badRequest"]["message"].is_string());
    }
    assert_eq!(admin.get("/compute/v2.1/flavors?is_public=None").await.json["flavors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_specs_are_set_shown_and_removed() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        make(&admin, json!({"id": "f"})).await;
        let path = "/compute/v2.1/flavors/f/os-extra_specs";
        let added = admin.post(path, &json!({"extra_specs": {"hw:numa_nodes": "1", "k:v": 2}})).await;
        assert_eq!(
            (added.status, &added.json),
            (200, &json!({"extra_specs": {"hw:numa_nodes": "1", "k:v": "2"}}))
        );
        assert_eq!(tenant.get(path).await.json, json!({"extra_specs": {"hw:numa_nodes": "1", "k:v": "2"}}));
        assert_eq!(tenant.get(&format!("{path}/k:v")).await.json, json!({"k:v": "2"}));
        let set = admin.put(&format!("{path}/k:v"), &json!({"k:v": "3"})).await;
        assert_eq!((set.status, &set.json), (200, &json!({"k:v": "3"})));
        assert_eq!(admin.put(&format!("{path}/k:v"), &json!({"other": "3"})).await.status, 400);
        assert_eq!(admin.delete(&format!("{path}/k:v")).await.status, 200);
        assert_eq!(admin.delete(&format!("{path}/k:v")).await.status, 404);
        assert_eq!(tenant.get(&format!("{path}/k:v")).await.status, 404);
        assert_eq!(tenant.post(path, &json!({"extra_specs": {"a": "b"}})).await.status, 403);
        for bad in [
            json!({}),
            json!({"a/b": "x"}),
            json!({"a": null}),
            json!({"a": "x".repeat(256)}),
            json!({"a": "\u{0}"}),
        ] {
            assert_eq!(admin.post(path, &json!({"extra_specs": bad})).await.status, 400, "{bad}");
        }
        assert_eq!(tenant.get(path).await.json, json!({"extra_specs": {"hw:numa_nodes": "1"}}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_pairs_have_each_microversions_shape() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let tenant = cloud.tenant("t").await;
        let path = "/compute/v2.1/os-keypairs";
        let old = tenant.post(path, &json!({"keypair": {"name": "old", "public_key": KEY}})).await;
        assert_eq!(old.status, 200, "{old:?}");
        assert_eq!(keys(&old.json["keypair"]), ["fingerprint", "name", "public_key", "user_id"]);
        let made =
            tenant.at("2.2").post(path, &json!({"keypair": {"name": "made here", "type": "ssh"}})).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(
            keys(&made.json["keypair"]),
            ["fingerprint", "name", "private_key", "public_key", "type", "user_id"]
        );
        assert!(made.text_at("/keypair/private_key").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));

        let list = tenant.get(path).await;
        assert_eq!(list.json["keypairs"].as_array().map(Vec::len), Some(2));
        assert_eq!(keys(&list.json["keypairs"][0]["keypair"]), ["fingerprint", "name", "public_key"]);
        assert_eq!(tenant.at("2.2").get(path).await.json["keypairs"][1]["keypair"]["type"], "ssh");
        let page = tenant.at("2.35").get(&format!("{path}?limit=1")).await;
        assert_eq!(page.text_at("/keypairs/0/keypair/name"), "made here");
        let next = page.text_at("/keypairs_links/0/href").to_owned();
        let next = tenant.at("2.35").get(next.strip_prefix(cloud.url.as_str()).expect("our host")).await;
        assert_eq!(next.text_at("/keypairs/0/keypair/name"), "old");
        assert!(next.json.get("keypairs_links").is_none());
        assert_eq!(tenant.at("2.35").get(&format!("{path}?marker=nobody")).await.status, 400);

        let shown = tenant.get(&format!("{path}/made%20here")).await;
        assert_eq!(
            keys(&shown.json["keypair"]),
            [
                "created_at",
                "deleted",
                "deleted_at",
                "fingerprint",
                "id",
                "name",
                "public_key",
                "updated_at",
                "user_id"
            ]
        );
        assert!(shown.json["keypair"]["id"].is_i64());

        let twice = tenant.post(path, &json!({"keypair": {"name": "old", "public_key": KEY}})).await;
        assert_eq!(
            (twice.status, twice.text_at("/conflictingRequest/message")),
            (409, "Key pair 'old' already exists.")
        );
        assert_eq!(tenant.delete(&format!("{path}/old")).await.status, 202);
        assert_eq!(tenant.at("2.2").delete(&format!("{path}/made%20here")).await.status, 204);
        let gone = tenant.get(&format!("{path}/old")).await;
        assert!(gone.text_at("/itemNotFound/message").starts_with("Keypair old not found for user "));
        assert_eq!(tenant.delete(&format!("{path}/old")).await.status, 404);
        assert_eq!(
            tenant.post(path, &json!({"keypair": {"name": "old"}})).await.status,
            200,
            "the name is free again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_key_pairs_are_refused_and_make_nothing() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let path = "/compute/v2.1/os-keypairs";
    let bodies = [
        json!({}),
        json!({"keypair": {}}),
        json!({"keypair": {"name": 1}}),
        json!({"keypair": {"name": ""}}),
        json!({"keypair": {"name": "x".repeat(256)}}),
        json!({"keypair": {"name": "a/b"}}),
        json!({"keypair": {"name": "a\nb"}}),
        json!({"keypair": {"name": "clé"}}),
        json!({"keypair": {"name": "a", "unknown": 1}}),
        json!({"keypair": {"name": "a", "type": "ssh"}}),
        json!({"keypair": {"name": "a", "user_id": "me"}}),
        json!({"keypair": {"name": "a", "public_key": null}}),
        json!({"keypair": {"name": "a", "public_key": "ssh-rsa JUNK"}}),
        json!({"keypair": {"name": "a", "public_key": format!("{KEY}\n{KEY}")}}),
        json!({"keypair": {"name": "a", "public_key": format!("command=\"id\" {KEY}")}}),
        json!({"keypair": {"name": "a", "public_key": "x".repeat(70_000)}}),
    ];
    for body in bodies {
        let answer = tenant.post(path, &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    let unsafe_name = tenant.post(path, &json!({"keypair": {"name": "a/b"}})).await;
    assert_eq!(
        unsafe_name.text_at("/badRequest/message"),
        "Keypair data is invalid: Keypair name contains unsafe characters"
    );
    let x509 = tenant.at("2.2").post(path, &json!({"keypair": {"name": "a", "type": "x509"}})).await;
    assert_eq!(x509.status, 400, "{x509:?}");
    assert_eq!(tenant.get(path).await.json["keypairs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_pairs_are_their_users_own_and_counted() {
    let limit = |config: &mut canopy::Config| {
        config.quota.defaults.insert("key_pairs".into(), 1);
    };
    for engine in engines() {
        let cloud = Cloud::start_with(engine, limit, None).await;
        let (admin, one, two) = (cloud.admin().await, cloud.tenant("a").await, cloud.tenant("b").await);
        let path = "/compute/v2.1/os-keypairs";
        for client in [&one, &two] {
            assert_eq!(
                client.post(path, &json!({"keypair": {"name": "k", "public_key": KEY}})).await.status,
                200
            );
        }
        let over = one.post(path, &json!({"keypair": {"name": "k2"}})).await;
        assert_eq!(over.status, 403, "{over:?}");
        let owner = one.get(&format!("{path}/k")).await.text_at("/keypair/user_id").to_owned();
        let asked = format!("{path}/k?user_id={owner}");
        assert_eq!(two.at("2.10").get(&asked).await.status, 404);
        assert_eq!(two.at("2.10").delete(&asked).await.status, 404);
        assert_eq!(two.at("2.10").get(&format!("{path}?user_id={owner}")).await.status, 403);
        let made = json!({"keypair": {"name": "k3", "user_id": owner, "public_key": KEY}});
        assert_eq!(two.at("2.10").post(path, &made).await.status, 403);
        assert_eq!(two.at("2.10").get(&format!("{path}/k?user_id=%00")).await.status, 400);
        assert_eq!(admin.at("2.10").get(&asked).await.text_at("/keypair/user_id"), owner);
        assert_eq!(admin.get(&asked).await.status, 404, "before 2.10 the admin's own are meant");
        assert_eq!(admin.at("2.10").delete(&asked).await.status, 204);
        assert_eq!(one.post(path, &json!({"keypair": {"name": "k2"}})).await.status, 200, "room again");
    }
}
