//! The Linux network executor against the real kernel, dnsmasq and nftables.
//!
//! A guest is a namespace whose veth has, on the host's side, the name of a tap and is joined to the
//! network's bridge, as libvirt does with a real one. Needs root, `ip`, `nft`, `dnsmasq` and `busybox`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod inspect;
mod lab;
mod uplink;

use canopy_agent::network::netns::{self, within};
use canopy_agent::network::{Item, LinuxNetwork, NetworkExecutor};
use canopy_agent_api::tap_name;
use canopy_types::ServerId;
use lab::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_networks_have_their_own_leases_and_metadata() {
    let lab = Lab::new(vec![Net::new().with_port(5), Net::new().with_port(5)]);
    lab.applied().await;
    let ids = [ServerId::random(), ServerId::random()];
    for (net, id) in lab.nets.iter().zip(ids) {
        let ip = "10.0.0.5".parse().unwrap();
        lab.guests.0.lock().unwrap().insert((net.id, ip), server(id, &format!("name-{id}")));
    }
    for (index, id) in ids.iter().enumerate() {
        let guest = lab.guest(index, 0);
        let lease = guest.lease().expect("a lease");
        for (key, value) in [
            ("ip", "10.0.0.5"),
            ("subnet", "255.255.255.0"),
            ("router", "10.0.0.1"),
            ("dns", "9.9.9.9 8.8.4.4"),
            ("domain", "cloud.example"),
            ("mtu", "1400"),
            ("hostname", "guest-1"),
            ("serverid", "10.0.0.2"),
            ("lease", "86400"),
            ("staticroutes", "0.0.0.0/0 10.0.0.1 169.254.169.254/32 10.0.0.2"),
        ] {
            assert_eq!(lease.get(key).map(String::as_str), Some(value), "{key} in {lease:?}");
        }
        guest.configure(&lease);

        let response = guest.get("/openstack/latest/meta_data.json").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        let body: Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["uuid"], json!(id), "the guest of this network");
        assert!(guest.get("/latest/meta-data/").await.contains("instance-id"));
        assert!(guest.get("/no/such/thing").await.starts_with("HTTP/1.1 404"));

        let head = guest.http("HEAD /openstack HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        let put = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned();
        assert!(guest.http(put).await.unwrap().starts_with("HTTP/1.1 405"));
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
        let refused = guest.http(long).await;
        assert!(refused.as_ref().map_or(true, |r| r.starts_with("HTTP/1.1 4")), "{refused:?}");
    }
    // A guest that is not known, or no longer.
    lab.guests.0.lock().unwrap().clear();
    let unknown = lab.nets[0].clone().with_port(9);
    let mut lab = lab;
    lab.nets[0] = unknown;
    lab.applied().await;
    let guest = lab.guest(0, 1);
    guest.configure(&guest.lease().expect("a lease for the new port"));
    assert!(guest.get("/openstack").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed_and_do_not_shut_others_out() {
    let lab = Lab::new(vec![Net::new().with_port(5)]);
    lab.applied().await;
    let guest = lab.guest(0, 0);
    guest.settle();
    guest.ip("route add 169.254.169.254 dev eth0");
    // More than the service handles at once: the next ones wait in the kernel's queue.
    let silent = within(netns::path(&guest.namespace), || {
        let address: SocketAddr = ([169, 254, 169, 254], 80).into();
        (0..80).map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(5))).collect()
    });
    let silent: Vec<TcpStream> = silent.await.unwrap_or_else(|e| panic!("{}", e.chain()));
    let start = Instant::now();
    assert!(guest.get("/openstack").await.starts_with("HTTP/1.1 404"));
    assert!(start.elapsed() < DEADLINE, "served after {:?}", start.elapsed());
    let mut first = &silent[0];
    first.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(first.read(&mut [0; 16]).unwrap_or(0), 0, "the service hung up");
}

