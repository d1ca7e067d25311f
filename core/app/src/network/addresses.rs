//! Giving addresses to ports. The table's key decides who gets one: a choice is only a proposal, and the
//! loser of a race proposes the next.

use super::{errors, ipv4, or_gone};
use canopy_store::Conn;
use canopy_store::ports::{self, Address};
use canopy_store::subnets::Subnet;
use canopy_types::{Error, NetworkId, PortId, Result, SubnetId};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Addresses of one port.
pub const MAX_FIXED_IPS: usize = 16;

/// One address as a client asks for it: at least one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedIp {
    pub subnet_id: Option<SubnetId>,
    pub ip: Option<IpAddr>,
}

/// From this size of its pools on, a subnet's addresses are first tried at places that the port's id names,
/// so that neither a scan of what is used nor a race for the lowest one grows with the subnet.
const LARGE: u64 = 1_024;
const PROBES: u32 = 5;
/// Free addresses that are tried after one look at what is used, and looks.
const TRIES: usize = 128;
const LOOKS: usize = 4;

/// Where a wanted address can be: its subnet, and the address itself if it was named.
fn resolve(network: NetworkId, subnets: &[Subnet], wanted: WantedIp) -> Result<(&Subnet, Option<IpAddr>)> {
    let subnet = match (wanted.subnet_id, wanted.ip) {
        (None, None) => {
            return Err(errors::invalid("IP allocation requires subnet_id or ip_address"));
        }
        (Some(id), _) => subnets.iter().find(|subnet| subnet.id == id).ok_or_else(|| {
            errors::invalid(format!(
                "Failed to create port on network {network}, because fixed_ips included invalid subnet {id}"
            ))
        })?,
        (None, Some(ip)) => subnets
            .iter()
            .find(|subnet| subnet.cidr.contains(&ip))
            .ok_or_else(|| errors::invalid_ip_for_network(ip))?,
    };
    if let Some(ip) = wanted.ip
        && !can_hold(subnet, ip)
    {
        return Err(errors::invalid_ip_for_subnet(ip));
    }
    Ok((subnet, wanted.ip))
}

fn can_hold(subnet: &Subnet, ip: IpAddr) -> bool {
    match (subnet.cidr, ip) {
        (IpNet::V4(net), IpAddr::V4(ip)) => ipv4::is_host(net, ip),
        (net, ip) => net.contains(&ip),
    }
}

/// Checks a list of wanted addresses without giving any.
pub fn check(network: NetworkId, subnets: &[Subnet], wanted: &[WantedIp]) -> Result<()> {
    if wanted.len() > MAX_FIXED_IPS {
        return Err(errors::invalid(format!(
            "Exceeded maximum amount of fixed ips per port: {MAX_FIXED_IPS}"
        )));
    }
    for (n, one) in wanted.iter().enumerate() {
        resolve(network, subnets, *one)?;
        if let Some(ip) = one.ip
            && wanted[..n].iter().any(|before| before.ip == Some(ip))
        {
            return Err(errors::bad_attribute("fixed_ips", format!("Duplicate IP address '{ip}'")));
        }
    }
    Ok(())
}

/// Gives a new port what it asks for; unasked, one address of the oldest subnet that has one free. A network
/// without subnets gives none, and that is no error.
pub async fn give(
    conn: &mut Conn,
    network: NetworkId,
    subnets: &[Subnet],
    port: PortId,
    wanted: Option<&[WantedIp]>,
) -> Result<()> {
    let Some(wanted) = wanted else {
        for subnet in subnets {
            if pick(conn, subnet, port).await?.is_some() {
                return Ok(());
            }
        }
        return if subnets.is_empty() { Ok(()) } else { Err(errors::no_addresses_left(network)) };
    };
    check(network, subnets, wanted)?;
    // The named ones first, so that none of them is picked for another entry of this list.
    for one in wanted {
        if let (subnet, Some(ip)) = resolve(network, subnets, *one)? {
            take(conn, subnet.id, ip, port).await?;
        }
    }
    for one in wanted {
        if let (subnet, None) = resolve(network, subnets, *one)? {
            pick(conn, subnet, port).await?.ok_or_else(|| errors::no_addresses_left(network))?;
        }
    }
    Ok(())
}

