//! Networks in the operator's own, through the network API: places that an admin names and that the backend in force gives,
//! who may see them, which hosts their guests go to, and what a backend may refuse or break.

use crate::corpus;
use canopy_agent_api::{Controller, Inventory, Registration};
use canopy_app::compute::controller::LocalController;
use canopy_tests::process::plugins;
use canopy_tests::{Answer, Client, Cloud, Engine, engines, fixtures};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const V2: &str = "/network/v2.0";

/// A cloud with this backend and configuration, and hosts that are in these networks of the operator's.
async fn cloud(engine: Engine, config: Value, hosts: &[(&str, &[&str])]) -> Cloud {
    let folder = plugins().join("network-flat");
    let cloud = Cloud::start_with(
        engine,
        |all| {
            all.agent.enabled = false;
            all.plugins.network = Some(folder);
            all.plugins.config.insert("network".into(), serde_json::from_value(config).unwrap());
            for resource in ["networks", "subnets", "ports", "instances", "cores", "ram"] {
                all.quota.defaults.insert(resource.into(), -1);
            }
        },
        None,
    )
    .await;
    for (name, networks) in hosts {
        register(&cloud, name, networks).await;
    }
    cloud
}

async fn register(cloud: &Cloud, name: &str, networks: &[&str]) {
    let inventory = Inventory {
        vcpus: 100,
        memory_mib: 1 << 20,
        disk_gib: 1_000,
        hypervisor_type: "fake".into(),
        hypervisor_version: 1,
        acceleration: "tcg".into(),
        physical_networks: networks.iter().map(|name| (*name).to_owned()).collect(),
    };
    let registration = Registration { version: canopy_agent_api::VERSION, name: name.to_owned(), inventory };
    LocalController(cloud.app().clone()).register(registration).await.unwrap();
}

async fn create(client: &Client, body: Value) -> Answer {
    client.post(&format!("{V2}/networks"), &json!({ "network": body })).await
}

fn refused(answer: &Answer, status: u16, kind: &str, why: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["NeutronError"]["type"], kind, "{answer:?}");
    assert!(answer.json["NeutronError"]["message"].as_str().unwrap().contains(why), "{why}: {answer:?}");
}

/// Type, physical network and VLAN, as an admin sees them.
async fn place(admin: &Client, id: &str) -> (Value, Value, Value) {
    let shown = admin.get(&format!("{V2}/networks/{id}")).await;
    let of = |name: &str| shown.json["network"][format!("provider:{name}")].clone();
    (of("network_type"), of("physical_network"), of("segmentation_id"))
}

