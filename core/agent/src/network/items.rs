//! The kinds of item this host can carry out, as checked types.
//!
//! A plugin is not trusted: a body with an unknown field, or a name that is not of our pattern, is
//! refused, so that no plan can reach something that is not ours. What a *tenant* may choose (host
//! names, domains, routes) never makes a plan invalid, because one tenant would then block the others;
//! it is checked where it is used and left out when unusable.

use canopy_agent_api::{is_physical_network, tap_name};
use canopy_plugin_host::network::Item;
use canopy_types::{Error, Kind, NetworkId, PortId, SubnetId};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// More items than this in one plan are refused.
pub const MAX_ITEMS: usize = 20_000;
/// Longest body of one item, bytes.
pub const MAX_BODY: usize = 4 << 20;
/// Longest name of a network interface in Linux.
const MAX_IFNAME: usize = 15;
/// Addresses in one namespace or port.
const MAX_ADDRESSES: usize = 256;
/// Hosts in one network's DHCP.
const MAX_HOSTS: usize = 16_384;
const MAX_SUBNETS: usize = 256;

/// `bridge@1`: an L2 segment in the root namespace, without addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// `cnb<segment>`.
    pub name: String,
    /// Bytes.
    pub mtu: u32,
}

/// `namespace@1`: where a network's services live, joined to its bridge by a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// `canopy-<network id>`.
    pub name: String,
    pub bridge: String,
    /// `cnv<segment>`.
    pub veth_host: String,
    pub veth_ns: String,
    pub mac: Mac,
    pub mtu: u32,
    /// Addresses with their prefix length, all on `veth_ns`.
    pub addresses: Vec<IpNet>,
}

/// `dhcp@1`: one DHCP server in the network's namespace, for known hosts only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    pub namespace: String,
    pub mtu: u32,
    pub domain: String,
    pub subnets: Vec<DhcpSubnet>,
    pub hosts: Vec<DhcpHost>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpSubnet {
    pub id: SubnetId,
    pub cidr: IpNet,
    pub gateway: Option<IpAddr>,
    pub dns: Vec<IpAddr>,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpHost {
    pub mac: Mac,
    pub ip: IpAddr,
    pub subnet_id: SubnetId,
    pub hostname: String,
}

/// `metadata@1`: the metadata service listens here, inside the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub namespace: String,
    pub address: IpAddr,
    pub port: u16,
}

/// `antispoof@1`: what may come in from one port's tap.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AntiSpoof {
    /// [`tap_name`] of the port.
    pub tap: String,
    pub mac: Mac,
    pub ips: Vec<IpAddr>,
}

/// `uplink@1`: a leg of a network's bridge in one of the operator's own networks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// `cnu<segment>`.
    pub name: String,
    pub bridge: String,
    /// Of those that this host's configuration names.
    pub physical_network: String,
    /// VLAN; untagged without.
    pub segmentation_id: Option<u16>,
    /// Bytes.
    pub mtu: u32,
}

/// A unicast Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl TryFrom<String> for Mac {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut octets = [0_u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or("a MAC address has six octets")?;
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *octet = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or("an octet is two hex digits")?;
        }
        if parts.next().is_some() {
            return Err("a MAC address has six octets");
        }
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err("a port's MAC address is unicast and not zero");
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A whole, checked plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub bridges: BTreeMap<NetworkId, Bridge>,
    pub namespaces: BTreeMap<NetworkId, Namespace>,
    pub dhcp: BTreeMap<NetworkId, Dhcp>,
    pub metadata: BTreeMap<NetworkId, Metadata>,
    pub antispoof: BTreeMap<PortId, AntiSpoof>,
    pub uplinks: BTreeMap<NetworkId, Uplink>,
}

impl Plan {
    /// Checks every item and how they fit together.
    pub fn parse(items: &[Item]) -> Result<Self, Error> {
        if items.len() > MAX_ITEMS {
            return Err(invalid(format!("it has {} items, at most {MAX_ITEMS} are allowed", items.len())));
        }
        let mut plan = Self::default();
        for item in items {
            plan.add(item).map_err(|why| {
                let key: String = item.key.chars().take(64).collect();
                invalid(format!("{} {key:?}: {why}", item.kind))
            })?;
        }
        plan.check_references().map_err(invalid)?;
        Ok(plan)
    }

