//! Arithmetic of IPv4 subnets: what a cidr, a gateway and pools may be, and what they are unasked. Pure.

use super::errors::{bad_attribute, invalid};
use canopy_store::subnets::{Pool, Route};
use canopy_types::{Error, Result, SubnetId};
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// As neutron's defaults (`max_dns_nameservers`, `max_subnet_host_routes`).
pub const MAX_NAMESERVERS: usize = 5;
pub const MAX_ROUTES: usize = 20;
pub const MAX_POOLS: usize = 32;

/// A subnet's cidr as a client gave it.
pub fn parse_cidr(text: &str) -> Result<Ipv4Net> {
    let shown: String = text.chars().take(64).collect();
    let net: IpNet =
        text.parse().map_err(|_| bad_attribute("cidr", format!("'{shown}' is not a valid IP subnet")))?;
    let IpNet::V4(net) = net else { return Err(no_ipv6()) };
    if net.trunc() != net {
        return Err(bad_attribute(
            "cidr",
            format!("'{shown}' isn't a recognized IP subnet cidr, '{}' is recommended", net.trunc()),
        ));
    }
    let address = net.network();
    if net.prefix_len() == 0 {
        return Err(invalid("0 is not allowed as CIDR prefix length"));
    }
    let (kind, odd) = match () {
        () if address.is_loopback() => ("Loopback", true),
        () if address.is_multicast() => ("Multicast", true),
        () if address.is_link_local() => ("Link-local", true),
        () if address.octets()[0] == 0 || address.octets()[0] >= 240 => ("Reserved", true),
        () => ("", false),
    };
    if odd {
        return Err(invalid(format!("{kind} IP subnet is not supported: {net}")));
    }
    // A short prefix may begin before such a range and still hold it.
    for reserved in ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"] {
        if reserved.parse::<Ipv4Net>().is_ok_and(|reserved| net.contains(&reserved)) {
            return Err(invalid(format!("the subnet {net} holds {reserved}, which guests cannot use")));
        }
    }
    Ok(net)
}

pub fn no_ipv6() -> Error {
    Error::bad_request(
        "network.InvalidInput",
        "IPv6 subnets are not offered yet: use ip_version 4 and an IPv4 cidr.",
    )
}

/// First and last address that a port may have.
pub fn hosts(net: Ipv4Net) -> (u32, u32) {
    let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
    if net.prefix_len() >= 31 { (first, last) } else { (first + 1, last - 1) }
}

pub fn is_host(net: Ipv4Net, ip: Ipv4Addr) -> bool {
    let (first, last) = hosts(net);
    (first..=last).contains(&u32::from(ip))
}

/// The first address; none where a subnet is too small to spare one.
pub fn default_gateway(net: Ipv4Net) -> Option<Ipv4Addr> {
    (net.prefix_len() <= 30).then(|| Ipv4Addr::from(hosts(net).0))
}

/// Everything but the gateway.
pub fn default_pools(net: Ipv4Net, gateway: Option<Ipv4Addr>) -> Vec<Pool> {
    let (first, last) = hosts(net);
    let pool = |start: u32, end: u32| Pool { start: ip(start), end: ip(end) };
    match gateway.map(u32::from) {
        Some(gateway) if (first..=last).contains(&gateway) => {
            let mut pools = Vec::with_capacity(2);
            if gateway > first {
                pools.push(pool(first, gateway - 1));
            }
            if gateway < last {
                pools.push(pool(gateway + 1, last));
            }
            pools
        }
        _ => vec![pool(first, last)],
    }
}

fn ip(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(number))
}

pub fn check_gateway(net: Ipv4Net, gateway: Ipv4Addr) -> Result<()> {
    if is_host(net, gateway) {
        return Ok(());
    }
    Err(invalid(format!("Gateway {gateway} is not valid on subnet {net}")))
}

/// Both ends of a pool as numbers.
pub fn bounds(pool: &Pool) -> Option<(u32, u32)> {
    match (pool.start, pool.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) if start <= end => Some((start.into(), end.into())),
        _ => None,
    }
}

/// Sorted pools, if they are sound, inside the subnet, apart from each other and from the gateway.
pub fn check_pools(net: Ipv4Net, pools: &[Pool], gateway: Option<Ipv4Addr>) -> Result<Vec<Pool>> {
    if pools.len() > MAX_POOLS {
        return Err(invalid(format!("at most {MAX_POOLS} allocation pools are allowed")));
    }
    let shown = |pool: &Pool| format!("{}-{}", pool.start, pool.end);
    let (first, last) = hosts(net);
    let mut sorted = Vec::with_capacity(pools.len());
    for pool in pools {
        let Some((start, end)) = bounds(pool) else {
            return Err(Error::bad_request(
                "network.InvalidAllocationPool",
                format!("The allocation pool {} is not valid.", shown(pool)),
            ));
        };
        if start < first || end > last {
            return Err(Error::bad_request(
                "network.OutOfBoundsAllocationPool",
                format!("The allocation pool {} spans beyond the subnet cidr {net}.", shown(pool)),
            ));
        }
        if let Some(gateway) = gateway.filter(|gateway| (start..=end).contains(&u32::from(*gateway))) {
            return Err(gateway_in_pool(gateway, pool));
        }
        sorted.push(*pool);
    }
    sorted.sort_by_key(|pool| pool.start);
    for pair in sorted.windows(2) {
        if pair[1].start <= pair[0].end {
            return Err(Error::conflict(
                "network.OverlappingAllocationPools",
                format!(
                    "Found overlapping allocation pools: {} {} for subnet {net}.",
                    shown(&pair[0]),
                    shown(&pair[1])
                ),
            ));
        }
    }
    Ok(sorted)
}

