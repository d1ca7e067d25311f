//! The item kinds of version 1: what the core knows how to apply, and the shape of each body.
//!
//! Names of devices are at most 15 characters, as the kernel demands, and begin with `cn`, by which the
//! core knows its own.

use super::{Assignment, Item, Port, Provider};
use serde::Serialize;
use std::net::IpAddr;

/// A Linux bridge; the key is the network's id.
pub const BRIDGE: &str = "bridge@1";
/// A network namespace with a foot in the bridge; the key is the network's id.
pub const NAMESPACE: &str = "namespace@1";
/// DHCP served in the namespace; the key is the network's id.
pub const DHCP: &str = "dhcp@1";
/// The metadata service in the namespace; the key is the network's id.
pub const METADATA: &str = "metadata@1";
/// Source filters on a guest's device; the key is the port's id.
pub const ANTISPOOF: &str = "antispoof@1";

/// A leg of a network's bridge in the operator's own network; the key is the network's id.
pub const UPLINK: &str = "uplink@1";
/// A network's place, in what `plan-cluster` answers; the key is the network's id.
pub const SEGMENT: &str = "segment@1";

/// Body of [`BRIDGE`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bridge {
    pub name: String,
    /// Octets.
    pub mtu: i64,
}

/// Body of [`NAMESPACE`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Namespace {
    pub name: String,
    /// The bridge that `veth_host` joins.
    pub bridge: String,
    pub veth_host: String,
    /// The other end, inside the namespace.
    pub veth_ns: String,
    /// Of `veth_ns`.
    pub mac: String,
    /// Octets.
    pub mtu: i64,
    /// Of `veth_ns`, each with its prefix length.
    pub addresses: Vec<String>,
}

/// Body of [`DHCP`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dhcp {
    /// Where it serves, on `eth0`.
    pub namespace: String,
    /// Octets.
    pub mtu: i64,
    /// May be empty.
    pub domain: String,
    pub subnets: Vec<DhcpSubnet>,
    /// Who may have an address; nobody else gets one.
    pub hosts: Vec<DhcpHost>,
}

/// Options for the guests of one IPv4 subnet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DhcpSubnet {
    pub id: String,
    pub cidr: String,
    pub gateway: Option<IpAddr>,
    pub dns: Vec<IpAddr>,
    /// Classless static routes, without the default route.
    pub routes: Vec<Route>,
}

/// A classless static route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    pub destination: String,
    pub nexthop: IpAddr,
}

/// A reserved lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DhcpHost {
    pub mac: String,
    pub ip: IpAddr,
    pub subnet_id: String,
    pub hostname: String,
}

/// Body of [`METADATA`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    pub namespace: String,
    pub address: IpAddr,
    pub port: u16,
}

/// Body of [`ANTISPOOF`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Antispoof {
    /// The guest's device on the host.
    pub tap: String,
    pub mac: String,
    /// The only addresses that it may send from.
    pub ips: Vec<IpAddr>,
}

impl Antispoof {
    /// A guest may send from its own addresses only; without any, from none.
    pub fn of(port: &Port) -> Self {
        let mut ips: Vec<IpAddr> = port.fixed_ips.iter().map(|ip| ip.ip_address).collect();
        ips.sort();
        ips.dedup();
        Self { tap: tap_name(&port.id), mac: port.mac.to_ascii_lowercase(), ips }
    }
}

/// Body of [`UPLINK`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uplink {
    /// `cnu<segment>`.
    pub name: String,
    /// The bridge that it joins.
    pub bridge: String,
    /// The place that the core keeps for the network.
    pub physical_network: String,
    /// VLAN; untagged without.
    pub segmentation_id: Option<u16>,
    /// Octets.
    pub mtu: i64,
}

/// A network's place, as an answer of `plan-cluster`.
pub fn segment(network_id: &str, place: &Provider) -> Result<Assignment, String> {
    let body = serde_json::to_value(place).map_err(|e| format!("{SEGMENT} {network_id}: {e}"))?;
    Ok(Assignment { kind: SEGMENT.to_owned(), key: network_id.to_owned(), body: body.to_string() })
}

/// An item with its body as canonical JSON: keys sorted, no spaces.
pub fn item<B: Serialize>(kind: &str, key: &str, body: &B) -> Result<Item, String> {
    let body = serde_json::to_value(body).map_err(|e| format!("{kind} {key}: {e}"))?;
    Ok(Item { kind: kind.to_owned(), key: key.to_owned(), body: body.to_string() })
}

/// `cnb<segment>`; a segment of more than 12 digits has no name.
pub fn bridge_name(segment: i64) -> Result<String, String> {
    device("cnb", segment)
}

/// `cnv<segment>`: the host's end of the namespace's pair.
pub fn veth_name(segment: i64) -> Result<String, String> {
    device("cnv", segment)
}

/// `cnu<segment>`: the leg in the operator's network.
pub fn uplink_name(segment: i64) -> Result<String, String> {
    device("cnu", segment)
}

/// `canopy-<network id>`.
pub fn namespace_name(network_id: &str) -> String {
    format!("canopy-{network_id}")
}

/// `cnt` and the first 11 hex digits of the port's id: the agent names the guest's device so.
pub fn tap_name(port_id: &str) -> String {
    let digits: String = port_id.chars().filter(|c| *c != '-').take(11).collect();
    format!("cnt{digits}")
}

fn device(prefix: &str, segment: i64) -> Result<String, String> {
    let name = format!("{prefix}{segment}");
    if segment >= 0 && name.len() <= 15 {
        Ok(name)
    } else {
        Err(format!("segment {segment} is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_agree_with_the_agent() {
        // The same pair is in the tests of canopy-agent-api.
        assert_eq!(tap_name("0123abcd-ef45-4678-9abc-def012345678"), "cnt0123abcdef4");
        assert_eq!(bridge_name(999_999_999_999).unwrap().len(), 15);
        assert!(bridge_name(1_000_000_000_000).is_err());
        assert!(veth_name(-1).is_err());
    }

    #[test]
    fn bodies_are_canonical() {
        let item = item(BRIDGE, "n", &Bridge { name: "cnb1".into(), mtu: 1500 }).unwrap();
        assert_eq!(item.body, r#"{"mtu":1500,"name":"cnb1"}"#);
    }
}