    fn add(&mut self, item: &Item) -> Result<(), String> {
        let fresh = match item.kind.as_str() {
            "bridge@1" => self.bridges.insert(id(&item.key)?, body::<Bridge>(item)?.checked()?).is_none(),
            "namespace@1" => {
                let network = id(&item.key)?;
                self.namespaces.insert(network, body::<Namespace>(item)?.checked(network)?).is_none()
            }
            "dhcp@1" => {
                let network = id(&item.key)?;
                self.dhcp.insert(network, body::<Dhcp>(item)?.checked(network)?).is_none()
            }
            "metadata@1" => {
                let network = id(&item.key)?;
                self.metadata.insert(network, body::<Metadata>(item)?.checked(network)?).is_none()
            }
            "antispoof@1" => {
                let port = id(&item.key)?;
                self.antispoof.insert(port, body::<AntiSpoof>(item)?.checked(port)?).is_none()
            }
            "uplink@1" => self.uplinks.insert(id(&item.key)?, body::<Uplink>(item)?.checked()?).is_none(),
            _ => return Err("this agent does not know the kind; update the agent or the plugin".to_owned()),
        };
        fresh.then_some(()).ok_or_else(|| "the key appears twice".to_owned())
    }

    fn check_references(&self) -> Result<(), String> {
        unique("bridge", self.bridges.values().map(|b| &b.name))?;
        unique("veth", self.namespaces.values().map(|n| &n.veth_host))?;
        unique("tap", self.antispoof.values().map(|a| &a.tap))?;
        for (network, namespace) in &self.namespaces {
            if self.bridges.get(network).is_none_or(|b| b.name != namespace.bridge) {
                return Err(format!("{} is joined to a bridge that is not its network's", namespace.name));
            }
        }
        for (network, uplink) in &self.uplinks {
            if self.bridges.get(network).is_none_or(|b| b.name != uplink.bridge) {
                return Err(format!("{} joins a bridge that is not its network's", uplink.name));
            }
        }
        unique("uplink", self.uplinks.values().map(|u| &u.name))?;
        // Two networks in one place would be one.
        let places = self.uplinks.values().map(|u| (&u.physical_network, u.segmentation_id));
        if places.collect::<BTreeSet<_>>().len() < self.uplinks.len() {
            return Err("two networks are in the same place of a physical network".to_owned());
        }
        for network in self.dhcp.keys().chain(self.metadata.keys()) {
            if !self.namespaces.contains_key(network) {
                return Err(format!("network {network} has services but no namespace"));
            }
        }
        Ok(())
    }
}

impl Bridge {
    fn checked(self) -> Result<Self, String> {
        if !is_bridge_name(&self.name) {
            return Err(format!("{:?} is not a name of ours (cnb<segment>)", self.name));
        }
        check_mtu(self.mtu)?;
        Ok(self)
    }
}

impl Namespace {
    fn checked(self, network: NetworkId) -> Result<Self, String> {
        check_namespace(&self.name, network)?;
        if !is_bridge_name(&self.bridge) || !is_veth_name(&self.veth_host) {
            return Err("bridge and veth_host must be names of ours (cnb<segment>, cnv<segment>)".to_owned());
        }
        let inner = &self.veth_ns;
        if inner.is_empty()
            || inner.len() > MAX_IFNAME
            || inner == "lo"
            || inner == "all"
            || inner == "default"
            || !inner.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(format!("{inner:?} cannot name the interface in the namespace"));
        }
        check_mtu(self.mtu)?;
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(format!("at most {MAX_ADDRESSES} addresses are allowed"));
        }
        Ok(self)
    }
}

impl Dhcp {
    fn checked(self, network: NetworkId) -> Result<Self, String> {
        check_namespace(&self.namespace, network)?;
        check_mtu(self.mtu)?;
        if self.subnets.len() > MAX_SUBNETS || self.hosts.len() > MAX_HOSTS {
            return Err(format!("at most {MAX_SUBNETS} subnets and {MAX_HOSTS} hosts are allowed"));
        }
        Ok(self)
    }
}

impl Metadata {
    fn checked(self, network: NetworkId) -> Result<Self, String> {
        check_namespace(&self.namespace, network)?;
        if self.port == 0 || self.address.is_unspecified() || self.address.is_multicast() {
            return Err("a metadata service listens on one address and a port above 0".to_owned());
        }
        Ok(self)
    }
}