/// Brings a port from the addresses it has to those it asks for, keeping what fits.
pub async fn change(
    conn: &mut Conn,
    network: NetworkId,
    subnets: &[Subnet],
    port: PortId,
    has: &[Address],
    wanted: &[WantedIp],
) -> Result<()> {
    check(network, subnets, wanted)?;
    let mut spare: Vec<Address> = has.to_vec();
    let mut missing = Vec::new();
    // Named addresses choose first: an entry that names only its subnet must not keep another's.
    for named in [true, false] {
        for one in wanted.iter().filter(|one| one.ip.is_some() == named) {
            let (subnet, ip) = resolve(network, subnets, *one)?;
            let fits = |a: &Address| a.subnet_id == subnet.id && ip.is_none_or(|ip| ip == a.ip);
            match spare.iter().position(fits) {
                Some(kept) => {
                    spare.swap_remove(kept);
                }
                None => missing.push(*one),
            }
        }
    }
    for address in spare {
        ports::drop_address(conn, address, port).await?;
    }
    give(conn, network, subnets, port, Some(&missing)).await
}

async fn take(conn: &mut Conn, subnet: SubnetId, ip: IpAddr, port: PortId) -> Result<()> {
    if try_take(conn, subnet, ip, port).await? { Ok(()) } else { Err(errors::address_taken(ip, subnet)) }
}

async fn try_take(conn: &mut Conn, subnet: SubnetId, ip: IpAddr, port: PortId) -> Result<bool> {
    ports::take_address(conn, subnet, ip, port)
        .await
        .map_err(|e| or_gone(e, || errors::subnet_not_found(subnet)))
}

/// Takes a free address out of the subnet's pools: the lowest, but for large subnets.
pub async fn pick(conn: &mut Conn, subnet: &Subnet, port: PortId) -> Result<Option<IpAddr>, Error> {
    let pools = &subnet.allocation_pools;
    let size = ipv4::size(pools);
    if size > LARGE {
        for ip in probes(port, size).filter_map(|index| ipv4::nth(pools, index)) {
            if try_take(conn, subnet.id, ip, port).await? {
                return Ok(Some(ip));
            }
        }
    }
    for _ in 0..LOOKS {
        let used = ports::used_addresses(conn, subnet.id).await?;
        let mut raced = false;
        for ip in ipv4::addresses(pools).filter(|ip| !used.contains(ip)).take(TRIES) {
            if try_take(conn, subnet.id, ip, port).await? {
                return Ok(Some(ip));
            }
            raced = true;
        }
        if !raced {
            break;
        }
    }
    Ok(None)
}

/// Places in a large pool, the same for the same port.
fn probes(port: PortId, size: u64) -> impl Iterator<Item = u64> {
    let bits = port.0.as_u128();
    (0..PROBES).map(move |n| (bits >> (n * 24)) as u32).map(move |place| u64::from(place) % size)
}

/// `fa:16:3e` and three random bytes.
pub fn random_mac() -> Result<String> {
    let mut bytes = [0_u8; 3];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal("network.random", e.to_string()))?;
    let [a, b, c] = bytes;
    Ok(format!("fa:16:3e:{a:02x}:{b:02x}:{c:02x}"))
}

/// A MAC address of one station, lower case with colons.
pub fn parse_mac(text: &str) -> Result<String> {
    let bad = || {
        let shown: String = text.chars().take(64).collect();
        errors::bad_attribute("mac_address", format!("'{shown}' is not a valid MAC address"))
    };
    let lower = text.to_ascii_lowercase().replace('-', ":");
    let bytes: Vec<u8> = lower
        .split(':')
        .map(|part| {
            let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        })
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    if bytes.len() != 6 || bytes[0] & 1 == 1 || bytes.iter().all(|b| *b == 0) {
        return Err(bad());
    }
    Ok(lower)
}

