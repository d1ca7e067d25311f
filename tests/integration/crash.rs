//! Kills the server, and apart from it the agent, at every named point of a create and a delete, on real
//! libvirt and a real network.
//!
//! A dry run records which side effects a create and a delete pass; the list must be exactly [`HOST`] (and
//! [`CONTROLLER`], where both are one process), so a side effect without a crash point, or a forgotten name,
//! fails the test. Then for each effect and each side of it: the process aborts there, is started again, and
//! the guest must end ACTIVE, in ERROR or gone, once; after a delete nothing may be left. With the agent apart
//! the controller goes on meanwhile.

use canopy_tests::Client;
use canopy_tests::fixtures::{flavor, image};
use canopy_tests::process::{Process, until_died};
use canopy_tests::random::Rng;
use canopy_tests::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Every side effect on the host of creating and deleting one server with one port and a config drive.
pub const HOST: &[&str] = &[
    "agent.config_drive.write",
    "agent.disk.create",
    "agent.domain.define",
    "agent.domain.destroy",
    "agent.domain.start",
    "agent.domain.undefine",
    "agent.image.fetch",
    "agent.server.remove",
    "agent.state.save",
    "network.bridge.create",
    "network.bridge.delete",
    "network.dhcp.start",
    "network.dhcp.stop",
    "network.dhcp.write",
    "network.filter.apply",
    "network.metadata.listen",
    "network.namespace.create",
    "network.namespace.delete",
];

/// Every other side effect of the operations on a server that runs, rebuilding it included.
pub const OPERATIONS: &[&str] = &[
    "agent.disk.copy",
    "agent.disk.drop_kept",
    "agent.disk.drop_rescue",
    "agent.disk.grow",
    "agent.disk.keep",
    "agent.disk.put_back",
    "agent.domain.discard_memory",
    "agent.domain.pause",
    "agent.domain.plug",
    "agent.domain.shutdown",
    "agent.domain.suspend",
    "agent.domain.unplug",
    "agent.image.send",
    "image.blob.store",
    "image.snapshot_begin",
    "image.temp.create",
    "image.temp.write",
    "image.upload_finish",
    "server.attach_interface",
    "server.change",
    "server.detach_interface",
    "server.resize",
    "server.snapshot",
];

/// Every commit of the same.
const CONTROLLER: &[&str] = &["server.create", "server.delete", "server.observe"];

/// Passed at any start, whether or not there is a server.
const AT_START: &[&str] = &["host.register", "server.purge"];

/// Passed when a new device does not already look as it should, which is up to the kernel's defaults.
const SOMETIMES: &[&str] = &["network.bridge.update", "network.namespace.update"];

/// Kills within operations that an ordinary run tries, chosen anew each time.
const SAMPLE: usize = 3;
/// The same of an agent that runs apart.
const SAMPLE_APART: usize = 12;

/// A cloud with what a server needs.
pub struct Room {
    pub process: Process,
    flavor: String,
    /// With a larger disk.
    larger: String,
    pub image: String,
    pub network: String,
}

impl Room {
    /// Starts the cloud, which must not run yet.
    pub async fn new(mut process: Process) -> Self {
        process.start_ready().await;
        let admin = process.admin().await;
        let network = admin.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
        let network = network.text_at("/network/id").to_owned();
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/24"}});
        assert_eq!(admin.post("/network/v2.0/subnets", &subnet).await.status, 201);
        let room = Self {
            flavor: flavor(&admin, "tiny", 1, 64, 1).await,
            larger: flavor(&admin, "larger", 1, 80, 2).await,
            image: image(&admin, "tiny").await,
            network,
            process,
        };
        until("the host has registered", async || room.hosts_and_usage().await.0 == 1).await;
        room
    }

    /// Asks for a server with a port and a config drive.
    pub fn body(&self) -> Value {
        json!({"server": {
            "name": "crash", "flavorRef": self.flavor, "imageRef": self.image, "config_drive": true,
            "networks": [{"uuid": self.network}],
        }})
    }

    /// What is asked of a server, one after the other.
    pub fn operations(&self) -> Vec<(Value, &'static str)> {
        operations(&self.image, &self.larger)
    }

    /// Forgets the cached image, so that fetching it is passed each time.
    fn forget_image(&self) {
        let _ = std::fs::remove_dir_all(self.process.data().join("agent/images/sha256"));
    }
}

async fn servers(client: &Client) -> Option<Vec<Value>> {
    let listed = client.try_get("/compute/v2.1/servers/detail").await?;
    (listed.status == 200).then(|| listed.json["servers"].as_array().cloned().unwrap_or_default())
}

