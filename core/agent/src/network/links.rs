//! What interfaces there are, as `ip` tells it, and whose they are.

use crate::network::pending::Pending;
use crate::network::run;
use canopy_types::{Error, Kind};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One interface. Fields that a kind of interface lacks have their default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Link {
    pub ifname: String,
    pub ifindex: u32,
    /// Index of the other end of a veth pair, in that end's namespace.
    pub link_index: Option<u32>,
    /// The device that a VLAN is on, or the other end of a veth pair, where that is in the same namespace.
    pub link: Option<String>,
    pub ifalias: Option<String>,
    pub mtu: u32,
    pub flags: Vec<String>,
    pub address: String,
    /// The bridge it is joined to.
    pub master: Option<String>,
    pub linkinfo: LinkInfo,
    pub addr_info: Vec<Address>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LinkInfo {
    pub info_kind: String,
    pub info_data: BridgeInfo,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BridgeInfo {
    /// VLAN of a VLAN device.
    pub id: Option<u64>,
    pub forward_delay: Option<u64>,
    pub stp_state: Option<u64>,
    pub mcast_snooping: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Address {
    pub local: Option<IpAddr>,
    pub prefixlen: u8,
    pub scope: String,
}

impl Link {
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|f| f == "UP")
    }

    /// The addresses that somebody configured: link-local IPv6 ones come by themselves.
    pub fn addresses(&self) -> Vec<IpNet> {
        let chosen = |a: &&Address| !(a.scope == "link" && a.local.is_some_and(|ip| ip.is_ipv6()));
        self.addr_info.iter().filter(chosen).filter_map(|a| IpNet::new(a.local?, a.prefixlen).ok()).collect()
    }
}

/// Interfaces by name.
pub type Links = BTreeMap<String, Link>;

/// The interfaces of this namespace, or of a named one (then with addresses).
pub async fn read(namespace: Option<&str>) -> Result<Links, Error> {
    let listing = match namespace {
        Some(name) => run::run("ip", &["-n", name, "-j", "-d", "address", "show"], "").await?,
        None => run::run("ip", &["-j", "-d", "link", "show"], "").await?,
    };
    let links: Vec<Link> = parse(&listing)?;
    Ok(links.into_iter().filter(|l| !l.ifname.is_empty()).map(|l| (l.ifname.clone(), l)).collect())
}

/// Parses what a program listed; nothing at all is an empty list.
fn parse<T: DeserializeOwned + Default>(listing: &str) -> Result<T, Error> {
    if listing.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(listing).map_err(|e| {
        Error::new(Kind::Internal, "network.listing", "The host's network devices could not be read.")
            .with_source(e)
    })
}

/// Whose a thing with one of our names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Ours,
    /// Of another instance, or of somebody who likes our names.
    Foreign,
}

/// Decides by the tag; a thing without a tag is ours only while we are creating it.
pub fn owner(name: &str, alias: Option<&str>, tag: &str, pending: &Pending) -> Owner {
    match alias {
        Some(alias) if alias == tag => Owner::Ours,
        None | Some("") if pending.contains(name) => Owner::Ours,
        _ => Owner::Foreign,
    }
}

/// The error for a name that somebody else uses.
pub fn taken(what: &str, name: &str) -> Error {
    Error::conflict(
        "network.name_taken",
        format!(
            "The {what} {name} exists on this host and is not this agent's. Remove it, or give each agent on the host a network_scope of its own."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ip_prints() {
        let listing = r#"[{"ifindex":6,"link_index":2,"ifname":"cnv9","flags":["BROADCAST","UP"],"mtu":1400,
            "ifalias":"canopy:x","master":"cnb9","address":"fe:fb:45:63:4a:5b","linkinfo":{"info_kind":"veth"},
            "addr_info":[{"family":"inet","local":"10.0.0.2","prefixlen":24,"scope":"global"},
                         {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},
            {"ifname":"cnb9","linkinfo":{"info_kind":"bridge","info_data":{"forward_delay":0,"stp_state":0,"mcast_snooping":1,"bridge_id":"x"}}},{}]"#;
        let links: Vec<Link> = parse(listing).unwrap();
        assert!(links[0].is_up());
        assert_eq!(links[0].addresses(), ["10.0.0.2/24".parse::<IpNet>().unwrap()]);
        assert_eq!(links[1].linkinfo.info_data.mcast_snooping, Some(1));
        assert_eq!(parse::<Vec<Link>>("").unwrap(), []);
        assert!(parse::<Vec<Link>>("[").is_err());
    }

    #[tokio::test]
    async fn only_our_tag_or_our_unfinished_name_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let mut pending = Pending::load(dir.path()).await.unwrap();
        pending.add("cnb1");
        let whose = |name, alias| owner(name, alias, "canopy:a", &pending);
        assert_eq!(whose("cnb2", Some("canopy:a")), Owner::Ours);
        assert_eq!(whose("cnb2", Some("canopy:ab")), Owner::Foreign);
        assert_eq!(whose("cnb2", None), Owner::Foreign);
        assert_eq!(whose("cnb1", None), Owner::Ours);
        assert_eq!(whose("cnb1", Some("somebody")), Owner::Foreign);
    }
}
