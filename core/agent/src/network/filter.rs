//! Anti-spoofing: what may come in from a port's tap, as one nftables table of the bridge family.
//!
//! The metadata service tells guests apart by their source address, and neighbours trust ARP, so a guest
//! may send only from its own addresses. The rules are stateless and sit before the bridge learns or
//! forwards, hence apply to other guests and to the host alike; they name taps, so they are in force
//! before a tap exists. The whole table is replaced in one transaction, and only when its text changed:
//! the hash of the text is in the table's comment.

use crate::network::items::{AntiSpoof, Mac};
use crate::network::run;
use canopy_types::effect::effect;
use canopy_types::{Error, Kind};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What there is under the name of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// Ours, with this hash.
    Ours(String),
    Foreign,
}

/// Makes the table hold exactly these ports' rules; without any there is no table.
pub async fn converge(table: &str, tag: &str, ports: &[&AntiSpoof]) -> Result<(), Error> {
    let found = find(table, tag).await?;
    if found == Found::Foreign {
        return Err(Error::conflict(
            "network.name_taken",
            format!(
                "The nftables table `bridge {table}` exists and is not this agent's. Rename or remove it."
            ),
        ));
    }
    if ports.is_empty() {
        return match found {
            Found::Absent => Ok(()),
            _ => delete(table).await,
        };
    }
    if found == Found::Ours(hash_of(ports)) {
        return Ok(());
    }
    write(table, tag, ports).await
}

/// Writes the table anew, whatever its mark says; the caller knows that it is ours.
pub async fn renew(table: &str, tag: &str, ports: &[&AntiSpoof]) -> Result<(), Error> {
    if ports.is_empty() { delete(table).await } else { write(table, tag, ports).await }
}

async fn write(table: &str, tag: &str, ports: &[&AntiSpoof]) -> Result<(), Error> {
    let rules = rules(ports);
    let hash = hash(&rules);
    // Adding first makes the deletion valid when there is none yet.
    let transaction = format!(
        "add table bridge {table}\ndelete table bridge {table}\n\
         table bridge {table} {{\ncomment \"{tag} {hash}\"\n{rules}}}\n"
    );
    effect("network.filter.apply", nft(&["-f", "-"], &transaction)).await.map(drop)
}

async fn delete(table: &str) -> Result<(), Error> {
    effect("network.filter.apply", nft(&["delete", "table", "bridge", table], "")).await.map(drop)
}

/// Looks at the kernel, not at what we remember.
pub async fn find(table: &str, tag: &str) -> Result<Found, Error> {
    let listing = run::output("nft", &["-t", "list", "table", "bridge", table], "").await?;
    if listing.success {
        return Ok(mark(&listing.stdout, tag).map_or(Found::Foreign, Found::Ours));
    }
    if listing.stderr.contains("No such file or directory") {
        return Ok(Found::Absent);
    }
    // Some other failure: let it say why.
    nft(&["-t", "list", "table", "bridge", table], "").await.map(|_| Found::Absent)
}

async fn nft(args: &[&str], input: &str) -> Result<String, Error> {
    run::run("nft", args, input).await
}

/// The hash in the table's comment, if the comment is ours.
fn mark(listing: &str, tag: &str) -> Option<String> {
    let comment = listing.lines().find_map(|l| l.trim().strip_prefix("comment \"")?.strip_suffix('"'))?;
    let (whose, hash) = comment.split_once(' ')?;
    (whose == tag).then(|| hash.to_owned())
}

/// What the mark says where the table holds these ports' rules.
pub fn hash_of(ports: &[&AntiSpoof]) -> String {
    hash(&rules(ports))
}

/// How much a table holds: rules by chain, and elements by map (as `map NAME`).
pub type Shape = BTreeMap<String, usize>;

