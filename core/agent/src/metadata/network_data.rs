//! `network_data.json`: links, addresses, routes and resolvers, as nova describes them to a guest.

use canopy_agent_api::{HostRoute, NetworkSpec, PortSpec, ServerSpec, SubnetSpec, tap_name};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn build(spec: &ServerSpec, networks: &[NetworkSpec]) -> Value {
    let (mut links, mut entries, mut resolvers) = (Vec::new(), Vec::new(), BTreeSet::new());
    for port in &spec.ports {
        let Some(network) = networks.iter().find(|n| n.id == port.network_id) else { continue };
        let link = tap_name(port.id);
        links.push(json!({
            "id": link,
            "vif_id": port.id.to_string(),
            "type": "bridge",
            "mtu": network.mtu,
            "ethernet_mac_address": port.mac,
        }));
        for (ip, subnet) in addresses(port, network) {
            resolvers.extend(subnet.dns_nameservers.iter().copied());
            let mut entry = address(ip, subnet);
            entry["id"] = format!("network{}", entries.len()).into();
            entry["link"] = link.as_str().into();
            entry["network_id"] = network.id.to_string().into();
            entries.push(entry);
        }
    }
    let services: Vec<Value> = resolvers.iter().map(dns).collect();
    json!({ "links": links, "networks": entries, "services": services })
}

fn addresses<'a>(
    port: &'a PortSpec,
    network: &'a NetworkSpec,
) -> impl Iterator<Item = (IpAddr, &'a SubnetSpec)> {
    port.fixed_ips.iter().filter_map(|fixed| {
        let subnet = network.subnets.iter().find(|s| s.id == fixed.subnet_id)?;
        Some((fixed.ip_address, subnet))
    })
}

fn address(ip: IpAddr, subnet: &SubnetSpec) -> Value {
    if ip.is_ipv4() && subnet.enable_dhcp {
        return json!({ "type": "ipv4_dhcp" });
    }
    let default = if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    let gateway = subnet
        .gateway_ip
        .into_iter()
        .filter_map(|nexthop| Some(HostRoute { destination: default.parse().ok()?, nexthop }));
    let routes: Vec<Value> = gateway
        .chain(subnet.host_routes.iter().cloned())
        .map(|route| {
            json!({
                "network": route.destination.network().to_string(),
                "netmask": route.destination.netmask().to_string(),
                "gateway": route.nexthop.to_string(),
            })
        })
        .collect();
    json!({
        "type": if ip.is_ipv4() { "ipv4" } else { "ipv6" },
        "ip_address": ip.to_string(),
        "netmask": subnet.cidr.netmask().to_string(),
        "routes": routes,
        "services": subnet.dns_nameservers.iter().map(dns).collect::<Vec<_>>(),
    })
}

fn dns(address: &IpAddr) -> Value {
    json!({ "type": "dns", "address": address.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn dhcp_is_left_to_dhcp_and_a_static_subnet_is_spelled_out() {
        let (spec, mut networks) = testing::spec_with_network();
        let with = build(&spec, &networks);
        assert_eq!(with["networks"][0]["type"], "ipv4_dhcp");
        assert_eq!(with["networks"][0]["link"], with["links"][0]["id"]);
        assert_eq!(with["links"][0]["ethernet_mac_address"], spec.ports[0].mac);
        assert_eq!(with["services"], json!([{ "type": "dns", "address": "9.9.9.9" }]));

        let subnet = &mut networks[0].subnets[0];
        subnet.enable_dhcp = false;
        subnet.host_routes.push(HostRoute {
            destination: "192.168.7.0/24".parse().unwrap(),
            nexthop: "10.0.0.7".parse().unwrap(),
        });
        let without = build(&spec, &networks);
        let entry = &without["networks"][0];
        assert_eq!(entry["type"], "ipv4");
        assert_eq!(entry["ip_address"], "10.0.0.5");
        assert_eq!(entry["netmask"], "255.255.255.0");
        assert_eq!(entry["routes"][0]["gateway"], "10.0.0.1");
        assert_eq!(entry["routes"][0]["netmask"], "0.0.0.0");
        assert_eq!(entry["routes"][1]["network"], "192.168.7.0");
        assert_eq!(build(&spec, &[])["links"], json!([]));
    }
}
