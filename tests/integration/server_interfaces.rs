//! Ports of a server that come and go while it lives: what a client sees, what the host is told, what is counted.

use canopy_hypervisor::fake::Op;
use canopy_tests::fixtures::{boot, flavor, image, server, show, until_gone, until_status};
use canopy_tests::{Client, Cloud, Engine, engines, until};
use canopy_types::Error;
use serde_json::{Value, json};

struct Room {
    cloud: Cloud,
    admin: Client,
    tenant: Client,
    flavor: String,
    image: String,
    network: String,
    subnet: String,
    id: String,
    path: String,
}

impl Room {
    /// A server without any network, and a network.
    async fn new(engine: Engine) -> Self {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let flavor = flavor(&admin, "small", 1, 512, 1).await;
        let image = image(&tenant, "img").await;
        let id = boot(&tenant, &server("s", &flavor, &image)).await;
        let (network, subnet) = network(&tenant, "n", "10.7.0.0/24").await;
        until_status(&tenant, &id, "ACTIVE").await;
        let path = format!("/compute/v2.1/servers/{id}/os-interface");
        Self { cloud, admin, tenant, flavor, image, network, subnet, id, path }
    }

    fn plugged(&self) -> Vec<String> {
        self.cloud.hypervisor.plugged(self.id.parse().unwrap())
    }

    async fn listed(&self) -> Vec<Value> {
        let listed = self.tenant.get(&self.path).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        listed.json["interfaceAttachments"].as_array().unwrap().clone()
    }

