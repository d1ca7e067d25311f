//! What a plan may claim: a network's items speak of that network's segment, subnets and ports only, and a port's
//! filter of that port. A backend that mixes networks up, by mistake or on purpose, would join what belongs to two
//! tenants or let one answer for another's address; such a plan is refused whole, and the last one stays in force.

use super::items::{AntiSpoof, Dhcp, Mac, Namespace, Plan, Uplink};
use canopy_agent_api::{NetworkSpec, PortSpec, ProviderSpec, bridge_name};
use canopy_types::{Error, Kind, NetworkId, PortId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Refuses a plan that claims what is not its network's or its port's.
pub fn check(plan: &Plan, networks: &[NetworkSpec]) -> Result<(), Error> {
    owned(plan, networks).map_err(|why| {
        Error::new(
            Kind::Unprocessable,
            "network.plan_claims",
            format!("The network plugin's plan was refused and the last one stays in force: {why}."),
        )
    })
}

fn owned(plan: &Plan, networks: &[NetworkSpec]) -> Result<(), String> {
    let known: BTreeMap<NetworkId, &NetworkSpec> =
        networks.iter().map(|network| (network.id, network)).collect();
    let guests = networks.iter().flat_map(|network| &network.ports).filter(|port| port.server_id.is_some());
    let guests: BTreeSet<Mac> = guests.filter_map(mac).collect();
    let of = |id: &NetworkId| {
        known.get(id).copied().ok_or_else(|| format!("network {id} has no port on this host"))
    };
    for (id, bridge) in &plan.bridges {
        let own = bridge_name(of(id)?.segment);
        if bridge.name != own {
            return Err(format!("the bridge of network {id} is {own}, not {}", bridge.name));
        }
    }
    for (id, namespace) in &plan.namespaces {
        namespace_is_own(namespace, of(id)?, &guests)?;
    }
    for (id, dhcp) in &plan.dhcp {
        dhcp_is_own(dhcp, of(id)?)?;
    }
    for (id, metadata) in &plan.metadata {
        let network = of(id)?;
        if !serves(network, metadata.address) {
            let address = metadata.address;
            return Err(format!(
                "metadata of network {id} cannot listen on {address}: it is not a service's"
            ));
        }
    }
    for (id, uplink) in &plan.uplinks {
        uplink_is_own(uplink, of(id)?)?;
    }
    let ports: BTreeMap<PortId, &PortSpec> =
        networks.iter().flat_map(|network| &network.ports).map(|port| (port.id, port)).collect();
    for (id, filter) in &plan.antispoof {
        let port = ports.get(id).ok_or_else(|| format!("port {id} is not on this host"))?;
        filter_is_own(filter, port)?;
    }
    Ok(())
}

fn namespace_is_own(
    namespace: &Namespace,
    network: &NetworkSpec,
    guests: &BTreeSet<Mac>,
) -> Result<(), String> {
    let (id, bridge, veth) = (network.id, bridge_name(network.segment), format!("cnv{}", network.segment));
    if namespace.bridge != bridge || namespace.veth_host != veth {
        return Err(format!(
            "the services of network {id} are joined to {bridge} by {veth}, not to {} by {}",
            namespace.bridge, namespace.veth_host
        ));
    }
    if guests.contains(&namespace.mac) {
        return Err(format!("the services of network {id} claim a guest's {}", namespace.mac));
    }
    match namespace.addresses.iter().find(|address| !serves(network, address.addr())) {
        None => Ok(()),
        Some(address) => {
            Err(format!("the services of network {id} claim {address}, which is not a service's"))
        }
    }
}

fn dhcp_is_own(dhcp: &Dhcp, network: &NetworkSpec) -> Result<(), String> {
    let id = network.id;
    for subnet in &dhcp.subnets {
        if !network.subnets.iter().any(|own| own.id == subnet.id && own.cidr == subnet.cidr) {
            return Err(format!(
                "DHCP of network {id} serves {} ({}), which is not its subnet",
                subnet.id, subnet.cidr
            ));
        }
    }
    for host in &dhcp.hosts {
        let own = network.ports.iter().any(|port| {
            mac(port) == Some(host.mac)
                && port.fixed_ips.iter().any(|ip| ip.ip_address == host.ip && ip.subnet_id == host.subnet_id)
        });
        if !own {
            return Err(format!(
                "DHCP of network {id} gives {} to {}, which is no port of it",
                host.ip, host.mac
            ));
        }
    }
    Ok(())
}

/// A network is led where the core says that it is, and nowhere else.
fn uplink_is_own(uplink: &Uplink, network: &NetworkSpec) -> Result<(), String> {
    let (id, own) = (network.id, format!("cnu{}", network.segment));
    if uplink.name != own || uplink.bridge != bridge_name(network.segment) {
        return Err(format!("the leg of network {id} is {own}, not {} in {}", uplink.name, uplink.bridge));
    }
    let place = ProviderSpec {
        physical_network: uplink.physical_network.clone(),
        segmentation_id: uplink.segmentation_id,
    };
    if network.provider.as_ref() != Some(&place) {
        let shown = |place: &ProviderSpec| match place.segmentation_id {
            Some(vlan) => format!("VLAN {vlan} of {}", place.physical_network),
            None => place.physical_network.clone(),
        };
        let own = network.provider.as_ref().map_or_else(|| "nowhere outside".to_owned(), shown);
        return Err(format!("network {id} is {own}, and is led to {}", shown(&place)));
    }
    Ok(())
}

fn filter_is_own(filter: &AntiSpoof, port: &PortSpec) -> Result<(), String> {
    if mac(port) != Some(filter.mac) {
        return Err(format!("the filter of port {} lets {} through, not {}", port.id, filter.mac, port.mac));
    }
    match filter.ips.iter().find(|ip| !port.fixed_ips.iter().any(|own| own.ip_address == **ip)) {
        None => Ok(()),
        Some(ip) => {
            Err(format!("the filter of port {} lets {ip} through, which is not its address", port.id))
        }
    }
}

/// Whether services of the network may have this address: a subnet's service address, that of a service's own
/// port, or a link-local one.
fn serves(network: &NetworkSpec, address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let services = network.ports.iter().filter(|port| port.server_id.is_none());
    link_local
        || network.subnets.iter().any(|subnet| subnet.service_ip == Some(address))
        || services.flat_map(|port| &port.fixed_ips).any(|ip| ip.ip_address == address)
}

fn mac(port: &PortSpec) -> Option<Mac> {
    Mac::try_from(port.mac.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_plugin_host::Item;
    use serde_json::json;

    const NET: &str = "11111111-2222-4333-8444-555555555555";
    const OTHER: &str = "21111111-2222-4333-8444-555555555555";
    const SUBNET: &str = "31111111-2222-4333-8444-555555555555";
    const PORT: &str = "41111111-2222-4333-8444-555555555555";

    fn network(id: &str, segment: i64, port_id: &str, guest: &str) -> NetworkSpec {
        let port = |id: &str, mac: &str, ip: &str, server: Option<&str>| {
            json!({"id": id, "network_id": NET, "mac": mac, "server_id": server,
                "fixed_ips": [{"subnet_id": SUBNET, "ip_address": ip}], "admin_state_up": true,
                "port_security": true, "hostname": "h"})
        };
        let service = format!("5{}", &id[1..]);
        let ports = [
            port(&service, "fa:16:3e:00:00:01", "10.0.0.2", None),
            port(port_id, guest, "10.0.0.5", Some(NET)),
        ];
        serde_json::from_value(
            json!({"id": id, "project_id": "0".repeat(32), "segment": segment, "mtu": 1500,
            "dns_domain": "", "ports": ports, "subnets": [{"id": SUBNET, "cidr": "10.0.0.0/24",
                "gateway_ip": "10.0.0.1", "enable_dhcp": true, "dns_nameservers": [], "host_routes": [],
                "service_ip": "10.0.0.2"}],
            "provider": {"physical_network": "external", "segmentation_id": segment}}),
        )
        .unwrap()
    }

    /// Two tenants' networks with the same addresses, on two segments.
    fn networks() -> Vec<NetworkSpec> {
        vec![
            network(NET, 7, PORT, "FA:16:3E:00:00:02"),
            network(OTHER, 8, "61111111-2222-4333-8444-555555555555", "fa:16:3e:00:00:03"),
        ]
    }

    fn whole() -> Vec<Item> {
        let item = |kind: &str, key: &str, body: serde_json::Value| Item {
            kind: kind.to_owned(),
            key: key.to_owned(),
            body: body.to_string(),
        };
        let ns = format!("canopy-{NET}");
        vec![
            item("bridge@1", NET, json!({"name": "cnb7", "mtu": 1500})),
            item(
                "namespace@1",
                NET,
                json!({"name": ns, "bridge": "cnb7", "veth_host": "cnv7", "veth_ns": "eth0",
                    "mac": "fa:16:3e:00:00:01", "mtu": 1500, "addresses": ["10.0.0.2/24", "169.254.169.254/32"]}),
            ),
            item(
                "dhcp@1",
                NET,
                json!({"namespace": ns, "mtu": 1500, "domain": "",
                    "subnets": [{"id": SUBNET, "cidr": "10.0.0.0/24", "gateway": null, "dns": [], "routes": []}],
                    "hosts": [{"mac": "fa:16:3e:00:00:02", "ip": "10.0.0.5", "subnet_id": SUBNET, "hostname": "h"}]}),
            ),
            item("metadata@1", NET, json!({"namespace": ns, "address": "169.254.169.254", "port": 80})),
            item(
                "antispoof@1",
                PORT,
                json!({"tap": "cnt41111111222", "mac": "fa:16:3e:00:00:02", "ips": ["10.0.0.5"]}),
            ),
            item(
                "uplink@1",
                NET,
                json!({"name": "cnu7", "bridge": "cnb7", "physical_network": "external",
                    "segmentation_id": 7, "mtu": 1500}),
            ),
        ]
    }

    fn refusal(items: &[Item]) -> Result<(), Error> {
        check(&Plan::parse(items).unwrap(), &networks())
    }

    #[test]
    fn a_plan_about_its_own_passes() {
        refusal(&whole()).unwrap();
        check(&Plan::default(), &[]).unwrap();
    }

    #[test]
    fn anothers_segment_mac_or_address_is_refused_by_name() {
        for (kind, from, to, why) in [
            ("namespace@1", "cnv7", "cnv8", "cnv8"),
            ("namespace@1", "fa:16:3e:00:00:01", "fa:16:3e:00:00:03", "a guest's"),
            ("namespace@1", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "a guest's"),
            ("namespace@1", "10.0.0.2/24", "10.0.0.5/24", "10.0.0.5"),
            ("namespace@1", "10.0.0.2/24", "10.0.0.1/24", "10.0.0.1"),
            ("dhcp@1", "fa:16:3e:00:00:02", "fa:16:3e:00:00:03", "no port of it"),
            ("dhcp@1", "10.0.0.5", "10.0.0.6", "no port of it"),
            ("dhcp@1", "10.0.0.0/24", "10.0.0.0/16", "not its subnet"),
            ("metadata@1", "169.254.169.254", "10.0.0.5", "not a service's"),
            ("antispoof@1", "fa:16:3e:00:00:02", "fa:16:3e:00:00:03", "00:00:03 through"),
            ("antispoof@1", "10.0.0.5", "10.0.0.1", "not its address"),
            ("uplink@1", "cnu7", "cnu8", "cnu7, not cnu8"),
            ("uplink@1", "\"segmentation_id\":7", "\"segmentation_id\":8", "is VLAN 7 of external"),
            ("uplink@1", "\"segmentation_id\":7", "\"segmentation_id\":null", "led to external"),
            ("uplink@1", "external", "internal", "VLAN 7 of internal"),
        ] {
            let mut items = whole();
            let item = items.iter_mut().find(|item| item.kind == kind).unwrap();
            let changed = item.body.replacen(from, to, 1);
            assert_ne!(changed, item.body, "{from} does not occur");
            item.body = changed;
            let error = refusal(&items).unwrap_err();
            assert_eq!(error.code, "network.plan_claims");
            assert!(error.message.contains(why), "{kind} {to}: {}", error.message);
        }
    }

    #[test]
    fn another_networks_bridge_and_a_network_of_another_host_are_refused() {
        let mut items = whole();
        for item in &mut items {
            item.body = item.body.replace("cnb7", "cnb8");
        }
        assert!(refusal(&items).unwrap_err().message.contains("cnb7, not cnb8"));
        let strange = networks().split_off(1);
        assert!(check(&Plan::parse(&whole()).unwrap(), &strange).is_err());
    }
}
