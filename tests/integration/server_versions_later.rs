//! What each microversion of compute from 2.55 on changed, at the version and at the one before it.

use crate::server_versions::Room;
use canopy_tests::fixtures::{image, server, until_gone, until_status};
use canopy_tests::{Cloud, engines};
use serde_json::{Value, json};

const SERVERS: &str = "/compute/v2.1/servers";

#[tokio::test(flavor = "multi_thread")]
async fn flavors_are_described_since_2_55_and_show_extra_specs_since_2_61() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let flavors = "/compute/v2.1/flavors";
        let body = |name: &str, text: Value| json!({"flavor": {"name": name, "ram": 1, "vcpus": 1, "disk": 0, "description": text}});
        assert_eq!(room.admin.at("2.54").post(flavors, &body("f", json!("d"))).await.status, 400);
        let made = room.admin.at("2.55").post(flavors, &body("f", json!("two\nlines"))).await;
        assert_eq!((made.status, &made.json["flavor"]["description"]), (200, &json!("two\nlines")));
        let one = format!("{flavors}/{}", made.text_at("/flavor/id"));
        for bad in [json!(1), json!("x".repeat(65_536)), json!("\u{7}")] {
            assert_eq!(
                room.admin.at("2.55").post(flavors, &body("g", bad.clone())).await.status,
                400,
                "{bad}"
            );
            let changed = room.admin.at("2.55").put(&one, &json!({"flavor": {"description": bad}})).await;
            assert_eq!(changed.status, 400);
        }
        let text = json!({"flavor": {"description": "other"}});
        assert_eq!(room.admin.at("2.54").put(&one, &text).await.status, 404);
        assert_eq!(room.tenant.at("2.55").put(&one, &text).await.status, 403);
        assert_eq!(room.admin.at("2.55").put(&format!("{flavors}/nosuch"), &text).await.status, 404);
        assert_eq!(room.admin.at("2.55").put(&one, &json!({"flavor": {}})).await.status, 400);
        let changed = room.admin.at("2.55").put(&one, &text).await;
        assert_eq!((changed.status, &changed.json["flavor"]["description"]), (200, &json!("other")));
        assert_eq!(room.at("2.54", &one).await.1["flavor"].get("description"), None);
        assert_eq!(room.at("2.55", &one).await.1["flavor"]["description"], "other");
        for path in [flavors.to_owned(), format!("{flavors}/detail")] {
            let shown = |list: &Value| {
                let mut list = list["flavors"].as_array().unwrap().iter();
                list.find(|one| one["name"] == "f").unwrap().get("description").cloned()
            };
            assert_eq!(shown(&room.at("2.54", &path).await.1), None, "{path}");
            assert_eq!(shown(&room.at("2.55", &path).await.1), Some(json!("other")), "{path}");
        }
        let null = room.admin.at("2.55").put(&one, &json!({"flavor": {"description": null}})).await;
        assert_eq!(null.json["flavor"]["description"], Value::Null, "{null:?}");

        let specs = json!({"extra_specs": {"a:b": "c"}});
        assert_eq!(room.admin.post(&format!("{one}/os-extra_specs"), &specs).await.status, 200);
        assert_eq!(room.at("2.60", &one).await.1["flavor"].get("extra_specs"), None);
        assert_eq!(room.at("2.61", &one).await.1["flavor"]["extra_specs"], json!({"a:b": "c"}));
        let changed = room.admin.at("2.61").put(&one, &text).await;
        assert_eq!(changed.json["flavor"]["extra_specs"], json!({"a:b": "c"}));
        // Since 2.75 no swap is a number.
        assert_eq!(room.at("2.74", &one).await.1["flavor"]["swap"], "");
        assert_eq!(room.at("2.75", &one).await.1["flavor"]["swap"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_changes_user_data_since_2_57() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let action = format!("{SERVERS}/{id}/action");
    let body = |data: Value| json!({"rebuild": {"imageRef": room.image, "user_data": data}});
    assert_eq!(room.tenant.at("2.56").post(&action, &body(json!("aGk="))).await.status, 400);
    for bad in [json!("~"), json!("a"), json!(1)] {
        assert_eq!(room.tenant.at("2.57").post(&action, &body(bad.clone())).await.status, 400, "{bad}");
    }
    for data in [json!("aGk="), Value::Null] {
        let rebuilt = room.tenant.at("2.57").post(&action, &body(data.clone())).await;
        assert_eq!((rebuilt.status, &rebuilt.json["server"]["user_data"]), (202, &data), "{rebuilt:?}");
        until_status(&room.tenant, &id, "ACTIVE").await;
        let shown = room.admin.at("2.57").get(&format!("{SERVERS}/{id}")).await;
        assert_eq!(shown.json["server"]["OS-EXT-SRV-ATTR:user_data"], data);
    }
    // Not named, it stays.
    assert_eq!(room.tenant.at("2.57").post(&action, &body(json!("aG8="))).await.status, 202);
    until_status(&room.tenant, &id, "ACTIVE").await;
    let plain = json!({"rebuild": {"imageRef": room.image}});
    let rebuilt = room.tenant.at("2.57").post(&action, &plain).await;
    assert_eq!(rebuilt.json["server"]["user_data"], "aG8=", "{rebuilt:?}");
    until_status(&room.tenant, &id, "ACTIVE").await;
    // Files never were injected here; from 2.57 nova does not take them either.
    let mut files = server("s", &room.flavor, &room.image);
    files["server"]["personality"] = json!([]);
    assert_eq!(room.tenant.at("2.57").post(SERVERS, &files).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_read_by_pages_since_2_58_by_its_end_since_2_66_and_tells_hosts_since_2_62() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let id = room.server().await;
        for (word, status) in [("os-stop", "SHUTOFF"), ("os-start", "ACTIVE"), ("os-stop", "SHUTOFF")] {
            let action = format!("{SERVERS}/{id}/action");
            assert_eq!(room.tenant.post(&action, &json!({word: null})).await.status, 202);
            until_status(&room.tenant, &id, status).await;
        }
        let lines = format!("{SERVERS}/{id}/os-instance-actions");
        let ids = |page: &Value| -> Vec<String> {
            let lines = page["instanceActions"].as_array().unwrap().iter();
            lines.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect()
        };
        let (_, whole) = room.at("2.57", &format!("{lines}?limit=1&x=y")).await;
        let all = ids(&whole);
        assert_eq!((all.len(), whole["instanceActions"][0].get("updated_at")), (4, None));
        assert_eq!(whole["instanceActions"][3]["action"], "create");
        let (mut next, mut read) = (Some(format!("{lines}?limit=3")), Vec::new());
        while let Some(path) = next {
            let (status, page) = room.at("2.58", &path).await;
            assert_eq!(status, 200, "{page}");
            assert!(page["instanceActions"].as_array().unwrap().iter().all(|l| l["updated_at"].is_string()));
            read.extend(ids(&page));
            let link = page["links"][0]["href"].as_str();
            next = link.map(|href| href.replace(&room.cloud.url, ""));
            assert!(read.len() <= 4, "{page}");
        }
        assert_eq!(read, all, "{engine:?}");
        // By when a line changed last: its own second is within both ends.
        let changed: Vec<Value> =
            room.at("2.58", &lines).await.1["instanceActions"].as_array().unwrap().clone();
        let second = changed[0]["updated_at"].as_str().unwrap()[..19].to_owned();
        let since = room.at("2.58", &format!("{lines}?changes-since={second}Z")).await.1;
        assert_eq!(ids(&since)[0], all[0]);
        assert_eq!(
            ids(&room.at("2.58", &format!("{lines}?changes-since=2100-01-01T00:00:00Z")).await.1).len(),
            0
        );
        let before = |version, end: &str| {
            let path = format!("{lines}?changes-before={end}");
            let room = &room;
            async move { room.at(version, &path).await }
        };
        assert_eq!(before("2.65", &format!("{second}Z")).await.0, 400);
        assert_eq!(ids(&before("2.66", &format!("{second}Z")).await.1), all);
        assert_eq!(ids(&before("2.66", "2001-01-01T00:00:00Z").await.1).len(), 0);
        for bad in ["limit=-1", "limit=x", "marker=req-nosuch", "changes-since=x", "x=y"] {
            assert_eq!(room.at("2.58", &format!("{lines}?{bad}")).await.0, 400, "{bad}");
        }
        let turned = "changes-since=2020-01-02T00:00:00Z&changes-before=2020-01-01T00:00:00Z";
        assert_eq!(room.at("2.66", &format!("{lines}?{turned}")).await.0, 400);

        let host = room.cloud.hosts().await[0].name.clone();
        let line = format!("{lines}/{}", all[0]);
        let event = async |admin: bool, version: &str| {
            let client = if admin { &room.admin } else { &room.tenant };
            client.at(version).get(&line).await.json["instanceAction"]["events"][0].clone()
        };
        let hash = room.at("2.62", &format!("{SERVERS}/{id}")).await.1["server"]["hostId"].clone();
        assert_eq!(event(true, "2.61").await.get("hostId"), None);
        let (theirs, ours) = (event(false, "2.62").await, event(true, "2.62").await);
        assert_eq!((&theirs["hostId"], theirs.get("host")), (&hash, None));
        assert_eq!((&ours["hostId"], &ours["host"]), (&hash, &json!(host)));
        // It outlives the server.
        assert_eq!(room.tenant.delete(&format!("{SERVERS}/{id}")).await.status, 204);
        until_gone(&room.tenant, &id).await;
        assert_eq!(event(true, "2.62").await["host"], json!(host));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_refused_where_nobody_checks_them_since_2_63() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let body = |wanted: Value| {
        let mut body = server("s", &room.flavor, &room.image);
        body["server"]["trusted_image_certificates"] = wanted;
        body
    };
    for (version, wanted) in
        [("2.62", Value::Null), ("2.63", json!(["a"])), ("2.63", json!([])), ("2.63", json!("a"))]
    {
        let answer = room.tenant.at(version).post(SERVERS, &body(wanted)).await;
        assert_eq!(answer.status, 400, "{version} {answer:?}");
    }
    let made = room.tenant.at("2.63").post(SERVERS, &body(Value::Null)).await;
    assert_eq!(made.status, 202, "{made:?}");
    let action = format!("{SERVERS}/{id}/action");
    let rebuild =
        |wanted: Value| json!({"rebuild": {"imageRef": room.image, "trusted_image_certificates": wanted}});
    assert_eq!(room.tenant.at("2.62").post(&action, &rebuild(Value::Null)).await.status, 400);
    assert_eq!(room.tenant.at("2.63").post(&action, &rebuild(json!(["a"]))).await.status, 400);
    let rebuilt = room.tenant.at("2.63").post(&action, &rebuild(Value::Null)).await;
    assert_eq!((rebuilt.status, &rebuilt.json["server"]["trusted_image_certificates"]), (202, &Value::Null));
    until_status(&room.tenant, &id, "ACTIVE").await;
    let path = format!("{SERVERS}/{id}");
    assert_eq!(room.at("2.62", &path).await.1["server"].get("trusted_image_certificates"), None);
    assert_eq!(
        room.at("2.63", &path).await.1["server"].get("trusted_image_certificates"),
        Some(&Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_groups_have_one_policy_with_rules_since_2_64_and_stand_in_servers_since_2_71() {
    let room = Room::new(Cloud::start().await).await;
    let groups = "/compute/v2.1/os-server-groups";
    let body = json!({"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}});
    assert_eq!(room.tenant.at("2.63").post(groups, &body).await.status, 400);
    let made = room.tenant.at("2.64").post(groups, &body).await;
    let rules = json!({"max_server_per_host": 2});
    assert_eq!((made.status, &made.json["server_group"]["rules"]), (200, &rules), "{made:?}");
    let group = made.text_at("/server_group/id").to_owned();
    let (_, old) = room.at("2.63", &format!("{groups}/{group}")).await;
    assert_eq!(
        (&old["server_group"]["policies"], old["server_group"].get("rules")),
        (&json!(["anti-affinity"]), None)
    );

    let alone = room.server().await;
    let mut body = server("s", &room.flavor, &room.image);
    body["os:scheduler_hints"] = json!({"group": group});
    let made = room.tenant.at("2.64").post(SERVERS, &body).await;
    assert_eq!(made.status, 202, "{made:?}");
    let id = made.text_at("/server/id").to_owned();
    until_status(&room.tenant, &id, "ACTIVE").await;
    let path = format!("{SERVERS}/{id}");
    assert_eq!(room.at("2.70", &path).await.1["server"].get("server_groups"), None);
    assert_eq!(room.at("2.71", &path).await.1["server"]["server_groups"], json!([group]));
    assert_eq!(room.at("2.71", &format!("{SERVERS}/{alone}")).await.1["server"]["server_groups"], json!([]));
    let detail = room.at("2.71", &format!("{SERVERS}/detail")).await.1;
    assert_eq!(detail["servers"][0].get("server_groups"), None, "too dear for a list");
    let renamed = room.tenant.at("2.71").put(&path, &json!({"server": {"name": "t"}})).await;
    assert_eq!(renamed.json["server"]["server_groups"], json!([group]), "{renamed:?}");
    let rebuild = json!({"rebuild": {"imageRef": room.image}});
    let rebuilt = room.tenant.at("2.71").post(&format!("{path}/action"), &rebuild).await;
    assert_eq!(rebuilt.json["server"]["server_groups"], json!([group]), "{rebuilt:?}");
    until_status(&room.tenant, &id, "ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_end_with_a_change_since_2_66_and_tell_the_locked_from_others_since_2_73() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let (open, locked) = (room.server().await, room.server().await);
        let action = format!("{SERVERS}/{locked}/action");
        let reason = json!({"lock": {"locked_reason": "mine"}});
        assert_eq!(room.tenant.at("2.73").post(&action, &reason).await.status, 202);
        let ids = async |version: &str, query: &str| -> Vec<String> {
            let (status, list) = room.at(version, &format!("{SERVERS}?{query}")).await;
            assert_eq!(status, 200, "{query} {list}");
            let servers = list["servers"].as_array().unwrap().iter();
            servers.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        let shown = room.at("2.73", &format!("{SERVERS}/{locked}")).await.1;
        assert_eq!(shown["server"]["locked_reason"], "mine");
        let updated = shown["server"]["updated"].as_str().unwrap().to_owned();
        assert!(
            ids("2.66", &format!("changes-before={updated}")).await.contains(&locked),
            "its own second counts"
        );
        assert_eq!(ids("2.66", "changes-before=2001-01-01T00:00:00Z").await, Vec::<String>::new());
        assert_eq!(
            ids("2.65", "changes-before=2001-01-01T00:00:00Z").await.len(),
            2,
            "no word of that version"
        );
        let span = "changes-since=2020-01-02T00:00:00Z&changes-before=2020-01-01T00:00:00Z";
        assert_eq!(room.at("2.66", &format!("{SERVERS}?{span}")).await.0, 400);
        assert_eq!(room.at("2.66", &format!("{SERVERS}?changes-before=x")).await.0, 400);

        assert_eq!(ids("2.73", "locked=true").await, vec![locked.clone()]);
        assert_eq!(ids("2.73", "locked=false").await, vec![open.clone()]);
        assert_eq!(ids("2.72", "locked=true").await.len(), 2);
        assert_eq!(room.at("2.73", &format!("{SERVERS}?locked=x")).await.0, 400);
        assert_eq!(ids("2.73", "sort_key=locked&sort_dir=desc").await, vec![locked.clone(), open.clone()]);
        assert_eq!(ids("2.73", "sort_key=locked&sort_dir=asc").await, vec![open.clone(), locked.clone()]);
        let page = ids("2.73", &format!("sort_key=locked&sort_dir=asc&marker={open}")).await;
        assert_eq!(page, vec![locked.clone()]);
        assert_eq!(ids("2.72", "sort_key=locked&sort_dir=asc").await.len(), 2, "sorts nothing yet");
        for (version, status) in [("2.74", 200), ("2.75", 400)] {
            assert_eq!(
                room.at(version, &format!("{SERVERS}?sort_key=memory_mb")).await.0,
                status,
                "{version}"
            );
        }
        // What is deleted is part of what changed, up to an end too.
        assert_eq!(room.tenant.delete(&format!("{SERVERS}/{open}")).await.status, 204);
        until_gone(&room.tenant, &open).await;
        assert!(ids("2.66", "changes-before=2100-01-01T00:00:00Z").await.contains(&open));
        // Hosts are no key for those who do not see them.
        assert_eq!(room.at("2.73", &format!("{SERVERS}?sort_key=host")).await.0, 403);
        assert_eq!(room.admin.at("2.73").get(&format!("{SERVERS}?sort_key=host")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_have_no_types_here_and_names_of_devices_are_shown_since_2_70() {
    let room = Room::new(Cloud::start().await).await;
    let mut body = server("s", &room.flavor, &room.image);
    let mut disk = json!({"boot_index": 0, "uuid": room.image, "source_type": "image",
        "destination_type": "local", "delete_on_termination": true});
    for (version, kind, status) in
        [("2.66", json!(null), 400), ("2.67", json!("fast"), 400), ("2.67", json!(null), 202)]
    {
        disk["volume_type"] = kind;
        body["server"]["block_device_mapping_v2"] = json!([disk]);
        let answer = room.tenant.at(version).post(SERVERS, &body).await;
        assert_eq!(answer.status, status, "{version} {answer:?}");
    }
    let made = room.tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let network = made.text_at("/network/id").to_owned();
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.7.0.0/24"}});
    assert_eq!(room.tenant.post("/network/v2.0/subnets", &subnet).await.status, 201);
    let mut body = server("named", &room.flavor, &room.image);
    body["server"]["networks"] = json!([{"uuid": network, "tag": "lan"}]);
    let made = room.tenant.at("2.70").post(SERVERS, &body).await;
    let id = made.text_at("/server/id").to_owned();
    until_status(&room.tenant, &id, "ACTIVE").await;
    let all = format!("{SERVERS}/{id}/os-interface");
    assert_eq!(room.at("2.69", &all).await.1["interfaceAttachments"][0].get("tag"), None);
    let (_, list) = room.at("2.70", &all).await;
    assert_eq!(list["interfaceAttachments"][0]["tag"], "lan");
    let one = format!("{all}/{}", list["interfaceAttachments"][0]["port_id"].as_str().unwrap());
    assert_eq!(room.at("2.70", &one).await.1["interfaceAttachment"]["tag"], "lan");
    for tag in [json!("dmz"), Value::Null] {
        let mut body = json!({"interfaceAttachment": {"net_id": network}});
        if tag.is_string() {
            body["interfaceAttachment"]["tag"] = tag.clone();
        }
        let made = room.tenant.at("2.70").post(&all, &body).await;
        assert_eq!((made.status, made.json["interfaceAttachment"].get("tag")), (200, Some(&tag)), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_says_on_which_host_since_2_74() {
    let room = Room::new(Cloud::start().await).await;
    let host = room.cloud.hosts().await[0].name.clone();
    let image = image(&room.admin, "own").await;
    let body = |also: Value| {
        let mut body = server("s", &room.flavor, &image);
        for (name, value) in also.as_object().unwrap() {
            body["server"][name] = value.clone();
        }
        body
    };
    let both = json!({"host": host, "hypervisor_hostname": host});
    assert_eq!(room.admin.at("2.73").post(SERVERS, &body(both.clone())).await.status, 400);
    assert_eq!(room.tenant.at("2.74").post(SERVERS, &body(both.clone())).await.status, 403);
    let strange = [
        json!({"host": "nosuch"}),
        json!({"hypervisor_hostname": "nosuch"}),
        json!({"host": host, "hypervisor_hostname": "nosuch"}),
        json!({"host": "a b"}),
        json!({"host": ""}),
    ];
    for bad in strange {
        let answer = room.admin.at("2.74").post(SERVERS, &body(bad.clone())).await;
        assert_eq!(answer.status, 400, "{bad} {answer:?}");
    }
    for good in [both, json!({"host": host}), json!({"hypervisor_hostname": host})] {
        let made = room.admin.at("2.74").post(SERVERS, &body(good)).await;
        assert_eq!(made.status, 202, "{made:?}");
        let id = made.text_at("/server/id").to_owned();
        until_status(&room.admin, &id, "ACTIVE").await;
        let shown = room.admin.get(&format!("{SERVERS}/{id}")).await;
        assert_eq!(shown.json["server"]["OS-EXT-SRV-ATTR:host"], json!(host));
    }
    // Its rules hold: a host that takes no new servers takes none by name.
    let service = json!({"host": host, "binary": "nova-compute"});
    assert_eq!(room.admin.put("/compute/v2.1/os-services/disable", &service).await.status, 200);
    let made = room.admin.at("2.74").post(SERVERS, &body(json!({"host": host}))).await;
    assert_eq!(made.status, 202, "{made:?}");
    until_status(&room.admin, made.text_at("/server/id"), "ERROR").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_passed_over_and_changes_show_the_whole_server_since_2_75() {
    let room = Room::new(Cloud::start().await).await;
    let project = &room.project;
    for path in [
        "servers",
        "servers/detail",
        "flavors",
        "flavors/detail",
        "limits",
        "os-keypairs",
        "os-server-groups",
        "os-services",
        &format!("os-quota-sets/{project}"),
        &format!("os-quota-sets/{project}/detail"),
        "os-simple-tenant-usage",
        &format!("os-simple-tenant-usage/{project}"),
    ] {
        for (version, query, status) in [("2.74", "?x=y", 200), ("2.75", "?x=y", 400), ("2.75", "", 200)] {
            let answer = room.admin.at(version).get(&format!("/compute/v2.1/{path}{query}")).await;
            assert_eq!(answer.status, status, "{version} {path}{query} {answer:?}");
        }
    }
    let filters =
        "all_tenants=1&status=ACTIVE&name=s&ip=10&not-tags=a&locked=false&limit=5&sort_key=uuid&sort_dir=asc";
    assert_eq!(room.admin.at("2.75").get(&format!("{SERVERS}?{filters}")).await.status, 200);
    for gone in ["_x=1", "metadata=a", "deleted_at=1"] {
        assert_eq!(room.at("2.75", &format!("{SERVERS}?{gone}")).await.0, 400, "{gone}");
    }

    let hypervisors = "/compute/v2.1/os-hypervisors?with_servers=true";
    let shown = async |version: &str| {
        room.admin.at(version).get(hypervisors).await.json["hypervisors"][0].get("servers").cloned()
    };
    assert_eq!((shown("2.74").await, shown("2.75").await), (None, Some(json!([]))));
    assert_eq!(room.admin.at("2.53").get(&format!("{hypervisors}&x=y")).await.status, 400);

    let id = room.server().await;
    let path = format!("{SERVERS}/{id}");
    let names =
        |server: &Value| -> Vec<String> { server["server"].as_object().unwrap().keys().cloned().collect() };
    for client in [&room.tenant, &room.admin] {
        let whole = names(&client.at("2.75").get(&path).await.json);
        let renamed = client.at("2.75").put(&path, &json!({"server": {"name": "t"}})).await;
        assert_eq!(names(&renamed.json), whole);
    }
    let old = room.tenant.at("2.74").put(&path, &json!({"server": {"name": "t"}})).await;
    assert!(!names(&old.json).iter().any(|name| name.starts_with("OS-EXT-")), "{old:?}");
    let rebuild = json!({"rebuild": {"imageRef": room.image}});
    let rebuilt = room.admin.at("2.75").post(&format!("{path}/action"), &rebuild).await;
    let told = names(&rebuilt.json);
    assert!(told.iter().any(|name| name == "OS-EXT-SRV-ATTR:host"), "{rebuilt:?}");
    assert!(!told.iter().any(|name| name == "OS-EXT-SRV-ATTR:user_data"), "it stands there as user_data");
    until_status(&room.tenant, &id, "ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_zone_takes_a_server_that_never_left_its_host_and_no_guest_has_memory_nodes() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let action = format!("{SERVERS}/{id}/action");
    assert_eq!(room.tenant.post(&action, &json!({"shelve": null})).await.status, 202);
    until_status(&room.tenant, &id, "SHELVED").await;
    let zone = json!({"unshelve": {"availability_zone": "nova"}});
    assert_eq!(room.tenant.at("2.77").post(&action, &zone).await.status, 409);
    assert_eq!(room.tenant.at("2.77").post(&action, &json!({"unshelve": {}})).await.status, 400);
    // Before, what stands there was looked at by nobody.
    assert_eq!(room.tenant.at("2.76").post(&action, &zone).await.status, 202);
    until_status(&room.tenant, &id, "ACTIVE").await;

    let path = format!("{SERVERS}/{id}/topology");
    assert_eq!(room.at("2.77", &path).await.0, 404);
    assert_eq!(room.at("2.78", &path).await, (200, json!({"nodes": [], "pagesize_kb": null})));
    assert_eq!(room.at("2.78", &path.replace(&id, "nosuch")).await.0, 404);
    let stranger = room.cloud.tenant("stranger").await;
    assert_eq!(stranger.at("2.78").get(&path).await.status, 404);
}
