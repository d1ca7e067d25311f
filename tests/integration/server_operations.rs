//! Every operation on a server in every state, made from the table that the use cases read: what the table
//! allows happens, what it refuses is a 409 that names the state, and nothing gets stuck.

use canopy_tests::fixtures::{boot, flavor, guest_agent, image, server, show, until_gone, until_status};
use canopy_tests::{Client, Cloud, engines};
use canopy_types::server::rules::{self, Rule};
use canopy_types::server::{Derived, Phase, Wish, derive};
use serde_json::{Value, json};

/// How each rule is asked for: method, what follows the server's path, body.
fn asked(image: &str, flavor: &str) -> Vec<(&'static Rule, &'static str, &'static str, Value)> {
    let action = |rule, body: Value| (rule, "POST", "/action", body);
    vec![
        action(&rules::START, json!({"os-start": null})),
        action(&rules::STOP, json!({"os-stop": null})),
        action(&rules::PAUSE, json!({"pause": null})),
        action(&rules::UNPAUSE, json!({"unpause": null})),
        action(&rules::SUSPEND, json!({"suspend": null})),
        action(&rules::RESUME, json!({"resume": null})),
        action(&rules::SOFT_REBOOT, json!({"reboot": {"type": "SOFT"}})),
        action(&rules::HARD_REBOOT, json!({"reboot": {"type": "HARD"}})),
        action(&rules::REBUILD, json!({"rebuild": {"imageRef": image}})),
        action(&rules::RESIZE, json!({"resize": {"flavorRef": flavor}})),
        action(&rules::CONFIRM_RESIZE, json!({"confirmResize": null})),
        action(&rules::REVERT_RESIZE, json!({"revertResize": null})),
        action(&rules::RESCUE, json!({"rescue": null})),
        action(&rules::UNRESCUE, json!({"unrescue": null})),
        action(&rules::SHELVE, json!({"shelve": null})),
        action(&rules::UNSHELVE, json!({"unshelve": null})),
        action(&rules::RESTORE, json!({"restore": null})),
        action(&rules::CREATE_IMAGE, json!({"createImage": {"name": "i"}})),
        action(
            &rules::CREATE_BACKUP,
            json!({"createBackup": {"name": "b", "backup_type": "daily", "rotation": 1}}),
        ),
        action(&rules::INJECT_NETWORK_INFO, json!({"injectNetworkInfo": null})),
        (&rules::ATTACH_INTERFACE, "POST", "/os-interface", json!({"interfaceAttachment": {}})),
        (&rules::DETACH_INTERFACE, "DELETE", ABSENT, Value::Null),
        action(&rules::CHANGE_PASSWORD, json!({"changePassword": {"adminPass": "p"}})),
        action(&rules::LOCK, json!({"lock": null})),
        action(&rules::UNLOCK, json!({"unlock": null})),
        (&rules::UPDATE, "PUT", "", json!({"server": {"name": "s"}})),
        (&rules::UPDATE_METADATA, "POST", "/metadata", json!({"metadata": {"k": "v"}})),
        (&rules::DELETE_METADATA, "DELETE", "/metadata/k", Value::Null),
        (&rules::UPDATE_TAGS, "PUT", "/tags", json!({"tags": ["a"]})),
        action(&rules::RESET_STATE, json!({"os-resetState": {"state": "active"}})),
        action(&rules::FORCE_DELETE, json!({"forceDelete": null})),
        (&rules::DELETE, "DELETE", "", Value::Null),
    ]
}

const ABSENT: &str = "/os-interface/5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";

/// How a running server gets into each settled state.
const STATES: &[(&str, &[&str])] = &[
    ("ACTIVE", &[]),
    ("SHUTOFF", &["os-stop"]),
    ("PAUSED", &["pause"]),
    ("SUSPENDED", &["suspend"]),
    ("VERIFY_RESIZE", &["resize"]),
    ("RESCUE", &["rescue"]),
    ("SHELVED", &["shelve"]),
    ("SOFT_DELETED", &["delete"]),
    ("ERROR", &["error"]),
];

