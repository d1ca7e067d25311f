//! One network's dnsmasq configuration, as text.
//!
//! Static hosts only: an address is given to the port it belongs to, and strangers get no answer. Host
//! names and domains come from tenants; one that is not plain letters, digits, hyphens and dots is left
//! out, so nothing a tenant types can add a line or a field here.

use crate::network::items::{Dhcp, DhcpHost, DhcpSubnet, Route};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Seconds. A client renews after half of it.
const LEASE: u32 = 86_400;
/// Longest value of a DHCP option, bytes.
const MAX_OPTION: usize = 255;
/// More name servers do not fit in one option.
const MAX_DNS: usize = MAX_OPTION / 4;

/// The configuration, or `None` when no subnet has IPv4 and there is nothing to serve.
pub fn render(dhcp: &Dhcp, interface: &str, pid_file: &Path) -> Option<String> {
    let subnets: BTreeMap<_, _> = dhcp
        .subnets
        .iter()
        .filter_map(|s| matches!(s.cidr, IpNet::V4(_)).then_some((s.id, s)))
        .enumerate()
        .map(|(index, (id, subnet))| (id, (index, subnet)))
        .collect();
    if subnets.is_empty() {
        return None;
    }
    let hosts = servable(dhcp, |host| {
        subnets.get(&host.subnet_id).is_some_and(|(_, subnet)| subnet.cidr.contains(&host.ip))
    });
    let mut text = format!(
        "# Written by canopy; changes are lost.\n\
         port=0\nno-resolv\nno-hosts\nno-ping\nquiet-dhcp\nleasefile-ro\ndhcp-authoritative\n\
         interface={interface}\npid-file={}\ndhcp-lease-max={}\ndhcp-ignore=tag:!known\n",
        pid_file.display(),
        hosts.len().max(1),
    );
    if let Some(domain) = domain(&dhcp.domain) {
        line(&mut text, format_args!("domain={domain}"));
    }
    line(&mut text, format_args!("dhcp-option-force=option:mtu,{}", dhcp.mtu));
    for (index, subnet) in subnets.values() {
        subnet_lines(&mut text, *index, subnet);
    }
    for (ip, host) in hosts {
        line(&mut text, format_args!("dhcp-host={},{ip}{}", host.mac, name_field(&host.hostname)));
    }
    Some(text)
}

/// The first host of each IPv4 address: dnsmasq refuses to start when one appears twice.
fn servable(dhcp: &Dhcp, fits: impl Fn(&DhcpHost) -> bool) -> BTreeMap<Ipv4Addr, &DhcpHost> {
    let mut hosts = BTreeMap::new();
    for host in dhcp.hosts.iter().filter(|host| fits(host)) {
        let IpAddr::V4(ip) = host.ip else { continue };
        let first = hosts.entry(ip).or_insert(host);
        if first.mac != host.mac {
            tracing::warn!(%ip, kept = %first.mac, ignored = %host.mac, "two ports have one address in DHCP");
        }
    }
    hosts
}

fn subnet_lines(text: &mut String, index: usize, subnet: &DhcpSubnet) {
    let IpNet::V4(cidr) = subnet.cidr else { return };
    let tag = format!("s{index}");
    line(text, format_args!("dhcp-range=set:{tag},{},static,{},{LEASE}", cidr.network(), cidr.netmask()));
    // An option without a value keeps dnsmasq from offering itself.
    match subnet.gateway {
        Some(IpAddr::V4(gateway)) => {
            line(text, format_args!("dhcp-option=tag:{tag},option:router,{gateway}"));
        }
        _ => line(text, format_args!("dhcp-option=tag:{tag},option:router")),
    }
    let dns: Vec<_> =
        subnet.dns.iter().filter(|ip| ip.is_ipv4()).take(MAX_DNS).map(IpAddr::to_string).collect();
    let comma = if dns.is_empty() { "" } else { "," };
    line(text, format_args!("dhcp-option=tag:{tag},option:dns-server{comma}{}", dns.join(",")));
    let routes = classless_routes(subnet);
    if !routes.is_empty() {
        // 249 is what older Windows asks for instead of 121.
        line(text, format_args!("dhcp-option=tag:{tag},option:classless-static-route,{}", routes.join(",")));
        line(text, format_args!("dhcp-option=tag:{tag},249,{}", routes.join(",")));
    }
}

