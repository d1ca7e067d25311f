//! What each microversion of compute from 2.38 to 2.54 changed, at the version and at the one before it.

use canopy_tests::fixtures::{boot, flavor, image, server, until_status};
use canopy_tests::{Client, Cloud, engines, until};
use serde_json::{Value, json};

pub struct Room {
    pub cloud: Cloud,
    pub admin: Client,
    pub tenant: Client,
    pub project: String,
    pub flavor: String,
    pub image: String,
}

impl Room {
    pub async fn new(cloud: Cloud) -> Self {
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let image = image(&tenant, "img").await;
        let shown = tenant.get(&format!("/image/v2/images/{image}")).await;
        let project = shown.text_at("/owner").to_owned();
        Self { cloud, admin, tenant, project, flavor, image }
    }

    pub async fn server(&self) -> String {
        let id = boot(&self.tenant, &server("s", &self.flavor, &self.image)).await;
        until_status(&self.tenant, &id, "ACTIVE").await;
        id
    }

    /// What the tenant gets at a version.
    pub async fn at(&self, version: &str, path: &str) -> (u16, Value) {
        let answer = self.tenant.at(version).get(path).await;
        (answer.status, answer.json.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_limits_aggregates_and_flavors_are_shown_as_each_version_knows_them() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let list = "/compute/v2.1/servers?status=";
    assert_eq!(room.at("2.37", &format!("{list}NONSENSE")).await, (200, json!({"servers": []})));
    assert_eq!(room.at("2.38", &format!("{list}NONSENSE")).await.0, 400);
    let both = room.at("2.38", &format!("{list}NONSENSE&status=active")).await;
    assert_eq!(both.1["servers"][0]["id"], id.as_str(), "{both:?}");

    for (version, images) in [("2.38", true), ("2.39", false)] {
        let limits = room.at(version, "/compute/v2.1/limits").await.1;
        assert_eq!(limits["limits"]["absolute"].get("maxImageMeta").is_some(), images, "{version}");
    }
    let made = room.admin.post("/compute/v2.1/os-aggregates", &json!({"aggregate": {"name": "a"}})).await;
    assert_eq!(made.status, 200, "{made:?}");
    for (version, uuid) in [("2.40", false), ("2.41", true)] {
        let shown = room.admin.at(version).get("/compute/v2.1/os-aggregates").await;
        assert_eq!(shown.json["aggregates"][0].get("uuid").is_some(), uuid, "{version}");
    }

    let path = format!("/compute/v2.1/servers/{id}");
    let linked = room.at("2.46", &path).await.1;
    assert_eq!(linked["server"]["flavor"]["id"], room.flavor.as_str());
    assert!(linked["server"]["flavor"]["links"].is_array());
    let embedded = json!({"original_name": "small", "vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0,
        "swap": 0, "extra_specs": {}});
    assert_eq!(room.at("2.47", &path).await.1["server"]["flavor"], embedded);
    let detail = room.at("2.47", "/compute/v2.1/servers/detail").await.1;
    assert_eq!(detail["servers"][0]["flavor"], embedded);
    let renamed = room.tenant.at("2.47").put(&path, &json!({"server": {"name": "t"}})).await;
    assert_eq!(renamed.json["server"]["flavor"], embedded, "{renamed:?}");
    let newest = room.tenant.at("latest").get(&path).await;
    assert_eq!(newest.header("x-openstack-nova-api-version"), Some("2.79"));
    assert_eq!(newest.header("x-openstack-request-id"), newest.header("x-compute-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnostics_have_a_shape_of_their_own_since_2_48() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let path = format!("/compute/v2.1/servers/{id}/diagnostics");
    assert_eq!(room.at("2.48", &path).await.0, 403, "for admins");
    let old = room.admin.at("2.47").get(&path).await;
    let memory = 512 << 10;
    let expected = json!({"cpu0_time": 0, "vda_read_req": 0, "vda_read": 0, "vda_write_req": 0, "vda_write": 0,
        "vda_errors": 0, "memory": memory, "memory-actual": memory});
    assert_eq!((old.status, &old.json), (200, &expected));
    let mut new = room.admin.at("2.48").get(&path).await.json.clone();
    assert!(new["uptime"].take().as_i64().is_some_and(|seconds| seconds >= 0), "{new}");
    let disk = json!({"read_bytes": 0, "read_requests": 0, "write_bytes": 0, "write_requests": 0,
        "errors_count": 0});
    assert_eq!(
        new,
        json!({"state": "running", "driver": "libvirt", "hypervisor": "qemu", "hypervisor_os": "linux",
            "uptime": null, "config_drive": false, "num_cpus": 1, "num_nics": 0, "num_disks": 1,
            "cpu_details": [{"id": 0, "time": 0, "utilisation": null}], "disk_details": [disk],
            "nic_details": [], "memory_details": {"maximum": 512, "used": 512}})
    );
    let action = format!("/compute/v2.1/servers/{id}/action");
    assert_eq!(room.tenant.post(&action, &json!({"os-stop": null})).await.status, 202);
    until_status(&room.tenant, &id, "SHUTOFF").await;
    assert_eq!(room.admin.at("2.48").get(&path).await.status, 409);
    assert_eq!(room.admin.at("2.48").get(&path.replace(&id, "x")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_by_pages_since_2_40() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(room.server().await);
        }
        let span = "start=2020-01-01T00:00:00&end=2100-01-01T00:00:00";
        let base = "/compute/v2.1/os-simple-tenant-usage";
        let own = format!("{base}/{}?{span}&limit=2", room.project);
        let servers = |usage: &Value| -> Vec<String> {
            let servers = usage["server_usages"].as_array().unwrap().iter();
            servers.map(|one| one["instance_id"].as_str().unwrap().to_owned()).collect()
        };
        let (_, whole) = room.at("2.39", &own).await;
        assert_eq!((servers(&whole["tenant_usage"]), whole.get("tenant_usage_links")), (ids.clone(), None));
        let (mut next, mut read) = (Some(own), Vec::new());
        while let Some(path) = next {
            let (status, page) = room.at("2.40", &path).await;
            assert_eq!(status, 200, "{page}");
            read.extend(servers(&page["tenant_usage"]));
            let link = page["tenant_usage_links"][0]["href"].as_str();
            next = link.map(|href| href.replace(&room.cloud.url, ""));
            assert!(read.len() <= 3, "{page}");
        }
        assert_eq!(read, ids, "{engine:?}");
        let all = room.admin.at("2.40").get(&format!("{base}?{span}&detailed=1&limit=1")).await;
        assert_eq!(servers(&all.json["tenant_usages"][0]), ids[..1]);
        let next = all.text_at("/tenant_usages_links/0/href").replace(&room.cloud.url, "");
        let all = room.admin.at("2.40").get(&next).await;
        assert_eq!(servers(&all.json["tenant_usages"][0]), ids[1..2]);
        for bad in ["marker=x", "marker=00000000-0000-4000-8000-000000000000", "limit=-1", "limit=x"] {
            let path = format!("{base}/{}?{span}&{bad}", room.project);
            assert_eq!(room.at("2.40", &path).await.0, 400, "{bad}");
            assert_eq!(room.at("2.39", &path).await.0, 200, "{bad}: no word of that version");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_have_tags_in_the_versions_that_know_them() {
    let room = Room::new(Cloud::start().await).await;
    let made = room.tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let network = made.text_at("/network/id").to_owned();
    let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.7.0.0/24"}});
    assert_eq!(room.tenant.post("/network/v2.0/subnets", &body).await.status, 201);
    let body = |nic: Option<&str>, disk: Option<&str>| {
        let mut body = server("tagged", &room.flavor, &room.image);
        body["server"]["networks"] = json!([{"uuid": network}]);
        if let Some(tag) = nic {
            body["server"]["networks"][0]["tag"] = json!(tag);
        }
        if let Some(tag) = disk {
            body["server"]["block_device_mapping_v2"] = json!([{"boot_index": 0, "uuid": room.image,
                "source_type": "image", "destination_type": "local", "delete_on_termination": true,
                "tag": tag}]);
        }
        body
    };
    for (version, nic, disk) in [
        ("2.31", 400, 400),
        ("2.32", 202, 202),
        ("2.33", 202, 400),
        ("2.36", 202, 400),
        ("2.37", 400, 400),
        ("2.41", 400, 400),
        ("2.42", 202, 202),
    ] {
        let client = room.tenant.at(version);
        for (body, status) in [(body(Some("a"), None), nic), (body(None, Some("b")), disk)] {
            let answer = client.post("/compute/v2.1/servers", &body).await;
            assert_eq!(answer.status, status, "{version} {body} {answer:?}");
        }
    }
    for bad in ["", "a,b", "a/b", &"x".repeat(61)] {
        let answer = room.tenant.at("2.42").post("/compute/v2.1/servers", &body(Some(bad), None)).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let made = room.tenant.at("2.42").post("/compute/v2.1/servers", &body(Some("lan"), Some("root"))).await;
    let id = made.text_at("/server/id").to_owned();
    until_status(&room.tenant, &id, "ACTIVE").await;
    let port = room.tenant.get(&format!("/compute/v2.1/servers/{id}/os-interface")).await;
    let port = port.text_at("/interfaceAttachments/0/port_id").to_owned();
    // What its host tells the guest is made of this.
    let host = room.cloud.hosts().await[0].id;
    let token = format!("Bearer {}", room.cloud.agent_token());
    let agent = room.cloud.anonymous().with_header("authorization", &token);
    let desired = agent.get(&format!("/agent/v1/hosts/{host}/desired?since=0&wait=0")).await;
    let servers = desired.json["servers"].as_array().unwrap();
    let spec = servers.iter().find(|spec| spec["id"] == id.as_str()).unwrap();
    assert_eq!(spec["device_tags"], json!({"v": 1, "root": "root", "ports": {&port: "lan"}}));
    // And of what comes later, until it goes.
    let path = format!("/compute/v2.1/servers/{id}/os-interface");
    let body = json!({"interfaceAttachment": {"net_id": network, "tag": "dmz"}});
    assert_eq!(room.tenant.at("2.48").post(&path, &body).await.status, 400);
    let made = room.tenant.at("2.49").post(&path, &body).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.json["interfaceAttachment"].get("tag"), None, "shown by later versions only");
    let second = made.text_at("/interfaceAttachment/port_id").to_owned();
    let tags = async || {
        let desired = agent.get(&format!("/agent/v1/hosts/{host}/desired?since=0&wait=0")).await;
        let servers = desired.json["servers"].as_array().unwrap();
        servers.iter().find(|spec| spec["id"] == id.as_str()).unwrap()["device_tags"]["ports"].clone()
    };
    assert_eq!(tags().await, json!({&port: "lan", &second: "dmz"}));
    assert_eq!(room.tenant.delete(&format!("{path}/{second}")).await.status, 202);
    until_status(&room.tenant, &id, "ACTIVE").await;
    assert_eq!(tags().await, json!({&port: "lan"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_that_a_server_becomes_is_named_in_a_link_and_since_2_45_in_the_body() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let action = format!("/compute/v2.1/servers/{id}/action");
    let body = json!({"createImage": {"name": "copy"}});
    let old = room.tenant.at("2.44").post(&action, &body).await;
    assert_eq!((old.status, old.text().as_str()), (202, ""), "{old:?}");
    let image = old.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
    let active = async |image: &str| {
        until("the image is active", async || {
            let shown = room.tenant.get(&format!("/image/v2/images/{image}")).await;
            shown.status == 200 && shown.text_at("/status") == "active"
        })
        .await;
        until_status(&room.tenant, &id, "ACTIVE").await;
    };
    active(&image).await;
    let new = room.tenant.at("2.45").post(&action, &body).await;
    assert_eq!((new.status, new.header("location")), (202, None), "{new:?}");
    active(new.text_at("/image_id")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_told_to_owners_since_2_51_and_servers_begin_with_tags_since_2_52() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let lines = format!("/compute/v2.1/servers/{id}/os-instance-actions");
    let (_, all) = room.at("2.50", &lines).await;
    let line = format!("{lines}/{}", all["instanceActions"][0]["request_id"].as_str().unwrap());
    assert_eq!(room.at("2.50", &line).await.1["instanceAction"].get("events"), None);
    let event = room.at("2.51", &line).await.1["instanceAction"]["events"][0].clone();
    assert_eq!(
        (event["event"].as_str(), event["result"].as_str()),
        (Some("compute_create"), Some("Success"))
    );
    assert_eq!(event.get("traceback"), None, "the host's words are for admins");
    for version in ["2.50", "2.51"] {
        let shown = room.admin.at(version).get(&line).await;
        assert_eq!(
            shown.json["instanceAction"]["events"][0].get("traceback"),
            Some(&Value::Null),
            "{version}"
        );
    }

    let mut body = server("tagged", &room.flavor, &room.image);
    body["server"]["tags"] = json!(["blue", "web", "blue"]);
    assert_eq!(room.tenant.at("2.51").post("/compute/v2.1/servers", &body).await.status, 400);
    let made = room.tenant.at("2.52").post("/compute/v2.1/servers", &body).await;
    assert_eq!(made.status, 202, "{made:?}");
    let path = format!("/compute/v2.1/servers/{}", made.text_at("/server/id"));
    assert_eq!(room.at("2.52", &path).await.1["server"]["tags"], json!(["blue", "web"]));
    let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    for bad in [json!(["a,b"]), json!([""]), json!(["x".repeat(61)]), json!(many), json!("blue")] {
        body["server"]["tags"] = bad.clone();
        assert_eq!(room.tenant.at("2.52").post("/compute/v2.1/servers", &body).await.status, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_hypervisors_are_named_by_uuids_since_2_53() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let host = room.cloud.hosts().await[0].clone();
    let uuid = host.id.to_string();
    let (services, hypervisors) = ("/compute/v2.1/os-services", "/compute/v2.1/os-hypervisors");
    let get = async |version: &str, path: &str| {
        let answer = room.admin.at(version).get(path).await;
        (answer.status, answer.json.clone())
    };
    let put = async |version: &str, path: &str, body: Value| {
        let answer = room.admin.at(version).put(path, &body).await;
        (answer.status, answer.json.clone())
    };
    assert_eq!(get("2.52", services).await.1["services"][0]["id"], host.number);
    assert_eq!(get("2.53", services).await.1["services"][0]["id"], uuid.as_str());
    let one = format!("{services}/{uuid}");
    assert_eq!(put("2.52", &one, json!({"status": "disabled"})).await.0, 404);
    let body = json!({"status": "disabled", "disabled_reason": "broken", "forced_down": true});
    let (status, changed) = put("2.53", &one, body).await;
    assert_eq!(status, 200, "{changed}");
    let service = &changed["service"];
    assert_eq!((&service["status"], &service["disabled_reason"]), (&json!("disabled"), &json!("broken")));
    assert_eq!((&service["forced_down"], &service["id"]), (&json!(true), &json!(uuid)));
    let (status, changed) = put("2.53", &one, json!({"status": "enabled", "forced_down": false})).await;
    assert_eq!((status, &changed["service"]["status"]), (200, &json!("enabled")));
    for (path, body, expected) in [
        (one.clone(), json!({}), 400),
        (one.clone(), json!({"disabled_reason": "r"}), 400),
        (one.clone(), json!({"status": "enabled", "disabled_reason": "r"}), 400),
        (one.clone(), json!({"status": "off"}), 400),
        (format!("{services}/1"), json!({"status": "enabled"}), 400),
        (format!("{services}/{id}"), json!({"status": "enabled"}), 404),
        (format!("{services}/enable"), json!({"host": host.name, "binary": "nova-compute"}), 404),
    ] {
        assert_eq!(put("2.53", &path, body.clone()).await.0, expected, "{path} {body}");
    }
    assert_eq!(room.tenant.at("2.53").put(&one, &json!({"status": "enabled"})).await.status, 403);

    let old = get("2.52", &format!("{hypervisors}/{}", host.number)).await.1;
    let new = get("2.53", &format!("{hypervisors}/{uuid}")).await.1;
    assert_eq!((&old["hypervisor"]["id"], &new["hypervisor"]["id"]), (&json!(host.number), &json!(uuid)));
    assert_eq!(new["hypervisor"]["service"]["id"], uuid.as_str());
    assert_eq!(new["hypervisor"].get("servers"), None);
    let path = format!("{hypervisors}/{uuid}?with_servers=true");
    assert_eq!(get("2.53", &path).await.1["hypervisor"]["servers"][0]["uuid"], id.as_str());
    let list = format!("{hypervisors}?with_servers=1&hypervisor_hostname_pattern=");
    let found = get("2.53", &format!("{list}{}", &host.name[1..])).await.1;
    assert_eq!(found["hypervisors"][0]["servers"][0]["uuid"], id.as_str());
    assert_eq!(get("2.53", &format!("{list}nosuch")).await.0, 404);
    assert_eq!(get("2.53", &format!("{list}h&limit=1")).await.0, 400);
    assert_eq!(get("2.53", &format!("{hypervisors}/1")).await.0, 400);
    assert_eq!(get("2.53", &format!("{hypervisors}/{}/servers", host.name)).await.0, 404);
    assert_eq!(get("2.52", &format!("{hypervisors}/{}/servers", host.name)).await.0, 200);
    let paged = get("2.53", &format!("{hypervisors}?limit=1")).await.1;
    assert_eq!(paged["hypervisors"][0]["id"], uuid.as_str());
    assert_eq!(get("2.53", &format!("{hypervisors}?marker={uuid}")).await.1["hypervisors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_changes_the_key_since_2_54() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let made = room.tenant.post("/compute/v2.1/os-keypairs", &json!({"keypair": {"name": "k"}})).await;
    assert_eq!(made.status, 200, "{made:?}");
    let action = format!("/compute/v2.1/servers/{id}/action");
    let body = |key: Value| json!({"rebuild": {"imageRef": room.image, "key_name": key}});
    assert_eq!(room.tenant.at("2.53").post(&action, &body(json!("k"))).await.status, 400);
    assert_eq!(room.tenant.at("2.54").post(&action, &body(json!("nosuch"))).await.status, 400);
    for (key, shown) in [(json!("k"), json!("k")), (Value::Null, Value::Null)] {
        let rebuilt = room.tenant.at("2.54").post(&action, &body(key)).await;
        assert_eq!((rebuilt.status, &rebuilt.json["server"]["key_name"]), (202, &shown), "{rebuilt:?}");
        until_status(&room.tenant, &id, "ACTIVE").await;
    }
    let plain = json!({"rebuild": {"imageRef": room.image}});
    let rebuilt = room.tenant.at("2.53").post(&action, &plain).await;
    assert_eq!(rebuilt.json["server"].get("key_name"), None, "{rebuilt:?}");
    until_status(&room.tenant, &id, "ACTIVE").await;
}
