//! One namespace per network for its services, joined to the bridge by a veth pair.
//!
//! The namespace is tagged by the alias of its loopback interface, the veth by the alias of its end on
//! the host. Nothing is forwarded through it: it only answers.

use crate::network::bridge::{ipv6_is_off, turn_ipv6_off};
use crate::network::items::Namespace;
use crate::network::links::{self, Link, Links, Owner, owner, taken};
use crate::network::netns;
use crate::network::pending::Pending;
use crate::network::run;
use canopy_types::effect::effect;
use canopy_types::{Error, Kind};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// The smallest MTU that carries IPv6 (RFC 8200).
const MIN_MTU_V6: u32 = 1280;
/// How often a namespace that exists but cannot be read is looked at.
const LOOKS: u32 = 3;

/// What is behind a name in `/run/netns`.
#[derive(Clone, Debug)]
pub enum Found {
    Usable(Links),
    /// A file that is no namespace: an `ip netns add` that was killed half way.
    Broken,
}

/// The named namespaces that follow our pattern, of all instances on this host.
pub async fn list() -> Result<BTreeMap<String, Found>, Error> {
    let names = crate::files::blocking(|| {
        let entries = match std::fs::read_dir(netns::DIRECTORY) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(crate::files::error("list", netns::DIRECTORY.as_ref(), e)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| super::items::namespace_network(name).is_some()).collect())
    })
    .await?;
    let mut found = BTreeMap::new();
    for name in names {
        if let Some(state) = look(&name).await? {
            found.insert(name, state);
        }
    }
    Ok(found)
}

/// `None` when it is gone. Others come and go while we look, hence the second and third look.
async fn look(name: &str) -> Result<Option<Found>, Error> {
    let mut attempt = 1;
    loop {
        let error = match links::read(Some(name)).await {
            Ok(links) => return Ok(Some(Found::Usable(links))),
            Err(error) => error,
        };
        if !tokio::fs::try_exists(netns::path(name)).await.unwrap_or(true) {
            return Ok(None);
        }
        if netns::within(netns::path(name), || Ok(())).await.is_err() {
            return Ok(Some(Found::Broken));
        }
        if attempt == LOOKS {
            return Err(error);
        }
        attempt += 1;
    }
}

/// Whose this namespace is.
pub fn whose(name: &str, found: &Found, tag: &str, pending: &Pending) -> Owner {
    let alias = match found {
        Found::Usable(links) => links.get("lo").and_then(|lo| lo.ifalias.as_deref()),
        Found::Broken => None,
    };
    owner(name, alias, tag, pending)
}

/// Creates what is missing of the namespace and its veth, and corrects what differs.
pub async fn converge(
    want: &Namespace,
    have: Option<&Found>,
    host: &Links,
    tag: &str,
    pending: &mut Pending,
) -> Result<(), Error> {
    if let Some(found) = have
        && whose(&want.name, found, tag, pending) == Owner::Foreign
    {
        return Err(taken("network namespace", &want.name));
    }
    let veth = host.get(&want.veth_host);
    if let Some(link) = veth
        && owner(&want.veth_host, link.ifalias.as_deref(), tag, pending) == Owner::Foreign
    {
        return Err(taken("interface", &want.veth_host));
    }
    let inside = match have {
        Some(Found::Usable(links)) => links.clone(),
        Some(Found::Broken) => {
            effect("network.namespace.delete", remove(&want.name)).await?;
            create(want, pending).await?
        }
        None => create(want, pending).await?,
    };
    let pair = match (veth, inside.get(&want.veth_ns)) {
        (Some(outer), Some(inner)) if are_pair(outer, inner) => (outer.clone(), inner.clone()),
        (outer, inner) => join(want, outer, inner, pending).await?,
    };
    correct(want, &inside, &pair.0, &pair.1, tag).await?;
    pending.remove(&want.name);
    pending.remove(&want.veth_host);
    Ok(())
}

/// Removes the namespace. The veth goes by itself later, or first with [`delete_veth`] when a socket
/// may still hold the namespace.
pub async fn delete(name: &str) -> Result<(), Error> {
    effect("network.namespace.delete", remove(name)).await
}

pub async fn delete_veth(name: &str) -> Result<(), Error> {
    let command = format!("link delete dev {name} type veth");
    effect("network.namespace.delete", run::ip_batch(None, &[command])).await
}

async fn remove(name: &str) -> Result<(), Error> {
    run::run("ip", &["netns", "delete", name], "").await.map(drop)
}

async fn create(want: &Namespace, pending: &mut Pending) -> Result<Links, Error> {
    let created = effect("network.namespace.create", run::run("ip", &["netns", "add", &want.name], "")).await;
    if let Err(error) = created {
        pending.failed(&want.name, &error);
        return Err(error);
    }
    Ok(Links::new())
}