impl AntiSpoof {
    fn checked(self, port: PortId) -> Result<Self, String> {
        let tap = tap_name(port);
        if self.tap != tap {
            return Err(format!("the tap of the port is {tap}, not {:?}", self.tap));
        }
        if self.ips.len() > MAX_ADDRESSES {
            return Err(format!("at most {MAX_ADDRESSES} addresses are allowed"));
        }
        Ok(self)
    }
}

impl Uplink {
    fn checked(self) -> Result<Self, String> {
        if !is_bridge_name(&self.bridge) || !is_uplink_name(&self.name) {
            return Err("name and bridge must be names of ours (cnu<segment>, cnb<segment>)".to_owned());
        }
        if !is_physical_network(&self.physical_network) {
            return Err("a physical network is named by 1 to 64 of a-z, 0-9 and _".to_owned());
        }
        if self.segmentation_id.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err("a VLAN is 1 to 4094".to_owned());
        }
        check_mtu(self.mtu)?;
        Ok(self)
    }

    /// The other end of an untagged leg, which joins the operator's bridge: `cnp<segment>`.
    pub fn peer(&self) -> String {
        self.name.replacen("cnu", "cnp", 1)
    }
}

/// `cnu<segment>`.
pub fn is_uplink_name(name: &str) -> bool {
    has_segment(name, "cnu")
}

/// `cnb<segment>`.
pub fn is_bridge_name(name: &str) -> bool {
    has_segment(name, "cnb")
}

/// `cnv<segment>`.
pub fn is_veth_name(name: &str) -> bool {
    has_segment(name, "cnv")
}

/// The network whose namespace has this name, if it is a name of ours.
pub fn namespace_network(name: &str) -> Option<NetworkId> {
    name.strip_prefix("canopy-").and_then(|rest| id(rest).ok())
}