/// `destination,nexthop` of each route. A client that gets these ignores the router option, so the
/// default route is among them.
fn classless_routes(subnet: &DhcpSubnet) -> Vec<String> {
    let mut routes: Vec<_> = subnet.routes.iter().filter_map(v4_route).collect();
    if let Some(IpAddr::V4(gateway)) = subnet.gateway
        && !routes.is_empty()
        && !routes.iter().any(|(bits, ..)| *bits == 0)
    {
        routes.insert(0, (0, Ipv4Addr::UNSPECIFIED, gateway));
    }
    let mut size = 0;
    let mut kept = Vec::new();
    for (bits, destination, nexthop) in routes {
        size += 1 + usize::from(bits.div_ceil(8)) + 4;
        if size > MAX_OPTION {
            tracing::warn!(subnet = %subnet.id, "routes left out of DHCP: they do not fit in one option");
            break;
        }
        kept.push(format!("{destination}/{bits},{nexthop}"));
    }
    kept
}

fn v4_route(route: &Route) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
    match (route.destination, route.nexthop) {
        (IpNet::V4(destination), IpAddr::V4(nexthop)) => {
            Some((destination.prefix_len(), destination.network(), nexthop))
        }
        _ => None,
    }
}

fn name_field(hostname: &str) -> String {
    // dnsmasq would read some words as lease times or orders.
    let reserved = ["ignore", "infinite"].contains(&hostname)
        || hostname.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        || hostname.split_at_checked(hostname.len().saturating_sub(1)).is_some_and(|(number, unit)| {
            number.bytes().all(|b| b.is_ascii_digit()) && ["s", "m", "h", "d", "w"].contains(&unit)
        });
    if reserved || !is_name(hostname) { String::new() } else { format!(",{hostname}") }
}

fn domain(text: &str) -> Option<&str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    is_name(text).then_some(text)
}