/// The shape of the table that is there, whatever its mark says; empty when there is none.
pub async fn present(table: &str) -> Result<Shape, Error> {
    let listing = run::output("nft", &["-j", "list", "table", "bridge", table], "").await?;
    if !listing.success {
        return Ok(Shape::new());
    }
    let listing: serde_json::Value = serde_json::from_str(&listing.stdout).map_err(|e| {
        Error::new(Kind::Internal, "network.listing", "The host's filter could not be read.").with_source(e)
    })?;
    let mut shape = Shape::new();
    for entry in listing["nftables"].as_array().into_iter().flatten() {
        if let Some(name) = entry["chain"]["name"].as_str() {
            shape.entry(name.to_owned()).or_default();
        } else if let Some(chain) = entry["rule"]["chain"].as_str() {
            *shape.entry(chain.to_owned()).or_default() += 1;
        } else if let Some(name) = entry["map"]["name"].as_str() {
            shape.insert(format!("map {name}"), entry["map"]["elem"].as_array().map_or(0, Vec::len));
        }
    }
    Ok(shape)
}

/// The shape of the table with these ports' rules.
pub fn expected(ports: &[&AntiSpoof]) -> Shape {
    let mut shape = Shape::from([("map taps".to_owned(), ports.len())]);
    let mut chain: Option<String> = None;
    for line in rules(ports).lines().map(str::trim) {
        match (&chain, line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {"))) {
            (_, Some(name)) => {
                shape.insert(name.to_owned(), 0);
                chain = Some(name.to_owned());
            }
            (Some(_), None) if line == "}" => chain = None,
            (Some(name), None) if !line.starts_with("type filter hook") => {
                *shape.entry(name.clone()).or_default() += 1;
            }
            _ => {}
        }
    }
    shape
}

fn hash(rules: &str) -> String {
    canopy_types::hex(&Sha256::digest(rules)[..16])
}

fn rules(ports: &[&AntiSpoof]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_by(|a, b| a.tap.cmp(&b.tap));
    let mut text = String::new();
    let mut jumps = Vec::new();
    for port in ports {
        chain(&mut text, port);
        jumps.push(format!("\"{tap}\" : goto {tap}", tap = port.tap));
    }
    line(&mut text, format_args!("map taps {{"));
    line(&mut text, format_args!("type ifname : verdict"));
    line(&mut text, format_args!("elements = {{ {} }}", jumps.join(",\n")));
    line(&mut text, format_args!("}}"));
    line(&mut text, format_args!("chain prerouting {{"));
    line(&mut text, format_args!("type filter hook prerouting priority -300; policy accept;"));
    line(&mut text, format_args!("iifname vmap @taps"));
    line(&mut text, format_args!("}}"));
    text
}

/// Everything that is not allowed is dropped, also protocols other than IP and frames with a VLAN tag,
/// in which ARP and IP would pass unseen.
fn chain(text: &mut String, port: &AntiSpoof) {
    let AntiSpoof { tap, mac, ips } = port;
    let v4: Vec<Ipv4Addr> =
        sorted(ips.iter().filter_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None }));
    let v6: Vec<Ipv6Addr> =
        sorted(ips.iter().filter_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None }));
    let mut add = |rule: std::fmt::Arguments<'_>| line(text, rule);
    add(format_args!("chain {tap} {{"));
    add(format_args!("ether saddr != {mac} counter drop"));
    add(format_args!("ether type {{ 8021q, 8021ad }} counter drop"));
    // 0.0.0.0 as the sender is a probe for duplicates and teaches nobody anything.
    let senders = set([Ipv4Addr::UNSPECIFIED].iter().chain(&v4));
    add(format_args!("ether type arp arp saddr ether {mac} arp saddr ip {senders} accept"));
    // A guest is never a DHCP server, whatever its address.
    add(format_args!("ether type ip udp sport 67 counter drop"));
    add(format_args!("ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"));
    if !v4.is_empty() {
        add(format_args!("ether type ip ip saddr {} accept", set(&v4)));
    }
    if !v6.is_empty() {
        v6_rules(&mut add, *mac, v6);
    }
    add(format_args!("counter drop"));
    add(format_args!("}}"));
}