async fn act(client: &Client, id: &str, body: &Value) -> canopy_tests::Answer {
    client.at("2.37").post(&format!("/compute/v2.1/servers/{id}/action"), body).await
}

async fn ask(client: &Client, id: &str, method: &str, suffix: &str, body: &Value) -> canopy_tests::Answer {
    let client = client.at("2.37");
    let request = client.request(method, &format!("/compute/v2.1/servers/{id}{suffix}"));
    client.send(if body.is_null() { request } else { request.json(body) }).await
}

/// Brings a server into a state from whatever settled state it is in.
async fn bring(admin: &Client, id: &str, (status, way): &(&str, &[&str]), flavors: &[String; 2]) {
    loop {
        let shown = show(admin, id).await;
        let body = match shown["status"].as_str().unwrap() {
            "ACTIVE" if shown["flavor"]["id"] == flavors[0].as_str() => break,
            "VERIFY_RESIZE" => json!({"revertResize": null}),
            "RESCUE" => json!({"unrescue": null}),
            "SHELVED" => json!({"unshelve": null}),
            "SOFT_DELETED" => json!({"restore": null}),
            _ => json!({"reboot": {"type": "HARD"}}),
        };
        let answer = act(admin, id, &body).await;
        assert!(answer.status < 300, "{body}: {answer:?}");
        until_idle(admin, id).await;
    }
    for word in *way {
        let answer = match *word {
            "error" => act(admin, id, &json!({"os-resetState": {"state": "error"}})).await,
            "resize" => act(admin, id, &json!({"resize": {"flavorRef": flavors[1]}})).await,
            "delete" => ask(admin, id, "DELETE", "", &Value::Null).await,
            _ => act(admin, id, &json!({*word: null})).await,
        };
        assert!(answer.status < 300, "{word} {answer:?}");
    }
    until_status(admin, id, status).await;
}

async fn until_idle(client: &Client, id: &str) {
    canopy_tests::until(&format!("server {id} is idle"), async || {
        show(client, id).await["OS-EXT-STS:task_state"].is_null()
    })
    .await;
}

/// The derived state that these two words stand for.
fn state_of(shown: &Value) -> Derived {
    let (vm_state, task) = (&shown["OS-EXT-STS:vm_state"], &shown["OS-EXT-STS:task_state"]);
    let pairs = Wish::ALL.into_iter().flat_map(|wish| Phase::ALL.map(|phase| derive(wish, phase)));
    pairs
        .into_iter()
        .find(|d| vm_state == d.vm_state && task.as_str() == d.task_state && shown["status"] == d.status)
        .unwrap_or_else(|| panic!("the table has no such state: {shown}"))
}

