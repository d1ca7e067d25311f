//! From one network to its items.

use crate::{Config, dhcp};
use canopy_sdk::network::{Item, Network, Port, items};
use std::net::{IpAddr, Ipv4Addr};

/// Where guests look for metadata.
pub(crate) const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// What this backend cannot realise, in words for the client.
pub(crate) fn check(network: &Network) -> Result<(), String> {
    network.check()?;
    for subnet in &network.subnets {
        let other = |ip: &IpAddr| ip.is_ipv4() != subnet.cidr.address.is_ipv4();
        if subnet.gateway_ip.iter().chain(&subnet.service_ip).any(other) {
            return Err(format!("network {}: subnet {} mixes IPv4 and IPv6", network.id, subnet.id));
        }
    }
    Ok(())
}

/// All items of one network.
pub(crate) fn items(network: &Network, config: Config) -> Result<Vec<Item>, String> {
    check(network)?;
    let namespace = items::namespace_name(&network.id);
    let bridge = items::Bridge { name: items::bridge_name(network.segment)?, mtu: network.mtu };
    let mut plan = vec![
        items::item(items::NAMESPACE, &network.id, &foot(network, &namespace, &bridge, config)?)?,
        items::item(items::BRIDGE, &network.id, &bridge)?,
    ];
    if let Some(body) = dhcp::body(network, &namespace, config) {
        plan.push(items::item(items::DHCP, &network.id, &body)?);
    }
    if config.metadata {
        let body = items::Metadata { namespace, address: METADATA, port: 80 };
        plan.push(items::item(items::METADATA, &network.id, &body)?);
    }
    for port in network.ports.iter().filter(|port| port.server_id.is_some() && port.port_security) {
        plan.push(items::item(items::ANTISPOOF, &port.id, &items::Antispoof::of(port))?);
    }
    Ok(plan)
}

/// The namespace and its pair of devices.
fn foot(
    network: &Network,
    namespace: &str,
    bridge: &items::Bridge,
    config: Config,
) -> Result<items::Namespace, String> {
    let served = network.subnets.iter().filter_map(|s| Some(format!("{}/{}", s.service_ip?, s.cidr.prefix)));
    let mut addresses: Vec<String> = served.collect();
    addresses.sort();
    if config.metadata {
        addresses.push(format!("{METADATA}/32"));
    }
    Ok(items::Namespace {
        name: namespace.to_owned(),
        bridge: bridge.name.clone(),
        veth_host: items::veth_name(network.segment)?,
        veth_ns: "eth0".to_owned(),
        mac: service_mac(network),
        mtu: network.mtu,
        addresses,
    })
}

/// The service port's address; without such a port one derived from the network's id, so that the plan does
/// not change from call to call.
fn service_mac(network: &Network) -> String {
    let serves = |port: &&Port| {
        port.server_id.is_none()
            && port
                .fixed_ips
                .iter()
                .any(|ip| network.subnets.iter().any(|s| s.service_ip == Some(ip.ip_address)))
    };
    // The lowest id, not the first: the order of ports means nothing.
    if let Some(port) = network.ports.iter().filter(serves).min_by(|a, b| a.id.cmp(&b.id)) {
        return port.mac.to_ascii_lowercase();
    }
    let digits: Vec<char> = network.id.chars().filter(char::is_ascii_hexdigit).take(6).collect();
    // fa:16:3f is locally administered and unicast, beside the fa:16:3e that guests' addresses begin with.
    digits
        .chunks(2)
        .fold("fa:16:3f".to_owned(), |mac, pair| mac + ":" + &String::from_iter(pair))
        .to_ascii_lowercase()
}