/// Longer than all pauses between tries of what is let fail again and again.
const SETTLED: Duration = Duration::from_secs(240);

/// Waits until every server has settled or the server process has died.
pub async fn settle(process: &mut Process, client: &Client, settled: fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let listed = servers(client).await;
        if process.died() {
            return Vec::new();
        }
        if let Some(listed) = listed {
            if settled(&listed) {
                return listed;
            }
            assert!(Instant::now() < deadline, "stuck: {listed:#?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn all_settled(servers: &[Value]) -> bool {
    servers.iter().all(|server| {
        let status = server["status"].as_str().unwrap_or_default();
        server["OS-EXT-STS:task_state"].is_null()
            && matches!(
                status,
                "ACTIVE"
                    | "ERROR"
                    | "SHUTOFF"
                    | "PAUSED"
                    | "SUSPENDED"
                    | "VERIFY_RESIZE"
                    | "RESCUE"
                    | "SHELVED"
            )
    })
}

/// Creates one and deletes it, as far as the process lives.
async fn create_and_delete(room: &mut Room) {
    let Some(client) = room.process.try_admin().await else {
        until_died(&mut room.process, "the server that stopped answering has ended").await;
        return;
    };
    let compute = client.at("2.37");
    let made = compute.try_send(compute.request("POST", "/compute/v2.1/servers").json(&room.body())).await;
    if let Some(made) = made {
        assert_eq!(made.status, 202, "{made:?}");
    }
    let built = settle(&mut room.process, &client, all_settled).await;
    for server in &built {
        let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().unwrap_or_default());
        let _ = client.try_send(client.request("DELETE", &path)).await;
    }
    settle(&mut room.process, &client, <[Value]>::is_empty).await;
    // The server is gone for its user before its host has taken down the network that nobody uses any more.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !room.process.died() && !room.left().is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", room.left());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What must hold when no server is wanted.
pub async fn nothing_left(room: &Room, point: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = room.left();
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{point} left {found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_of_create_and_delete_leaves_one_guest_or_none() {
    let _libvirt = crate::libvirt::exclusive().await;
    kill_at(Process::prepare("crash"), &[HOST, CONTROLLER].concat(), |points| points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_agent_alone_leaves_one_guest_or_none_too() {
    let _libvirt = crate::libvirt::exclusive().await;
    let mut rng = Rng::new(Rng::seed());
    let some = |mut points: Points| -> Points {
        (0..SAMPLE_APART).map(|_| points.swap_remove(rng.below(points.len()))).collect()
    };
    kill_at(Process::prepare_apart("crash_agent"), HOST, some).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the same as above at all points"]
async fn a_kill_of_the_agent_alone_at_any_point_leaves_one_guest_or_none_too() {
    let _libvirt = crate::libvirt::exclusive().await;
    kill_at(Process::prepare_apart("crash_agent"), HOST, |points| points).await;
}

/// What is asked of a server, and the status that it ends in.
fn operations(image: &str, larger: &str) -> Vec<(Value, &'static str)> {
    vec![
        (json!({"createImage": {"name": "copy"}}), "ACTIVE"),
        (json!({"rescue": null}), "RESCUE"),
        (json!({"unrescue": null}), "ACTIVE"),
        (json!({"resize": {"flavorRef": larger}}), "VERIFY_RESIZE"),
        (json!({"revertResize": null}), "ACTIVE"),
        (json!({"resize": {"flavorRef": larger}}), "VERIFY_RESIZE"),
        (json!({"confirmResize": null}), "ACTIVE"),
        (json!({"shelve": null}), "SHELVED"),
        (json!({"unshelve": null}), "ACTIVE"),
        (json!({"pause": null}), "PAUSED"),
        (json!({"unpause": null}), "ACTIVE"),
        (json!({"suspend": null}), "SUSPENDED"),
        (json!({"resume": null}), "ACTIVE"),
        (json!({"suspend": null}), "SUSPENDED"),
        (json!({"reboot": {"type": "HARD"}}), "ACTIVE"),
        (json!({"rebuild": {"imageRef": image}}), "ACTIVE"),
    ]
}

/// Makes a server and asks all of it, as far as the process lives.
async fn operate(room: &mut Room) {
    let Some(client) = room.process.try_admin().await else { return };
    let compute = client.at("2.37");
    compute.try_send(compute.request("POST", "/compute/v2.1/servers").json(&room.body())).await;
    let built = settle(&mut room.process, &client, all_settled).await;
    let Some(id) = built.first().and_then(|server| server["id"].as_str()).map(str::to_owned) else { return };
    assert_eq!(built[0]["status"], "ACTIVE", "{built:#?}");
    if !rewire(room, &client, &id).await {
        return;
    }
    for (body, status) in room.operations() {
        let path = format!("/compute/v2.1/servers/{id}/action");
        let Some(asked) = compute.try_send(compute.request("POST", &path).json(&body)).await else { return };
        assert!(asked.status < 300, "{body} {asked:?}");
        let settled = settle(&mut room.process, &client, all_settled).await;
        assert!(settled.is_empty() || settled[0]["status"] == status, "{body}: {settled:#?}");
    }
}

/// One more interface, and off again, if the guest lets it; whether the process lives.
pub async fn rewire(room: &mut Room, client: &Client, id: &str) -> bool {
    let path = format!("/compute/v2.1/servers/{id}/os-interface");
    let body = json!({"interfaceAttachment": {"net_id": room.network}});
    let Some(made) = client.try_send(client.request("POST", &path).json(&body)).await else { return false };
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("{path}/{}", made.text_at("/interfaceAttachment/port_id"));
    if client.try_send(client.request("DELETE", &path)).await.is_none() {
        return false;
    }
    let settled = settle(&mut room.process, client, all_settled).await;
    assert!(settled.is_empty() || settled[0]["status"] == "ACTIVE", "{settled:#?}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_some_point_of_an_operation_leaves_a_server_that_can_be_used() {
    let mut rng = Rng::new(Rng::seed());
    kill_within_operations(|mut points| {
        (0..SAMPLE).map(|_| points.swap_remove(rng.below(points.len()))).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: the same as above at all points"]
async fn a_kill_at_any_point_of_an_operation_leaves_a_server_that_can_be_used() {
    kill_within_operations(|points| points).await;
}

async fn kill_within_operations(chosen: impl FnOnce(Vec<String>) -> Vec<String>) {
    let _libvirt = crate::libvirt::exclusive().await;
    let mut room = Room::new(Process::prepare("crash_ops")).await;
    room.process.kill();
    let trace = room.process.data().join("crash-points");
    room.process.start(&[("CANOPY_CRASH_TRACE", &trace.to_string_lossy())]);
    room.process.ready().await;
    let started = std::fs::read_to_string(&trace).unwrap_or_default();
    operate(&mut room).await;
    let passed = std::fs::read_to_string(&trace).unwrap();
    let passed: BTreeSet<&str> = passed
        .strip_prefix(&started)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("before:"))
        .collect();
    let known: BTreeSet<&str> =
        [HOST, CONTROLLER, OPERATIONS, AT_START, SOMETIMES].concat().into_iter().collect();
    assert!(passed.is_subset(&known), "not in any list: {:?}", passed.difference(&known));
    assert!(OPERATIONS.iter().all(|name| passed.contains(name)), "{passed:?}");
    remove_all(&mut room, "the dry run").await;
    room.process.kill();
    // Of those that a create or a delete passes too, the one that loses something here: a disk.
    let names = OPERATIONS.iter().chain(&["agent.server.remove"]);
    let points: Vec<String> =
        names.flat_map(|name| ["before", "after"].map(|side| format!("{side}:{name}"))).collect();
    for point in chosen(points) {
        let begun = Instant::now();
        println!("{point}");
        room.process.start(&[("CANOPY_CRASH_AT", &point)]);
        if wait_up(&mut room.process).await {
            operate(&mut room).await;
        }
        until_died(&mut room.process, &format!("{point} was reached")).await;
        room.process.kill();
        room.process.start_ready().await;
        remove_all(&mut room, &point).await;
        room.process.kill();
        println!("{point}: {:.1} s", begun.elapsed().as_secs_f32());
    }
}

/// Whatever has become of the server, it can be brought back, and then deleted with nothing left.
pub async fn remove_all(room: &mut Room, point: &str) {
    let client = room.process.admin().await;
    let found = settle(&mut room.process, &client, all_settled).await;
    assert!(found.len() <= 1, "{point}: {found:#?}");
    for server in &found {
        let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().unwrap());
        let back = match server["status"].as_str().unwrap() {
            "VERIFY_RESIZE" => json!({"revertResize": null}),
            "RESCUE" => json!({"unrescue": null}),
            "SHELVED" => json!({"unshelve": null}),
            _ => json!({"reboot": {"type": "HARD"}}),
        };
        assert_eq!(client.post(&format!("{path}/action"), &back).await.status, 202, "{point}: {server}");
        let back = settle(&mut room.process, &client, all_settled).await;
        assert_eq!(back[0]["status"], "ACTIVE", "{point}: {back:#?}");
        assert_eq!(client.delete(&path).await.status, 204, "{point}");
    }
    settle(&mut room.process, &client, <[Value]>::is_empty).await;
    nothing_left(room, point).await;
    assert_eq!(room.hosts_and_usage().await.1, 0, "{point}: something is still counted");
}

/// Names of effects, and before or after each.
type Points = Vec<(String, &'static str)>;

/// Kills at the `chosen` of all points, which are what is passed before or after each effect.
async fn kill_at(process: Process, effects: &[&str], chosen: impl FnOnce(Points) -> Points) {
    let mut room = Room::new(process).await;
    room.process.kill();

    let trace = room.process.data().join("crash-points");
    room.process.start(&[("CANOPY_CRASH_TRACE", &trace.to_string_lossy())]);
    room.process.ready().await;
    let started = std::fs::read_to_string(&trace).unwrap_or_default();
    create_and_delete(&mut room).await;
    nothing_left(&room, "the dry run").await;
    let passed: BTreeSet<String> = std::fs::read_to_string(&trace)
        .unwrap()
        .strip_prefix(&started)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("before:").map(str::to_owned))
        .filter(|name| !AT_START.contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> = effects.iter().map(|name| (*name).to_owned()).collect();
    let always: BTreeSet<String> =
        passed.iter().filter(|name| !SOMETIMES.contains(&name.as_str())).cloned().collect();
    assert_eq!(always, listed, "side effects passed (left) are not the list (right)");
    room.process.kill();

    let both = passed.iter().flat_map(|name| ["before", "after"].map(|side| (name.clone(), side)));
    for (name, side) in chosen(both.collect()) {
        let point = format!("{side}:{name}");
        let begun = Instant::now();
        room.forget_image();
        room.process.start(&[("CANOPY_CRASH_AT", &point)]);
        let up = wait_up(&mut room.process).await;
        if up {
            create_and_delete(&mut room).await;
        }
        if !SOMETIMES.contains(&name.as_str()) {
            // What it waits for can be seen before the process has come to the point after it.
            until_died(&mut room.process, &format!("{point} was reached")).await;
        }
        room.process.kill();

        room.process.start_ready().await;
        let client = room.process.admin().await;
        let after = settle(&mut room.process, &client, all_settled).await;
        assert!(after.len() <= 1, "{point}: {after:#?}");
        assert!(room.process.domains().len() <= after.len().max(1), "{point}: a guest twice");
        for server in &after {
            let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().unwrap());
            assert_eq!(client.delete(&path).await.status, 204, "{point}");
        }
        settle(&mut room.process, &client, <[Value]>::is_empty).await;
        nothing_left(&room, &point).await;
        let (_, usage) = room.hosts_and_usage().await;
        assert_eq!(usage, 0, "{point}: something is still counted");
        room.process.kill();
        println!("{point}: {:.1} s", begun.elapsed().as_secs_f32());
    }
}

/// Whether it came up; it may have crashed at a point that is passed at the start too.
async fn wait_up(process: &mut Process) -> bool {
    let client = Client::new(&process.url(), "");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !process.died() {
        if client.try_get("/readyz").await.is_some_and(|answer| answer.status == 200) {
            return true;
        }
        assert!(Instant::now() < deadline, "the server neither came up nor died");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

impl Room {
    /// What is on the host of this cloud.
    pub fn left(&self) -> Vec<String> {
        let mut left = self.process.domains();
        left.extend(self.process.server_dirs().iter().map(|path| path.display().to_string()));
        left.extend(self.process.links());
        left
    }

    /// How many hosts there are, and what servers are still charged for, read from the database itself.
    pub async fn hosts_and_usage(&self) -> (usize, i64) {
        let options = canopy_store::Options::sqlite(&self.process.data().join("canopy.db"));
        let store = canopy_store::Store::open(&options).await.unwrap();
        let counted = store
            .read(|c| {
                Box::pin(async move {
                    let (hosts, inventories) = canopy_store::hosts::all(c).await?;
                    let project = canopy_store::servers::list(
                        c,
                        &Default::default(),
                        &canopy_store::servers::Filter { deleted: true, ..Default::default() },
                        &Default::default(),
                    )
                    .await?;
                    let mut counted = 0;
                    if let Some(server) = project.first() {
                        let usage = canopy_store::quota::usage(c, &server.project_id).await?;
                        counted =
                            ["instances", "cores", "ram"].iter().filter_map(|r| usage.used.get(*r)).sum();
                    }
                    Ok((hosts.len(), counted + inventories.iter().map(|row| row.used).sum::<i64>()))
                })
            })
            .await
            .unwrap();
        store.close().await;
        counted
    }
}
