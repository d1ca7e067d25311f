//! The placement API on every engine: rows and their owners, generations, trees, allocations, candidates,
//! versions, refusals, races.

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
async fn providers_form_trees_that_never_loop() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let (a, b) = (made(&admin, "a", None).await, made(&admin, "b", None).await);
        let child = made(&admin, "child", Some(&a)).await;
        let grandchild = made(&admin, "grandchild", Some(&child)).await;
        let shown = admin.get(&format!("{PROVIDERS}/{grandchild}")).await;
        assert_eq!(shown.text_at("/root_provider_uuid"), a);
        assert_eq!(shown.text_at("/parent_provider_uuid"), child);
        let tree = admin.get(&format!("{PROVIDERS}?in_tree={grandchild}")).await;
        assert_eq!(tree.json["resource_providers"].as_array().unwrap().len(), 3);
        assert_eq!(
            admin.get(&format!("{PROVIDERS}?name=child")).await.text_at("/resource_providers/0/uuid"),
            child
        );

        let put = async |client: &Client, id: &str, name: &str, parent: Value| {
            client
                .put(&format!("{PROVIDERS}/{id}"), &json!({"name": name, "parent_provider_uuid": parent}))
                .await
        };
        for (id, parent) in [(&a, &grandchild), (&a, &a), (&child, &grandchild)] {
            refused(&put(&admin, id, "x", json!(parent)).await, 400, UNDEFINED);
        }
        refused(&put(&admin, &child, "child", json!(uuid())).await, 400, UNDEFINED);
        // Before 1.37 nobody moves.
        let old = at(&cloud.admin().await, "1.36");
        refused(&put(&old, &child, "child", json!(b)).await, 400, UNDEFINED);
        refused(&put(&old, &child, "child", Value::Null).await, 400, UNDEFINED);
        let moved = put(&admin, &child, "child", json!(b)).await;
        assert_eq!((moved.status, moved.text_at("/root_provider_uuid")), (200, b.as_str()), "{moved:?}");
        let below = admin.get(&format!("{PROVIDERS}/{grandchild}")).await;
        assert_eq!(below.text_at("/root_provider_uuid"), b, "the whole subtree moved");
        assert_eq!(put(&admin, &child, "child", Value::Null).await.status, 200);
        assert_eq!(
            admin.get(&format!("{PROVIDERS}/{grandchild}")).await.text_at("/root_provider_uuid"),
            child
        );

        // Two that each go below the other: at most one does.
        let both = join_all([put(&admin, &a, "a", json!(b)), put(&admin, &b, "b", json!(a))]).await;
        assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1, "{both:?}");

        refused(&admin.post(PROVIDERS, &json!({"name": "child"})).await, 409, "placement.duplicate_name");
        refused(
            &admin.post(PROVIDERS, &json!({"name": "n", "uuid": a})).await,
            409,
            "placement.duplicate_name",
        );
        refused(&put(&admin, &grandchild, "child", json!(child)).await, 409, "placement.duplicate_name");
        for body in [
            json!({}),
            json!({"name": ""}),
            json!({"name": "x".repeat(201)}),
            json!({"name": 1}),
            json!({"name": "n", "uuid": "no"}),
            json!({"name": "n", "parent_provider_uuid": uuid()}),
            json!({"name": "n", "other": 1}),
            json!([]),
        ] {
            refused(&admin.post(PROVIDERS, &body).await, 400, UNDEFINED);
        }
        let gone = admin.delete(&format!("{PROVIDERS}/{child}")).await;
        refused(&gone, 409, "placement.resource_provider.cannot_delete_parent");
        assert_eq!(admin.delete(&format!("{PROVIDERS}/{grandchild}")).await.status, 204);
        refused(&admin.delete(&format!("{PROVIDERS}/{grandchild}")).await, 404, UNDEFINED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inventories_are_checked_by_generation_and_by_what_is_allocated() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let id = made(&admin, "rp", None).await;
        let path = format!("{PROVIDERS}/{id}/inventories");
        let set = stock(
            &admin,
            &id,
            json!({"VCPU": {"total": 8, "allocation_ratio": 1.5}, "DISK_GB": {"total": 10}}),
        )
        .await;
        assert_eq!((set.status, &set.json["resource_provider_generation"]), (200, &json!(1)), "{set:?}");
        assert_eq!(
            set.json["inventories"]["VCPU"],
            json!({"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 2_147_483_647, "step_size": 1, "allocation_ratio": 1.5})
        );
        let stale = json!({"resource_provider_generation": 0, "inventories": {}});
        refused(&admin.put(&path, &stale).await, 409, CONFLICT);
        // Ten at the same generation: one is first.
        let body = json!({"resource_provider_generation": 1, "total": 9});
        let vcpu = format!("{path}/VCPU");
        let race = join_all((0..10).map(|_| admin.put(&vcpu, &body))).await;
        assert_eq!(race.iter().filter(|answer| answer.status == 200).count(), 1, "{engine:?}");
        assert!(race.iter().all(|answer| matches!(answer.status, 200 | 409)));

        let consumer = uuid();
        let held = admin
            .put(&format!("/placement/allocations/{consumer}"), &allocation(&id, json!({"VCPU": 9}), None))
            .await;
        assert_eq!(held.status, 204, "{held:?}");
        refused(
            &stock(&admin, &id, json!({"DISK_GB": {"total": 1}})).await,
            409,
            "placement.inventory.inuse",
        );
        refused(&admin.delete(&path).await, 409, "placement.inventory.inuse");
        refused(&admin.delete(&vcpu).await, 409, CONFLICT);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}")).await, 409, "placement.resource_provider.inuse");
        // Less than is held is allowed, and nothing more can be taken then.
        assert_eq!(stock(&admin, &id, json!({"VCPU": {"total": 2}})).await.status, 200);
        let more = allocation(&id, json!({"VCPU": 1}), None);
        refused(&admin.put(&format!("/placement/allocations/{}", uuid()), &more).await, 409, UNDEFINED);
        let less = allocation(&id, json!({"VCPU": 5}), Some(1));
        assert_eq!(admin.put(&format!("/placement/allocations/{consumer}"), &less).await.status, 204);

        for (body, status) in [
            (json!({"VCPU": {"total": 0}}), 400),
            (json!({"VCPU": {"total": -1}}), 400),
            (json!({"VCPU": {"total": 2_147_483_648_i64}}), 400),
            (json!({"VCPU": {"total": 1e300}}), 400),
            (json!({"VCPU": {"total": 1, "reserved": 2}}), 400),
            (json!({"VCPU": {"total": 1, "step_size": 0}}), 400),
            (json!({"VCPU": {"total": 1, "allocation_ratio": -1}}), 400),
            (json!({"VCPU": {"total": "1"}}), 400),
            (json!({"CUSTOM_NOT_THERE": {"total": 1}}), 400),
            (json!({"vcpu": {"total": 1}}), 400),
            (json!({"VCPU": {"total": 2, "reserved": 2}}), 200),
        ] {
            let answer = stock(&admin, &id, body.clone()).await;
            assert_eq!(answer.status, status, "{body} {answer:?}");
        }
        let old = at(&cloud.admin().await, "1.25");
        refused_at_old(&stock(&old, &id, json!({"VCPU": {"total": 2, "reserved": 2}})).await, 400);
        assert_eq!(admin.delete(&format!("/placement/allocations/{consumer}")).await.status, 204);
        assert_eq!(admin.delete(&path).await.status, 204);
        assert_eq!(admin.delete(&format!("{PROVIDERS}/{id}")).await.status, 204);
    }
}