fn are_pair(outer: &Link, inner: &Link) -> bool {
    outer.link_index == Some(inner.ifindex) && inner.link_index == Some(outer.ifindex)
}

/// Makes the veth pair anew. Each end is removed with the other, so what is left of an older pair goes
/// first.
async fn join(
    want: &Namespace,
    outer: Option<&Link>,
    inner: Option<&Link>,
    pending: &mut Pending,
) -> Result<(Link, Link), Error> {
    let Namespace { name, veth_host, veth_ns, mac, mtu, .. } = want;
    let add = format!(
        "link add name {veth_host} mtu {mtu} type veth peer name {veth_ns} mtu {mtu} address {mac} netns {name}"
    );
    let created = effect("network.namespace.create", async {
        if outer.is_some() {
            run::ip_batch(None, &[format!("link delete dev {veth_host}")]).await?;
        }
        if inner.is_some() {
            run::ip_batch(Some(name), &[format!("link delete dev {veth_ns}")]).await?;
        }
        let added = run::ip_batch(None, &[add]).await;
        if let Err(error) = &added {
            pending.failed(veth_host, error);
        }
        added
    })
    .await;
    created?;
    let end = |ifname: &String, address: String| Link {
        ifname: ifname.clone(),
        address,
        mtu: *mtu,
        ..Link::default()
    };
    Ok((end(veth_host, String::new()), end(veth_ns, mac.to_string())))
}

async fn correct(
    want: &Namespace,
    inside: &Links,
    outer: &Link,
    inner: &Link,
    tag: &str,
) -> Result<(), Error> {
    let host = host_changes(want, outer, tag);
    let lo = inside.get("lo").cloned().unwrap_or_default();
    let namespace = namespace_changes(want, &lo, inner, tag);
    let quiet = ipv6_is_off(&want.veth_host).await;
    if host.is_empty() && namespace.is_empty() && quiet {
        return Ok(());
    }
    effect("network.namespace.update", async {
        deafen(want, false).await?;
        run::ip_batch(Some(&want.name), &namespace).await?;
        turn_ipv6_off(&want.veth_host).await?;
        run::ip_batch(None, &host).await?;
        // A larger MTU makes the switches appear.
        turn_ipv6_off(&want.veth_host).await?;
        deafen(want, true).await
    })
    .await
}

/// Whether nothing is to be done to the namespace and its veth.
pub fn is_as_wanted(want: &Namespace, inside: &Links, veth: Option<&Link>, tag: &str) -> bool {
    let (Some(outer), Some(inner)) = (veth, inside.get(&want.veth_ns)) else { return false };
    let lo = inside.get("lo").cloned().unwrap_or_default();
    are_pair(outer, inner)
        && host_changes(want, outer, tag).is_empty()
        && namespace_changes(want, &lo, inner, tag).is_empty()
}

/// The tag comes last, as for a bridge.
fn host_changes(want: &Namespace, have: &Link, tag: &str) -> Vec<String> {
    let name = &want.veth_host;
    let mut commands = Vec::new();
    if have.mtu != want.mtu {
        commands.push(format!("link set dev {name} mtu {}", want.mtu));
    }
    if have.master.as_deref() != Some(want.bridge.as_str()) {
        commands.push(format!("link set dev {name} master {}", want.bridge));
    }
    if !have.is_up() {
        commands.push(format!("link set dev {name} up"));
    }
    if have.ifalias.as_deref() != Some(tag) {
        commands.push(format!("link set dev {name} alias {tag}"));
    }
    commands
}

fn namespace_changes(want: &Namespace, lo: &Link, have: &Link, tag: &str) -> Vec<String> {
    let name = &want.veth_ns;
    let mut commands = Vec::new();
    if lo.ifalias.as_deref() != Some(tag) {
        commands.push(format!("link set dev lo alias {tag}"));
    }
    if !lo.is_up() {
        commands.push("link set dev lo up".to_owned());
    }
    let (wanted, present): (BTreeSet<IpNet>, BTreeSet<IpNet>) =
        (usable(want).collect(), have.addresses().into_iter().collect());
    // First, since an MTU too small for IPv6 would take its addresses along.
    let surplus: Vec<_> = present.difference(&wanted).collect();
    commands.extend(surplus.iter().map(|a| format!("address delete {a} dev {name}")));
    if !have.address.eq_ignore_ascii_case(&want.mac.to_string()) {
        commands.push(format!("link set dev {name} address {}", want.mac));
    }
    if have.mtu != want.mtu {
        commands.push(format!("link set dev {name} mtu {}", want.mtu));
    }
    // Removing an address may take others of its subnet with it: then all are set again.
    let absent = wanted.iter().filter(|a| !surplus.is_empty() || !present.contains(*a));
    commands.extend(absent.map(|a| {
        let nodad = if matches!(a, IpNet::V6(_)) { " nodad" } else { "" };
        format!("address replace {a} dev {name}{nodad}")
    }));
    if !have.is_up() {
        commands.push(format!("link set dev {name} up"));
    }
    commands
}

