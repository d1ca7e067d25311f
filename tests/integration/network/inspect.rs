//! A healthy network is spoiled in every way that can be told, beside strangers that look like it.

use super::lab::*;
use canopy_agent::network::{Item, NetworkExecutor, Taps, netns};
use canopy_agent_api::{HostFinding, HostKind, HostProblem, tap_name};
use canopy_types::{NetworkId, PortId};
use std::path::Path;
use {HostKind as K, HostProblem as P};

const KINDS: [K; 5] = [K::Tap, K::Bridge, K::Namespace, K::Dhcp, K::Filter];

fn taps(lab: &Lab) -> Taps {
    let mut taps = Taps::default();
    for net in &lab.nets {
        for (port, ..) in &net.ports {
            taps.wanted.insert(tap_name(*port), net.bridge());
            taps.allowed.insert(tap_name(*port));
        }
    }
    taps
}

/// What else is on this machine comes and goes: only what this test has made counts.
async fn look(lab: &Lab, items: &[Item]) -> Vec<HostFinding> {
    lab.network.inspect(items, &taps(lab)).await.unwrap_or_else(|e| panic!("{}", e.chain()))
}

fn dnsmasq(conf: &Path) {
    std::fs::create_dir_all(conf.parent().unwrap()).unwrap();
    let pid = conf.with_extension("pid");
    std::fs::write(conf, format!("port=0\npid-file={}\n", pid.display())).unwrap();
    sh(&format!("dnsmasq --conf-file={}", conf.display()));
}

fn kill(pid: &str) {
    sh(&format!("kill -9 {pid}"));
    until("it is dead", || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty()));
}

/// Spoils one thing of the first network. `true`: a repair can mean only one thing.
fn spoil(lab: &Lab, kind: K, problem: P) -> bool {
    let net = &lab.nets[0];
    let tap = tap_name(net.ports[0].0);
    let dhcp = lab.dir.path().join("dhcp");
    let mark = format!("canopy:{}", lab.scope);
    match (kind, problem) {
        (K::Tap, P::Missing) => {
            sh(&format!("ip link delete {tap}"));
            return false;
        }
        (K::Tap, P::Changed) => drop(sh(&format!("ip link set {tap} nomaster"))),
        (K::Tap, P::Extra) => {
            let extra = tap_name(PortId::random());
            lab.litter(format!("ip link delete {extra}"));
            sh(&format!("ip link add {extra} type veth"));
            sh(&format!("ip link set {extra} master {}", net.bridge()));
            return false;
        }
        (K::Bridge, P::Missing) => drop(sh(&format!("ip link delete {}", net.bridge()))),
        (K::Bridge, P::Changed) => drop(sh(&format!("ip link set {} down mtu 1300", net.bridge()))),
        (K::Bridge, P::Extra) => {
            let extra = Net::new().bridge();
            lab.litter(format!("ip link delete {extra}"));
            sh(&format!("ip link add {extra} type bridge"));
            sh(&format!("ip link set {extra} alias {mark}"));
        }
        (K::Namespace, P::Missing) => drop(sh(&format!("ip netns delete {}", net.namespace()))),
        (K::Namespace, P::Changed) => {
            sh(&format!("ip -n {} address add 10.0.0.9/24 dev eth0", net.namespace()));
        }
        (K::Namespace, P::Extra) => {
            let extra = Net::new().namespace();
            lab.litter(format!("ip netns delete {extra}"));
            sh(&format!("ip netns add {extra}"));
            sh(&format!("ip -n {extra} link set lo alias {mark}"));
        }
        (K::Dhcp, P::Missing) => kill(&lab.dhcp_pid(0).to_string()),
        (K::Dhcp, P::Changed) => {
            kill(&lab.dhcp_pid(0).to_string());
            dnsmasq(&dhcp.join(net.id.to_string()).join("other.conf"));
        }
        (K::Dhcp, P::Extra) => dnsmasq(&dhcp.join(NetworkId::random().to_string()).join("other.conf")),
        (K::Filter, P::Missing) => drop(sh(&format!("nft delete table bridge {}", lab.table()))),
        // The mark stays, so that applying the plan notices nothing.
        (K::Filter, P::Changed) => drop(sh(&format!("nft flush chain bridge {} {tap}", lab.table()))),
        (K::Filter, P::Extra) => {}
        (K::Domain | K::Disk | K::ConfigDrive | K::ImageCache, _) => unreachable!("not of the network"),
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_thing_is_found_missing_extra_and_changed_and_strangers_are_left_alone() {
    for kind in KINDS {
        for problem in [P::Missing, P::Extra, P::Changed] {
            let lab = Lab::new(vec![Net::new().with_port(5), Net::new().with_port(5)]);
            lab.applied().await;
            let guests = [lab.guest(0, 0), lab.guest(1, 0)];
            // No port is left to need the table: that is how a table can be one too many.
            let items: Vec<Item> = match (kind, problem) {
                (K::Filter, P::Extra) => {
                    lab.items().into_iter().filter(|item| item.kind != "antispoof@1").collect()
                }
                _ => {
                    assert_eq!(look(&lab, &lab.items()).await, [], "a healthy network has no findings");
                    lab.items()
                }
            };
            let strangers = Strangers::new(&lab);
            let before = strangers.seen();
            let repairable = spoil(&lab, kind, problem);
            let found = look(&lab, &items).await;
            let what = format!("{kind:?} {problem:?}: {found:#?}");
            assert!(found.iter().any(|one| (one.kind, one.problem) == (kind, problem)), "{what}");
            assert!(found.iter().all(|one| one.repairable == repairable), "{what}");
            assert_eq!(look(&lab, &items).await, found, "looking changes nothing");
            let applied = lab.network.mend(&items, &taps(&lab)).await.unwrap();
            assert!(applied.failure().is_none(), "{what} {applied:?}");
            let left = look(&lab, &items).await;
            assert_eq!(left, if repairable { vec![] } else { found.clone() }, "{what}");
            assert_eq!(strangers.seen(), before, "{what}");
            if repairable && kind != K::Filter {
                assert!(guests[0].lease().is_some(), "the guest is served again: {what}");
            }
            assert!(guests[1].lease().is_some(), "the other network never was concerned: {what}");
        }
    }
}

/// Things with our kinds of name that are not this agent's.
struct Strangers {
    bridge: String,
    tap: String,
    namespace: String,
    table: String,
}

impl Strangers {
    fn new(lab: &Lab) -> Self {
        let net = Net::new();
        let (bridge, tap, namespace) = (net.bridge(), tap_name(PortId::random()), net.namespace());
        let table = format!("canopy_{}x", lab.scope);
        for (make, clear) in [
            (format!("ip link add {bridge} type bridge"), format!("ip link delete {bridge}")),
            (format!("ip link add {tap} type veth"), format!("ip link delete {tap}")),
            (format!("ip netns add {namespace}"), format!("ip netns delete {namespace}")),
            (format!("nft add table bridge {table}"), format!("nft delete table bridge {table}")),
        ] {
            sh(&make);
            lab.litter(clear);
        }
        sh(&format!("ip link set {bridge} alias canopy:{}x", lab.scope));
        sh(&format!("ip link set {tap} master {bridge}"));
        Self { bridge, tap, namespace, table }
    }

    fn seen(&self) -> [String; 4] {
        [
            sh(&format!("ip -j link show {}", self.bridge)),
            sh(&format!("ip -j link show {}", self.tap)),
            format!("{:?}", netns::identity(&netns::path(&self.namespace)).unwrap()),
            sh(&format!("nft list table bridge {}", self.table)),
        ]
    }
}