fn v6_rules(add: &mut impl FnMut(std::fmt::Arguments<'_>), mac: Mac, mut own: Vec<Ipv6Addr>) {
    own.push(link_local(mac));
    add(format_args!("ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} counter drop"));
    add(format_args!("ether type ip6 udp sport 547 counter drop"));
    add(format_args!(
        "ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, mld-listener-report, mld2-listener-report }} accept"
    ));
    add(format_args!("ether type ip6 ip6 saddr != {} counter drop", set(&own)));
    for ip in &own {
        // The target of an advertisement is 8 bytes into the ICMPv6 message.
        let target = u128::from(*ip);
        add(format_args!("ether type ip6 icmpv6 type nd-neighbor-advert @th,64,128 0x{target:032x} accept"));
    }
    add(format_args!("ether type ip6 icmpv6 type nd-neighbor-advert counter drop"));
    add(format_args!("ether type ip6 accept"));
}

/// The link-local address that a guest derives from its MAC address (modified EUI-64).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn set<'a, T: std::fmt::Display + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    let items: Vec<_> = items.into_iter().map(T::to_string).collect();
    format!("{{ {} }}", items.join(", "))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(tap: &str, ips: &[&str]) -> AntiSpoof {
        AntiSpoof {
            tap: tap.to_owned(),
            mac: Mac::try_from("fa:16:3e:00:00:02".to_owned()).unwrap(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn rules_do_not_depend_on_the_order_of_the_plan() {
        let (a, b) = (port("cnt00000000001", &["10.0.0.5", "10.0.0.4"]), port("cnt00000000002", &[]));
        let same = port("cnt00000000001", &["10.0.0.4", "10.0.0.5"]);
        assert_eq!(rules(&[&a, &b]), rules(&[&b, &same]));
        assert_ne!(rules(&[&a, &b]), rules(&[&a]));
    }

    #[test]
    fn a_port_without_addresses_may_only_ask_for_one() {
        let text = rules(&[&port("cnt00000000001", &[])]);
        let accepts: Vec<_> = text.lines().filter(|l| l.ends_with("accept")).collect();
        assert_eq!(
            accepts,
            [
                "ether type arp arp saddr ether fa:16:3e:00:00:02 arp saddr ip { 0.0.0.0 } accept",
                "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
            ]
        );
    }

    #[test]
    fn ipv6_only_for_ports_that_have_it() {
        let v4 = rules(&[&port("cnt00000000001", &["10.0.0.5"])]);
        assert!(!v4.contains("ip6"), "{v4}");
        let v6 = rules(&[&port("cnt00000000001", &["fd00::5"])]);
        assert!(v6.contains("ip6 saddr != { fd00::5, fe80::f816:3eff:fe00:2 } counter drop"), "{v6}");
        assert!(v6.contains("@th,64,128 0xfd000000000000000000000000000005 accept"), "{v6}");
    }

    #[test]
    fn the_shape_counts_every_rule() {
        let ports = [&port("cnt00000000001", &["10.0.0.5"]), &port("cnt00000000002", &["fd00::5"])];
        let shape = expected(&ports);
        assert_eq!((shape["map taps"], shape["prerouting"]), (2, 1));
        let rules = rules(&ports);
        let lines = |chain: &str| {
            let from = rules.split_once(&format!("chain {chain} {{\n")).unwrap().1;
            from.split_once("\n}").unwrap().0.lines().count()
        };
        assert_eq!(shape["cnt00000000001"], lines("cnt00000000001"));
        assert_eq!(shape["cnt00000000002"], lines("cnt00000000002"));
        assert!(shape["cnt00000000001"] > 5, "{shape:?}");
    }

    #[test]
    fn the_comment_tells_whose_table_it_is() {
        let listing = "table bridge canopy {\n\tcomment \"canopy:a 00ff\"\n\n\tmap taps {\n";
        assert_eq!(mark(listing, "canopy:a").as_deref(), Some("00ff"));
        assert_eq!(mark(listing, "canopy"), None);
        assert_eq!(mark("table bridge canopy {\n}\n", "canopy"), None);
    }
}