/// The addresses that the kernel takes and shows again. Subnets and MTUs are tenants' choices, so one that
/// does not fit is left out instead of failing the network.
fn usable(want: &Namespace) -> impl Iterator<Item = IpNet> {
    want.addresses.iter().copied().filter(|address| {
        let ip = address.addr();
        let fits = match address {
            IpNet::V4(_) => true,
            IpNet::V6(_) => want.mtu >= MIN_MTU_V6,
        };
        fits && !ip.is_unspecified() && !ip.is_multicast()
    })
}

/// Guests must not configure the namespace by router advertisements. At the `end`, IPv6 goes off where it
/// has no address.
async fn deafen(want: &Namespace, end: bool) -> Result<(), Error> {
    let interface = want.veth_ns.clone();
    let off = end && !usable(want).any(|a| matches!(a, IpNet::V6(_)));
    netns::within(netns::path(&want.name), move || {
        // Removing one address of a subnet must not take the others along.
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries"), "1")?;
        let base = std::path::Path::new("/proc/sys/net/ipv6/conf").join(&interface);
        if !base.exists() {
            return Ok(());
        }
        for (key, value) in
            [("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", if off { "1" } else { "0" })]
        {
            std::fs::write(base.join(key), value)?;
        }
        Ok(())
    })
    .await
    .map_err(|error| {
        Error::new(Kind::Internal, error.code, "A network's namespace could not be configured.")
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::items::Mac;
    use crate::network::links::Address;

    fn want() -> Namespace {
        Namespace {
            name: "canopy-x".to_owned(),
            bridge: "cnb9".to_owned(),
            veth_host: "cnv9".to_owned(),
            veth_ns: "eth0".to_owned(),
            mac: Mac::try_from("fa:16:3e:00:00:01".to_owned()).unwrap(),
            mtu: 1500,
            addresses: vec!["10.0.0.2/24".parse().unwrap(), "169.254.169.254/32".parse().unwrap()],
        }
    }

    fn up(alias: Option<&str>) -> Link {
        Link { flags: vec!["UP".to_owned()], ifalias: alias.map(str::to_owned), mtu: 1500, ..Link::default() }
    }

    fn address(text: &str) -> Address {
        let net: IpNet = text.parse().unwrap();
        Address { local: Some(net.addr()), prefixlen: net.prefix_len(), scope: "global".to_owned() }
    }

    #[test]
    fn a_namespace_as_wanted_needs_nothing() {
        let inner = Link {
            address: "fa:16:3e:00:00:01".to_owned(),
            addr_info: vec![address("169.254.169.254/32"), address("10.0.0.2/24")],
            ..up(None)
        };
        assert!(namespace_changes(&want(), &up(Some("canopy:x")), &inner, "canopy:x").is_empty());
        let outer = Link { master: Some("cnb9".to_owned()), ..up(Some("canopy:x")) };
        assert!(host_changes(&want(), &outer, "canopy:x").is_empty());
    }

    #[test]
    fn removing_an_address_sets_the_others_again() {
        let inner = Link {
            address: "fa:16:3e:00:00:01".to_owned(),
            addr_info: vec![address("10.0.0.9/24"), address("10.0.0.2/24"), address("169.254.169.254/32")],
            ..up(None)
        };
        assert_eq!(
            namespace_changes(&want(), &up(Some("canopy:x")), &inner, "canopy:x"),
            [
                "address delete 10.0.0.9/24 dev eth0",
                "address replace 10.0.0.2/24 dev eth0",
                "address replace 169.254.169.254/32 dev eth0",
            ]
        );
    }

    #[test]
    fn addresses_that_do_not_fit_are_left_out() {
        let mut want = Namespace { mtu: 1000, ..want() };
        want.addresses =
            ["0.0.0.0/24", "224.0.0.1/24", "fd00::2/64", "10.0.0.2/24"].map(|a| a.parse().unwrap()).into();
        assert_eq!(usable(&want).collect::<Vec<_>>(), ["10.0.0.2/24".parse::<IpNet>().unwrap()]);
        want.mtu = MIN_MTU_V6;
        assert_eq!(usable(&want).count(), 2);
    }

    #[test]
    fn a_new_pair_is_configured_and_tagged_last() {
        let fresh = Link { mtu: 1500, ..Link::default() };
        let host = host_changes(&want(), &fresh, "canopy:x");
        assert_eq!(host.last().unwrap(), "link set dev cnv9 alias canopy:x");
        assert!(host.contains(&"link set dev cnv9 master cnb9".to_owned()), "{host:?}");
        let lo = namespace_changes(&want(), &Link::default(), &fresh, "canopy:x");
        assert_eq!(lo.first().unwrap(), "link set dev lo alias canopy:x");
    }
}