/// Labels of letters, digits and inner hyphens, joined by dots; at most 253 characters.
fn is_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::items::Mac;
    use canopy_types::SubnetId;
    use proptest::prelude::*;

    fn subnet(routes: &[(&str, &str)], gateway: Option<&str>) -> DhcpSubnet {
        DhcpSubnet {
            id: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway: gateway.map(|g| g.parse().unwrap()),
            dns: vec!["9.9.9.9".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            routes: routes
                .iter()
                .map(|(d, n)| Route { destination: d.parse().unwrap(), nexthop: n.parse().unwrap() })
                .collect(),
        }
    }

    fn host(mac: &str, ip: &str, hostname: &str, subnet_id: SubnetId) -> DhcpHost {
        let mac = Mac::try_from(mac.to_owned()).unwrap();
        DhcpHost { mac, ip: ip.parse().unwrap(), subnet_id, hostname: hostname.to_owned() }
    }

    fn dhcp(subnet: DhcpSubnet, hostname: &str) -> Dhcp {
        let id = subnet.id;
        Dhcp {
            namespace: String::new(),
            mtu: 1450,
            domain: "cloud.example.".to_owned(),
            subnets: vec![subnet],
            hosts: vec![
                host("fa:16:3e:00:00:02", "10.0.0.5", hostname, id),
                host("fa:16:3e:00:00:03", "10.0.0.5", "twin", id),
                host("fa:16:3e:00:00:04", "10.1.0.5", "elsewhere", id),
                host("fa:16:3e:00:00:05", "10.0.0.6", "stranger", SubnetId::random()),
            ],
        }
    }

    fn text(dhcp: &Dhcp) -> String {
        render(dhcp, "eth0", Path::new("/run/x.pid")).unwrap()
    }

    #[test]
    fn a_whole_subnet() {
        let routes =
            [("169.254.169.254/32", "10.0.0.2"), ("10.9.0.0/16", "10.0.0.3"), ("fd00::/8", "fd00::1")];
        let text = text(&dhcp(subnet(&routes, Some("10.0.0.1")), "web-1"));
        for line in [
            "port=0",
            "domain=cloud.example",
            "dhcp-option-force=option:mtu,1450",
            "dhcp-range=set:s0,10.0.0.0,static,255.255.255.0,86400",
            "dhcp-option=tag:s0,option:router,10.0.0.1",
            "dhcp-option=tag:s0,option:dns-server,9.9.9.9",
            "dhcp-option=tag:s0,option:classless-static-route,0.0.0.0/0,10.0.0.1,169.254.169.254/32,10.0.0.2,10.9.0.0/16,10.0.0.3",
            "dhcp-option=tag:s0,249,0.0.0.0/0,10.0.0.1,169.254.169.254/32,10.0.0.2,10.9.0.0/16,10.0.0.3",
            "dhcp-host=fa:16:3e:00:00:02,10.0.0.5,web-1",
            "dhcp-ignore=tag:!known",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
        assert_eq!(text.matches("dhcp-host=").count(), 1, "one host per address, and only of its subnet");
    }

    #[test]
    fn without_a_gateway_no_router_is_offered() {
        let text = text(&dhcp(subnet(&[("169.254.169.254/32", "10.0.0.2")], None), "a"));
        assert!(text.lines().any(|l| l == "dhcp-option=tag:s0,option:router"), "{text}");
        assert!(!text.contains("0.0.0.0/0"), "{text}");
    }

    #[test]
    fn an_own_default_route_is_kept_and_options_do_not_overflow() {
        let own = subnet(&[("0.0.0.0/0", "10.0.0.9")], Some("10.0.0.1"));
        assert_eq!(classless_routes(&own), ["0.0.0.0/0,10.0.0.9"]);
        let many: Vec<_> = (0..60).map(|i| (format!("10.{i}.1.1/32"), "10.0.0.2")).collect();
        let many: Vec<_> = many.iter().map(|(d, n)| (d.as_str(), *n)).collect();
        assert_eq!(classless_routes(&subnet(&many, None)).len(), MAX_OPTION / 9);
    }

    #[test]
    fn only_ipv6_needs_no_server() {
        let mut dhcp = dhcp(subnet(&[], None), "a");
        dhcp.subnets[0].cidr = "fd00::/64".parse().unwrap();
        assert_eq!(render(&dhcp, "eth0", Path::new("/run/x.pid")), None);
    }

    #[test]
    fn words_of_dnsmasq_are_not_names() {
        for bad in ["ignore", "infinite", "60", "12h", "45m", "10.0.0.1", "", "a..b", "-a", "a_b", "é"] {
            assert_eq!(name_field(bad), "", "{bad}");
        }
        for good in ["web", "a-1.example", "cafe", "12x"] {
            assert_eq!(name_field(good), format!(",{good}"));
        }
    }

    proptest! {
        #[test]
        fn no_name_adds_a_line_or_a_field(hostname in any::<String>(), domain in any::<String>()) {
            let mut named = dhcp(subnet(&[], Some("10.0.0.1")), &hostname);
            named.domain = domain;
            let plain = text(&Dhcp { domain: String::new(), ..dhcp(subnet(&[], Some("10.0.0.1")), "") });
            let text = text(&named);
            let lines = text.lines().filter(|l| !l.starts_with("domain="));
            let hosts: Vec<_> = text.lines().filter(|l| l.starts_with("dhcp-host=")).collect();
            prop_assert_eq!(lines.count(), plain.lines().count());
            prop_assert!(hosts.len() == 1 && hosts[0].split(',').count() <= 3);
        }
    }
}