    async fn attach(&self, body: Value) -> Value {
        let answer = self.tenant.post(&self.path, &json!({ "interfaceAttachment": body })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["interfaceAttachment"].clone()
    }

    async fn detach(&self, port: &str) {
        let answer = self.tenant.delete(&format!("{}/{port}", self.path)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        until("the port is off", async || {
            self.listed().await.iter().all(|one| one["port_id"] != port)
                && self.tenant.get(&format!("{}/{port}", self.path)).await.status == 404
        })
        .await;
    }

    async fn port(&self) -> Value {
        let body = json!({"port": {"network_id": self.network}});
        let made = self.tenant.post("/network/v2.0/ports", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json["port"].clone()
    }

    async fn wrongly_counted(&self) -> usize {
        let store = &self.cloud.app().store;
        let wrong =
            store.read(|c| Box::pin(async move { canopy_store::quota::truth::differences(c).await })).await;
        wrong.unwrap().len()
    }
}

async fn network(client: &Client, name: &str, cidr: &str) -> (String, String) {
    let made = client.post("/network/v2.0/networks", &json!({"network": {"name": name}})).await;
    let network = made.text_at("/network/id").to_owned();
    let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr}});
    let made = client.post("/network/v2.0/subnets", &body).await;
    (network, made.text_at("/subnet/id").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_come_and_go_while_the_guest_runs_and_while_it_does_not() {
    for engine in engines() {
        let room = Room::new(engine).await;
        assert_eq!(room.listed().await, [] as [Value; 0]);
        // A port that is made for it, with an address of the client's choice.
        let made =
            room.attach(json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.7.0.77"}]})).await;
        assert_eq!(made["net_id"], room.network.as_str());
        assert_eq!(made["port_state"], "ACTIVE");
        assert_eq!(made["fixed_ips"], json!([{"ip_address": "10.7.0.77", "subnet_id": room.subnet}]));
        let first = made["port_id"].as_str().unwrap();
        assert_eq!(room.plugged(), [made["mac_addr"].as_str().unwrap()]);
        // The client's own.
        let own = room.port().await;
        let own_id = own["id"].as_str().unwrap();
        let given = room.attach(json!({"port_id": own_id})).await;
        assert_eq!((&given["port_id"], &given["mac_addr"]), (&own["id"], &own["mac_address"]));
        // And what the one network gives when nothing is named.
        let third = room.attach(json!({})).await;
        assert_eq!(room.plugged().len(), 3);
        assert_eq!(room.listed().await, [made.clone(), given.clone(), third.clone()]);
        let shown = room.tenant.get(&format!("{}/{first}", room.path)).await;
        assert_eq!(shown.json["interfaceAttachment"], made);
        let detail = until_status(&room.tenant, &room.id, "ACTIVE").await;
        assert_eq!(detail["addresses"]["n"].as_array().unwrap().len(), 3);

        // Off and on again they are still there, as is one that came meanwhile.
        room.detach(third["port_id"].as_str().unwrap()).await;
        let action = format!("/compute/v2.1/servers/{}/action", room.id);
        assert_eq!(room.tenant.post(&action, &json!({"os-stop": null})).await.status, 202);
        until_status(&room.tenant, &room.id, "SHUTOFF").await;
        let resting = room.attach(json!({"net_id": room.network})).await;
        assert_eq!(resting["port_state"], "DOWN");
        room.detach(first).await;
        assert_eq!(room.tenant.post(&action, &json!({"os-start": null})).await.status, 202);
        until_status(&room.tenant, &room.id, "ACTIVE").await;
        let macs: Vec<&str> = [&given, &resting].map(|one| one["mac_addr"].as_str().unwrap()).into();
        assert_eq!(room.plugged(), macs);

        // What was made for the server goes, what was given goes back.
        room.detach(own_id).await;
        room.detach(resting["port_id"].as_str().unwrap()).await;
        assert!(room.plugged().is_empty());
        let back = room.tenant.get(&format!("/network/v2.0/ports/{own_id}")).await;
        assert_eq!((back.text_at("/port/device_id"), back.text_at("/port/status")), ("", "DOWN"));
        assert_eq!(room.tenant.get(&format!("/network/v2.0/ports/{first}")).await.status, 404);
        assert_eq!(room.wrongly_counted().await, 0);
        let lines = format!("/compute/v2.1/servers/{}/os-instance-actions", room.id);
        let history = room.tenant.at("2.37").get(&lines).await;
        let words: Vec<String> = history.json["instanceActions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["action"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(&words[..2], ["detach_interface", "detach_interface"]);
        assert_eq!(words.iter().filter(|word| *word == "attach_interface").count(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_cannot_do_is_undone() {
    let room = Room::new(Engine::Sqlite).await;
    let fail = |op: Op, times: usize| {
        for _ in 0..times {
            room.cloud.hypervisor.fail_next(op, Error::unavailable("libvirt.failed", "No slot is free."));
        }
    };
    fail(Op::Plug, 20);
    let refused =
        room.tenant.post(&room.path, &json!({"interfaceAttachment": {"net_id": room.network}})).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    until("the port is gone again", async || room.listed().await.is_empty()).await;
    until_status(&room.tenant, &room.id, "ACTIVE").await;
    assert_eq!(room.wrongly_counted().await, 0);
    let room = Room::new(Engine::Sqlite).await;
    let made = room.attach(json!({"net_id": room.network})).await;
    let port = made["port_id"].as_str().unwrap();
    for _ in 0..20 {
        let error = Error::unavailable("libvirt.unplug_ignored", "The guest does not let go.");
        room.cloud.hypervisor.fail_next(Op::Unplug, error);
    }
    assert_eq!(room.tenant.delete(&format!("{}/{port}", room.path)).await.status, 202);
    until_status(&room.tenant, &room.id, "ACTIVE").await;
    assert_eq!(room.listed().await, std::slice::from_ref(&made), "what the guest does not let go stays");
    // Deleted with its server, whatever came before.
    assert_eq!(room.tenant.delete(&format!("/compute/v2.1/servers/{}", room.id)).await.status, 204);
    until_gone(&room.tenant, &room.id).await;
    assert_eq!(room.tenant.get(&format!("/network/v2.0/ports/{port}")).await.status, 404);
    assert_eq!(room.wrongly_counted().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_as_nova_does() {
    let room = Room::new(Engine::Sqlite).await;
    let (absent, mine) = ("00000000-0000-4000-8000-000000000000", room.port().await);
    let mine = mine["id"].as_str().unwrap();
    let other = room.cloud.tenant("other").await;
    let (theirs, _) = network(&other, "theirs", "10.8.0.0/24").await;
    let body = json!({"port": {"network_id": theirs}});
    let foreign = other.post("/network/v2.0/ports", &body).await.text_at("/port/id").to_owned();
    for (body, status) in [
        (json!({"net_id": room.network, "port_id": mine}), 400),
        (json!({"fixed_ips": [{"ip_address": "10.7.0.9"}]}), 400),
        (json!({"port_id": mine, "fixed_ips": [{"ip_address": "10.7.0.9"}]}), 400),
        (json!({"net_id": "x"}), 400),
        (json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.7.0.300"}]}), 400),
        (json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.9.0.1"}]}), 400),
        (json!({"net_id": room.network, "fixed_ips": []}), 400),
        (json!({"net_id": room.network, "tag": "t"}), 400),
        (json!({"net_id": absent}), 404),
        (json!({"port_id": absent}), 404),
        (json!({"net_id": theirs}), 404),
        (json!({ "port_id": foreign }), 404),
    ] {
        let answer = room.tenant.post(&room.path, &json!({ "interfaceAttachment": body })).await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
    }
    let made = room.attach(json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.7.0.9"}]})).await;
    let port = made["port_id"].as_str().unwrap();
    for body in [
        json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.7.0.9"}]}),
        json!({ "port_id": port }),
    ] {
        let answer = room.tenant.post(&room.path, &json!({ "interfaceAttachment": body })).await;
        assert_eq!(answer.status, 409, "{body} {answer:?}");
    }
    for id in [absent, mine, "x"] {
        assert_eq!(room.tenant.get(&format!("{}/{id}", room.path)).await.status, 404, "{id}");
        assert_eq!(room.tenant.delete(&format!("{}/{id}", room.path)).await.status, 404, "{id}");
    }
    // An admin's own ports are not for another project's server.
    let (network, _) = network(&room.admin, "a", "10.6.0.0/24").await;
    let body = json!({"port": {"network_id": network}});
    let admins = room.admin.post("/network/v2.0/ports", &body).await.text_at("/port/id").to_owned();
    let body = json!({"interfaceAttachment": {"port_id": admins}});
    assert_eq!(room.admin.post(&room.path, &body).await.status, 400);
    // Nor in these states.
    let action = format!("/compute/v2.1/servers/{}/action", room.id);
    assert_eq!(room.tenant.post(&action, &json!({"suspend": null})).await.status, 202);
    until_status(&room.tenant, &room.id, "SUSPENDED").await;
    let body = json!({"interfaceAttachment": {"net_id": room.network}});
    assert_eq!(room.tenant.post(&room.path, &body).await.status, 409);
    assert_eq!(room.tenant.delete(&format!("{}/{port}", room.path)).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn security_groups_are_put_on_a_servers_ports_and_taken_off() {
    for engine in engines() {
        let room = Room::new(engine).await;
        let path = format!("/compute/v2.1/servers/{}", room.id);
        let act =
            async |client: &Client, body: Value| client.post(&format!("{path}/action"), &body).await.status;
        let names = async || -> Vec<String> {
            let listed = room.tenant.get(&format!("{path}/os-security-groups")).await;
            assert_eq!(listed.status, 200, "{listed:?}");
            let groups = listed.json["security_groups"].as_array().unwrap().iter();
            groups.map(|group| group["name"].as_str().unwrap().to_owned()).collect()
        };
        let (add, remove) = (
            json!({"addSecurityGroup": {"name": "default"}}),
            json!({"removeSecurityGroup": {"name": "default"}}),
        );
        assert_eq!(act(&room.tenant, add.clone()).await, 404, "it has no port");
        room.attach(json!({"net_id": room.network})).await;
        let groups = room.tenant.get(&format!("{path}/os-security-groups")).await;
        let rule = &groups.json["security_groups"][0]["rules"][0];
        assert_eq!(
            (&rule["group"]["name"], &rule["ip_range"]),
            (&json!("default"), &json!({})),
            "{groups:?}"
        );
        let shown = async || show(&room.tenant, &room.id).await["security_groups"].clone();
        assert_eq!(shown().await, json!([{"name": "default"}]));
        room.attach(json!({"net_id": room.network})).await;
        assert_eq!(
            shown().await,
            json!([{"name": "default"}, {"name": "default"}]),
            "as in nova, one of each port"
        );
        assert_eq!(act(&room.tenant, remove.clone()).await, 202);
        assert!(names().await.is_empty());
        assert_eq!(shown().await, Value::Null);
        assert_eq!(act(&room.tenant, remove).await, 404, "it is off already");
        for _ in 0..2 {
            assert_eq!(act(&room.tenant, add.clone()).await, 202);
            assert_eq!(names().await, ["default"]);
        }
        for bad in ["nosuch", "00000000-0000-4000-8000-000000000000"] {
            assert_eq!(act(&room.tenant, json!({"addSecurityGroup": {"name": bad}})).await, 404, "{bad}");
        }
        assert_eq!(act(&room.tenant, json!({"addSecurityGroup": {}})).await, 400);
        let own = room.tenant.get("/network/v2.0/security-groups").await;
        let own = own.text_at("/security_groups/0/id").to_owned();
        for (name, answer) in [(own.as_str(), 202), ("00000000-0000-4000-8000-000000000000", 400)] {
            let mut body = server("named", &room.flavor, &room.image);
            body["server"]["security_groups"] = json!([{"name": name}]);
            let made = room.tenant.at("2.79").post("/compute/v2.1/servers", &body).await;
            assert_eq!(made.status, answer, "{made:?}");
        }
        let other = room.cloud.tenant("other").await;
        assert_eq!(act(&other, add).await, 404);
    }
}

/// Until 2.43 an address comes and goes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_gets_one_more_address_and_gives_it_back() {
    let room = Room::new(Engine::Sqlite).await;
    let action = format!("/compute/v2.1/servers/{}/action", room.id);
    let (old, other) = (room.tenant.at("2.43"), room.cloud.tenant("other").await);
    let add = json!({"addFixedIp": {"networkId": room.network}});
    let off = old.post(&action, &add).await;
    assert_eq!(off.status, 400, "not on this network yet: {off:?}");
    assert!(off.text().contains("Network could not be found for instance"), "{off:?}");
    room.attach(json!({"net_id": room.network, "fixed_ips": [{"ip_address": "10.7.0.9"}]})).await;
    let addresses = async || -> Vec<String> {
        let ports = room.listed().await;
        let ips = ports[0]["fixed_ips"].as_array().unwrap().iter();
        ips.map(|ip| ip["ip_address"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(other.post(&action, &add).await.status, 404);
    assert_eq!(old.post(&action, &add).await.status, 202);
    let both = addresses().await;
    assert!(both.len() == 2 && both.contains(&"10.7.0.9".to_owned()), "{both:?}");
    let more = both.iter().find(|ip| *ip != "10.7.0.9").unwrap();
    let remove = json!({"removeFixedIp": {"address": more}});
    assert_eq!(other.post(&action, &remove).await.status, 404);
    assert_eq!(addresses().await.len(), 2);
    assert_eq!(old.post(&action, &remove).await.status, 202);
    assert_eq!(addresses().await, ["10.7.0.9"]);
    let again = old.post(&action, &remove).await;
    assert_eq!(again.status, 400, "{again:?}");
    assert!(again.text().contains("doesn't have fixed IP"), "{again:?}");
    for (bad, status) in [
        (json!({"addFixedIp": {"networkId": "x"}}), 400),
        (json!({"addFixedIp": {"networkId": "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11"}}), 400),
        (json!({"addFixedIp": {}}), 400),
        (json!({"removeFixedIp": {"address": "10.7.0"}}), 400),
        (json!({"removeFixedIp": null}), 400),
    ] {
        assert_eq!(old.post(&action, &bad).await.status, status, "{bad}");
    }
    assert_eq!(room.tenant.at("2.44").post(&action, &add).await.status, 404);
}
