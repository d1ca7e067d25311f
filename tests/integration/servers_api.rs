//! Servers through the API, on a fake hypervisor: life, limits, refusals, isolation.

use canopy_tests::fixtures::{boot, flavor, image, server, show, until_gone, until_status};
use canopy_tests::{Client, Cloud, engines, until};
use serde_json::{Value, json};

async fn ready(cloud: &Cloud) -> (Client, String, String) {
    let admin = cloud.admin().await;
    let flavor = flavor(&admin, "small", 1, 512, 1).await;
    let tenant = cloud.tenant("t").await;
    let image = image(&tenant, "img").await;
    (tenant, flavor, image)
}

/// Everything that counts, in one comparable value.
async fn counted(cloud: &Cloud) -> (Vec<(String, i64)>, Vec<(String, i64)>) {
    let (hosts, usage) = cloud
        .app()
        .store
        .read(|c| {
            Box::pin(async move {
                let (_, inventories) = canopy_store::hosts::all(c).await?;
                let project = canopy_store::servers::list(
                    c,
                    &Default::default(),
                    &Default::default(),
                    &Default::default(),
                )
                .await?;
                let mut used = Vec::new();
                for id in project.iter().map(|s| s.project_id.clone()).take(1) {
                    used.extend(canopy_store::quota::usage(c, &id).await?.used);
                }
                Ok((inventories.into_iter().map(|row| (row.class, row.used)).collect(), used))
            })
        })
        .await
        .unwrap();
    (hosts, usage)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_from_build_to_gone_and_gives_everything_back() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (tenant, flavor, image) = ready(&cloud).await;
        let before = counted(&cloud).await.0;

        let id = boot(&tenant, &server("web", &flavor, &image)).await;
        let active = until_status(&tenant, &id, "ACTIVE").await;
        assert_eq!(active["OS-EXT-STS:vm_state"], "active");
        assert_eq!(active["OS-EXT-STS:power_state"], 1);
        assert!(active["OS-SRV-USG:launched_at"].is_string());
        assert!(active.get("OS-EXT-SRV-ATTR:host").is_none(), "a tenant is not told the host");
        let (hosts, usage) = counted(&cloud).await;
        assert!(
            hosts.contains(&("MEMORY_MB".into(), 512)) && hosts.contains(&("VCPU".into(), 1)),
            "{hosts:?}"
        );
        assert!(
            usage.contains(&("instances".into(), 1)) && usage.contains(&("ram".into(), 512)),
            "{usage:?}"
        );

        let listed = tenant.get("/compute/v2.1/servers/detail?name=web&status=ACTIVE").await;
        assert_eq!(listed.json["servers"][0]["id"], id.as_str());
        assert_eq!(tenant.get("/compute/v2.1/servers?status=SHUTOFF").await.json["servers"], json!([]));

        let gone = tenant.delete(&format!("/compute/v2.1/servers/{id}")).await;
        assert_eq!((gone.status, gone.body.len()), (204, 0));
        until_gone(&tenant, &id).await;
        assert_eq!(counted(&cloud).await.0, before, "{engine:?}");
        assert_eq!(cloud.hypervisor.state(id.parse().unwrap()), None);
        let again = tenant.delete(&format!("/compute/v2.1/servers/{id}")).await;
        assert_eq!(again.status, 404);
        for asked in ["deleted=true", "status=deleted"] {
            let path = format!("/compute/v2.1/servers?all_tenants=1&{asked}");
            let tombstones = cloud.admin().await.get(&path).await;
            assert_eq!(tombstones.json["servers"][0]["id"], id.as_str(), "{asked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_powers_itself_off_is_shutoff_until_somebody_starts_it() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    assert!(cloud.hypervisor.power_off(id.parse().unwrap()));
    until_status(&tenant, &id, "SHUTOFF").await;

    let action = format!("/compute/v2.1/servers/{id}/action");
    let refused = tenant.post(&action, &json!({"os-stop": null})).await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.text_at("/conflictingRequest/message").contains("while it is in vm_state stopped"),
        "{refused:?}"
    );
    assert_eq!(tenant.post(&action, &json!({"os-start": null})).await.status, 202);
    until_status(&tenant, &id, "ACTIVE").await;
    assert_eq!(tenant.post(&action, &json!({"os-stop": null})).await.status, 202);
    until_status(&tenant, &id, "SHUTOFF").await;
    // Killed behind our back, and found out.
    assert_eq!(tenant.post(&action, &json!({"os-start": null})).await.status, 202);
    until_status(&tenant, &id, "ACTIVE").await;
    assert!(cloud.hypervisor.kill(id.parse().unwrap()));
    until_status(&tenant, &id, "SHUTOFF").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_valid_host_is_an_error_server_whose_fault_and_decision_say_why() {
    for engine in engines() {
        let cloud =
            Cloud::start_with(engine, |c| c.quota.defaults.extend([("ram".to_owned(), -1)]), None).await;
        let (tenant, _, image) = ready(&cloud).await;
        let huge = flavor(&cloud.admin().await, "huge", 1, 1 << 20, 1).await;
        let id = boot(&tenant, &server("s", &huge, &image)).await;
        let failed = show(&tenant, &id).await;
        assert_eq!(failed["status"], "ERROR");
        let message = failed["fault"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("No valid host was found. 1 of 1 hosts refused by capacity:MEMORY_MB"),
            "{message}"
        );
        let decision = message.rsplit("Decision ").next().unwrap().trim_end_matches('.');
        let shown = tenant.get(&format!("/canopy/v1/decisions/{decision}")).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_eq!(shown.json["decision"]["document"]["winner"], Value::Null);
        assert_eq!(shown.json["decision"]["document"]["nearest"][1]["class"], "MEMORY_MB");
        // Nothing is held on a host.
        assert!(counted(&cloud).await.0.iter().all(|(_, used)| *used == 0));
        // Another tenant's decision is as absent as none.
        let other = cloud.tenant("other").await;
        let hidden = other.get(&format!("/canopy/v1/decisions/{decision}")).await;
        let none = other.get("/canopy/v1/decisions/5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11").await;
        assert_eq!((hidden.status, none.status), (404, 404));
        // It can be deleted although no host ever had it.
        assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
        until_gone(&tenant, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creates_never_overbook_a_host() {
    for engine in engines() {
        let cloud = Cloud::start_with(
            engine,
            |c| {
                for resource in ["instances", "cores", "ram"] {
                    c.quota.defaults.insert(resource.into(), -1);
                }
            },
            None,
        )
        .await;
        let (tenant, _, image) = ready(&cloud).await;
        // (16384 − 512) × 1.5 = 23808 MiB: five of these fit.
        let flavor = flavor(&cloud.admin().await, "quarter", 1, 4_096, 1).await;
        let body = server("s", &flavor, &image);
        let ids = futures::future::join_all((0..24).map(|_| boot(&tenant, &body))).await;
        let mut placed = 0;
        for id in &ids {
            let server = show(&tenant, id).await;
            if server["status"] == "ERROR" {
                assert!(server["fault"]["message"].as_str().unwrap().contains("No valid host was found"));
            } else {
                placed += 1;
            }
        }
        assert_eq!(placed, 5, "{engine:?}");
        let (hosts, usage) = counted(&cloud).await;
        assert!(hosts.contains(&("MEMORY_MB".into(), 5 * 4_096)), "{hosts:?}");
        assert!(usage.contains(&("instances".into(), 24)), "{usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creates_never_exceed_a_quota_and_are_refused_at_once() {
    for engine in engines() {
        let cloud =
            Cloud::start_with(engine, |c| c.quota.defaults.extend([("instances".to_owned(), 3)]), None).await;
        let (tenant, flavor, image) = ready(&cloud).await;
        let body = server("s", &flavor, &image);
        let compute = tenant.at("2.37");
        let answers =
            futures::future::join_all((0..12).map(|_| compute.post("/compute/v2.1/servers", &body))).await;
        let accepted = answers.iter().filter(|a| a.status == 202).count();
        let refused: Vec<_> = answers.iter().filter(|a| a.status == 403).collect();
        assert_eq!((accepted, refused.len()), (3, 9), "{engine:?} {answers:?}");
        assert!(refused[0].text_at("/forbidden/message").contains("instances"), "{:?}", refused[0]);
        let listed = tenant.get("/compute/v2.1/servers").await;
        assert_eq!(listed.json["servers"].as_array().unwrap().len(), 3, "no row is left of a refused one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_one_request() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let mut body = server("web", &flavor, &image);
    body["server"]["min_count"] = json!(2);
    body["server"]["max_count"] = json!("3");
    body["server"]["return_reservation_id"] = json!(true);
    let made = tenant.at("2.37").post("/compute/v2.1/servers", &body).await;
    assert_eq!(made.status, 202, "{made:?}");
    let reservation = made.text_at("/reservation_id").to_owned();
    let listed = tenant.get(&format!("/compute/v2.1/servers?reservation_id={reservation}")).await;
    let mut names: Vec<_> = listed.json["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["web-1", "web-2", "web-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_by_marker_and_an_unknown_marker_is_400() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    for n in 0..5 {
        boot(&tenant, &server(&format!("s{n}"), &flavor, &image)).await;
    }
    let mut seen = Vec::new();
    let mut next = Some("/compute/v2.1/servers?limit=2".to_owned());
    while let Some(path) = next {
        let page = tenant.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        seen.extend(
            page.json["servers"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()),
        );
        next = page.json["servers_links"][0]["href"].as_str().map(|href| href.replace(&cloud.url, ""));
    }
    assert_eq!(seen, ["s4", "s3", "s2", "s1", "s0"]);
    let unknown = tenant.get("/compute/v2.1/servers?marker=5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11").await;
    assert_eq!(unknown.status, 400);
    let other = cloud.tenant("other").await;
    let id = show(&tenant, tenant.get("/compute/v2.1/servers").await.text_at("/servers/0/id")).await;
    let foreign = other.get(&format!("/compute/v2.1/servers?marker={}", id["id"].as_str().unwrap())).await;
    assert_eq!(foreign.status, 400, "a marker of another tenant is as unknown as any");
    assert_eq!(tenant.get("/compute/v2.1/servers?limit=-1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_novas_shape_and_leave_nothing() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let compute = tenant.at("2.37");
    let good = server("s", &flavor, &image);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body["server"]);
        body
    };
    let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    let bad = [
        json!({}),
        json!([]),
        json!({"server": null}),
        json!({"server": {}}),
        json!({"server": good["server"], "extra": 1}),
        with(&|s| s["name"] = json!("")),
        with(&|s| s["name"] = json!("x".repeat(256))),
        with(&|s| s["name"] = json!("a\u{0}b")),
        with(&|s| s["name"] = json!(7)),
        with(&|s| s["unknown"] = json!(1)),
        with(&|s| s["flavorRef"] = json!(absent)),
        with(&|s| s["flavorRef"] = json!({"id": 1})),
        with(&|s| s["imageRef"] = json!(absent)),
        with(&|s| s["imageRef"] = json!("../../etc/passwd")),
        with(&|s| s["imageRef"] = json!("")),
        with(&|s| s["key_name"] = json!("no such key")),
        with(&|s| s["networks"] = json!("all")),
        with(&|s| s["networks"] = json!([{"uuid": absent}])),
        with(&|s| s["networks"] = json!([{"uuid": "x"}])),
        with(&|s| s["networks"] = json!([{}])),
        with(&|s| drop(s.as_object_mut().unwrap().remove("networks"))),
        with(&|s| s["user_data"] = json!("not base64!")),
        with(&|s| s["user_data"] = json!("A".repeat(65_536))),
        with(&|s| s["metadata"] = json!({"k": 1})),
        with(&|s| s["metadata"] = json!({"k".repeat(256): "v"})),
        with(&|s| s["min_count"] = json!(0)),
        with(&|s| s["max_count"] = json!(1_000_000)),
        with(&|s| {
            s["min_count"] = json!(3);
            s["max_count"] = json!(2);
        }),
        with(&|s| s["availability_zone"] = json!("nowhere")),
        with(&|s| s["security_groups"] = json!([{"name": "web"}])),
        with(&|s| s["description"] = json!("x".repeat(256))),
        with(&|s| s["accessIPv4"] = json!("fd00::1")),
        with(&|s| s["accessIPv6"] = json!("10.0.0.1")),
        with(&|s| s["accessIPv4"] = json!("10.0.0.256")),
    ];
    for body in bad {
        let answer = compute.post("/compute/v2.1/servers", &body).await;
        assert_eq!(
            answer.status,
            400,
            "{} → {answer:?}",
            body.to_string().chars().take(200).collect::<String>()
        );
        assert!(answer.json["badRequest"]["message"].is_string(), "{answer:?}");
        assert!(answer.body.len() < 1_500, "an error does not echo what was sent");
    }
    for (body, status) in [("{", 400), ("", 400), ("\u{feff}{}", 400), ("[[[[", 400)] {
        let request =
            compute.request("POST", "/compute/v2.1/servers").header("content-type", "application/json");
        assert_eq!(compute.send(request.body(body)).await.status, status, "{body}");
    }
    let deep = "[".repeat(100_000);
    let request = compute.request("POST", "/compute/v2.1/servers").body(deep);
    assert_eq!(compute.send(request).await.status, 400);
    let large = compute.request("POST", "/compute/v2.1/servers").body(vec![b' '; 2 << 20]);
    assert_eq!(compute.send(large).await.status, 413);
    let form =
        compute.request("POST", "/compute/v2.1/servers").header("content-type", "text/plain").body("{}");
    assert_eq!(compute.send(form).await.status, 415);
    assert_eq!(tenant.get("/compute/v2.1/servers").await.json["servers"], json!([]));
    assert!(counted(&cloud).await.0.iter().all(|(_, used)| *used == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn access_addresses_are_kept_as_given_and_shown() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (tenant, flavor, image) = ready(&cloud).await;
        let mut body = server("web", &flavor, &image);
        body["server"]["accessIPv4"] = json!("1.1.1.1");
        body["server"]["accessIPv6"] = json!("0000:0000:0000:0000:0000:babe:220.12.22.2");
        let id = boot(&tenant, &body).await;
        let shown = until_status(&tenant, &id, "ACTIVE").await;
        assert_eq!(
            (&shown["accessIPv4"], &shown["accessIPv6"]),
            (&json!("1.1.1.1"), &json!("::babe:dc0c:1602"))
        );
        let plain = boot(&tenant, &server("plain", &flavor, &image)).await;
        let shown = show(&tenant, &plain).await;
        assert_eq!((&shown["accessIPv4"], &shown["accessIPv6"]), (&json!(""), &json!("")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_has_no_microversions_and_ignores_what_it_does_not_know() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let versions = cloud.anonymous().get("/compute/").await.json["versions"].clone();
    assert_eq!((&versions[0]["id"], &versions[1]["id"]), (&json!("v2.0"), &json!("v2.1")));
    let mut body = server("old", &flavor, &image);
    body["server"]["networks"] = json!([]);
    body["server"]["no_such_thing"] = json!({"a": 1});
    assert_eq!(tenant.post("/compute/v2.1/servers", &body).await.status, 400);
    let client = tenant.at("2.37");
    let made = client.post("/compute/v2/servers", &body).await;
    assert_eq!(made.status, 202, "{made:?}");
    let id = made.text_at("/server/id").to_owned();
    let shown = client.get(&format!("/compute/v2/servers/{id}")).await;
    assert!(shown.json["server"].get("description").is_none(), "{shown:?}");
    for name in ["openstack-api-version", "x-openstack-nova-api-version"] {
        assert_eq!(shown.header(name), None, "{shown:?}");
    }
    body["server"]["name"] = json!(7);
    assert_eq!(client.post("/compute/v2/servers", &body).await.status, 400, "wrong is still wrong");
    assert_eq!(client.get("/compute/v2/no-such-thing").await.status, 404);
    assert_eq!(cloud.anonymous().get("/compute/v2/servers").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_server_is_as_absent_as_none() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("mine", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    let other = cloud.tenant("other").await;
    let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    for (method, suffix, body) in [
        ("GET", "", Value::Null),
        ("DELETE", "", Value::Null),
        ("GET", "/ips", Value::Null),
        ("POST", "/action", json!({"os-stop": null})),
        ("POST", "/action", json!({"os-getConsoleOutput": {}})),
    ] {
        let ask = async |id: &str| {
            let request = other.request(method, &format!("/compute/v2.1/servers/{id}{suffix}"));
            other.send(if body.is_null() { request } else { request.json(&body) }).await
        };
        let (theirs, none) = (ask(&id).await, ask(absent).await);
        assert_eq!(theirs.status, 404, "{method} {suffix} {theirs:?}");
        assert_eq!(theirs.text().replace(&id, "ID"), none.text().replace(absent, "ID"));
    }
    assert_eq!(other.get("/compute/v2.1/servers").await.json["servers"], json!([]));
    assert_eq!(other.get("/compute/v2.1/servers?all_tenants=1").await.status, 403);
    // Its image cannot be booted by others either.
    let stolen = other.at("2.37").post("/compute/v2.1/servers", &server("s", &flavor, &image)).await;
    assert_eq!(stolen.status, 400, "{stolen:?}");
    assert_eq!(show(&tenant, &id).await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_does_not_write() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let flavor = flavor(&admin, "small", 1, 512, 1).await;
    let image = image(&admin, "img").await;
    let reader = cloud.tenant_with_role("r", "reader").await;
    assert_eq!(reader.get("/compute/v2.1/servers").await.status, 200);
    let refused = reader.at("2.37").post("/compute/v2.1/servers", &server("s", &flavor, &image)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text_at("/forbidden/message").contains("compute:servers:create"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_shows_its_own_fields_and_says_which_it_is() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    let path = format!("/compute/v2.1/servers/{id}");
    for (version, present, missing) in [
        ("2.1", &["OS-DCF:diskConfig"][..], &["locked", "description", "tags"][..]),
        ("2.9", &["locked"], &["description", "tags"]),
        ("2.19", &["locked", "description"], &["tags"]),
        ("2.37", &["locked", "description", "tags"], &[]),
    ] {
        let shown = tenant.at(version).get(&path).await;
        assert_eq!(shown.header("x-openstack-nova-api-version"), Some(version));
        assert_eq!(shown.header("openstack-api-version"), Some(format!("compute {version}").as_str()));
        assert!(shown.header("x-compute-request-id").unwrap().starts_with("req-"));
        let server = shown.json["server"].as_object().unwrap();
        assert!(present.iter().all(|key| server.contains_key(*key)), "{version} {server:?}");
        assert!(!missing.iter().any(|key| server.contains_key(*key)), "{version} {server:?}");
    }
    assert_eq!(tenant.at("2.80").get(&path).await.status, 406);
    assert_eq!(tenant.at("2.x").get(&path).await.status, 400);
    let described =
        json!({"server": {"name": "s", "flavorRef": flavor, "imageRef": image, "description": "d"}});
    assert_eq!(tenant.at("2.18").post("/compute/v2.1/servers", &described).await.status, 400);
    assert_eq!(tenant.at("2.19").post("/compute/v2.1/servers", &described).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_live_on_while_the_controller_is_away() {
    let mut cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    let token = tenant.token.clone();
    cloud.restart().await;
    // Tokens outlive the process: the key is on disk.
    let tenant = Client::new(&cloud.url, &token);
    assert_eq!(show(&tenant, &id).await["status"], "ACTIVE");
    assert_eq!(cloud.hypervisor.state(id.parse().unwrap()), Some(canopy_hypervisor::DomainState::Running));
    assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
    until_gone(&tenant, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_needs_its_token_and_cannot_speak_for_another_host() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    let host = cloud.hosts().await[0].id;
    let report = json!({"revision": 1, "generation": 1_000_000, "servers": [
        {"id": id, "phase": "gone", "power_n": 1, "error": null}]});
    for token in ["", "wrong"] {
        let stranger = cloud.anonymous().with_header("authorization", &format!("Bearer {token}"));
        assert_eq!(stranger.put(&format!("/agent/v1/hosts/{host}/observed"), &report).await.status, 401);
        assert_eq!(stranger.get(&format!("/agent/v1/hosts/{host}/desired")).await.status, 401);
    }
    // A member's token is no agent token.
    assert_eq!(tenant.get(&format!("/agent/v1/hosts/{host}/desired")).await.status, 401);
    let agent = cloud.anonymous().with_header("authorization", &format!("Bearer {}", cloud.agent_token()));
    let inventory = json!({"vcpus": 1, "memory_mib": 1024, "disk_gib": 1, "hypervisor_type": "QEMU",
        "hypervisor_version": 1, "acceleration": "tcg"});
    let registered = agent
        .post("/agent/v1/register", &json!({"version": 1, "name": "host-2", "inventory": inventory}))
        .await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let second = registered.text_at("/host_id").to_owned();
    assert_eq!(agent.put(&format!("/agent/v1/hosts/{second}/observed"), &report).await.status, 200);
    assert_eq!(show(&tenant, &id).await["status"], "ACTIVE", "host-2 does not have it");
    assert_eq!(agent.get("/agent/v1/images/..%2f..%2fkeys%2ftoken.key").await.status, 404);
    until("the second host is listed", async || cloud.hosts().await.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_remembers_rows_tells_what_one_that_reads_them_tells() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (tenant, flavor, image) = ready(&cloud).await;
        let admin = cloud.admin().await;
        let id = boot(&tenant, &server("s", &flavor, &image)).await;
        boot(&tenant, &server("other", &flavor, &image)).await;
        until_status(&tenant, &id, "ACTIVE").await;
        // As another controller's: it hears of no write.
        let elsewhere = canopy_store::Recent::default();
        let told = async |recent: canopy_store::Recent| {
            let list = async |deleted: bool| {
                let filter = canopy_store::servers::Filter { deleted, ..Default::default() };
                let recent = recent.clone();
                let read = cloud.app().store.read(move |c| {
                    Box::pin(async move {
                        canopy_store::servers::list(c, &recent, &filter, &Default::default()).await
                    })
                });
                read.await.unwrap()
            };
            format!("{:?}", (list(false).await, list(true).await))
        };
        let same = async |after: &str| {
            // Reports of agents come in between: two equal looks on both sides of the one in question.
            until(after, async || {
                let (first, remembered, last) = (
                    told(canopy_store::Recent::default()).await,
                    told(elsewhere.clone()).await,
                    told(canopy_store::Recent::default()).await,
                );
                assert!(first != last || first == remembered, "{engine:?} {after}: {first}\n{remembered}");
                first == last
            })
            .await;
        };
        same("creating").await;
        let path = format!("/compute/v2.1/servers/{id}");
        let newest = tenant.at("2.79");
        assert_eq!(newest.put(&path, &json!({"server": {"name": "renamed"}})).await.status, 200);
        same("renaming").await;
        let metadata = json!({"metadata": {"k": "v"}});
        assert_eq!(newest.post(&format!("{path}/metadata"), &metadata).await.status, 200);
        same("metadata").await;
        assert_eq!(newest.put(&format!("{path}/tags"), &json!({"tags": ["a"]})).await.status, 200);
        same("tags").await;
        for (action, status) in
            [("os-stop", "SHUTOFF"), ("os-start", "ACTIVE"), ("lock", "ACTIVE"), ("unlock", "ACTIVE")]
        {
            assert_eq!(tenant.post(&format!("{path}/action"), &json!({ action: null })).await.status, 202);
            until_status(&tenant, &id, status).await;
            same(action).await;
        }
        let broken = json!({"os-resetState": {"state": "error"}});
        assert_eq!(admin.post(&format!("{path}/action"), &broken).await.status, 202);
        same("resetting").await;
        assert_eq!(tenant.delete(&path).await.status, 204);
        until_gone(&tenant, &id).await;
        same("deleting").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_by_patterns_and_by_what_servers_are_doing() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let mut body = server("web-1", &flavor, &image);
    body["server"]["description"] = json!("the first");
    let web = boot(&tenant.at("2.79"), &body).await;
    let db = boot(&tenant, &server("db.2", &flavor, &image)).await;
    until_status(&tenant, &web, "ACTIVE").await;
    until_status(&tenant, &db, "ACTIVE").await;
    let stop = tenant.post(&format!("/compute/v2.1/servers/{db}/action"), &json!({"os-stop": null})).await;
    assert_eq!(stop.status, 202);
    until_status(&tenant, &db, "SHUTOFF").await;
    let newest = tenant.at("2.79");
    let names = async |query: &str| -> Vec<String> {
        let listed =
            newest.get(&format!("/compute/v2.1/servers?sort_key=display_name&sort_dir=asc&{query}")).await;
        assert_eq!(listed.status, 200, "{query}: {listed:?}");
        let servers = listed.json["servers"].as_array().unwrap().iter();
        servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("name=web", &["web-1"][..]),
        ("name=%5Ew.*1%24", &["web-1"]),
        ("name=db.2", &["db.2"]),
        ("name=%5Edb%5C.2%24", &["db.2"]),
        ("name=%5Eeb", &[]),
        ("display_name=b", &["db.2", "web-1"]),
        ("description=fir.t", &["web-1"]),
        ("hostname=%5Edb", &["db.2"]),
        ("vm_state=active", &["web-1"]),
        ("vm_state=stopped", &["db.2"]),
        ("power_state=4", &["db.2"]),
        ("power_state=1&name=web", &["web-1"]),
        ("task_state=rebuilding", &[]),
        ("launch_index=0&limit=1", &["db.2"]),
        ("progress=100", &["web-1"]),
        ("config_drive=true", &[]),
        ("config_drive=false&vm_state=stopped", &["db.2"]),
        ("access_ip_v4=10.0.0.1", &[]),
        ("locked_by=owner", &[]),
    ] {
        assert_eq!(names(query).await, expected, "{query}");
    }
    // What is left out does not count towards a page.
    assert_eq!(names("vm_state=active&limit=1").await, ["web-1"]);
    for bad in ["name=%28", "hostname=%5B", "name=%28a%7B1000%7D%29%7B1000%7D"] {
        let refused = newest.get(&format!("/compute/v2.1/servers?{bad}")).await;
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
        assert!(
            refused.text_at("/badRequest/message").contains("is not a regular expression"),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_of_a_server_how_its_host_is() {
    let cloud = Cloud::start().await;
    let (tenant, flavor, image) = ready(&cloud).await;
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    until_status(&tenant, &id, "ACTIVE").await;
    let admin = cloud.admin().await.at("2.52");
    let health = async || show(&admin, &id).await["host_status"].clone();
    assert_eq!(health().await, "UP");
    let host = cloud.hosts().await[0].name.clone();
    let set = async |what: &str, body: Value| {
        let mut body = body;
        (body["host"], body["binary"]) = (json!(host), json!("nova-compute"));
        let answer = admin.put(&format!("/compute/v2.1/os-services/{what}"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    set("disable", json!({})).await;
    assert_eq!(health().await, "MAINTENANCE");
    set("force-down", json!({"forced_down": true})).await;
    assert_eq!(health().await, "DOWN");
    set("force-down", json!({"forced_down": false})).await;
    set("enable", json!({})).await;
    assert_eq!(health().await, "UP");
    let seen = show(&tenant.at("2.52"), &id).await;
    assert_eq!(seen["host_status"], Value::Null);
}
