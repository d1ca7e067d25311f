//! Where servers go: groups, hints, aggregates, zones and services over the API, and what holds when many ask
//! at once.

#[path = "placement/concurrency.rs"]
mod concurrency;
#[path = "placement/explain.rs"]
mod explain;
#[path = "placement/groups.rs"]
mod groups;
#[path = "placement/hosts.rs"]
mod hosts;
#[path = "placement/journal.rs"]
mod journal;

use canopy::Config;
use canopy_agent_api::{Controller, Inventory, Registration};
use canopy_app::compute::controller::LocalController;
use canopy_tests::fixtures::{flavor, image};
use canopy_tests::{Client, Cloud, Engine};
use canopy_types::HostId;

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
