//! Servers whose ends one report tells of are given back together, and each of them once.

use super::{controller, host_of, ready, register, report};
use canopy_agent_api::{Controller, Observed, ServerObserved};
use canopy_app::compute::controller::LocalController;
use canopy_tests::fixtures::server;
use canopy_tests::{Client, Cloud, engines};
use canopy_types::HostId;
use canopy_types::server::Phase;
use serde_json::{Value, json};

/// A network of the client's own, and a port on it that outlives servers.
async fn wired(client: &Client) -> (String, String) {
    let network = client.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let network = network.text_at("/network/id").to_owned();
    let subnet = json!({"subnet": {"network_id": network, "cidr": "10.9.0.0/24", "ip_version": 4}});
    assert_eq!(client.post("/network/v2.0/subnets", &subnet).await.status, 201);
    let port = client.post("/network/v2.0/ports", &json!({"port": {"network_id": network}})).await;
    (network, port.text_at("/port/id").to_owned())
}

async fn asked(client: &Client, body: &Value) -> String {
    let made = client.at("2.37").post("/compute/v2.1/servers", body).await;
    assert_eq!(made.status, 202, "{made:?}");
    made.text_at("/server/id").to_owned()
}

/// Tells, each of them twice, that the host has nothing any more of the servers that were to go; how many these are.
async fn all_gone(cloud: &Cloud, host: HostId, generation: i64) -> usize {
    let controller = LocalController(cloud.app().clone());
    let wanted = controller.desired(host, 0, std::time::Duration::ZERO).await.unwrap();
    let going = || wanted.servers.iter().filter(|server| server.deleted);
    let told = going().chain(going()).map(|server| ServerObserved {
        id: server.id,
        phase: Phase::Gone,
        power_n: server.power.n,
        failed_n: None,
        error: None,
    });
    let observed = Observed { revision: wanted.revision, generation, servers: told.collect(), load: None };
    controller.report(host, observed).await.unwrap();
    going().count()
}

/// What its project has used: servers, cores, memory, group members, ports.
async fn used(admin: &Client, client: &Client) -> Vec<i64> {
    let limits = client.get("/compute/v2.1/limits").await;
    let absolute = &limits.json["limits"]["absolute"];
    let of_compute = ["totalInstancesUsed", "totalCoresUsed", "totalRAMUsed"];
    let mut all: Vec<i64> = of_compute.iter().map(|name| absolute[name].as_i64().unwrap()).collect();
    let groups = client.get("/compute/v2.1/os-server-groups").await;
    let members = |group: &Value| group["members"].as_array().map_or(0, Vec::len);
    let members: usize = groups.json["server_groups"].as_array().into_iter().flatten().map(members).sum();
    all.push(members as i64);
    let token = client.get("/identity/v3/auth/projects").await;
    let project = token.text_at("/projects/0/id").to_owned();
    let ports = admin.get(&format!("/network/v2.0/quotas/{project}/details.json")).await;
    all.push(ports.json["quota"]["port"]["used"].as_i64().unwrap());
    all
}

async fn given_back(cloud: Cloud) {
    let (admin, tenant, flavor, image) = ready(&cloud).await;
    let other = cloud.tenant("u").await;
    let public = json!([{"op": "replace", "path": "/visibility", "value": "public"}]);
    let patch = admin
        .request("PATCH", &format!("/image/v2/images/{image}"))
        .header("content-type", "application/openstack-images-v2.1-json-patch")
        .body(public.to_string());
    assert_eq!(admin.send(patch).await.status, 200);
    let hosts = register(&cloud, &[("one", 100)]).await;
    let group = json!({"server_group": {"name": "g", "policies": ["affinity"]}});
    let group = tenant.post("/compute/v2.1/os-server-groups", &group).await;
    let group = group.text_at("/server_group/id");

    let mut clients = Vec::new();
    for client in [&tenant, &other] {
        let (network, port) = wired(client).await;
        let mut ids = Vec::new();
        for n in 0..4 {
            let mut body = server("s", &flavor, &image);
            body["server"]["networks"] = match n {
                0 => json!([{"port": port}]),
                _ => json!([{"uuid": network}]),
            };
            if std::ptr::eq(client, &tenant) {
                body["os:scheduler_hints"] = json!({ "group": group });
            }
            ids.push(asked(client, &body).await);
        }
        clients.push((client, port, ids));
    }
    report(&cloud, &hosts, 1, Some(Phase::Running)).await;
    assert_eq!(used(&admin, &tenant).await, [4, 4, 256, 4, 4]);
    assert_eq!(used(&admin, &other).await, [4, 4, 256, 0, 4]);

    // One of each stays.
    for (client, _, ids) in &clients {
        for id in &ids[..3] {
            assert_eq!(client.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
        }
    }
    assert_eq!(all_gone(&cloud, hosts[0], 2).await, 6);
    assert_eq!(used(&admin, &tenant).await, [1, 1, 64, 1, 2]);
    assert_eq!(used(&admin, &other).await, [1, 1, 64, 0, 2]);
    for (client, port, ids) in &clients {
        let kept = client.get(&format!("/network/v2.0/ports/{port}")).await;
        assert_eq!(kept.json["port"]["device_id"], "", "{kept:?}");
        for id in &ids[..3] {
            assert_eq!(client.get(&format!("/compute/v2.1/servers/{id}")).await.status, 404);
        }
        assert_eq!(host_of(&admin, &ids[3]).await, "one");
    }
    let provider = format!("/placement/resource_providers/{}/usages", hosts[0]);
    let usages = admin.get(&provider).await;
    let held = json!({"VCPU": 2, "MEMORY_MB": 128, "DISK_GB": 2});
    assert_eq!(usages.json["usages"], held, "{usages:?}");

    // And the rest, alone.
    for (client, _, ids) in &clients {
        assert_eq!(client.delete(&format!("/compute/v2.1/servers/{}", ids[3])).await.status, 204);
    }
    assert_eq!(all_gone(&cloud, hosts[0], 3).await, 2);
    assert_eq!(used(&admin, &tenant).await, [0, 0, 0, 0, 1]);
    let usages = admin.get(&provider).await;
    assert_eq!(usages.json["usages"], json!({"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}), "{usages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_go_together_give_back_what_each_held() {
    for engine in engines() {
        given_back(controller(engine).await).await;
    }
}