#[test]
fn every_rule_is_asked_here() {
    for rule in rules::ALL {
        assert!(asked("", "").iter().any(|(known, ..)| *known == rule), "{} is not tested", rule.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_in_every_state_is_done_or_refused_by_name_and_settles() {
    let cloud =
        Cloud::start_with(canopy_tests::Engine::Sqlite, |config| config.reclaim_seconds = 3_600, None).await;
    let admin = cloud.admin().await;
    let flavors = [flavor(&admin, "small", 1, 512, 1).await, flavor(&admin, "large", 2, 768, 2).await];
    let image = image(&admin, "img").await;
    guest_agent(&admin, &image, &[]).await;
    cloud.hypervisor.answer_passwords(canopy_hypervisor::PasswordOutcome::Set);
    let network = admin.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let subnet =
        json!({"network_id": network.text_at("/network/id"), "ip_version": 4, "cidr": "10.7.0.0/24"});
    assert_eq!(admin.post("/network/v2.0/subnets", &json!({ "subnet": subnet })).await.status, 201);
    // Disks do not shrink: from one pair of states to the next the server is a new one.
    let body = server("s", &flavors[0], &image);
    let mut id = boot(&admin, &body).await;
    until_status(&admin, &id, "ACTIVE").await;
    for state in STATES {
        for (rule, method, suffix, request) in asked(&image, &flavors[1]) {
            if show(&admin, &id).await["flavor"]["id"] == flavors[1].as_str()
                && show(&admin, &id).await["status"] != "VERIFY_RESIZE"
            {
                act(&admin, &id, &json!({"forceDelete": null})).await;
                until_gone(&admin, &id).await;
                id = boot(&admin, &body).await;
                until_status(&admin, &id, "ACTIVE").await;
            }
            bring(&admin, &id, state, &flavors).await;
            // What there is to delete.
            if rule == &rules::DELETE_METADATA && state.0 != "ERROR" {
                ask(&admin, &id, "POST", "/metadata", &json!({"metadata": {"k": "v"}})).await;
            }
            let before = state_of(&show(&admin, &id).await);
            let mut suffix = suffix.to_owned();
            if rule == &rules::DETACH_INTERFACE && rules::check(rule, &before).is_ok() {
                let body = json!({"interfaceAttachment": {}});
                let made = ask(&admin, &id, "POST", "/os-interface", &body).await;
                suffix = format!("/os-interface/{}", made.text_at("/interfaceAttachment/port_id"));
            }
            let answer = ask(&admin, &id, method, &suffix, &request).await;
            match rules::check(rule, &before) {
                Ok(()) => assert!(answer.status < 300, "{} in {}: {answer:?}", rule.name, state.0),
                Err(refusal) => {
                    assert_eq!(answer.status, 409, "{} in {}: {answer:?}", rule.name, state.0);
                    let said = answer.text_at("/conflictingRequest/message");
                    let named = format!("it is in {} {}", refusal.attribute, refusal.value);
                    assert!(said.contains(&named) && said.contains(rule.name), "{said}");
                }
            }
            if rule == &rules::FORCE_DELETE || rule == &rules::DELETE && answer.status == 204 {
                // Those that had settled in a state of their own can be restored; others are gone.
                act(&admin, &id, &json!({"forceDelete": null})).await;
                until_gone(&admin, &id).await;
                id = boot(&admin, &body).await;
                until_status(&admin, &id, "ACTIVE").await;
                continue;
            }
            cloud
                .until(&format!("{} in {} settles", rule.name, state.0), async || {
                    show(&admin, &id).await["OS-EXT-STS:task_state"].is_null()
                })
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_named_and_an_operator_or_a_delete_ends_it() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (flavor, image) = (flavor(&admin, "small", 1, 512, 1).await, image(&admin, "img").await);
    let id = boot(&admin, &server("s", &flavor, &image)).await;
    until_status(&admin, &id, "ACTIVE").await;
    for (word, task) in [("pause", "pausing"), ("suspend", "suspending"), ("os-stop", "powering-off")] {
        // Nothing that is asked for can happen.
        cloud.hypervisor.disconnect();
        assert_eq!(act(&admin, &id, &json!({word: null})).await.status, 202);
        let shown = show(&admin, &id).await;
        assert_eq!(shown["OS-EXT-STS:task_state"], task);
        for (rule, method, suffix, request) in asked(&image, &flavor) {
            let Err(refusal) = rules::check(rule, &state_of(&shown)) else { continue };
            let answer = ask(&admin, &id, method, suffix, &request).await;
            assert_eq!(answer.status, 409, "{} while {task}: {answer:?}", rule.name);
            assert!(answer.text_at("/conflictingRequest/message").contains(refusal.value), "{answer:?}");
        }
        assert_eq!(act(&admin, &id, &json!({"os-resetState": {"state": "active"}})).await.status, 202);
        assert_eq!(show(&admin, &id).await["OS-EXT-STS:task_state"], Value::Null, "{task} is ended");
        cloud.hypervisor.reconnect();
        cloud
            .until("what was in flight is settled", async || {
                act(&admin, &id, &json!({"reboot": {"type": "HARD"}})).await.status == 202
            })
            .await;
        until_status(&admin, &id, "ACTIVE").await;
    }
    cloud.hypervisor.disconnect();
    assert_eq!(act(&admin, &id, &json!({"pause": null})).await.status, 202);
    assert_eq!(ask(&admin, &id, "DELETE", "", &Value::Null).await.status, 204);
    cloud.hypervisor.reconnect();
    until_gone(&admin, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_holds_for_everybody_but_its_owner_and_an_admin() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let tenant = cloud.tenant("t").await;
        let image = image(&tenant, "img").await;
        let id = boot(&tenant, &server("s", &flavor, &image)).await;
        until_status(&tenant, &id, "ACTIVE").await;

        assert_eq!(act(&tenant, &id, &json!({"lock": null})).await.status, 202);
        assert_eq!(show(&tenant, &id).await["locked"], true);
        for (rule, method, suffix, request) in asked(&image, &flavor) {
            // Only operators inject, and they go past locks.
            if !rule.lockable || rule == &rules::INJECT_NETWORK_INFO {
                continue;
            }
            let answer = ask(&tenant, &id, method, suffix, &request).await;
            assert_eq!(answer.status, 409, "{}: {answer:?}", rule.name);
            assert!(answer.text_at("/conflictingRequest/message").ends_with("is locked"), "{answer:?}");
        }
        assert_eq!(act(&admin, &id, &json!({"pause": null})).await.status, 202, "an admin may");
        until_status(&tenant, &id, "PAUSED").await;
        assert_eq!(act(&tenant, &id, &json!({"unlock": null})).await.status, 202);

        // An admin's lock is not its owner's to take off, nor to take over.
        assert_eq!(act(&admin, &id, &json!({"lock": null})).await.status, 202);
        assert_eq!(act(&tenant, &id, &json!({"lock": null})).await.status, 202);
        assert_eq!(act(&tenant, &id, &json!({"unlock": null})).await.status, 403);
        assert_eq!(act(&tenant, &id, &json!({"unpause": null})).await.status, 409);
        assert_eq!(act(&admin, &id, &json!({"unlock": null})).await.status, 202);
        assert_eq!(act(&tenant, &id, &json!({"unpause": null})).await.status, 202);
        until_status(&tenant, &id, "ACTIVE").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_host_go_over_a_servers_network() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let flavor = flavor(&admin, "small", 1, 512, 1).await;
    let tenant = cloud.tenant("t").await;
    let image = image(&tenant, "img").await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    let wanted = async || cloud.hosts().await[0].revision;
    let (before, inject) = (wanted().await, json!({"injectNetworkInfo": null}));
    assert_eq!(act(&tenant, &id, &inject).await.status, 403);
    assert_eq!(wanted().await, before);
    assert_eq!(act(&admin, &id, &inject).await.status, 202);
    assert_eq!(wanted().await, before + 1, "its agent acts on what is new to it");
    assert_eq!(act(&admin, &id, &json!({"injectNetworkInfo": {"x": 1}})).await.status, 202, "as nova does");
    let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    assert_eq!(act(&admin, absent, &inject).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tags_and_names_are_kept_shown_and_bounded() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let tenant = cloud.tenant("t").await;
        let image = image(&tenant, "img").await;
        let mut body = server("s", &flavor, &image);
        body["server"]["metadata"] = json!({"a": "1"});
        let id = boot(&tenant, &body).await;
        until_status(&tenant, &id, "ACTIVE").await;
        let ask = async |method, suffix: &str, body: Value| ask(&tenant, &id, method, suffix, &body).await;

        let added = ask("POST", "/metadata", json!({"metadata": {"b": "2"}})).await;
        assert_eq!((added.status, &added.json["metadata"]), (200, &json!({"a": "1", "b": "2"})));
        let one = ask("PUT", "/metadata/c", json!({"meta": {"c": "3"}})).await;
        assert_eq!((one.status, &one.json["meta"]), (200, &json!({"c": "3"})));
        assert_eq!(ask("GET", "/metadata/c", Value::Null).await.json["meta"], json!({"c": "3"}));
        assert_eq!(ask("DELETE", "/metadata/a", Value::Null).await.status, 204);
        assert_eq!(ask("DELETE", "/metadata/a", Value::Null).await.status, 404);
        assert_eq!(ask("GET", "/metadata/a", Value::Null).await.status, 404);
        let replaced = ask("PUT", "/metadata", json!({"metadata": {"z": "26"}})).await;
        assert_eq!(replaced.json["metadata"], json!({"z": "26"}));
        assert_eq!(show(&tenant, &id).await["metadata"], json!({"z": "26"}));
        let many: serde_json::Map<_, _> = (0..129).map(|n| (n.to_string(), json!("v"))).collect();
        assert_eq!(ask("POST", "/metadata", json!({"metadata": many})).await.status, 403);
        // Too many are too many wherever they come in: a matter of quota, not of form.
        body["server"]["metadata"] = json!(many);
        assert_eq!(tenant.at("2.37").post("/compute/v2.1/servers", &body).await.status, 403);
        for action in [
            json!({"rebuild": {"imageRef": image, "metadata": many}}),
            json!({"createImage": {"name": "i", "metadata": many}}),
        ] {
            assert_eq!(act(&tenant, &id, &action).await.status, 403, "{action}");
        }
        for bad in [
            json!({"metadata": {"k": 1}}),
            json!({"metadata": {"": "v"}}),
            json!({"metadata": {"a/b": "v"}}),
            json!({"metadata": {"k": "v".repeat(256)}}),
            json!({"metadata": null}),
            json!({"meta": {}}),
            json!({}),
        ] {
            assert_eq!(ask("POST", "/metadata", bad.clone()).await.status, 400, "{bad}");
        }
        assert_eq!(ask("PUT", "/metadata/c", json!({"meta": {"d": "3"}})).await.status, 400);
        assert_eq!(ask("PUT", "/metadata/c", json!({"meta": {}})).await.status, 400);

        assert_eq!(ask("PUT", "/tags", json!({"tags": ["b", "a"]})).await.json["tags"], json!(["a", "b"]));
        let new = ask("PUT", "/tags/c", Value::Null).await;
        assert_eq!(new.status, 201);
        assert!(new.header("location").unwrap().ends_with(&format!("/servers/{id}/tags/c")), "{new:?}");
        assert_eq!(ask("PUT", "/tags/c", Value::Null).await.status, 204);
        assert_eq!(ask("GET", "/tags/c", Value::Null).await.status, 204);
        assert_eq!(show(&tenant, &id).await["tags"], json!(["a", "b", "c"]));
        assert_eq!(ask("DELETE", "/tags/c", Value::Null).await.status, 204);
        assert_eq!(ask("DELETE", "/tags/c", Value::Null).await.status, 404);
        assert_eq!(ask("GET", "/tags/c", Value::Null).await.status, 404);
        for bad in [json!(["a,b"]), json!(["a/b"]), json!([""]), json!(["x".repeat(61)]), json!(["a", "a"])] {
            assert_eq!(ask("PUT", "/tags", json!({"tags": bad})).await.status, 400, "{bad}");
        }
        let full: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
        assert_eq!(ask("PUT", "/tags", json!({"tags": full})).await.status, 200);
        assert_eq!(ask("PUT", "/tags/more", Value::Null).await.status, 400);
        assert_eq!(ask("DELETE", "/tags", Value::Null).await.status, 204);
        assert_eq!(ask("GET", "/tags", Value::Null).await.json["tags"], json!([]));
        assert_eq!(tenant.at("2.25").get(&format!("/compute/v2.1/servers/{id}/tags")).await.status, 404);

        let changes = json!({"server": {"name": "new", "description": "d", "accessIPv4": "1.2.3.4"}});
        let changed = ask("PUT", "", changes).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let changed = &changed.json["server"];
        assert_eq!(
            (&changed["name"], &changed["description"], &changed["accessIPv4"]),
            (&json!("new"), &json!("d"), &json!("1.2.3.4"))
        );
        assert!(
            changed.get("OS-EXT-STS:vm_state").is_none() && changed.get("key_name").is_none(),
            "{changed}"
        );
        assert_eq!(ask("PUT", "", json!({"server": {"name": ""}})).await.status, 400);
        assert_eq!(ask("PUT", "", json!({"server": {"accessIPv4": "x"}})).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_was_asked_and_how_it_ended() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let (flavor, image) = (flavor(&admin, "small", 1, 512, 1).await, image(&admin, "img").await);
        let id = boot(&admin, &server("s", &flavor, &image)).await;
        until_status(&admin, &id, "ACTIVE").await;
        for _ in 0..3 {
            let no = canopy_types::Error::unavailable("test.no", "The guest cannot be paused.");
            cloud.hypervisor.fail_next(canopy_hypervisor::fake::Op::Pause, no);
        }
        let paused = act(&admin, &id, &json!({"pause": null})).await;
        assert_eq!(paused.status, 202);
        let request = paused.header("x-openstack-request-id").unwrap().to_owned();
        let path = format!("/compute/v2.1/servers/{id}/os-instance-actions");
        // Given up after three attempts, and the guest runs on.
        until_status(&admin, &id, "ACTIVE").await;
        let line = admin.at("2.37").get(&format!("{path}/{request}")).await.json["instanceAction"].clone();
        assert_eq!((&line["action"], &line["message"]), (&json!("pause"), &json!("Error")), "{line}");
        assert_eq!(line["events"][0]["result"], "Error");
        assert_eq!(line["events"][0]["traceback"], "The guest cannot be paused.");
        assert!(line["events"][0]["finish_time"].is_string());
        let listed = admin.at("2.37").get(&path).await.json["instanceActions"].clone();
        let words: Vec<_> = listed.as_array().unwrap().iter().map(|line| line["action"].clone()).collect();
        assert_eq!(words, ["pause", "create"]);
        assert_eq!(listed[1]["message"], Value::Null);
        assert_eq!(admin.get(&format!("{path}/req-none")).await.status, 404);

        assert_eq!(ask(&admin, &id, "DELETE", "", &Value::Null).await.status, 204);
        until_gone(&admin, &id).await;
        assert_eq!(admin.at("2.20").get(&path).await.status, 404);
        let after = admin.at("2.21").get(&path).await;
        assert_eq!(after.json["instanceActions"][0]["action"], "delete", "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_makes_the_disk_anew_from_the_image_and_keeps_the_rest() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let tenant = cloud.tenant("t").await;
        let (first, second) = (image(&tenant, "one").await, image(&tenant, "two").await);
        let id = boot(&tenant, &server("s", &flavor, &first)).await;
        until_status(&tenant, &id, "ACTIVE").await;
        let disk = cloud.config.data_dir.join(format!("agent/servers/{id}/root.qcow2"));
        let written = std::fs::metadata(&disk).unwrap().modified().unwrap();

        let body = json!({"rebuild": {"imageRef": second, "name": "new", "metadata": {"k": "v"}, "adminPass": "pw"}});
        let answer = act(&tenant, &id, &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let said = &answer.json["server"];
        assert_eq!((&said["status"], &said["adminPass"]), (&json!("REBUILD"), &json!("pw")), "{said}");
        let shown = until_status(&tenant, &id, "ACTIVE").await;
        assert_eq!(
            (&shown["image"]["id"], &shown["name"], &shown["metadata"]),
            (&json!(second), &json!("new"), &json!({"k": "v"}))
        );
        assert!(std::fs::metadata(&disk).unwrap().modified().unwrap() > written, "the disk is a new one");

        // What is off stays off; what failed can be made again.
        assert_eq!(act(&tenant, &id, &json!({"os-stop": null})).await.status, 202);
        until_status(&tenant, &id, "SHUTOFF").await;
        assert_eq!(act(&tenant, &id, &json!({"rebuild": {"imageRef": first}})).await.status, 202);
        let off = until_status(&tenant, &id, "SHUTOFF").await;
        assert_eq!(off["image"]["id"], first.as_str());
        for _ in 0..3 {
            let no = canopy_types::Error::unavailable("test.no", "The guest cannot be started.");
            cloud.hypervisor.fail_next(canopy_hypervisor::fake::Op::Start, no);
        }
        assert_eq!(act(&tenant, &id, &json!({"os-start": null})).await.status, 202);
        let failed = until_status(&tenant, &id, "ERROR").await;
        assert_eq!(failed["fault"]["message"], "The guest cannot be started.");
        let again = act(&tenant, &id, &json!({"rebuild": {"imageRef": first}})).await;
        assert_eq!(again.json["server"]["status"], "REBUILD", "not the old error: {again:?}");
        until_status(&tenant, &id, "ACTIVE").await;

        for bad in [
            json!({"rebuild": {}}),
            json!({"rebuild": {"imageRef": "x"}}),
            json!({"rebuild": {"imageRef": "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11"}}),
            json!({"rebuild": {"imageRef": first, "name": ""}}),
            json!({"rebuild": {"imageRef": first, "metadata": {"k": 1}}}),
            json!({"rebuild": {"imageRef": first, "accessIPv4": "x"}}),
            json!({"rebuild": {"imageRef": first, "user_data": "eA=="}}),
        ] {
            let answer = act(&tenant, &id, &bad).await;
            assert_eq!(answer.status, 400, "{bad} {answer:?}");
        }
        let other = cloud.tenant("other").await;
        let theirs = image(&other, "theirs").await;
        assert_eq!(act(&tenant, &id, &json!({"rebuild": {"imageRef": theirs}})).await.status, 400);
        assert_eq!(show(&tenant, &id).await["image"]["id"], first.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_retries_with_one_idempotency_key_makes_one_server() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let tenant = cloud.tenant("t").await;
        let image = image(&tenant, "img").await;
        let body = server("s", &flavor, &image);
        let with = |client: &Client, key: &str| client.at("2.37").with_header("idempotency-key", key);
        let keyed = with(&tenant, "k1");
        // Every other reply is dropped: the client goes away while it waits.
        let storm = (0..24_u64).map(|n| {
            let (keyed, body) = (&keyed, &body);
            async move {
                let patience = std::time::Duration::from_millis(if n % 2 == 0 { 1 + n } else { 60_000 });
                tokio::time::timeout(patience, keyed.post("/compute/v2.1/servers", body)).await.ok()
            }
        });
        let answers: Vec<_> = futures::future::join_all(storm).await.into_iter().flatten().collect();
        let ids: std::collections::BTreeSet<&str> = answers
            .iter()
            .map(|answer| {
                assert_eq!(answer.status, 202, "{answer:?}");
                answer.text_at("/server/id")
            })
            .collect();
        assert_eq!(ids.len(), 1, "{engine:?}");
        let listed = tenant.get("/compute/v2.1/servers").await;
        assert_eq!(listed.json["servers"].as_array().unwrap().len(), 1, "{engine:?}");

        let other_body = keyed.post("/compute/v2.1/servers", &server("other", &flavor, &image)).await;
        assert_eq!(other_body.status, 422, "{other_body:?}");
        // The same word is another key for somebody else, and another word is another request.
        let second = with(&tenant, "k2").post("/compute/v2.1/servers", &body).await;
        assert!(second.status == 202 && !ids.contains(second.text_at("/server/id")), "{second:?}");
        let theirs = with(&admin, "k1").post("/compute/v2.1/servers", &server("a", &flavor, &image)).await;
        assert_ne!(theirs.status, 422, "{theirs:?}");
        for bad in ["", "a b", &"x".repeat(256)] {
            assert_eq!(with(&tenant, bad).post("/compute/v2.1/servers", &body).await.status, 400, "{bad:?}");
        }
        // A refused request keeps nothing: asked again, it is decided again.
        let mut wrong = body.clone();
        wrong["server"]["imageRef"] = json!("5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11");
        for _ in 0..2 {
            assert_eq!(with(&tenant, "k3").post("/compute/v2.1/servers", &wrong).await.status, 400);
        }
        assert_eq!(with(&tenant, "k3").post("/compute/v2.1/servers", &body).await.status, 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_sorted_over_pages() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let (flavor, image) = (flavor(&admin, "small", 1, 512, 1).await, image(&admin, "img").await);
        for (name, tags) in
            [("b", json!(["red", "blue"])), ("a", json!(["red"])), ("c", json!([])), ("a", json!(["re[d"]))]
        {
            let id = boot(&admin, &server(name, &flavor, &image)).await;
            until_status(&admin, &id, "ACTIVE").await;
            assert_eq!(ask(&admin, &id, "PUT", "/tags", &json!({"tags": tags})).await.status, 200);
        }
        let names = async |version: &str, query: &str| -> String {
            let listed = admin.at(version).get(&format!("/compute/v2.1/servers?{query}")).await;
            assert_eq!(listed.status, 200, "{query} {listed:?}");
            let listed = listed.json["servers"].as_array().unwrap().clone();
            listed.iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
        };
        for (query, expected) in [
            ("tags=red", "ab"),
            ("tags=red,blue", "b"),
            ("tags-any=blue,red", "ab"),
            ("tags-any=re[d", "a"),
            ("tags=re", ""),
            ("tags=re_", ""),
            ("not-tags=red,blue", "aca"),
            ("not-tags-any=red,blue", "ac"),
            ("tags=red&not-tags=blue", "a"),
            ("deleted=perhaps", "acab"),
            ("sort_key=display_name&sort_dir=asc&tags-any=red", "ab"),
        ] {
            assert_eq!(names("2.37", query).await, expected, "{query} {engine:?}");
        }
        assert_eq!(names("2.25", "tags=red").await, "acab", "a version that does not know tags");
        assert_eq!(names("2.37", "sort_key=display_name&sort_dir=asc").await, "aabc");
        assert_eq!(names("2.37", "sort_key=display_name&sort_dir=desc").await, "cbaa");
        // Equal names are told apart over pages too.
        for query in ["sort_key=display_name&sort_dir=asc", "sort_key=vm_state&sort_key=uuid&sort_dir=desc"] {
            let whole = names("2.37", query).await;
            let mut next = Some(format!("/compute/v2.1/servers?{query}&limit=1"));
            let mut paged = String::new();
            while let Some(path) = next {
                let page = admin.at("2.37").get(&path).await;
                assert_eq!(page.status, 200, "{page:?}");
                paged.push_str(page.json["servers"][0]["name"].as_str().unwrap_or_default());
                next =
                    page.json["servers_links"][0]["href"].as_str().map(|href| href.replace(&cloud.url, ""));
            }
            assert_eq!(paged, whole, "{query} {engine:?}");
        }
        // Every key that the servers differ in sorts them, and pages hold together.
        for key in [
            "access_ip_v4",
            "access_ip_v6",
            "config_drive",
            "host",
            "hostname",
            "instance_type_id",
            "locked_by",
            "node",
            "power_state",
            "task_state",
        ] {
            let page = admin.get(&format!("/compute/v2.1/servers?sort_key={key}&sort_dir=asc&limit=1")).await;
            assert_eq!(page.status, 200, "{key} {page:?}");
            let next = page.text_at("/servers_links/0/href").replace(&cloud.url, "");
            let page = admin.get(&next).await;
            assert_eq!(page.json["servers"].as_array().map(Vec::len), Some(1), "{key} {page:?}");
        }
        for (key, expected) in [("hostname", "aabc"), ("access_ip_v4", "bcaa")] {
            let change = json!({"server": {"accessIPv4": "9.9.9.9"}});
            for server in admin.get("/compute/v2.1/servers?name=a").await.json["servers"].as_array().unwrap()
            {
                let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().unwrap());
                assert_eq!(admin.put(&path, &change).await.status, 200);
            }
            let query = format!("sort_key={key}&sort_key=display_name&sort_dir=asc");
            assert_eq!(names("2.37", &query).await, expected, "{key} {engine:?}");
        }
        for bad in ["sort_key=password", "sort_key=display_name&sort_dir=up"] {
            assert_eq!(admin.get(&format!("/compute/v2.1/servers?{bad}")).await.status, 400, "{bad}");
        }
    }
}
