//! Lets every side effect of every operation on a server fail, or be done twice, and takes the hypervisor's
//! daemon and the disk away while they run. Real libvirt, real network.
//!
//! What is asked, and what may be passed, are the lists of [`crate::crash`]: an operation or a side effect that
//! comes to them is tried here too.

use crate::crash::{HOST, OPERATIONS, Room, all_settled, nothing_left, remove_all, settle};
use crate::libvirt::Restart;
use canopy_tests::fixtures::until_gone;
use canopy_tests::mounted::Mounted;
use canopy_tests::process::Process;
use canopy_tests::random::Rng;
use canopy_tests::{Client, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often a user asks again for what was refused or undone.
const PATIENCE: usize = 4;
/// Side effects that an ordinary run lets fail for good, chosen anew each time.
const SAMPLE: usize = 2;
/// Operations that an ordinary run asks for while something comes and goes, chosen anew each time.
const SOME: usize = 6;

/// Asks for one thing until the server is as it should be; whether it came to that. A refusal is one of those
/// that a user may be given: the server is busy, or in another state, or the cloud says that something failed.
async fn asked_again(room: &mut Room, client: &Client, path: &str, body: &Value, status: &str) -> bool {
    for _ in 0..PATIENCE {
        let asked = client.post(path, body).await;
        assert!(matches!(asked.status, 200..300 | 409 | 413 | 500 | 503), "{body}: {asked:?}");
        let settled = settle(&mut room.process, client, all_settled).await;
        let came = settled.first().is_some_and(|server| server["status"] == status);
        if asked.status < 300 && came && (body.get("createImage").is_none() || stored(client).await) {
            return true;
        }
    }
    false
}

/// Whether there is an image of a server; one that failed has gone.
async fn stored(client: &Client) -> bool {
    let images = client.get("/image/v2/images?name=copy&status=active").await;
    images.json["images"].as_array().is_some_and(|images| !images.is_empty())
}

/// A server that runs, asked for as often as it takes.
async fn created(room: &mut Room, client: &Client) -> String {
    for _ in 0..PATIENCE {
        let made = client.at("2.37").post("/compute/v2.1/servers", &room.body()).await;
        assert!(matches!(made.status, 202 | 413 | 500 | 503), "{made:?}");
        let settled = settle(&mut room.process, client, all_settled).await;
        let Some(server) = settled.first() else { continue };
        let id = server["id"].as_str().unwrap().to_owned();
        if server["status"] == "ACTIVE" {
            return id;
        }
        println!("not made: {}", server["fault"]["message"]);
        deleted(room, client, &id).await;
    }
    panic!("no server could be made");
}

async fn deleted(room: &Room, client: &Client, id: &str) {
    let path = format!("/compute/v2.1/servers/{id}");
    until("the deletion is taken", async || matches!(client.delete(&path).await.status, 204 | 404)).await;
    until_gone(client, id).await;
    nothing_left(room, "a deletion").await;
}

/// Asks for everything that can be asked of a server; what did not come about in the end.
async fn everything(room: &mut Room, client: &Client) -> Vec<String> {
    let id = created(room, client).await;
    let compute = client.at("2.37");
    let mut missed = Vec::new();
    let interfaces = format!("/compute/v2.1/servers/{id}/os-interface");
    let port = json!({"interfaceAttachment": {"net_id": room.network}});
    if !asked_again(room, &compute, &interfaces, &port, "ACTIVE").await {
        missed.push("attach".to_owned());
    }
    let listed = compute.get(&interfaces).await;
    let ports = listed.json["interfaceAttachments"].as_array().cloned().unwrap_or_default();
    if let Some(port) = ports.get(1).and_then(|port| port["port_id"].as_str()) {
        let path = format!("{interfaces}/{port}");
        until("the detachment is taken", async || {
            matches!(compute.delete(&path).await.status, 202 | 404 | 409)
        })
        .await;
        settle(&mut room.process, client, all_settled).await;
    }
    let path = format!("/compute/v2.1/servers/{id}/action");
    for (body, status) in room.operations() {
        if !asked_again(room, &compute, &path, &body, status).await {
            missed.push(body.to_string());
        }
    }
    deleted(room, client, &id).await;
    assert_eq!(room.hosts_and_usage().await.1, 0, "something is still counted");
    missed
}

/// Lets each side effect of these fail once at one side; all that was asked must come about all the same.
async fn each_once(name: &str, side: &str, of: &[&str]) {
    let _libvirt = crate::libvirt::exclusive().await;
    let mut room = Room::new(Process::prepare(name)).await;
    room.process.kill();
    let trace = room.process.data().join("points");
    let due = HOST.iter().chain(OPERATIONS).filter(|name| of.iter().any(|part| name.starts_with(part)));
    let due: Vec<&str> = due.copied().collect();
    // Each by its name: a controller that cannot start says so and ends, which is another matter.
    let points: Vec<String> = due.iter().map(|name| format!("{side}:{name}")).collect();
    let trace_file = trace.to_string_lossy();
    room.process.start(&[("CANOPY_FAIL_ONCE_AT", &points.join(",")), ("CANOPY_CRASH_TRACE", &trace_file)]);
    room.process.ready().await;
    let client = room.process.admin().await;
    let missed = everything(&mut room, &client).await;
    assert!(missed.is_empty(), "did not come about: {missed:?}");
    let passed = std::fs::read_to_string(&trace).unwrap();
    let passed: BTreeSet<&str> = passed.lines().filter_map(|line| line.strip_prefix("before:")).collect();
    for name in due {
        assert!(passed.contains(name), "{name} was not passed, so it did not fail");
    }
    room.process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_may_fail_once_and_everything_comes_about() {
    each_once("faults_before", "before", &["agent", "network", "image", "server"]).await;
}

/// A step that was done and whose answer was lost is done again. A commit is not among them: SQLite does not say
/// that one failed which did not.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_may_be_done_twice_and_everything_comes_about_once() {
    each_once("faults_after", "after", &["agent", "network", "image"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_always_fails_leaves_a_server_that_can_be_used() {
    let mut rng = Rng::new(Rng::seed());
    fail_for_good(|mut points| (0..SAMPLE).map(|_| points.swap_remove(rng.below(points.len()))).collect())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: the same as above at all points"]
async fn any_step_that_always_fails_leaves_a_server_that_can_be_used() {
    fail_for_good(|points| points).await;
}

async fn fail_for_good(chosen: impl FnOnce(Vec<String>) -> Vec<String>) {
    let _libvirt = crate::libvirt::exclusive().await;
    let mut room = Room::new(Process::prepare("faults_always")).await;
    room.process.kill();
    let names = HOST.iter().chain(OPERATIONS).filter(|name| name.starts_with("agent."));
    let points: Vec<String> =
        names.flat_map(|name| ["before", "after"].map(|side| format!("{side}:{name}"))).collect();
    for point in chosen(points) {
        let begun = Instant::now();
        println!("{point}");
        room.process.start(&[("CANOPY_FAIL_AT", &point)]);
        room.process.ready().await;
        let client = room.process.admin().await;
        let operations = room.operations();
        ask_once(&mut room, &client, &operations).await;
        room.process.kill();
        room.process.start_ready().await;
        remove_all(&mut room, &point).await;
        room.process.kill();
        println!("{point}: {:.1} s", begun.elapsed().as_secs_f32());
    }
}

/// Asks for these once each, whatever becomes of it. A server that is no use is brought back, if it can be.
async fn ask_once(room: &mut Room, client: &Client, operations: &[(Value, &'static str)]) {
    let compute = client.at("2.37");
    assert_eq!(compute.post("/compute/v2.1/servers", &room.body()).await.status, 202);
    let built = settle(&mut room.process, client, all_settled).await;
    let path = format!("/compute/v2.1/servers/{}/action", built[0]["id"].as_str().unwrap());
    for (body, _) in operations {
        let asked = compute.post(&path, body).await;
        assert!(matches!(asked.status, 200..300 | 409 | 413 | 503), "{body}: {asked:?}");
        let settled = settle(&mut room.process, client, all_settled).await;
        if settled[0]["status"] == "ERROR" {
            let again = compute.post(&path, &json!({"reboot": {"type": "HARD"}})).await;
            assert_eq!(again.status, 202, "a server in ERROR can be rebooted: {again:?}");
            settle(&mut room.process, client, all_settled).await;
        }
    }
}

/// Takes something away and gives it back at moments of chance until told to stop; it is there at the end.
async fn now_and_then(
    mut stop: tokio::sync::watch::Receiver<bool>,
    mut rng: Rng,
    away: impl AsyncFn(Duration),
) {
    let mut moment = move || Duration::from_millis(200 + u64::try_from(rng.below(2_500)).unwrap());
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(moment()) => {}
        }
        away(moment()).await;
    }
}

/// Asks for so many operations in a row, or all, while `away` is at work, and then removes what there is.
async fn meanwhile(room: &mut Room, many: usize, what: &str, away: impl AsyncFn(Duration)) {
    let mut rng = Rng::new(Rng::seed());
    let mut operations = room.operations();
    let begin = rng.below(operations.len().saturating_sub(many) + 1);
    let operations: Vec<_> = operations.drain(begin..).take(many).collect();
    let client = room.process.admin().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let asked = async {
        ask_once(room, &client, &operations).await;
        let _ = stop.send(true);
    };
    tokio::join!(asked, now_and_then(stopped, rng, away));
    remove_all(room, what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hypervisor_that_comes_and_goes_leaves_a_server_that_can_be_used() {
    daemon_comes_and_goes(SOME).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the same as above with all operations"]
async fn a_hypervisor_that_comes_and_goes_is_borne_by_every_operation() {
    daemon_comes_and_goes(usize::MAX).await;
}

async fn daemon_comes_and_goes(many: usize) {
    let _libvirt = crate::libvirt::exclusive().await;
    let daemon = Restart;
    let mut room = Room::new(Process::prepare("faults_daemon")).await;
    meanwhile(&mut room, many, "libvirtd was killed now and then", async |pause| {
        daemon.kill().await;
        tokio::time::sleep(pause).await;
        daemon.start();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_now_and_then_leaves_a_server_that_can_be_used() {
    disk_full_now_and_then(SOME).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the same as above with all operations"]
async fn a_disk_that_is_full_now_and_then_is_borne_by_every_operation() {
    disk_full_now_and_then(usize::MAX).await;
}

/// Needs root, for a file system of its own.
async fn disk_full_now_and_then(many: usize) {
    let _libvirt = crate::libvirt::shared().await;
    let process = Process::prepare("faults_full");
    let Some(disk) = Mounted::tmpfs(&process.data(), "3g") else {
        eprintln!("SKIPPED: mounting needs root");
        return;
    };
    let mut room = Room::new(process).await;
    // Moved behind the room, to be unmounted before the room is swept.
    let disk = disk;
    meanwhile(&mut room, many, "the disk was full now and then", async |pause| {
        disk.fill();
        tokio::time::sleep(pause).await;
        disk.empty();
    })
    .await;
}
