//! What may happen to a host: its disk runs full, another cloud lives on it. Real libvirt, real network.

use crate::crash::Room;
use canopy_tests::fixtures::{boot, show, until_gone, until_status};
use canopy_tests::mounted::Mounted;
use canopy_tests::process::{Process, output};
use canopy_tests::{Client, until};
use serde_json::json;

async fn delete(client: &Client, id: &str) {
    let path = format!("/compute/v2.1/servers/{id}");
    assert_eq!(client.delete(&path).await.status, 204);
    until_gone(client, id).await;
}

async fn fault(client: &Client, id: &str) -> String {
    let server = until_status(client, id, "ERROR").await;
    server["fault"]["message"].as_str().unwrap_or_default().to_owned()
}

/// Needs root, for a file system of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_during_a_boot_is_said_and_the_space_given_back() {
    let _libvirt = crate::libvirt::shared().await;
    let process = Process::prepare("full");
    let Some(disk) = Mounted::tmpfs(&process.data().join("agent"), "4g") else {
        eprintln!("SKIPPED: mounting needs root");
        return;
    };
    let room = Room::new(process).await;
    // Moved behind the room, to be unmounted before the room is swept.
    let disk = disk;
    let client = room.process.admin().await;
    let first = boot(&client, &room.body()).await;
    until_status(&client, &first, "ACTIVE").await;

    // Room for records, but not for another disk.
    disk.resize("100m");
    let second = boot(&client, &room.body()).await;
    let message = fault(&client, &second).await;
    assert!(message.starts_with("The host's disk is full: 1 GiB needed, "), "{message}");
    let folder = disk.path().join("servers").join(&second);
    until("only the record of the failure is kept", async || {
        std::fs::read_dir(&folder).is_ok_and(|entries| entries.count() == 1)
    })
    .await;
    assert_eq!(room.process.domains().len(), 1);

    // Not a byte for anything.
    disk.fill();
    let third = boot(&client, &room.body()).await;
    assert_eq!(fault(&client, &third).await, "The host's disk is full.");
    assert_eq!(show(&client, &first).await["status"], "ACTIVE", "who runs is not touched");

    for id in [&third, &second, &first] {
        delete(&client, id).await;
    }
    until("nothing is left on the host", async || room.left().is_empty()).await;
    assert_eq!(room.hosts_and_usage().await.1, 0, "nothing is counted any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clouds_on_one_host_do_not_meet() {
    let _libvirt = crate::libvirt::shared().await;
    let rooms = [Room::new(Process::prepare("one")).await, Room::new(Process::prepare("two")).await];
    let mut servers = Vec::new();
    for room in &rooms {
        let client = room.process.admin().await;
        let id = boot(&client, &room.body()).await;
        servers.push((client, id));
    }
    for ((client, id), room) in servers.iter().zip(&rooms) {
        let server = until_status(client, id, "ACTIVE").await;
        assert_eq!(server["OS-EXT-SRV-ATTR:instance_name"], "instance-00000001", "each counts for itself");
        assert_eq!(room.process.domains(), [format!("instance-00000001-{}", room.process.scope)]);
        assert!(!room.process.links().is_empty());
    }
    let [(first, id), (second, other)] = &servers[..] else { panic!("two servers") };
    delete(first, id).await;
    until("nothing of the first is left", async || rooms[0].left().is_empty()).await;
    let domain = format!("instance-00000001-{}", rooms[1].process.scope);
    assert_eq!(output("virsh", &["-c", "qemu:///system", "domstate", &domain]).trim(), "running");
    assert!(!rooms[1].process.links().is_empty(), "its network is still there");
    assert_eq!(show(second, other).await["status"], "ACTIVE");
    delete(second, other).await;
    until("nothing of the second is left", async || rooms[1].left().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_on_the_host_before_a_server_needs_it() {
    let _libvirt = crate::libvirt::shared().await;
    let room = Room::new(Process::prepare("prefetch")).await;
    let client = room.process.admin().await;
    let path = format!("/canopy/v1/images/{}/prefetch", room.image);
    let cached = room.process.data().join("agent/images/sha256");
    let images = || std::fs::read_dir(&cached).map_or(0, Iterator::count);
    assert_eq!(images(), 0, "no server has needed it");

    let named = json!({"hosts": [room.process.scope]});
    until("the host has it", async || {
        let told = client.post(&path, &named).await;
        assert_eq!(told.status, 202, "{told:?}");
        assert_eq!(told.text_at("/hosts/0/host"), room.process.scope);
        let state = told.text_at("/hosts/0/state").to_owned();
        assert!(["fetching", "present"].contains(&state.as_str()), "{told:?}");
        state == "present"
    })
    .await;
    assert_eq!(images(), 1);

    let elsewhere = client.post(&path, &json!({"hosts": ["nowhere"]})).await;
    assert_eq!(elsewhere.status, 400, "{elsewhere:?}");
    assert!(elsewhere.text_at("/error/message").contains("There is no host nowhere"), "{elsewhere:?}");
    let absent = "/canopy/v1/images/00000000-0000-4000-8000-000000000000/prefetch";
    assert_eq!(client.post(absent, &json!({})).await.status, 404);
    let id = boot(&client, &room.body()).await;
    until_status(&client, &id, "ACTIVE").await;
    delete(&client, &id).await;
}
