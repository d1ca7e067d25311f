//! What is kept twice and made to disagree: found, put right where only one thing can be meant, and nothing
//! else touched. The cases cover every invariant; one without a case fails the test.

use canopy_app::fsck::INVARIANTS;
use canopy_hypervisor::DomainState;
use canopy_store::testing::spoil;
use canopy_tests::fixtures::{boot, flavor, image, until_status};
use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A way to spoil a healthy cloud: with which statement, what is found, and whether a repair may mend it.
struct Case {
    invariant: &'static str,
    problem: &'static str,
    sql: String,
    repairable: bool,
}

fn case(invariant: &'static str, problem: &'static str, repairable: bool, sql: impl Into<String>) -> Case {
    Case { invariant, problem, sql: sql.into(), repairable }
}

async fn report(admin: &Client, method: &str) -> Value {
    let answer = admin.send(admin.request(method, "/canopy/v1/fsck")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

fn findings(report: &Value) -> &Vec<Value> {
    report["findings"].as_array().expect("findings")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invariant_is_found_broken_and_what_can_only_mean_one_thing_is_put_right() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let (flavor, image) = (flavor(&admin, "small", 1, 64, 1).await, image(&tenant, "image").await);
        let group = json!({"server_group": {"name": "g", "policies": ["anti-affinity"]}});
        let group = tenant
            .post("/compute/v2.1/os-server-groups", &group)
            .await
            .text_at("/server_group/id")
            .to_owned();
        let body = json!({
            "server": {"name": "s", "flavorRef": flavor, "imageRef": image, "networks": "none"},
            "os:scheduler_hints": {"group": group},
        });
        let server = boot(&tenant, &body).await;
        let net = tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
        let net = net.text_at("/network/id").to_owned();
        let subnet = json!({"subnet": {"network_id": net, "ip_version": 4, "cidr": "10.1.0.0/24"}});
        assert_eq!(tenant.post("/network/v2.0/subnets", &subnet).await.status, 201);
        let port = tenant.post("/network/v2.0/ports", &json!({"port": {"network_id": net}})).await;
        let port = port.text_at("/port/id").to_owned();
        until_status(&tenant, &server, "ACTIVE").await;
        assert_eq!(findings(&report(&admin, "GET").await).len(), 0, "a healthy cloud has no findings");
        assert_eq!(tenant.get("/canopy/v1/fsck").await.status, 403);
        assert_eq!(tenant.post("/canopy/v1/fsck", &Value::Null).await.status, 403);

        // A consumer of another service looks like a server's, and is none of ours.
        let foreign = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
        let insert = format!(
            "INSERT INTO consumers (id, server, project_id, user_id, kind, generation, created_at) \
             VALUES ('{foreign}', 0, 'p', 'u', NULL, 1, 1)"
        );
        spoil(&cloud.app().store, insert).await.unwrap();
        let gone = "00000000-0000-4000-8000-000000000001";
        let cases = [
            case(
                "usage",
                "extra",
                true,
                "INSERT INTO quota_usages (project_id, resource, used) VALUES ('ghost', 'instances', 3)",
            ),
            case("usage", "missing", true, "DELETE FROM quota_usages WHERE resource = 'images'"),
            case("usage", "missing", true, "DELETE FROM quota_holdings WHERE resource = 'cores'"),
            case(
                "usage",
                "changed",
                true,
                "UPDATE quota_usages SET used = used - 1 WHERE resource = 'image_bytes'",
            ),
            case("usage", "changed", true, "UPDATE quota_usages SET used = used + 7 WHERE resource = 'ram'"),
            case("inventory", "changed", true, "UPDATE inventories SET used = used + 1 WHERE class = 'VCPU'"),
            case("inventory", "missing", true, "UPDATE inventories SET used = 0 WHERE class = 'MEMORY_MB'"),
            case("group", "changed", true, "UPDATE server_groups SET members = members + 1"),
            case("group", "missing", true, "DELETE FROM server_group_hosts"),
            case(
                "allocation",
                "extra",
                true,
                format!(
                    "INSERT INTO consumers (id, server, project_id, user_id, kind, generation, created_at) \
                     VALUES ('{gone}', 1, 'p', 'u', 'INSTANCE', 1, 1)"
                ),
            ),
            case(
                "address",
                "extra",
                true,
                format!(
                    "UPDATE ports SET owned_by_server = 1, device_owner = 'compute:nova', device_id = '{gone}' WHERE id = '{port}'"
                ),
            ),
        ];
        for case in &cases {
            assert!(spoil(&cloud.app().store, case.sql.clone()).await.unwrap() > 0, "{}", case.sql);
            let found = report(&admin, "GET").await;
            let hit = findings(&found)
                .iter()
                .find(|one| one["invariant"] == case.invariant && one["problem"] == case.problem);
            let hit = hit.unwrap_or_else(|| panic!("{}: {found:#}", case.sql));
            assert_eq!(hit["repairable"], case.repairable, "{hit}");
            let again = report(&admin, "GET").await;
            assert_eq!(findings(&again), findings(&found), "looking changes nothing");
            let repaired = report(&admin, "POST").await;
            assert_eq!(findings(&repaired).len(), 0, "{}: {repaired:#}", case.sql);
            assert!(!repaired["repaired"].as_array().expect("repaired").is_empty());
        }
        // What only a person can decide is told and left.
        let blob = admin.get(&format!("/image/v2/images/{image}")).await;
        assert_eq!(blob.status, 200);
        let blobs = cloud.app().blobs.list().unwrap();
        let path = cloud.app().blobs.path(&blobs[0].digest);
        let bytes = std::fs::read(&path).unwrap();
        for (problem, spoiled) in [("changed", Some(&bytes[..1])), ("missing", None)] {
            match spoiled {
                Some(part) => std::fs::write(&path, part).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let left = report(&admin, "POST").await;
            let hit = findings(&left).iter().find(|one| one["invariant"] == "image");
            assert_eq!(hit.expect("it is told")["problem"], problem, "{left:#}");
            std::fs::write(&path, &bytes).unwrap();
        }
        let bare = format!("DELETE FROM allocations WHERE consumer_id = '{server}'");
        spoil(&cloud.app().store, bare).await.unwrap();
        let left = report(&admin, "POST").await;
        let hit = findings(&left).iter().find(|one| one["invariant"] == "allocation").expect("it is told");
        assert_eq!((&hit["problem"], &hit["repairable"]), (&json!("missing"), &json!(false)));

        let kept = spoil(
            &cloud.app().store,
            format!("UPDATE consumers SET generation = generation WHERE id = '{foreign}'"),
        );
        assert_eq!(kept.await.unwrap(), 1, "another service's consumer is still there");
        let covered: BTreeSet<&str> = cases.iter().map(|case| case.invariant).chain(["image"]).collect();
        let known: BTreeSet<&str> = INVARIANTS.iter().map(|invariant| invariant.name).collect();
        assert_eq!(covered, known, "every invariant has a case");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_a_host_is_found_and_put_right_through_its_agent() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let (flavor, image) = (flavor(&admin, "small", 1, 64, 1).await, image(&tenant, "image").await);
    let body = json!({"server": {"name": "s", "flavorRef": flavor, "imageRef": image, "networks": "none"}});
    let server = boot(&tenant, &body).await;
    until_status(&tenant, &server, "ACTIVE").await;
    let healthy = report(&admin, "GET").await;
    assert_eq!((findings(&healthy).len(), &healthy["unseen"]), (0, &json!([])), "{healthy:#}");
    let checked: BTreeSet<&str> =
        healthy["checked"].as_array().expect("checked").iter().filter_map(Value::as_str).collect();
    for kind in canopy_agent_api::HostKind::ALL {
        assert!(checked.contains(kind.as_str()), "{kind:?} is checked");
    }

    let id = server.parse().expect("an id");
    assert!(cloud.hypervisor.forget(id));
    let found = report(&admin, "GET").await;
    let hit = findings(&found).iter().find(|one| one["invariant"] == "domain").expect("it is told");
    assert_eq!((&hit["problem"], &hit["subject"]), (&json!("missing"), &json!(server)), "{hit}");
    assert_eq!((&hit["part"], &hit["repairable"]), (&json!("on host-1"), &json!(true)), "{hit}");
    let repaired = report(&admin, "POST").await;
    assert_eq!(findings(&repaired).len(), 0, "{repaired:#}");
    assert_eq!(repaired["repaired"][0]["invariant"], "domain", "{repaired:#}");
    assert_eq!(cloud.hypervisor.state(id), Some(DomainState::Stopped), "it is there again");
    let action = format!("/compute/v2.1/servers/{server}/action");
    assert_eq!(tenant.post(&action, &json!({"os-start": null})).await.status, 202);
    until_status(&tenant, &server, "ACTIVE").await;
}