fn refused_at_old(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["errors"][0]["status"], status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traits_classes_and_aggregates_have_names_and_owners() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let all = admin.get("/placement/traits").await;
        let names: BTreeSet<&str> =
            all.json["traits"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(
            names.len() > 300
                && names.contains("HW_CPU_X86_AVX2")
                && names.contains("MISC_SHARES_VIA_AGGREGATE")
        );
        let gold = "/placement/traits/CUSTOM_GOLD";
        assert_eq!(admin.get(gold).await.status, 404);
        assert_eq!(admin.put(gold, &Value::Null).await.status, 201);
        assert_eq!(admin.put(gold, &Value::Null).await.status, 204);
        let some = admin.get("/placement/traits?name=startswith:CUSTOM_").await;
        assert_eq!(some.json["traits"], json!(["CUSTOM_GOLD"]));
        for bad in ["GOLD", "CUSTOM_", "CUSTOM_gold", &format!("CUSTOM_{}", "A".repeat(250))] {
            refused(&admin.put(&format!("/placement/traits/{bad}"), &Value::Null).await, 400, UNDEFINED);
            refused(
                &admin.put(&format!("/placement/resource_classes/{bad}"), &Value::Null).await,
                400,
                UNDEFINED,
            );
        }
        refused(&admin.delete("/placement/traits/HW_CPU_X86_AVX2").await, 400, UNDEFINED);

        let id = made(&admin, "rp", None).await;
        let aggregate = uuid();
        mark(&admin, &id, &["CUSTOM_GOLD", "HW_CPU_X86_AVX2"], &[&aggregate]).await;
        refused(&admin.delete(gold).await, 409, UNDEFINED);
        assert_eq!(
            admin.get("/placement/traits?associated=true").await.json["traits"].as_array().unwrap().len(),
            2
        );
        let now = generation(&admin, &id).await;
        let traits = format!("{PROVIDERS}/{id}/traits");
        let same = json!({"traits": ["HW_CPU_X86_AVX2", "CUSTOM_GOLD"], "resource_provider_generation": now});
        assert_eq!(
            admin.put(&traits, &same).await.json["resource_provider_generation"],
            now,
            "nothing changed"
        );
        let unknown = json!({"traits": ["CUSTOM_NOT_THERE"], "resource_provider_generation": now});
        refused(&admin.put(&traits, &unknown).await, 400, UNDEFINED);
        let stale = json!({"traits": [], "resource_provider_generation": now - 1});
        refused(&admin.put(&traits, &stale).await, 409, CONFLICT);
        for (query, count) in [
            ("required=CUSTOM_GOLD", 1),
            ("required=CUSTOM_GOLD,!HW_CPU_X86_AVX2", 0),
            ("required=in:CUSTOM_GOLD,HW_CPU_X86_SSE&required=HW_CPU_X86_AVX2", 1),
            ("required=!CUSTOM_GOLD&name=rp", 0),
            (&format!("member_of={aggregate}"), 1),
            (&format!("member_of=in:{aggregate},{}", uuid()), 1),
            (&format!("member_of=!{aggregate}&name=rp"), 0),
        ] {
            let found = admin.get(&format!("{PROVIDERS}?{query}")).await;
            assert_eq!(
                found.json["resource_providers"].as_array().map(Vec::len),
                Some(count),
                "{query} {found:?}"
            );
        }
        assert_eq!(admin.delete(&traits).await.status, 204);
        assert_eq!(admin.delete(gold).await.status, 204);

        let class = "/placement/resource_classes/CUSTOM_DISK";
        assert_eq!(admin.put(class, &Value::Null).await.status, 201);
        assert_eq!(stock(&admin, &id, json!({"CUSTOM_DISK": {"total": 4}})).await.status, 200);
        refused(&admin.delete(class).await, 409, UNDEFINED);
        let held = allocation(&id, json!({"CUSTOM_DISK": 3}), None);
        assert_eq!(admin.put(&format!("/placement/allocations/{}", uuid()), &held).await.status, 204);
        // Old versions rename; what is held keeps its class.
        let old = at(&cloud.admin().await, "1.6");
        assert_eq!(old.put(class, &json!({"name": "CUSTOM_TAPE"})).await.status, 200);
        assert_eq!(used(&admin, &id).await, json!({"CUSTOM_TAPE": 3}));
        let found = admin.get(&format!("{PROVIDERS}?resources=CUSTOM_TAPE:1")).await;
        assert_eq!(found.json["resource_providers"].as_array().map(Vec::len), Some(1), "{found:?}");
        refused(&admin.get(&format!("{PROVIDERS}?resources=CUSTOM_DISK:1")).await, 400, UNDEFINED);
        refused(&admin.delete("/placement/resource_classes/VCPU").await, 400, UNDEFINED);
        refused(
            &admin.post("/placement/resource_classes", &json!({"name": "CUSTOM_TAPE"})).await,
            409,
            UNDEFINED,
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allocations_replace_each_other_and_never_exceed_the_capacity() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let (a, b) = (made(&admin, "a", None).await, made(&admin, "b", None).await);
        let inventory = json!({"VCPU": {"total": 10, "max_unit": 6, "min_unit": 2, "step_size": 2}});
        assert_eq!(stock(&admin, &a, inventory).await.status, 200);
        assert_eq!(stock(&admin, &b, json!({"VCPU": {"total": 10}})).await.status, 200);
        let consumer = uuid();
        let path = format!("/placement/allocations/{consumer}");
        for (amount, status) in [(1, 409), (3, 409), (8, 409), (0, 400), (-2, 400), (4, 204)] {
            let answer = admin.put(&path, &allocation(&a, json!({"VCPU": amount}), None)).await;
            assert_eq!(answer.status, status, "{amount} {answer:?}");
        }
        for body in [json!({"VCPU": u64::MAX}), json!({"VCPU": 1e300}), json!({"VCPU": 9_000_000_000_i64})] {
            refused(&admin.put(&path, &allocation(&a, body, Some(1))).await, 409, UNDEFINED);
        }
        let shown = admin.get(&path).await;
        assert_eq!(shown.json["allocations"][&a]["resources"], json!({"VCPU": 4}), "{shown:?}");
        assert_eq!(
            (&shown.json["consumer_generation"], &shown.json["consumer_type"], &shown.json["project_id"]),
            (&json!(1), &json!("INSTANCE"), &json!("p1"))
        );
        for stale in [None, Some(0), Some(2)] {
            refused(&admin.put(&path, &allocation(&b, json!({"VCPU": 1}), stale)).await, 409, CONFLICT);
        }
        refused(&admin.put(&path, &allocation(&uuid(), json!({"VCPU": 1}), Some(1))).await, 400, UNDEFINED);
        refused(&admin.put(&path, &allocation(&b, json!({"CUSTOM_NONE": 1}), Some(1))).await, 400, UNDEFINED);
        refused(&admin.put(&path, &allocation(&b, json!({"DISK_GB": 1}), Some(1))).await, 409, UNDEFINED);
        assert_eq!(admin.put(&path, &allocation(&b, json!({"VCPU": 1}), Some(1))).await.status, 204);
        assert_eq!(
            (used(&admin, &a).await, used(&admin, &b).await),
            (json!({"VCPU": 0}), json!({"VCPU": 1}))
        );

        // All or nothing: the first fits, the second does not.
        let many = json!({
            uuid(): allocation(&a, json!({"VCPU": 2}), None),
            uuid(): allocation(&b, json!({"VCPU": 10}), None),
        });
        refused(&admin.post("/placement/allocations", &many).await, 409, UNDEFINED);
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 0}));
        // A move between two consumers in one go.
        let other = uuid();
        let mut nothing = allocation(&b, json!({"VCPU": 1}), Some(2));
        nothing["allocations"] = json!({});
        let swap = json!({&consumer: nothing, &other: allocation(&b, json!({"VCPU": 10}), None)});
        assert_eq!(admin.post("/placement/allocations", &swap).await.status, 204);
        assert_eq!(admin.get(&path).await.json, json!({"allocations": {}}));
        assert_eq!(used(&admin, &b).await, json!({"VCPU": 10}));
        let usages = admin.get("/placement/usages?project_id=p1").await;
        assert_eq!(
            usages.json["usages"],
            json!({"INSTANCE": {"VCPU": 10, "consumer_count": 1}}),
            "{usages:?}"
        );
        let flat = at(&cloud.admin().await, "1.37").get("/placement/usages?project_id=p1&user_id=u1").await;
        assert_eq!(flat.json["usages"], json!({"VCPU": 10}));
        refused(&admin.get("/placement/usages").await, 400, UNDEFINED);

        // Forty at once for room for five.
        let one = allocation(&a, json!({"VCPU": 2}), None);
        let paths: Vec<String> = (0..40).map(|_| format!("/placement/allocations/{}", uuid())).collect();
        let race = join_all(paths.iter().map(|path| admin.put(path, &one))).await;
        assert_eq!(race.iter().filter(|answer| answer.status == 204).count(), 5, "{engine:?}");
        assert!(race.iter().all(|answer| matches!(answer.status, 204 | 409)), "{race:?}");
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 10}));
        for path in paths {
            assert!(matches!(admin.delete(&path).await.status, 204 | 404));
        }
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 0}));
        refused(&admin.delete(&path).await, 404, UNDEFINED);

        // The oldest shape: a list, and nobody's.
        let old = at(&cloud.admin().await, "1.0");
        let body = json!({"allocations": [{"resource_provider": {"uuid": a}, "resources": {"VCPU": 2}}]});
        assert_eq!(old.put(&path, &body).await.status, 204);
        let shown = admin.get(&path).await;
        assert_eq!(shown.json["consumer_type"], "unknown");
        assert_eq!(shown.json["project_id"], "00000000-0000-0000-0000-000000000000");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reshaper_moves_inventory_and_what_is_held_together() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let root = made(&admin, "root", None).await;
        let child = made(&admin, "child", Some(&root)).await;
        assert_eq!(
            stock(&admin, &root, json!({"VCPU": {"total": 8}, "VGPU": {"total": 4}})).await.status,
            200
        );
        let consumer = uuid();
        let path = format!("/placement/allocations/{consumer}");
        let both = allocation(&root, json!({"VCPU": 2, "VGPU": 3}), None);
        assert_eq!(admin.put(&path, &both).await.status, 204);
        let body = |root_generation: i64, moved: i64| {
            let mut held = allocation(&root, json!({"VCPU": 2}), Some(1));
            held["allocations"][&child] = json!({"resources": {"VGPU": moved}});
            json!({
                "inventories": {
                    &root: {"resource_provider_generation": root_generation, "inventories": {"VCPU": {"total": 8}}},
                    &child: {"resource_provider_generation": 0, "inventories": {"VGPU": {"total": 4}}},
                },
                "allocations": {&consumer: held},
            })
        };
        let now = generation(&admin, &root).await;
        let reshaper = "/placement/reshaper";
        refused(&admin.post(reshaper, &body(now - 1, 3)).await, 409, CONFLICT);
        refused(&admin.post(reshaper, &body(now, 5)).await, 409, UNDEFINED);
        let mut orphan = body(now, 3);
        orphan["allocations"] = json!({});
        refused(&admin.post(reshaper, &orphan).await, 409, "placement.inventory.inuse");
        let mut absent = body(now, 3);
        absent["inventories"][uuid()] = json!({"resource_provider_generation": 0, "inventories": {}});
        refused(&admin.post(reshaper, &absent).await, 400, "placement.resource_provider.not_found");
        assert_eq!(used(&admin, &root).await, json!({"VCPU": 2, "VGPU": 3}), "refusals change nothing");
        let done = admin.post(reshaper, &body(now, 3)).await;
        assert_eq!(done.status, 204, "{done:?}");
        assert_eq!(
            (used(&admin, &root).await, used(&admin, &child).await),
            (json!({"VCPU": 2}), json!({"VGPU": 3}))
        );
        assert_eq!(at(&cloud.admin().await, "1.29").post(reshaper, &json!({})).await.status, 404);
    }
}