fn gateway_in_pool(gateway: Ipv4Addr, pool: &Pool) -> Error {
    Error::conflict(
        "network.GatewayConflictWithAllocationPools",
        format!("Gateway ip {gateway} conflicts with allocation pool {}-{}.", pool.start, pool.end),
    )
}

/// How many addresses the pools hold.
pub fn size(pools: &[Pool]) -> u64 {
    pools.iter().filter_map(bounds).map(|(start, end)| u64::from(end - start) + 1).sum()
}

/// The address at `index`, counted through the pools in order.
pub fn nth(pools: &[Pool], mut index: u64) -> Option<IpAddr> {
    for (start, end) in pools.iter().filter_map(bounds) {
        let size = u64::from(end - start) + 1;
        if index < size {
            return u32::try_from(index).ok().and_then(|index| start.checked_add(index)).map(ip);
        }
        index -= size;
    }
    None
}

/// All addresses of the pools, lowest first.
pub fn addresses(pools: &[Pool]) -> impl Iterator<Item = IpAddr> + '_ {
    pools.iter().filter_map(bounds).flat_map(|(start, end)| (start..=end).map(ip))
}

pub fn check_nameservers(subnet: SubnetId, servers: &[IpAddr]) -> Result<()> {
    if servers.len() > MAX_NAMESERVERS {
        return Err(Error::bad_request(
            "network.DNSNameServersExhausted",
            format!(
                "Unable to complete operation for {subnet}. The number of DNS nameservers exceeds the limit \
                 {MAX_NAMESERVERS}."
            ),
        ));
    }
    let mut seen = BTreeSet::new();
    match servers.iter().find(|server| !seen.insert(**server)) {
        Some(twice) => Err(bad_attribute("dns_nameservers", format!("Duplicate nameserver '{twice}'"))),
        None => Ok(()),
    }
}

