//! What DHCP hands out on one network.

use crate::{Config, plan::METADATA};
use canopy_sdk::network::{Network, Port, Subnet, items};
use std::net::IpAddr;

/// The body of `dhcp@1`; `None` when no IPv4 subnet wants DHCP.
pub(crate) fn body(network: &Network, namespace: &str, config: Config) -> Option<items::Dhcp> {
    let mut served: Vec<&Subnet> =
        network.subnets.iter().filter(|subnet| subnet.enable_dhcp && subnet.cidr.address.is_ipv4()).collect();
    served.sort_by(|a, b| a.id.cmp(&b.id));
    if served.is_empty() {
        return None;
    }
    let mut hosts: Vec<items::DhcpHost> =
        network.ports.iter().flat_map(|port| leases(port, &served)).collect();
    hosts.sort_by_key(|host| host.ip);
    Some(items::Dhcp {
        namespace: namespace.to_owned(),
        mtu: network.mtu,
        domain: network.dns_domain.trim_end_matches('.').to_owned(),
        subnets: served.iter().map(|subnet| options(subnet, config)).collect(),
        hosts,
    })
}

fn options(subnet: &Subnet, config: Config) -> items::DhcpSubnet {
    let metadata = subnet
        .service_ip
        .filter(|_| config.metadata)
        .map(|service| items::Route { destination: format!("{METADATA}/32"), nexthop: service });
    // Guests reach metadata through the service's own address: no router is needed for it. An operator's
    // route to the same place would be ambiguous; ours is the one that works.
    let own = subnet
        .host_routes
        .iter()
        .filter(|route| route.destination.address.is_ipv4() && route.nexthop.is_ipv4());
    let own =
        own.map(|route| items::Route { destination: route.destination.to_string(), nexthop: route.nexthop });
    let own = own.filter(|route| metadata.as_ref().is_none_or(|m| m.destination != route.destination));
    items::DhcpSubnet {
        id: subnet.id.clone(),
        cidr: subnet.cidr.to_string(),
        gateway: subnet.gateway_ip,
        dns: subnet.dns_nameservers.iter().copied().filter(IpAddr::is_ipv4).collect(),
        routes: metadata.iter().cloned().chain(own).collect(),
    }
}

/// One lease per address of a guest's port; a port that is down gets none.
fn leases(port: &Port, served: &[&Subnet]) -> Vec<items::DhcpHost> {
    if port.server_id.is_none() || !port.admin_state_up {
        return Vec::new();
    }
    let wanted = port.fixed_ips.iter().filter(|ip| served.iter().any(|subnet| subnet.id == ip.subnet_id));
    wanted
        .filter(|ip| ip.ip_address.is_ipv4())
        .map(|ip| items::DhcpHost {
            mac: port.mac.to_ascii_lowercase(),
            ip: ip.ip_address,
            subnet_id: ip.subnet_id.clone(),
            hostname: hostname(port, ip.ip_address),
        })
        .collect()
}

/// As neutron names what has no name.
fn hostname(port: &Port, ip: IpAddr) -> String {
    if port.hostname.is_empty() {
        format!("host-{}", ip.to_string().replace('.', "-"))
    } else {
        port.hostname.clone()
    }
}
