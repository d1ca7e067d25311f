//! Where servers go: groups, hints, aggregates, zones and services over the API, and what holds when many ask
//! at once.

#[path = "placement/concurrency.rs"]
mod concurrency;
#[path = "placement/explain.rs"]
mod explain;
#[path = "placement/given_up.rs"]
mod given_up;
#[path = "placement/groups.rs"]
mod groups;
#[path = "placement/hosts.rs"]
mod hosts;
#[path = "placement/journal.rs"]
mod journal;
#[path = "placement/load.rs"]
mod load;
#[path = "placement/placer.rs"]
mod placer;
#[path = "placement/supply.rs"]
mod supply;
#[path = "placement/together.rs"]
mod together;

use canopy::Config;
use canopy_agent_api::{Controller, Inventory, Observed, Registration, ServerObserved};
use canopy_app::compute::controller::LocalController;
use canopy_tests::fixtures::{flavor, image};
use canopy_tests::{Client, Cloud, Engine};
use canopy_types::HostId;
use canopy_types::server::Phase;
use serde_json::json;

/// What a fake host says of itself: nothing runs there, so its servers stay in BUILD.
fn registration(name: &str, disk_gib: i64) -> Registration {
    Registration {
        version: canopy_agent_api::VERSION,
        name: name.to_owned(),
        inventory: Inventory {
            vcpus: 1_000,
            memory_mib: 1 << 20,
            disk_gib,
            hypervisor_type: "fake".into(),
            hypervisor_version: 1,
            acceleration: "tcg".into(),
            physical_networks: Vec::new(),
        },
    }
}

/// A controller without an agent of its own, and no limits.
async fn controller(engine: Engine) -> Cloud {
    controller_with(engine, |_| {}).await
}

async fn controller_with(engine: Engine, change: impl FnOnce(&mut Config)) -> Cloud {
    Cloud::start_with(
        engine,
        |config| {
            change(config);
            config.agent.enabled = false;
            for resource in ["instances", "cores", "ram", "server_groups", "server_group_members"] {
                config.quota.defaults.insert(resource.into(), -1);
            }
        },
        None,
    )
    .await
}

/// Hosts of so many GiB of disk, which is not shared out twice: as many 1-GiB servers fit.
async fn register(cloud: &Cloud, disks: &[(&str, i64)]) -> Vec<HostId> {
    let controller = LocalController(cloud.app().clone());
    let mut ids = Vec::new();
    for (name, disk) in disks {
        ids.push(controller.register(registration(name, *disk)).await.unwrap().host_id);
    }
    ids
}

/// An admin, a tenant, a 1-GiB flavor and an image of the tenant's.
async fn ready(cloud: &Cloud) -> (Client, Client, String, String) {
    let admin = cloud.admin().await;
    let flavor = flavor(&admin, "one", 1, 64, 1).await;
    let tenant = cloud.tenant("t").await;
    let image = image(&tenant, "img").await;
    (admin, tenant, flavor, image)
}

/// The host that an admin sees the server on.
async fn host_of(admin: &Client, id: &str) -> String {
    let shown = canopy_tests::fixtures::show(admin, id).await;
    shown["OS-EXT-SRV-ATTR:host"].as_str().unwrap_or_default().to_owned()
}

/// Says as the hosts' agents what became of the servers that are to be there (`Some`) or to go.
async fn report(cloud: &Cloud, hosts: &[HostId], generation: i64, phase: Option<Phase>) {
    let controller = LocalController(cloud.app().clone());
    for host in hosts {
        let wanted = controller.desired(*host, 0, std::time::Duration::ZERO).await.unwrap();
        let told = wanted.servers.iter().filter(|server| server.deleted == phase.is_none());
        let servers = told.map(|server| ServerObserved {
            id: server.id,
            phase: phase.unwrap_or(Phase::Gone),
            power_n: server.power.n,
            failed_n: None,
            error: None,
        });
        let observed =
            Observed { revision: wanted.revision, generation, servers: servers.collect(), load: None };
        controller.report(*host, observed).await.unwrap();
    }
}

/// A flavor of 1 vCPU and 64 MiB with these extra specs.
async fn special(admin: &Client, name: &str, disk: i64, specs: &[(&str, &str)]) -> String {
    let id = flavor(admin, name, 1, 64, disk).await;
    if specs.is_empty() {
        return id;
    }
    let specs: serde_json::Map<_, _> = specs.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let path = format!("/compute/v2.1/flavors/{id}/os-extra_specs");
    let set = admin.post(&path, &json!({ "extra_specs": specs })).await;
    assert_eq!(set.status, 200, "{set:?}");
    id
}