fn requests(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["allocation_requests"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_follow_trees_sharing_groups_and_versions() {
    for engine in engines() {
        let cloud = Cloud::start_with(engine, |config| config.agent.enabled = false, None).await;
        let admin = admin(&cloud).await;
        let shared_by = uuid();
        let (host, disk) = (made(&admin, "host", None).await, made(&admin, "disk", None).await);
        let numa = [made(&admin, "numa0", Some(&host)).await, made(&admin, "numa1", Some(&host)).await];
        for id in &numa {
            let offer = json!({"VCPU": {"total": 4, "max_unit": 4}, "MEMORY_MB": {"total": 1024}});
            assert_eq!(stock(&admin, id, offer).await.status, 200);
        }
        mark(&admin, &numa[1], &["CUSTOM_FAST"], &[]).await;
        mark(&admin, &host, &["COMPUTE_NODE"], &[&shared_by]).await;
        assert_eq!(stock(&admin, &disk, json!({"DISK_GB": {"total": 100}})).await.status, 200);
        mark(&admin, &disk, &["MISC_SHARES_VIA_AGGREGATE"], &[&shared_by]).await;
        let ask = async |client: &Client, query: &str| {
            client.get(&format!("/placement/allocation_candidates?{query}")).await
        };

        let spread = ask(&admin, "resources=VCPU:1,DISK_GB:10").await;
        assert_eq!(requests(&spread).len(), 2);
        for one in requests(&spread) {
            assert_eq!(one["allocations"][&disk]["resources"], json!({"DISK_GB": 10}));
            assert!(one["mappings"][""].as_array().unwrap().contains(&json!(disk)));
        }
        let summaries = spread.json["provider_summaries"].as_object().unwrap();
        assert_eq!(summaries.len(), 4, "whole trees: {summaries:?}");
        assert_eq!(summaries[&numa[1]]["traits"], json!(["CUSTOM_FAST"]));
        assert_eq!(summaries[&numa[0]]["resources"]["VCPU"], json!({"capacity": 4, "used": 0}));
        assert_eq!(summaries[&numa[0]]["root_provider_uuid"], json!(host));

        for (query, count) in [
            ("resources=VCPU:1&required=CUSTOM_FAST", 1),
            ("resources=VCPU:1&required=!CUSTOM_FAST", 1),
            ("resources=VCPU:1&required=in:CUSTOM_FAST,COMPUTE_NODE", 1),
            ("resources=VCPU:5", 0),
            ("resources=VCPU:1,MEMORY_MB:1", 4),
            ("resources_A=VCPU:1,MEMORY_MB:1", 2),
            ("resources_A=VCPU:1&resources_B=VCPU:1&group_policy=none", 4),
            ("resources_A=VCPU:1&resources_B=VCPU:1&group_policy=isolate", 2),
            ("resources_A=VCPU:3&resources_B=VCPU:3&group_policy=none", 2),
            ("resources_A=VCPU:1&resources_B=MEMORY_MB:1&group_policy=none&same_subtree=_A,_B", 2),
            ("resources_A=VCPU:1&required_R=COMPUTE_NODE&group_policy=none&same_subtree=_A,_R", 2),
            ("resources=VCPU:1&root_required=COMPUTE_NODE", 2),
            ("resources=VCPU:1&root_required=!COMPUTE_NODE", 0),
            ("resources=VCPU:1&limit=1", 1),
            (&format!("resources=VCPU:1&member_of={shared_by}"), 2),
            (&format!("resources=VCPU:1&member_of=!{shared_by}"), 0),
            (&format!("resources=VCPU:1&in_tree={}", numa[0]), 2),
            (&format!("resources=VCPU:1,DISK_GB:1&in_tree={host}"), 0),
            (&format!("resources=VCPU:1&in_tree={}", uuid()), 0),
            ("resources=VCPU:99999999999999999999", 0),
        ] {
            assert_eq!(requests(&ask(&admin, query).await).len(), count, "{engine:?} {query}");
        }
        for (query, code) in [
            ("", "placement.query.missing_value"),
            ("resources=", UNDEFINED),
            ("resources=VCPU:0", UNDEFINED),
            ("resources=VCPU:x", UNDEFINED),
            ("resources=CUSTOM_NONE:1", UNDEFINED),
            ("resources=VCPU:1&required=CUSTOM_NONE", UNDEFINED),
            ("resources=VCPU:1&required=CUSTOM_FAST,!CUSTOM_FAST", UNDEFINED),
            ("resources=VCPU:1&limit=0", UNDEFINED),
            ("resources=VCPU:1&bogus=1", UNDEFINED),
            ("resources=VCPU:1&member_of=x", UNDEFINED),
            ("resources1=VCPU:1&resources2=VCPU:1", UNDEFINED),
            ("resources1=VCPU:1&group_policy=some", UNDEFINED),
            ("resources=VCPU:1&required_R=COMPUTE_NODE", "placement.query.bad_value"),
            ("resources=VCPU:1&same_subtree=_X", "placement.query.bad_value"),
            (
                "resources=VCPU:1&root_required=COMPUTE_NODE&root_required=COMPUTE_NODE",
                "placement.query.duplicate_key",
            ),
            ("resources=VCPU:1&root_required=COMPUTE_NODE,!COMPUTE_NODE", "placement.query.bad_value"),
            ("resources=VCPU:1&resources%00=VCPU:1", UNDEFINED),
        ] {
            refused(&ask(&admin, query).await, 400, code);
        }

        // What is put away by one request is what the next sees.
        let consumer = uuid();
        let all = ask(&admin, "resources_A=VCPU:4&required_A=CUSTOM_FAST").await;
        let first = &requests(&all)[0];
        let mut claim = allocation(&host, json!({}), None);
        claim["allocations"] = first["allocations"].clone();
        claim["mappings"] = first["mappings"].clone();
        assert_eq!(admin.put(&format!("/placement/allocations/{consumer}"), &claim).await.status, 204);
        assert_eq!(requests(&ask(&admin, "resources=VCPU:1").await).len(), 1);

        // Callers from before trees see one provider of each tree, and what they asked for.
        let old = at(&cloud.admin().await, "1.10");
        let flat = ask(&old, "resources=VCPU:1,DISK_GB:1").await;
        assert_eq!(requests(&flat).len(), 1);
        assert_eq!(requests(&flat)[0]["allocations"].as_array().unwrap().len(), 2);
        let shown = flat.json["provider_summaries"].as_object().unwrap();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[&numa[0]], json!({"resources": {"VCPU": {"capacity": 4, "used": 0}}}));
        refused_at_old(&ask(&old, "resources=VCPU:1&limit=1").await, 400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_a_provider_whose_servers_are_its_own() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (root, admin) = (cloud.admin().await, admin(&cloud).await);
        let host = cloud.hosts().await.remove(0);
        let id = host.id.to_string();
        let shown = admin.get(&format!("{PROVIDERS}/{id}")).await;
        assert_eq!(
            (shown.text_at("/name"), shown.text_at("/root_provider_uuid")),
            (host.name.as_str(), id.as_str())
        );
        let listed = admin.get(&format!("{PROVIDERS}/{id}/inventories")).await;
        let inventories = listed.json["inventories"].clone();
        assert_eq!(inventories["VCPU"]["allocation_ratio"], json!(16.0), "{listed:?}");

        let flavor = fixtures::flavor(&root, "f", 2, 512, 1).await;
        let image = fixtures::image(&root, "i").await;
        let server = fixtures::boot(&root, &fixtures::server("s", &flavor, &image)).await;
        fixtures::until_status(&root, &server, "ACTIVE").await;
        let path = format!("/placement/allocations/{server}");
        let held = admin.get(&path).await;
        assert_eq!(
            held.json["allocations"][&id]["resources"],
            json!({"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 1}),
            "{held:?}"
        );
        assert_eq!(held.json["consumer_type"], "INSTANCE");
        assert_eq!(used(&admin, &id).await["VCPU"], 2);

        // The server's allocations are the server's.
        refused(&admin.delete(&path).await, 409, UNDEFINED);
        refused(&admin.put(&path, &allocation(&id, json!({"VCPU": 1}), Some(1))).await, 409, UNDEFINED);
        let many = json!({&server: allocation(&id, json!({"VCPU": 1}), Some(1))});
        refused(&admin.post("/placement/allocations", &many).await, 409, UNDEFINED);
        // The totals are the agent's; what is reserved and the ratio are the API's.
        let mut more = inventories.clone();
        more["VCPU"]["total"] = json!(1_000);
        refused(&stock(&admin, &id, more).await, 409, UNDEFINED);
        refused(&stock(&admin, &id, json!({})).await, 409, UNDEFINED);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}/inventories")).await, 409, UNDEFINED);
        let mut own = inventories.clone();
        own["VCPU"]["allocation_ratio"] = json!(1.0);
        own["VCPU"]["reserved"] = json!(own["VCPU"]["total"].as_i64().unwrap() - 3);
        own["VGPU"] = json!({"total": 2});
        let set = stock(&admin, &id, own).await;
        assert_eq!(set.status, 200, "{set:?}");
        refused(&admin.put(&format!("{PROVIDERS}/{id}"), &json!({"name": "other"})).await, 409, UNDEFINED);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}")).await, 409, "placement.resource_provider.inuse");
        made(&admin, "below", Some(&id)).await;

        // Another service's consumer counts: one VCPU is left, then none, and no server fits.
        let foreign = format!("/placement/allocations/{}", uuid());
        refused(&admin.put(&foreign, &allocation(&id, json!({"VCPU": 2}), None)).await, 409, UNDEFINED);
        assert_eq!(admin.put(&foreign, &allocation(&id, json!({"VCPU": 1}), None)).await.status, 204);
        let full = fixtures::boot(&root, &fixtures::server("s2", &flavor, &image)).await;
        fixtures::until_status(&root, &full, "ERROR").await;
        assert_eq!(
            admin.get(&format!("/placement/allocations/{full}")).await.json,
            json!({"allocations": {}})
        );
        refused(
            &admin
                .put(&format!("/placement/allocations/{full}"), &allocation(&id, json!({"VGPU": 1}), None))
                .await,
            409,
            UNDEFINED,
        );

        let before = generation(&admin, &id).await;
        root.delete(&format!("/compute/v2.1/servers/{server}")).await;
        fixtures::until_gone(&root, &server).await;
        assert_eq!(used(&admin, &id).await["VCPU"], 1, "the foreign consumer's");
        assert!(generation(&admin, &id).await > before);
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_json_and_callers_that_take_none_are_told_so() {
    let cloud = Cloud::start().await;
    let admin = admin(&cloud).await;
    let send = async |media: Option<&str>, body: &'static str| {
        let mut request = admin.request("POST", PROVIDERS).body(body);
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        admin.send(request).await
    };
    refused(&send(Some("text/plain"), "{}").await, 415, UNDEFINED);
    refused(&send(None, "{}").await, 400, UNDEFINED);
    refused(&send(None, "").await, 415, UNDEFINED);
    refused(&send(Some("application/json"), "{").await, 400, UNDEFINED);
    refused(&send(Some("application/json"), r#"{"name": 1e999}"#).await, 400, UNDEFINED);
    let html = admin.request("GET", PROVIDERS).header("accept", "text/html");
    refused(&admin.send(html).await, 406, UNDEFINED);
    let many: String = (1..900).map(|n| format!("&resources{n}=A:1")).collect();
    let long = admin.get(&format!("/placement/allocation_candidates?group_policy=none{many}")).await;
    assert!(matches!(long.status, 400 | 414), "{long:?}");
    let patch = admin.send(admin.request("PATCH", PROVIDERS)).await;
    assert_eq!((patch.status, patch.header("allow")), (405, Some("GET, POST")), "{patch:?}");
}
