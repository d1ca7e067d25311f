//! What a backend sees: the networks with a port on the host, as the controller wants them.
//!
//! Ids are UUIDs with dashes. Fields that a newer core adds are ignored.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Everything that one host's plan depends on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct View {
    /// Version of this document: 1.
    pub v: u32,
    /// Networks with a port on this host.
    pub networks: Vec<Network>,
}

impl View {
    /// Reads the JSON of `plan-host`; refuses another version than 1.
    pub fn parse(json: &str) -> Result<Self, String> {
        let view: Self = serde_json::from_str(json).map_err(|e| format!("view: {e}"))?;
        if view.v == 1 { Ok(view) } else { Err(format!("view: version {} is unknown here", view.v)) }
    }
}

/// Everything that the places of networks depend on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterView {
    /// Version of this document: 1.
    pub v: u32,
    /// Those that have a place, and new ones.
    pub networks: Vec<ClusterNetwork>,
}

impl ClusterView {
    /// Reads the JSON of `plan-cluster`; refuses another version than 1.
    pub fn parse(json: &str) -> Result<Self, String> {
        let view: Self = serde_json::from_str(json).map_err(|e| format!("view: {e}"))?;
        if view.v == 1 { Ok(view) } else { Err(format!("view: version {} is unknown here", view.v)) }
    }
}

/// One network of the cloud.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterNetwork {
    /// UUID.
    pub id: String,
    /// 32 hex digits.
    pub project_id: String,
    /// Octets.
    pub mtu: i64,
    /// Its place; a new network has none.
    pub provider: Option<Provider>,
}

/// A place in the operator's own networks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Provider {
    /// As each host's `physical_networks` names it: 1 to 64 of `a-z 0-9 _`.
    pub physical_network: String,
    /// VLAN, 1 to 4094; untagged without.
    pub segmentation_id: Option<u16>,
}

/// One tenant network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Network {
    /// UUID.
    pub id: String,
    /// 32 hex digits.
    pub project_id: String,
    /// Unique small number, for names of devices.
    pub segment: i64,
    /// Octets.
    pub mtu: i64,
    /// May be empty; may end in a dot.
    pub dns_domain: String,
    /// IPv4 and IPv6 alike.
    pub subnets: Vec<Subnet>,
    /// Every port on this network and this host, guests' and services' alike.
    pub ports: Vec<Port>,
    /// Where it is in the operator's networks, as `plan-cluster` said.
    #[serde(default)]
    pub provider: Option<Provider>,
}

/// The smallest MTU that carries IPv4 (RFC 791), the largest that a bridge takes.
const MTU: std::ops::RangeInclusive<i64> = 68..=65_535;

impl Network {
    /// Refuses what no bridge can be made for, in words for the client.
    pub fn check(&self) -> Result<(), String> {
        let here = |problem: String| format!("network {}: {problem}", self.id);
        if !MTU.contains(&self.mtu) {
            let (least, most) = (MTU.start(), MTU.end());
            return Err(here(format!("an MTU of {} is not between {least} and {most}", self.mtu)));
        }
        super::items::bridge_name(self.segment).map(drop).map_err(here)
    }
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Subnet {
    /// UUID.
    pub id: String,
    /// The address range.
    pub cidr: Cidr,
    /// Nobody need serve it: then only neighbours are reachable.
    pub gateway_ip: Option<IpAddr>,
    /// Whether guests get their addresses by DHCP.
    pub enable_dhcp: bool,
    /// In the order of preference.
    pub dns_nameservers: Vec<IpAddr>,
    /// Handed to guests.
    pub host_routes: Vec<HostRoute>,
    /// The address of the DHCP and metadata services in this subnet.
    pub service_ip: Option<IpAddr>,
}

/// A route that guests of a subnet are given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: Cidr,
    /// Through whom.
    pub nexthop: IpAddr,
}

/// A connection to a network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Port {
    /// UUID.
    pub id: String,
    /// UUID.
    pub network_id: String,
    /// Six pairs of hex digits with colons.
    pub mac: String,
    /// The port's addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// A port that is down carries nothing.
    pub admin_state_up: bool,
    /// Whether the guest may send from its own addresses only.
    pub port_security: bool,
    /// The guest; absent on a service's port.
    pub server_id: Option<String>,
    /// For DHCP; may be empty.
    pub hostname: String,
}

/// One address of a port.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FixedIp {
    /// UUID.
    pub subnet_id: String,
    /// Within the subnet.
    pub ip_address: IpAddr,
}

/// An address and a prefix length, `10.0.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// As written; host bits need not be zero.
    pub address: IpAddr,
    /// Bits; at most 32 or 128.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| format!("{text:?} is not an address range such as 10.0.0.0/24"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_round_trip_and_nonsense_is_refused() {
        for good in ["10.0.0.0/24", "0.0.0.0/0", "fd00::/64", "10.0.0.9/32"] {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "fd00::/129", "/24", "10.0.0.0/24/1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_version_is_refused_and_unknown_fields_are_not() {
        assert!(View::parse(r#"{"v":2,"networks":[]}"#).unwrap_err().contains("version 2"));
        assert_eq!(View::parse(r#"{"v":1,"networks":[],"new":true}"#).unwrap().networks, []);
    }
}