/// An IPv4 address in its one spelling.
pub fn parse_ip(attribute: &str, text: &str) -> Result<IpAddr> {
    let shown: String = text.chars().take(64).collect();
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => Ok(IpAddr::V4(Ipv4Addr::from(u32::from(ip)))),
        Ok(IpAddr::V6(_)) => {
            Err(errors::bad_attribute(attribute, format!("'{shown}' does not match ip_version 4")))
        }
        Err(_) => Err(errors::bad_attribute(attribute, format!("'{shown}' is not a valid IP address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_types::Timestamp;

    fn subnet(cidr: &str) -> Subnet {
        let net = cidr.parse().unwrap();
        Subnet {
            id: SubnetId::random(),
            network_id: NetworkId::random(),
            project_id: "p".into(),
            name: String::new(),
            description: String::new(),
            cidr: IpNet::V4(net),
            gateway_ip: None,
            enable_dhcp: true,
            dns_nameservers: vec![],
            host_routes: vec![],
            allocation_pools: ipv4::default_pools(net, None),
            revision: 0,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn wanted_addresses_are_held_against_the_subnets() {
        let subnets = [subnet("10.0.0.0/24"), subnet("10.1.0.0/24")];
        let id = NetworkId::random();
        let want = |subnet: Option<SubnetId>, ip: Option<&str>| WantedIp {
            subnet_id: subnet,
            ip: ip.map(|ip| ip.parse().unwrap()),
        };
        let code = |wanted: &[WantedIp]| check(id, &subnets, wanted).map_err(|e| e.code);
        assert_eq!(code(&[want(None, Some("10.1.0.7")), want(Some(subnets[0].id), None)]), Ok(()));
        assert_eq!(code(&[want(None, None)]), Err("network.InvalidInput"));
        assert_eq!(code(&[want(Some(SubnetId::random()), None)]), Err("network.InvalidInput"));
        assert_eq!(code(&[want(None, Some("192.168.0.1"))]), Err("network.InvalidIpForNetwork"));
        assert_eq!(code(&[want(Some(subnets[0].id), Some("10.1.0.7"))]), Err("network.InvalidIpForSubnet"));
        assert_eq!(code(&[want(None, Some("10.0.0.255"))]), Err("network.InvalidIpForSubnet"));
        assert_eq!(code(&[want(None, Some("10.0.0.0"))]), Err("network.InvalidIpForSubnet"));
        let twice = [want(None, Some("10.0.0.7")), want(Some(subnets[0].id), Some("10.0.0.7"))];
        assert_eq!(code(&twice), Err("network.HTTPBadRequest"));
        assert_eq!(code(&[want(Some(subnets[0].id), None); MAX_FIXED_IPS + 1]), Err("network.InvalidInput"));
    }

    #[test]
    fn probes_stay_in_the_pool_and_follow_the_port() {
        let port = PortId::random();
        let places: Vec<u64> = probes(port, 2_000).collect();
        assert_eq!(places.len(), 5);
        assert!(places.iter().all(|place| *place < 2_000));
        assert_eq!(places, probes(port, 2_000).collect::<Vec<_>>());
    }

    #[test]
    fn mac_addresses_name_one_station_in_one_spelling() {
        assert_eq!(parse_mac("FA-16-3E-00-00-0a").unwrap(), "fa:16:3e:00:00:0a");
        for bad in [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:00:00",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "fa:16:3e:0:0:0",
            "+a:16:3e:00:00:00",
            "fa163e000000",
            "fa:16:3e:00:00:0é",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
        let mac = random_mac().unwrap();
        assert_eq!(parse_mac(&mac).unwrap(), mac);
    }
}