pub fn check_routes(subnet: SubnetId, routes: &[Route]) -> Result<()> {
    if routes.len() > MAX_ROUTES {
        return Err(Error::bad_request(
            "network.HostRoutesExhausted",
            format!(
                "Unable to complete operation for {subnet}. The number of host routes exceeds the limit {MAX_ROUTES}."
            ),
        ));
    }
    let mut seen = BTreeSet::new();
    for route in routes {
        if !(route.destination.addr().is_ipv4() && route.nexthop.is_ipv4()) {
            return Err(invalid(format!("host route {} does not match ip_version 4", route.destination)));
        }
        if route.destination.trunc() != route.destination {
            return Err(invalid(format!(
                "host route {} is not a network, {} is recommended",
                route.destination,
                route.destination.trunc()
            )));
        }
        if !seen.insert((route.destination, route.nexthop)) {
            return Err(bad_attribute("host_routes", format!("Duplicate hostroute '{}'", route.destination)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn v4(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn pool(start: &str, end: &str) -> Pool {
        Pool { start: start.parse().unwrap(), end: end.parse().unwrap() }
    }

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        result.unwrap_err().code
    }

    #[test]
    fn a_cidr_is_a_network_that_guests_can_use() {
        assert_eq!(parse_cidr("10.0.0.0/24").unwrap(), net("10.0.0.0/24"));
        let host_bits = parse_cidr("10.0.0.5/24").unwrap_err();
        assert!(host_bits.message.contains("'10.0.0.0/24' is recommended"), "{}", host_bits.message);
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "x/24",
            "10.0.0.0/24 ",
            "0.0.0.0/0",
            "127.0.0.0/8",
            "224.0.0.0/4",
            "169.254.0.0/16",
            "0.0.0.0/8",
            "240.0.0.0/4",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "fd00::/64",
        ] {
            assert_eq!(parse_cidr(bad).unwrap_err().kind, canopy_types::Kind::BadRequest, "{bad}");
        }
        assert!(parse_cidr("fd00::/64").unwrap_err().message.contains("IPv6"));
        assert!(parse_cidr(&"9".repeat(100_000)).unwrap_err().message.len() < 200);
    }

    #[test]
    fn the_default_is_everything_but_the_gateway() {
        assert_eq!(default_gateway(net("10.0.0.0/24")), Some(v4("10.0.0.1")));
        assert_eq!(default_gateway(net("10.0.0.0/31")), None);
        let pools = |cidr: &str, gateway: Option<&str>| default_pools(net(cidr), gateway.map(v4));
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.1")), [pool("10.0.0.2", "10.0.0.254")]);
        assert_eq!(
            pools("10.0.0.0/24", Some("10.0.0.9")),
            [pool("10.0.0.1", "10.0.0.8"), pool("10.0.0.10", "10.0.0.254")]
        );
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.254")), [pool("10.0.0.1", "10.0.0.253")]);
        assert_eq!(pools("10.0.0.0/24", None), [pool("10.0.0.1", "10.0.0.254")]);
        assert_eq!(pools("10.0.0.0/30", Some("10.0.0.1")), [pool("10.0.0.2", "10.0.0.2")]);
        assert_eq!(pools("10.0.0.8/31", None), [pool("10.0.0.8", "10.0.0.9")]);
        assert_eq!(pools("10.0.0.8/32", None), [pool("10.0.0.8", "10.0.0.8")]);
        assert_eq!(pools("10.0.0.8/32", Some("10.0.0.8")), []);
    }

    #[test]
    fn pools_are_sound_inside_apart_and_beside_the_gateway() {
        let check = |pools: &[Pool]| check_pools(net("10.0.0.0/24"), pools, Some(v4("10.0.0.1")));
        let sorted = check(&[pool("10.0.0.20", "10.0.0.30"), pool("10.0.0.5", "10.0.0.9")]).unwrap();
        assert_eq!(sorted[0], pool("10.0.0.5", "10.0.0.9"));
        assert_eq!(code(check(&[pool("10.0.0.9", "10.0.0.5")])), "network.InvalidAllocationPool");
        assert_eq!(code(check(&[pool("10.0.0.9", "fd00::1")])), "network.InvalidAllocationPool");
        assert_eq!(code(check(&[pool("10.0.0.9", "10.0.1.5")])), "network.OutOfBoundsAllocationPool");
        assert_eq!(code(check(&[pool("10.0.0.9", "10.0.0.255")])), "network.OutOfBoundsAllocationPool");
        assert_eq!(
            code(check(&[pool("10.0.0.1", "10.0.0.5")])),
            "network.GatewayConflictWithAllocationPools"
        );
        let twice = [pool("10.0.0.5", "10.0.0.9"), pool("10.0.0.9", "10.0.0.12")];
        assert_eq!(code(check(&twice)), "network.OverlappingAllocationPools");
        let many: Vec<Pool> = (0..=MAX_POOLS).map(|_| pool("10.0.0.5", "10.0.0.5")).collect();
        assert_eq!(code(check(&many)), "network.InvalidInput");
    }

    #[test]
    fn pools_count_and_index_across_their_gaps() {
        let pools = [pool("10.0.0.5", "10.0.0.6"), pool("10.0.0.9", "10.0.0.9")];
        assert_eq!(size(&pools), 3);
        let all: Vec<IpAddr> = addresses(&pools).collect();
        assert_eq!(all, (0..3).filter_map(|n| nth(&pools, n)).collect::<Vec<_>>());
        assert_eq!(all[2].to_string(), "10.0.0.9");
        assert_eq!(nth(&pools, 3), None);
        assert_eq!(size(&[pool("0.0.0.0", "255.255.255.255")]), 1 << 32);
    }

    #[test]
    fn gateways_stand_in_their_subnet() {
        assert!(check_gateway(net("10.0.0.0/24"), v4("10.0.0.254")).is_ok());
        for bad in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "127.0.0.1"] {
            assert_eq!(code(check_gateway(net("10.0.0.0/24"), v4(bad))), "network.InvalidInput", "{bad}");
        }
    }

    #[test]
    fn nameservers_and_routes_have_bounds() {
        let id = SubnetId::random();
        let servers = |n: u8| (0..n).map(|i| IpAddr::from([8, 8, 8, i])).collect::<Vec<_>>();
        assert!(check_nameservers(id, &servers(5)).is_ok());
        assert_eq!(code(check_nameservers(id, &servers(6))), "network.DNSNameServersExhausted");
        assert_eq!(code(check_nameservers(id, &[servers(1)[0]; 2])), "network.HTTPBadRequest");
        let route = |n: u8| Route {
            destination: format!("10.{n}.0.0/16").parse().unwrap(),
            nexthop: "10.0.0.9".parse().unwrap(),
        };
        assert!(check_routes(id, &(0..20).map(route).collect::<Vec<_>>()).is_ok());
        assert_eq!(
            code(check_routes(id, &(0..21).map(route).collect::<Vec<_>>())),
            "network.HostRoutesExhausted"
        );
        assert_eq!(code(check_routes(id, &[route(1), route(1)])), "network.HTTPBadRequest");
        let six = Route { destination: "fd00::/64".parse().unwrap(), ..route(1) };
        assert_eq!(code(check_routes(id, &[six])), "network.InvalidInput");
        let bits = Route { destination: "10.0.0.1/16".parse().unwrap(), ..route(1) };
        assert_eq!(code(check_routes(id, &[bits])), "network.InvalidInput");
    }
}
