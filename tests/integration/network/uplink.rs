//! Networks that are led into the operator's own: untagged and by VLAN, through a bridge that somebody else made and that
//! nobody here changes.

use super::lab::*;
use super::{LinuxNetwork, NetworkExecutor, effects};
use canopy_agent::network::Taps;
use canopy_types::Error;

/// Whether a machine in this namespace gets an answer from there.
fn reaches(namespace: &str, ip: &str) -> bool {
    try_sh(&format!("ip netns exec {namespace} busybox ping -c 1 -W 1 {ip}")).is_some()
}

/// What an operator would see of a device: all but what passes through it.
fn shown(device: &str) -> String {
    sh(&format!("ip -j link show {device}"))
}

/// Whether this kernel has VLANs. Some are built without; then what is told of them here is left out, and said so.
fn vlans() -> bool {
    let bridge = format!("opv-{:08x}", random() as u32);
    sh(&format!("ip link add {bridge} type bridge"));
    let has = try_sh(&format!("ip link add link {bridge} name {bridge}v type vlan id 7")).is_some();
    sh(&format!("ip link delete {bridge}"));
    if !has {
        eprintln!("this kernel has no VLANs: only untagged networks are tried");
    }
    has
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_in_the_operators_networks_and_in_no_others() {
    let mut nets = vec![
        Net::new().with_port(5).in_place("external", None),
        Net::new().with_port(6).in_place("dmz", None),
    ];
    if vlans() {
        nets.push(Net::new().with_port(7).in_place("external", Some(7)));
        nets.push(Net::new().with_port(8).in_place("external", Some(8)));
    }
    let mut lab = Lab::new(nets);
    let bridges = [lab.operators_bridge("external"), lab.operators_bridge("dmz")];
    lab.applied().await;
    assert_eq!(lab.network.physical_networks().await.unwrap(), ["dmz", "external"]);
    let guests: Vec<Guest> = (0..lab.nets.len()).map(|net| lab.guest(net, 0)).collect();
    guests.iter().for_each(Guest::settle);
    // In each network a machine of the operator's, which reaches the guest there and no other.
    let machines: Vec<String> = (101..)
        .zip(&lab.nets)
        .map(|(last, net)| {
            let (physical, vlan) = net.place.clone().unwrap();
            let bridge = &bridges[usize::from(physical == "dmz")];
            lab.operators_machine(bridge, vlan, &format!("10.0.0.{last}"))
        })
        .collect();
    for (machine, own) in machines.iter().zip(&guests) {
        until("the guest of this network is reached", || reaches(machine, &own.ip.to_string()));
        for other in guests.iter().filter(|other| other.ip != own.ip) {
            assert!(!reaches(machine, &other.ip.to_string()), "{} is in another network", other.ip);
        }
    }
    // The host itself has got no address in any of them by it.
    for net in &lab.nets {
        assert!(!sh(&format!("ip -o address show dev {}", net.uplink())).contains("inet"));
    }
    // A guest of a network that goes is cut off, and only that one.
    let gone = lab.nets.remove(0);
    lab.applied().await;
    assert!(try_sh(&format!("ip link show {}", gone.uplink())).is_none());
    assert!(!reaches(&machines[0], "10.0.0.5") && reaches(&machines[1], "10.0.0.6"));
    wholly(&lab.network, &[]).await.unwrap();
    assert_eq!(lab.network.observed().await.unwrap(), Vec::<String>::new());
    for bridge in bridges {
        assert!(try_sh(&format!("ip link show {bridge}")).is_some(), "the operator's own stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_as_it_is_has_no_effect_and_what_was_changed_is_put_right() {
    let vlan = vlans().then_some(7);
    let mut lab = Lab::new(vec![
        Net::new().with_port(5).in_place("external", None),
        Net::new().with_port(6).in_place("dmz", vlan),
    ]);
    lab.operators_bridge("external");
    lab.operators_bridge("dmz");
    let network = LinuxNetwork::new(lab.dir.path(), &lab.scope).unwrap();
    lab.network = network.with_physical_networks(lab.physical.clone()).unwrap();
    // Three times over costs what once does, to the last effect.
    assert_eq!(effects(&lab, 3), effects(&lab, 1));

    lab.applied().await;
    let (first, second) = (lab.nets[0].uplink(), lab.nets[1].uplink());
    let settled = lab.fingerprint();
    sh(&format!("ip link set {first} nomaster"));
    sh(&format!("ip link set {second} down"));
    let found = lab.network.inspect(&lab.items(), &Taps::default()).await.unwrap();
    let mut subjects: Vec<&str> = found.iter().map(|finding| finding.subject.as_str()).collect();
    subjects.sort_unstable();
    let mut expected = [first.as_str(), second.as_str()];
    expected.sort_unstable();
    assert_eq!(subjects, expected, "{found:?}");
    lab.applied().await;
    assert_eq!(lab.network.inspect(&lab.items(), &Taps::default()).await.unwrap(), []);
    assert_eq!(lab.fingerprint(), settled, "put right, and not made anew");
    sh(&format!("ip link delete {second}"));
    lab.applied().await;
    assert_eq!(lab.network.observed().await.unwrap().len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_ours_is_refused_and_left_alone() {
    let mut lab =
        Lab::new(vec![Net::new().in_place("external", None), Net::new().in_place("external", Some(7))]);
    let bridge = lab.operators_bridge("external");
    let (untagged, tagged) = (lab.nets[0].uplink(), lab.nets[1].uplink());
    let stranger = Net::new();
    // A bridge and pairs by our names, one with another instance's tag.
    sh(&format!("ip link add {untagged} type veth peer name {}p", &untagged[..10]));
    sh(&format!("ip link add {tagged} type bridge"));
    sh(&format!("ip link add {} type veth peer name {}p", stranger.uplink(), &stranger.uplink()[..10]));
    sh(&format!("ip link set {} alias canopy:{}x", stranger.uplink(), lab.scope));
    for device in [&untagged, &tagged, &stranger.uplink()] {
        lab.litter(format!("ip link delete {device}"));
    }
    let devices = [untagged.clone(), tagged.clone(), stranger.uplink(), bridge];
    let before: Vec<String> = devices.iter().map(|device| shown(device)).collect();
    let applied = lab.network.apply(&lab.items()).await.unwrap();
    let codes: Vec<&str> = applied.failed.values().map(|error: &Error| error.code).collect();
    assert_eq!(codes, ["network.name_taken"; 2]);
    wholly(&lab.network, &[]).await.unwrap();
    let after: Vec<String> = devices.iter().map(|device| shown(device)).collect();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_host_is_not_in_fails_alone_and_says_what_to_do() {
    let mut lab =
        Lab::new(vec![Net::new().with_port(5).in_place("dmz", None), Net::new().in_place("external", None)]);
    lab.operators_bridge("external");
    lab.physical.insert("gone".into(), "opb-none".into());
    lab.network = Lab::executor(lab.dir.path(), &lab.scope, &lab.guests, &lab.physical);
    // Not said of a host whose bridge is not there.
    assert_eq!(lab.network.physical_networks().await.unwrap(), ["external"]);
    let applied = lab.network.apply(&lab.items()).await.unwrap();
    let failed: Vec<_> = applied.failed.iter().map(|(id, error)| (*id, error.code)).collect();
    assert_eq!(failed, [(lab.nets[0].id, "network.physical_network")]);
    assert!(applied.failure().unwrap().message.contains("[agent.physical_networks]"));
}