fn has_segment(name: &str, prefix: &str) -> bool {
    name.len() <= MAX_IFNAME
        && name
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn check_namespace(name: &str, network: NetworkId) -> Result<(), String> {
    if namespace_network(name) == Some(network) {
        return Ok(());
    }
    Err(format!("the namespace must be canopy-{network}"))
}

fn check_mtu(mtu: u32) -> Result<(), String> {
    if (68..=65_535).contains(&mtu) { Ok(()) } else { Err(format!("an MTU is 68 to 65535, not {mtu}")) }
}

/// Only the canonical spelling: others would give one thing two names.
fn id<T: std::str::FromStr + fmt::Display>(text: &str) -> Result<T, String> {
    text.parse::<T>()
        .ok()
        .filter(|id| id.to_string() == text)
        .ok_or_else(|| "the key must be a lower-case UUID with dashes".to_owned())
}

fn body<T: DeserializeOwned>(item: &Item) -> Result<T, String> {
    if item.body.len() > MAX_BODY {
        return Err(format!("the body has {} bytes, at most {MAX_BODY} are allowed", item.body.len()));
    }
    serde_json::from_str(&item.body).map_err(|e| format!("the body does not fit the kind: {e}"))
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("two items name the {what} {name}"));
        }
    }
    Ok(())
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::new(
        Kind::Unprocessable,
        "network.plan_invalid",
        format!("The network plugin's plan was refused and the last one stays in force: {why}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &str = "11111111-2222-4333-8444-555555555555";

    fn item(kind: &str, key: &str, body: &str) -> Item {
        Item { kind: kind.to_owned(), key: key.to_owned(), body: body.to_owned() }
    }

    fn whole() -> Vec<Item> {
        let ns = format!("canopy-{NET}");
        vec![
            item("bridge@1", NET, r#"{"name":"cnb7","mtu":1500}"#),
            item(
                "namespace@1",
                NET,
                &format!(
                    r#"{{"name":"{ns}","bridge":"cnb7","veth_host":"cnv7","veth_ns":"eth0","mac":"fa:16:3e:00:00:01","mtu":1500,"addresses":["10.0.0.2/24","169.254.169.254/32"]}}"#
                ),
            ),
            item(
                "dhcp@1",
                NET,
                &format!(
                    r#"{{"namespace":"{ns}","mtu":1500,"domain":"","subnets":[{{"id":"{NET}","cidr":"10.0.0.0/24","gateway":null,"dns":[],"routes":[]}}],"hosts":[{{"mac":"fa:16:3e:00:00:02","ip":"10.0.0.5","subnet_id":"{NET}","hostname":"a,b\n"}}]}}"#
                ),
            ),
            item(
                "metadata@1",
                NET,
                &format!(r#"{{"namespace":"{ns}","address":"169.254.169.254","port":80}}"#),
            ),
            item(
                "antispoof@1",
                NET,
                r#"{"tap":"cnt11111111222","mac":"fa:16:3e:00:00:02","ips":["10.0.0.5"]}"#,
            ),
            item(
                "uplink@1",
                NET,
                r#"{"name":"cnu7","bridge":"cnb7","physical_network":"external","segmentation_id":9,"mtu":1500}"#,
            ),
        ]
    }

    #[test]
    fn a_whole_plan_parses() {
        let plan = Plan::parse(&whole()).unwrap();
        assert_eq!(plan.bridges.len() + plan.namespaces.len() + plan.dhcp.len(), 3);
        assert_eq!(plan.antispoof.values().next().unwrap().mac.to_string(), "fa:16:3e:00:00:02");
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        for (kind, from, to) in [
            ("bridge@1", "cnb7", "eth0"),
            ("bridge@1", "cnb7", "cnb"),
            ("bridge@1", "cnb7", "cnb7 type"),
            ("bridge@1", "cnb7", "cnb1234567890123"),
            ("namespace@1", "cnv7", "docker0"),
            ("namespace@1", "canopy-1", "canopy-2"),
            ("namespace@1", "\"eth0\"", "\"../x\""),
            ("namespace@1", "\"eth0\"", "\"lo\""),
            ("dhcp@1", "canopy-1", "../1"),
            ("antispoof@1", "cnt1", "vnet0"),
            ("antispoof@1", "cnt11111111222", "cnt11111111223"),
            ("uplink@1", "cnu7", "cnb7"),
            ("uplink@1", "cnu7", "eth0"),
            ("uplink@1", "cnb7", "br0"),
            ("uplink@1", "cnb7", "cnb8"),
            ("uplink@1", "external", "br0 up"),
            ("uplink@1", "\"segmentation_id\":9", "\"segmentation_id\":4095"),
        ] {
            let mut items = whole();
            let item = items.iter_mut().find(|i| i.kind == kind).unwrap();
            let changed = item.body.replacen(from, to, 1);
            assert_ne!(changed, item.body, "{from} does not occur");
            item.body = changed;
            let error = Plan::parse(&items).unwrap_err();
            assert_eq!(error.code, "network.plan_invalid", "{kind} {from} -> {to}");
        }
    }

    #[test]
    fn unknown_kinds_fields_and_bad_values_are_refused() {
        for (kind, key, body) in [
            ("router@1", NET, "{}"),
            ("bridge@2", NET, r#"{"name":"cnb7","mtu":1500}"#),
            ("bridge@1", "11111111222243338444555555555555", r#"{"name":"cnb7","mtu":1500}"#),
            ("bridge@1", NET, r#"{"name":"cnb7","mtu":1500,"vlan":1}"#),
            ("bridge@1", NET, r#"{"name":"cnb7","mtu":67}"#),
            ("bridge@1", NET, r#"{"name":"cnb7","mtu":-1}"#),
            ("bridge@1", NET, "not json"),
            ("antispoof@1", NET, r#"{"tap":"cnt11111111222","mac":"01:00:5e:00:00:01","ips":[]}"#),
            ("antispoof@1", NET, r#"{"tap":"cnt11111111222","mac":"fa:16:3e:0:0:1","ips":[]}"#),
            ("antispoof@1", NET, r#"{"tap":"cnt11111111222","mac":"fa:16:3e:00:00:01","ips":["::/0"]}"#),
        ] {
            assert!(Plan::parse(&[item(kind, key, body)]).is_err(), "{kind} {body}");
        }
    }

    #[test]
    fn items_must_fit_together() {
        let mut without_namespace = whole();
        without_namespace.retain(|i| i.kind != "namespace@1");
        assert!(Plan::parse(&without_namespace).is_err());

        let mut without_bridge = whole();
        without_bridge.retain(|i| i.kind != "bridge@1");
        assert!(Plan::parse(&without_bridge).is_err());

        let mut twice = whole();
        twice.push(twice[0].clone());
        assert!(Plan::parse(&twice).is_err());

        let mut shared_name = whole();
        let other = NetworkId::random().to_string();
        shared_name.push(Item { key: other, ..shared_name[0].clone() });
        assert!(Plan::parse(&shared_name).is_err());
    }
}