fn provider(kind: &str, physical: &str, vlan: Option<i64>) -> Value {
    let mut body = json!({"name": "n", "provider:network_type": kind, "provider:physical_network": physical});
    if let Some(vlan) = vlan {
        body["provider:segmentation_id"] = json!(vlan);
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_network_of_a_tenant_gets_a_vlan_that_only_admins_see() {
    for engine in engines() {
        let cloud = cloud(engine, json!({"vlans": [7, 9]}), &[("h1", &["external"])]).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let mut ids = Vec::new();
        for vlan in [7, 8, 9] {
            let made = create(&tenant, json!({"name": "n"})).await;
            assert_eq!(made.status, 201, "{made:?}");
            assert!(made.json["network"].get("provider:network_type").is_none(), "{made:?}");
            let id = made.text_at("/network/id").to_owned();
            assert_eq!(place(&admin, &id).await, (json!("vlan"), json!("external"), json!(vlan)));
            ids.push(id);
        }
        refused(&create(&tenant, json!({"name": "n"})).await, 400, "InvalidInput", "7 to 9");
        // A place is free again with its network.
        assert_eq!(tenant.delete(&format!("{V2}/networks/{}", ids[1])).await.status, 204);
        let again = create(&tenant, json!({"name": "n"})).await;
        assert_eq!(place(&admin, again.text_at("/network/id")).await.2, json!(8));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_names_a_place_and_is_refused_as_neutron_does() {
    for engine in engines() {
        let cloud = cloud(engine, json!({"vlans": [7, 9]}), &[("h1", &["external", "dmz"])]).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        refused(
            &create(&tenant, provider("vlan", "external", Some(100))).await,
            403,
            "PolicyNotAuthorized",
            "create_network:provider:network_type",
        );
        let made = create(&admin, provider("vlan", "external", Some(100))).await;
        assert_eq!((made.status, &made.json["network"]["provider:segmentation_id"]), (201, &json!(100)));
        // As text, as some clients say it; the same VLAN of another network is another.
        let mut text = provider("vlan", "dmz", None);
        text["provider:segmentation_id"] = json!("100");
        assert_eq!(create(&admin, text).await.status, 201);
        let flat = create(&admin, provider("flat", "dmz", None)).await;
        assert_eq!((flat.status, &flat.json["network"]["provider:segmentation_id"]), (201, &Value::Null));
        for (asked, count) in [
            ("provider:network_type=vlan", 2),
            ("provider:network_type=flat&provider:physical_network=dmz", 1),
            ("provider:segmentation_id=100&provider:physical_network=external", 1),
            ("provider:segmentation_id=101", 0),
            ("provider:network_type=local", 0),
        ] {
            let path = format!("{V2}/networks?{asked}");
            let found = admin.get(&path).await;
            assert_eq!(found.json["networks"].as_array().map(Vec::len), Some(count), "{asked} {found:?}");
            assert_eq!(tenant.get(&path).await.status, 400, "where networks are is not everybody's to ask");
        }
        for (body, status, kind, why) in [
            (
                provider("vlan", "external", Some(100)),
                409,
                "VlanIdInUse",
                "VLAN 100 on physical network external",
            ),
            (provider("flat", "dmz", None), 409, "FlatNetworkInUse", "dmz is in use"),
            (provider("vlan", "nowhere", Some(1)), 400, "InvalidInput", "'nowhere' unknown for VLAN"),
            (provider("vlan", "external", Some(4095)), 400, "InvalidInput", "out of range (1 through 4094)"),
            (provider("vlan", "external", None), 400, "InvalidInput", "requires segmentation_id"),
            (provider("flat", "external", Some(7)), 400, "InvalidInput", "prohibited for flat"),
            (provider("vxlan", "external", Some(7)), 400, "InvalidInput", "'vxlan' not supported"),
            (json!({"provider:segmentation_id": 7}), 400, "InvalidInput", "network_type required"),
        ] {
            refused(&create(&admin, body).await, status, kind, why);
        }
        // Of a bulk all or none.
        let twice = json!({"networks": [provider("vlan", "external", Some(5)), provider("vlan", "external", Some(5))]});
        refused(&admin.post(&format!("{V2}/networks"), &twice).await, 409, "VlanIdInUse", "VLAN 5");
        assert_eq!(create(&admin, provider("vlan", "external", Some(5))).await.status, 201);
        let id = made.text_at("/network/id");
        let change = json!({"network": {"provider:segmentation_id": 101}});
        let answer = admin.put(&format!("{V2}/networks/{id}"), &change).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        // Null is as good as nothing: this one gets a place as anybody's does.
        let mut nothing = provider("x", "x", None);
        for name in ["network_type", "physical_network", "segmentation_id"] {
            nothing[format!("provider:{name}")] = Value::Null;
        }
        let made = create(&tenant, nothing).await;
        assert_eq!(place(&admin, made.text_at("/network/id")).await.2, json!(7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_made_at_once_are_in_places_of_their_own() {
    for engine in engines() {
        let cloud = cloud(engine, json!({"vlans": [1, 16]}), &[("h1", &["external"])]).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let made = join_all((0..16).map(|_| create(&tenant, json!({"name": "n"})))).await;
        let mut vlans = BTreeSet::new();
        for answer in &made {
            assert_eq!(answer.status, 201, "{answer:?}");
            vlans.insert(place(&admin, answer.text_at("/network/id")).await.2.as_i64().unwrap());
        }
        assert_eq!(vlans, (1..=16).collect());
        // The same place, asked for at once, is one network's.
        let same = join_all((0..8).map(|_| create(&admin, provider("vlan", "external", Some(99))))).await;
        let mut statuses: Vec<u16> = same.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_backend_cannot_realise_is_the_clients_400_before_anything_is_made() {
    for engine in engines() {
        let cloud = cloud(engine, json!({"vlans": [7, 9]}), &[("h1", &["external"])]).await;
        let tenant = cloud.tenant("t").await;
        let network = create(&tenant, json!({"name": "n"})).await;
        let id = network.text_at("/network/id");
        let subnet = |dhcp: bool| json!({"subnet": {"network_id": id, "ip_version": 4, "cidr": "10.0.0.0/24", "enable_dhcp": dhcp}});
        let answer = tenant.post(&format!("{V2}/subnets"), &subnet(true)).await;
        refused(&answer, 400, "InvalidInput", "--no-dhcp");
        let made = tenant.post(&format!("{V2}/subnets"), &subnet(false)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("{V2}/subnets/{}", made.text_at("/subnet/id"));
        let on = json!({"subnet": {"enable_dhcp": true}});
        refused(&tenant.put(&path, &on).await, 400, "InvalidInput", "--no-dhcp");
        assert_eq!(tenant.put(&path, &json!({"subnet": {"name": "x"}})).await.status, 200);
        let listed = tenant.get(&format!("{V2}/subnets")).await;
        assert_eq!(listed.json["subnets"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_go_to_hosts_that_are_in_their_networks_and_nowhere_else() {
    for engine in engines() {
        let hosts: [(&str, &[&str]); 3] = [("in", &["external"]), ("out", &[]), ("elsewhere", &["dmz"])];
        let cloud = cloud(engine, json!({"vlans": [7, 9]}), &hosts).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let flavor = fixtures::flavor(&admin, "one", 1, 64, 1).await;
        let image = fixtures::image(&tenant, "img").await;
        let network = create(&tenant, json!({"name": "n"})).await;
        let id = network.text_at("/network/id");
        let subnet = json!({"subnet": {"network_id": id, "ip_version": 4, "cidr": "10.0.0.0/24", "enable_dhcp": false}});
        assert_eq!(tenant.post(&format!("{V2}/subnets"), &subnet).await.status, 201);
        let mut body = fixtures::server("s", &flavor, &image);
        body["server"]["networks"] = json!([{"uuid": id}]);
        for _ in 0..4 {
            let server = fixtures::boot(&tenant, &body).await;
            let shown = fixtures::show(&admin, &server).await;
            assert_eq!(shown["OS-EXT-SRV-ATTR:host"], "in", "{shown}");
        }
        // The host has lost its bridge, and its agent says so at its next start.
        register(&cloud, "in", &[]).await;
        let server = fixtures::boot(&tenant, &body).await;
        let shown = fixtures::show(&tenant, &server).await;
        assert_eq!(shown["status"], "ERROR", "{shown}");
        assert!(shown["fault"]["message"].as_str().unwrap().contains("No valid host"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_no_host_is_in_is_the_operators_to_mend() {
    let cloud = cloud(Engine::Sqlite, json!({"physical_network": "gone"}), &[("h1", &["external"])]).await;
    let tenant = cloud.tenant("t").await;
    let answer = create(&tenant, json!({"name": "n"})).await;
    refused(&answer, 503, "ServiceUnavailable", "[agent.physical_networks]");
}

/// A backend that misbehaves, loaded as a cloud's own.
async fn hostile(component: &[u8]) -> (Cloud, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    corpus::install(dir.path(), "network", component, "");
    let folder = dir.path().to_owned();
    let cloud = Cloud::start_with(
        Engine::Sqlite,
        |all| {
            all.agent.enabled = false;
            all.plugins.network = Some(folder);
        },
        None,
    )
    .await;
    register(&cloud, "h1", &["external"]).await;
    (cloud, dir)
}

fn faults(cloud: &Cloud) -> usize {
    cloud.app().plugins.network().now().stats().unwrap().notes().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_backend_costs_one_explained_answer_and_leaves_nothing_behind() {
    let huge = "(i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 1024)) \
                (i32.store (i32.const 24) (i32.const 100000))";
    for (places, why) in [
        ("unreachable", "trap"),
        ("(loop $ever (br $ever))", "deadline"),
        ("(drop (memory.grow (i32.const 60000))) unreachable", "memory"),
        (huge, "answer"),
    ] {
        let (cloud, _dir) = hostile(&corpus::cluster_backend("", places)).await;
        let tenant = cloud.tenant("t").await;
        let answer = create(&tenant, json!({"name": "n"})).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let message = answer.json["NeutronError"]["message"].as_str().unwrap();
        assert!(message.contains("Plugin hostile failed") && message.contains(why), "{why}: {message}");
        assert_eq!(faults(&cloud), 1, "{why}");
        let listed = tenant.get(&format!("{V2}/networks")).await;
        assert_eq!(listed.json["networks"], json!([]), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_fails_to_validate_refuses_nobody() {
    // It places nothing, and traps when asked whether it can.
    let nothing = "(i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 0)) \
                   (i32.store (i32.const 24) (i32.const 0))";
    let (cloud, _dir) = hostile(&corpus::cluster_backend("unreachable", nothing)).await;
    let tenant = cloud.tenant("t").await;
    let made = create(&tenant, json!({"name": "n"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(faults(&cloud), 1, "counted all the same");
    assert_eq!(place(&cloud.admin().await, made.text_at("/network/id")).await.0, json!("local"));
}
