//! The one suite that every network backend that ships passes, whatever it makes of a network: what the contract and the agent
//! ask of any.

use super::{built, network, runtime};
use canopy_agent::network::{items::Plan, ownership};
use canopy_agent_api::{NetworkSpec, PortSpec, ProviderSpec, bridge_name, tap_name};
use canopy_plugin_host::{ClusterNetwork, NetworkPlugin, Package, PluginHost};
use canopy_types::{NetworkId, PortId};
use serde_json::{Value, json};

struct Backend {
    name: &'static str,
    config: Value,
    /// A network that it can realise, of this segment.
    network: fn(i64) -> NetworkSpec,
}

/// With the least that each needs to be told.
fn backends() -> Vec<Backend> {
    vec![
        Backend { name: "network-bridge", config: Value::Null, network },
        Backend { name: "network-flat", config: json!({"vlans": [1, 4094]}), network: operators },
    ]
}

/// A network in the operator's own, which gives out addresses itself.
fn operators(segment: i64) -> NetworkSpec {
    let vlan = u16::try_from(segment % 4_000).unwrap_or(0) + 1;
    let mut network = network(segment);
    network.provider =
        Some(ProviderSpec { physical_network: "external".into(), segmentation_id: Some(vlan) });
    network.subnets[0].enable_dhcp = false;
    network.subnets[0].service_ip = None;
    network.ports.retain(|port| port.server_id.is_some());
    network
}

fn load(backend: &Backend) -> NetworkPlugin {
    PluginHost::new().unwrap().load_network(&built(backend.name), backend.config.clone()).unwrap()
}

fn guests(network: &NetworkSpec) -> impl Iterator<Item = &PortSpec> {
    network.ports.iter().filter(|port| port.server_id.is_some())
}

#[test]
fn each_is_fit_and_needs_no_more_than_its_manifest_says() {
    for backend in backends() {
        let package = Package::read(&built(backend.name)).unwrap();
        let found = PluginHost::new().unwrap().inspect(&package, backend.config.clone());
        assert!(found.is_fit() && found.imports.is_empty(), "{}: {found:?}", backend.name);
    }
}

#[test]
fn each_plan_is_a_set_that_the_executor_takes_and_that_claims_its_own_only() {
    for backend in backends() {
        let (name, plugin) = (backend.name, load(&backend));
        // Two tenants with the same addresses, and the longest names there are.
        let networks = vec![(backend.network)(7), (backend.network)(123_456_789_012)];
        runtime().block_on(plugin.validate(networks.clone())).unwrap();
        let items = runtime().block_on(plugin.plan_host(networks.clone())).unwrap();
        let backwards = networks.iter().rev().cloned().collect();
        assert_eq!(
            runtime().block_on(plugin.plan_host(backwards)).unwrap(),
            items,
            "{name}: a plan is a set"
        );
        let plan = Plan::parse(&items).unwrap();
        ownership::check(&plan, &networks).unwrap();
        for network in &networks {
            assert_eq!(plan.bridges[&network.id].name, bridge_name(network.segment), "{name}");
            for port in guests(network) {
                // The agent names the guest's device by the same rule.
                assert_eq!(plan.antispoof[&port.id].tap, tap_name(port.id), "{name}");
            }
        }
        assert_eq!(plan.antispoof.len(), networks.iter().flat_map(guests).count(), "{name}");
        // On a host that these networks are not on, the same plan is refused whole.
        let strange = [(backend.network)(7)];
        assert_eq!(ownership::check(&plan, &strange).unwrap_err().code, "network.plan_claims", "{name}");
        // Nothing is wanted where there is nothing.
        assert_eq!(runtime().block_on(plugin.plan_host(Vec::new())).unwrap(), [], "{name}");
    }
}

#[test]
fn each_does_without_a_filter_only_where_the_port_says_so() {
    for backend in backends() {
        let mut open = (backend.network)(7);
        open.ports.iter_mut().for_each(|port| port.port_security = false);
        let items = runtime().block_on(load(&backend).plan_host(vec![open])).unwrap();
        assert!(!items.is_empty() && items.iter().all(|item| item.kind != "antispoof@1"), "{}", backend.name);
    }
}

#[test]
fn each_refuses_with_a_reason_what_no_bridge_can_be_made_for() {
    for backend in backends() {
        let plugin = load(&backend);
        let odd = NetworkSpec { mtu: 20, ..(backend.network)(1) };
        for error in [
            runtime().block_on(plugin.validate(vec![odd.clone()])).unwrap_err(),
            runtime().block_on(plugin.plan_host(vec![odd])).unwrap_err(),
        ] {
            assert_eq!(error.code, "network.refused", "{}", backend.name);
            assert!(error.message.contains("MTU of 20"), "{}: {}", backend.name, error.message);
        }
        assert_eq!(plugin.stats().unwrap().notes().len(), 0, "{}: a refusal is no fault", backend.name);
    }
}

#[test]
fn each_plans_for_two_thousand_guests_within_its_limits() {
    for backend in backends() {
        let mut large = (backend.network)(1);
        let guest = guests(&large).next().unwrap().clone();
        for n in 0..2_000_u32 {
            let mut port = PortSpec { id: PortId::random(), ..guest.clone() };
            port.mac = format!("fa:16:3e:01:{:02x}:{:02x}", n >> 8, n & 255);
            port.fixed_ips[0].ip_address = std::net::Ipv4Addr::from(0x0a01_0000 + n).into();
            large.ports.push(port);
        }
        let items = runtime().block_on(load(&backend).plan_host(vec![large])).unwrap();
        let filters = items.iter().filter(|item| item.kind == "antispoof@1").count();
        assert_eq!(filters, 2_001, "{}", backend.name);
    }
}

#[test]
fn each_that_places_networks_gives_every_new_one_a_place_of_its_own() {
    for backend in backends() {
        let plugin = load(&backend);
        let new = || ClusterNetwork {
            id: NetworkId::random(),
            project_id: "0".repeat(32).as_str().into(),
            mtu: 1500,
            provider: None,
        };
        let mut cloud: Vec<ClusterNetwork> = (0..3).map(|_| new()).collect();
        let places = runtime().block_on(plugin.plan_cluster(cloud.clone())).unwrap();
        assert_eq!(places.len(), if plugin.places() { 3 } else { 0 }, "{}", backend.name);
        // What has a place keeps it: the next one gets another.
        for network in &mut cloud {
            network.provider = places.get(&network.id).cloned();
        }
        if plugin.places() {
            cloud.push(new());
            let next = runtime().block_on(plugin.plan_cluster(cloud)).unwrap();
            assert!(next.len() == 1 && places.values().all(|place| !next.values().any(|new| new == place)));
        }
    }
}