/// Sends with this source address, then a mark from the right one. Whether the first arrived is read off
/// once the mark has, since frames of one sender keep their order.
async fn arrives(from: &Guest, source: SocketAddr, to: &Guest, disguise: Option<&str>) -> bool {
    let receiver = to.socket((to.ip, 0).into()).await.unwrap();
    let target = receiver.local_addr().unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let probe = from.socket(source).await.unwrap();
    let mark = from.socket((from.ip, 0).into()).await.unwrap();
    if let Some(mac) = disguise {
        from.ip(&format!("link set dev eth0 address {mac}"));
    }
    // Known by heart, so that not the request for it is what the filter stops.
    from.ip(&format!("neighbour replace {} lladdr {} dev eth0 nud permanent", to.ip, to.mac));
    probe.send_to(b"probe", target).unwrap();
    if disguise.is_some() {
        from.ip(&format!("link set dev eth0 address {}", from.mac));
        from.ip(&format!("neighbour replace {} lladdr {} dev eth0 nud permanent", to.ip, to.mac));
    }
    let start = Instant::now();
    let mut arrived = false;
    loop {
        assert!(start.elapsed() < DEADLINE, "the mark never arrived: the way itself is broken");
        mark.send_to(b"mark", target).unwrap();
        let mut buffer = [0_u8; 16];
        while let Ok((length, _)) = receiver.recv_from(&mut buffer) {
            match &buffer[..length] {
                b"probe" => arrived = true,
                _ => return arrived,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_frames_are_dropped() {
    let mut lab = Lab::new(vec![Net::new().with_port(5).with_port(6)]);
    lab.nets[0].ports[0].2.push("10.0.0.77".to_owned());
    let unfiltered: Vec<_> = lab.items().into_iter().filter(|i| i.kind != "antispoof@1").collect();
    wholly(&lab.network, &unfiltered).await.unwrap();
    let (a, b) = (lab.guest(0, 0), lab.guest(0, 1));
    a.settle();
    b.settle();
    a.ip("address add 10.0.0.77/24 dev eth0");
    let own = SocketAddr::from((a.ip, 0));
    let other: SocketAddr = "10.0.0.77:0".parse().unwrap();

    // The same frames pass without a filter, or while they are allowed.
    assert!(arrives(&a, own, &b, Some("fa:16:3e:00:01:98")).await);
    assert!(sh("bridge fdb show").contains("fa:16:3e:00:01:98"));
    assert!(arrives(&a, (a.ip, 67).into(), &b, None).await);
    lab.applied().await;
    assert!(arrives(&a, own, &b, None).await);
    assert!(arrives(&a, other, &b, None).await, "allowed by the port's second address");
    let learned = |ip: &str| b.ip("neighbour show").lines().any(|l| l.starts_with(ip) && l.contains(&a.mac));
    // Without a permanent entry the sender asks by ARP, and the receiver learns the asker.
    a.ip(&format!("neighbour delete {} dev eth0", b.ip));
    let asker = a.socket(other).await.unwrap();
    asker.send_to(b"x", (b.ip, 9)).unwrap();
    until("the receiver learns an allowed address", || learned("10.0.0.77 "));

    lab.nets[0].ports[0].2.pop();
    lab.applied().await;
    assert!(arrives(&a, own, &b, None).await, "an honest frame");
    assert!(!arrives(&a, other, &b, None).await, "wrong source address");
    assert!(!arrives(&a, own, &b, Some("fa:16:3e:00:01:99")).await, "wrong source MAC");
    assert!(!arrives(&a, (a.ip, 67).into(), &b, None).await, "an answer of a DHCP server");
    assert!(arrives(&a, (a.ip, 68).into(), &b, None).await, "the same from another port");

    b.ip("neighbour flush all");
    a.ip(&format!("neighbour delete {} dev eth0", b.ip));
    let asker = a.socket(other).await.unwrap();
    asker.send_to(b"x", (b.ip, 9)).unwrap();
    assert!(arrives(&a, own, &b, None).await);
    assert!(!learned("10.0.0.77 "), "ARP with another's address: {}", b.ip("neighbour show"));
    // The switch has not learned the false MAC address either.
    assert!(!sh("bridge fdb show").contains("fa:16:3e:00:01:99"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_passes_only_from_a_ports_own_addresses() {
    let mut lab = Lab::new(vec![Net::new().with_port(5).with_port(6)]);
    for (port, ip) in lab.nets[0].ports.iter_mut().zip(["fd00::5", "fd00::6"]) {
        port.2.push(ip.to_owned());
    }
    lab.applied().await;
    let (mut a, mut b) = (lab.guest(0, 0), lab.guest(0, 1));
    a.ip = "fd00::5".parse().unwrap();
    b.ip = "fd00::6".parse().unwrap();
    for (guest, ip) in [(&a, "fd00::5"), (&b, "fd00::6"), (&a, "fd00::77")] {
        guest.ip(&format!("address add {ip}/64 dev eth0 nodad"));
    }
    // Neighbour discovery works through the filter: nothing is known by heart here.
    let receiver = b.socket((b.ip, 0).into()).await.unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let sender = a.socket((a.ip, 0).into()).await.unwrap();
    until("a datagram over IPv6", || {
        let _ = sender.send_to(b"x", receiver.local_addr().unwrap());
        receiver.recv(&mut [0; 4]).is_ok()
    });
    assert!(arrives(&a, (a.ip, 0).into(), &b, None).await);
    assert!(!arrives(&a, "[fd00::77]:0".parse().unwrap(), &b, None).await, "wrong source address");
    assert!(!arrives(&a, (a.ip, 547).into(), &b, None).await, "an answer of a DHCPv6 server");
    lab.nets[0].ports[0].2.push("fd00::77".to_owned());
    lab.applied().await;
    assert!(arrives(&a, "[fd00::77]:0".parse().unwrap(), &b, None).await, "the same when it is allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_again_changes_nothing_and_repairs_what_broke() {
    let mut lab = Lab::new(vec![Net::new().with_port(5), Net::new().with_port(5)]);
    lab.applied().await;
    let before = lab.fingerprint();
    lab.applied().await;
    assert_eq!(lab.fingerprint(), before);
    // A new process knows nothing and changes nothing.
    lab.network = Lab::executor(lab.dir.path(), &lab.scope, &lab.guests, &lab.physical);
    lab.applied().await;
    assert_eq!(lab.fingerprint(), before);

    let pid = lab.dhcp_pid(0);
    sh(&format!("kill -9 {pid}"));
    let dead = || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty());
    until("dnsmasq is dead", dead);
    let guest = lab.guest(0, 0);
    lab.applied().await;
    assert_ne!(lab.dhcp_pid(0), pid);
    let lease = guest.lease().expect("a lease after the repair");
    guest.configure(&lease);

    // Somebody removed and changed things by hand.
    let id = ServerId::random();
    lab.guests.0.lock().unwrap().insert((lab.nets[0].id, guest.ip), server(id, "again"));
    assert!(guest.get("/openstack").await.starts_with("HTTP/1.1 200"));
    sh(&format!("ip netns delete {}", lab.nets[0].namespace()));
    sh(&format!("ip link set {} down mtu 1300", lab.nets[1].bridge()));
    for address in ["10.0.0.9/24", "10.9.0.1/24", "10.9.0.2/24"] {
        sh(&format!("ip -n {} address add {address} dev eth0", lab.nets[1].namespace()));
    }
    sh(&format!("nft delete table bridge {}", lab.table()));
    lab.applied().await;
    assert!(guest.lease().is_some(), "DHCP in the new namespace");
    assert!(guest.get("/openstack/latest/meta_data.json").await.contains(&id.to_string()));
    let bridge = sh(&format!("ip -o link show {}", lab.nets[1].bridge()));
    assert!(bridge.contains("mtu 1400") && bridge.contains(",UP"), "{bridge}");
    let addresses = sh(&format!("ip -n {} -o address show eth0", lab.nets[1].namespace()));
    assert!(
        !addresses.contains("10.0.0.9")
            && !addresses.contains("10.9.0.")
            && addresses.contains("169.254.169.254/32"),
        "{addresses}"
    );
    assert!(try_sh(&format!("nft list table bridge {}", lab.table())).is_some());
    let settled = lab.fingerprint();
    lab.applied().await;
    assert_eq!(lab.fingerprint(), settled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_can_change_its_segment_and_its_addresses_can_move() {
    let mut lab = Lab::new(vec![Net::new().with_port(5)]);
    lab.applied().await;
    let guest = lab.guest(0, 0);
    assert!(guest.lease().is_some());
    // The address goes to a new port at once, though the old lease has a day to go.
    let old = lab.nets[0].clone();
    lab.nets[0].ports.clear();
    lab.nets[0] = lab.nets[0].clone().with_port(6);
    lab.nets[0].ports[0].2 = vec!["10.0.0.5".to_owned()];
    lab.applied().await;
    let heir = lab.guest(0, 0);
    assert_eq!(heir.lease().expect("a lease")["ip"], "10.0.0.5");

    lab.nets[0].segment = old.segment + 1;
    lab.applied().await;
    let names = lab.network.observed().await.unwrap();
    assert!(names.contains(&format!("bridge/cnb{}", old.segment + 1)), "{names:?}");
    assert!(!names.contains(&format!("bridge/cnb{}", old.segment)), "{names:?}");
    let tap = tap_name(lab.nets[0].ports[0].0);
    sh(&format!("ip link set {tap} master {}", lab.nets[0].bridge()));
    assert!(heir.lease().is_some(), "DHCP on the new segment");
}

/// Tenants choose the MTU: one too small for IPv6 must not fail, nor let it in when it grows.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_mtu_that_grows_leaves_the_host_without_ipv6() {
    let lab = Lab::new(vec![Net::new().with_port(5)]);
    let net = &lab.nets[0];
    let with = |mtu: u32| -> Vec<Item> {
        let change = |mut item: Item| {
            item.body = item.body.replace("\"mtu\":1400", &format!("\"mtu\":{mtu}"));
            item.body = item.body.replace("\"10.0.0.2/24\"", "\"10.0.0.2/24\",\"fd00::2/64\"");
            item
        };
        net.items().into_iter().map(change).collect()
    };
    for mtu in [1000, 1500, 68, 65_535] {
        let items = with(mtu);
        wholly(&lab.network, &items).await.unwrap_or_else(|e| panic!("{mtu}: {}", e.chain()));
        for device in [net.bridge(), format!("cnv{}", net.segment)] {
            let shown = sh(&format!("ip -o address show dev {device}"));
            assert!(!shown.contains("inet"), "{mtu}: {shown}");
            assert!(sh(&format!("ip -o link show {device}")).contains(&format!("mtu {mtu} ")), "{device}");
        }
        let inside = sh(&format!("ip -n {} -o address show dev eth0", net.namespace()));
        assert!(inside.contains("10.0.0.2/24"), "{mtu}: {inside}");
        assert_eq!(inside.contains("fd00::2/64"), mtu >= 1280, "{mtu}: {inside}");
        let before = lab.fingerprint();
        wholly(&lab.network, &items).await.unwrap();
        assert_eq!(lab.fingerprint(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_goes_and_what_is_not_stays() {
    let mut lab = Lab::new(vec![Net::new().with_port(5), Net::new().with_port(5)]);
    let stranger = Net::new();
    let (namespace, table) = (stranger.namespace(), format!("canopy_{}x", lab.scope));
    for (make, clear) in [
        (
            format!("ip link add {} type bridge", stranger.bridge()),
            format!("ip link delete {}", stranger.bridge()),
        ),
        (format!("ip netns add {namespace}"), format!("ip netns delete {namespace}")),
        (format!("nft add table bridge {table}"), format!("nft delete table bridge {table}")),
        (
            format!("ip link add cnb{} type bridge", stranger.segment - 1),
            format!("ip link delete cnb{}", stranger.segment - 1),
        ),
    ] {
        sh(&make);
        lab.litter(clear);
    }
    sh(&format!("ip link set cnb{} alias canopy:{}x", stranger.segment - 1, lab.scope));
    let strangers = || {
        [
            sh(&format!("ip -j link show {}", stranger.bridge())),
            sh(&format!("ip -j link show cnb{}", stranger.segment - 1)),
            format!("{:?}", netns::identity(&netns::path(&namespace)).unwrap()),
            sh(&format!("nft list table bridge {table}")),
        ]
    };
    let before = strangers();
    lab.applied().await;
    let expected: Vec<String> = {
        let each = |net: &Net| {
            let (segment, id) = (net.segment, net.id);
            [
                format!("bridge/cnb{segment}"),
                format!("veth/cnv{segment}"),
                format!("namespace/canopy-{id}"),
                format!("dhcp/{id}"),
            ]
        };
        let mut names: Vec<String> = lab.nets.iter().flat_map(each).collect();
        names.push(format!("filter/{}", lab.table()));
        names.sort();
        names
    };
    assert_eq!(lab.network.observed().await.unwrap(), expected);

    // A name that somebody else has is refused; the others are carried out all the same.
    let segment = std::mem::replace(&mut lab.nets[0].segment, stranger.segment);
    let pid = lab.dhcp_pid(1);
    sh(&format!("kill -9 {pid}"));
    until("dnsmasq is dead", || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty()));
    let applied = lab.network.apply(&lab.items()).await.unwrap();
    let failed: Vec<_> = applied.failed.iter().map(|(network, error)| (*network, error.code)).collect();
    assert_eq!(failed, [(lab.nets[0].id, "network.name_taken")], "told of this network alone");
    assert_ne!(lab.dhcp_pid(1), pid, "the other network was repaired");
    assert_eq!(strangers(), before);
    lab.nets[0].segment = segment;
    lab.applied().await;

    // A refused plan changes nothing.
    let mut bad = lab.items();
    bad.truncate(1);
    bad.push(item("bridge@1", "x", &json!({"name": "eth0", "mtu": 1500})));
    assert_eq!(wholly(&lab.network, &bad).await.unwrap_err().code, "network.plan_invalid");
    assert_eq!(lab.network.observed().await.unwrap(), expected);

    // Another instance without any network of its own removes nothing of ours.
    let other_dir = tempfile::tempdir().unwrap();
    let other = LinuxNetwork::new(other_dir.path(), &format!("{}y", lab.scope)).unwrap();
    wholly(&other, &[]).await.unwrap();
    assert_eq!(lab.network.observed().await.unwrap(), expected);

    let pids = [lab.dhcp_pid(0), lab.dhcp_pid(1)];
    wholly(&lab.network, &[]).await.unwrap();
    assert_eq!(lab.network.observed().await.unwrap(), Vec::<String>::new());
    assert_eq!(strangers(), before);
    for net in &lab.nets {
        assert!(try_sh(&format!("ip link show {}", net.bridge())).is_none());
        assert!(try_sh(&format!("ip link show cnv{}", net.segment)).is_none());
        assert!(!netns::path(&net.namespace()).exists());
        assert!(!lab.dir.path().join(format!("dhcp/{}", net.id)).exists());
    }
    for pid in pids {
        assert!(std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty()), "{pid} lives");
    }
    assert!(try_sh(&format!("nft list table bridge {}", lab.table())).is_none());
    wholly(&lab.network, &[]).await.unwrap();
}

/// What each step of a creation leaves behind when the process is killed right after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_was_cut_short_is_finished_or_removed() {
    for cut in ["bridge", "namespace file", "namespace", "veth"] {
        let lab = Lab::new(vec![Net::new().with_port(5)]);
        let net = &lab.nets[0];
        let (bridge, namespace, veth) = (net.bridge(), net.namespace(), format!("cnv{}", net.segment));
        let announced = json!({"creating": [bridge, namespace, veth]}).to_string();
        for resume in [true, false] {
            std::fs::write(lab.dir.path().join("network.json"), &announced).unwrap();
            sh(&format!("ip link add {bridge} type bridge"));
            match cut {
                "bridge" => {}
                "namespace file" => {
                    std::fs::create_dir_all(netns::DIRECTORY).unwrap();
                    std::fs::write(netns::path(&namespace), "").unwrap();
                }
                _ => drop(sh(&format!("ip netns add {namespace}"))),
            }
            if cut == "veth" {
                sh(&format!("ip link add {veth} type veth peer name eth0 netns {namespace}"));
            }
            if resume {
                lab.applied().await;
                assert_eq!(lab.network.observed().await.unwrap().len(), 5, "{cut}");
            }
            wholly(&lab.network, &[]).await.unwrap_or_else(|e| panic!("{cut}: {}", e.chain()));
            assert!(try_sh(&format!("ip link show {bridge}")).is_none(), "{cut}");
            assert!(try_sh(&format!("ip link show {veth}")).is_none(), "{cut}");
            assert!(!netns::path(&namespace).exists(), "{cut}");
        }
        // The same without the announcement is somebody else's.
        sh(&format!("ip link add {bridge} type bridge"));
        assert_eq!(lab.apply().await.unwrap_err().code, "network.name_taken");
    }
}

/// State, scope, items, physical networks, and how often the plan is carried out before it goes.
type Life = (PathBuf, String, Vec<Item>, BTreeMap<String, String>, u32);

/// Lives through the lab's plan in a process of its own, with one more variable in its environment.
fn child(lab: &Lab, times: u32, variable: &str, value: &str) -> std::process::Output {
    let life = (lab.dir.path(), &lab.scope, lab.items(), &lab.physical, times);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "network::crash_child"]);
    command.env("CANOPY_TEST_NETWORK", serde_json::to_string(&life).unwrap());
    command.env(variable, value).output().unwrap()
}

/// The effects of such a life, in their order.
fn effects(lab: &Lab, times: u32) -> Vec<String> {
    let trace = lab.dir.path().join(format!("trace-{times}"));
    let whole = child(lab, times, "CANOPY_CRASH_TRACE", trace.to_str().unwrap());
    assert!(whole.status.success(), "{whole:?}");
    std::fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect()
}

/// Not a test by itself: the process that others crash.
#[tokio::test(flavor = "multi_thread")]
async fn crash_child() {
    let Ok(text) = std::env::var("CANOPY_TEST_NETWORK") else { return };
    let (dir, scope, items, physical, times): Life = serde_json::from_str(&text).unwrap();
    let network = Lab::executor(&dir, &scope, &Arc::default(), &physical);
    for _ in 0..times {
        wholly(&network, &items).await.unwrap();
    }
    wholly(&network, &[]).await.unwrap();
}

/// Kills the process before and after each effect of a whole life; the next one must cope.
#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_is_survived() {
    let mut lab = Lab::new(vec![Net::new().with_port(5).in_place("external", None)]);
    lab.operators_bridge("external");
    // The children listen for metadata; two at once cannot.
    let network = LinuxNetwork::new(lab.dir.path(), &lab.scope).unwrap();
    lab.network = network.with_physical_networks(lab.physical.clone()).unwrap();
    let mut points = effects(&lab, 1);
    points.sort();
    points.dedup();
    for effect in [
        "network.bridge.create",
        "network.bridge.delete",
        "network.bridge.update",
        "network.dhcp.start",
        "network.dhcp.stop",
        "network.filter.apply",
        "network.metadata.listen",
        "network.namespace.create",
        "network.namespace.delete",
        "network.namespace.update",
        "network.uplink.create",
        "network.uplink.delete",
        "network.uplink.update",
    ] {
        assert!(points.contains(&format!("after:{effect}")), "{effect} is not passed");
    }
    for point in points {
        let crashed = child(&lab, 1, "CANOPY_CRASH_AT", &point);
        assert_eq!(crashed.status.signal(), Some(SIGABRT), "{point} did not crash: {crashed:?}");
        lab.apply().await.unwrap_or_else(|e| panic!("after a crash at {point}: {}", e.chain()));
        assert_eq!(lab.network.observed().await.unwrap().len(), 6, "after a crash at {point}");
        let settled = lab.fingerprint();
        lab.applied().await;
        assert_eq!(lab.fingerprint(), settled, "after a crash at {point}");
        // From here on only removals are left, so not every point is passed again.
        let again = child(&lab, 1, "CANOPY_CRASH_AT", &point);
        let (passed, aborted) = (again.status.success(), again.status.signal() == Some(SIGABRT));
        assert!(passed || aborted, "{point}: {again:?}");
        wholly(&lab.network, &[]).await.unwrap_or_else(|e| panic!("after a crash at {point}: {}", e.chain()));
        assert_eq!(lab.network.observed().await.unwrap(), Vec::<String>::new(), "after a crash at {point}");
    }
}
