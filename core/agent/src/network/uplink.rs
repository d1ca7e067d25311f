//! A leg of a network's bridge in one of the operator's own networks.
//!
//! Untagged it is a veth pair between our bridge and the operator's; with a VLAN it is a VLAN device on the operator's
//! bridge or interface, joined to ours. The operator's own device is never changed: what we put there carries our tag, and goes
//! with the network.

use crate::network::bridge::{ipv6_is_off, turn_ipv6_off};
use crate::network::items::{Uplink, is_bridge_name, is_uplink_name, is_veth_name};
use crate::network::links::{BridgeInfo, Link, LinkInfo, Links, Owner, owner, taken};
use crate::network::pending::Pending;
use crate::network::run;
use canopy_agent_api::is_physical_network;
use canopy_types::Error;
use canopy_types::effect::effect;
use std::collections::BTreeMap;

/// Longest name of a device in Linux.
const MAX_IFNAME: usize = 15;

/// Refuses what cannot be a physical network, or a device that is ours.
pub fn check(name: &str, device: &str) -> Result<(), Error> {
    let bad = |why: String| Err(Error::bad_request("network.physical_networks", why));
    if !is_physical_network(name) {
        return bad(format!("agent.physical_networks: {name:?} must be 1 to 64 of a-z, 0-9 and _."));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let usable = (1..=MAX_IFNAME).contains(&device.len())
        && device.bytes().all(plain)
        && device.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !usable {
        return bad(format!("agent.physical_networks: {name} = {device:?} names no bridge or interface."));
    }
    if is_bridge_name(device) || is_veth_name(device) || is_uplink_name(device) {
        return bad(format!("agent.physical_networks: {device} is one of Canopy's own devices."));
    }
    Ok(())
}

/// The devices that this leg is made of.
pub fn devices(want: &Uplink) -> Vec<String> {
    match want.segmentation_id {
        Some(_) => vec![want.name.clone()],
        None => vec![want.name.clone(), want.peer()],
    }
}

/// Makes the leg, and corrects what differs. Errors that last until somebody acts are conflicts that say what to do.
pub async fn converge(
    want: &Uplink,
    physical: &BTreeMap<String, String>,
    host: &Links,
    tag: &str,
    pending: &mut Pending,
) -> Result<(), Error> {
    let outside = outside(want, physical, host)?;
    let devices = devices(want);
    for name in &devices {
        if let Some(link) = host.get(name)
            && owner(name, link.ifalias.as_deref(), tag, pending) == Owner::Foreign
        {
            return Err(taken("interface", name));
        }
    }
    let links = match present(want, &outside.ifname, host) {
        Some(links) => links,
        None => create(want, &outside.ifname, host, pending).await?,
    };
    let commands = all_changes(want, &outside.ifname, &links, tag);
    let mut quiet = true;
    for name in &devices {
        quiet &= ipv6_is_off(name).await;
    }
    if !commands.is_empty() || !quiet {
        effect("network.uplink.update", async {
            // Before it comes up, so that the host gets no address in either network by it.
            for name in &devices {
                turn_ipv6_off(name).await?;
            }
            run::ip_batch(None, &commands).await?;
            for name in &devices {
                turn_ipv6_off(name).await?;
            }
            Ok::<_, Error>(())
        })
        .await?;
    }
    for name in &devices {
        pending.remove(name);
    }
    Ok(())
}

/// Whether there is nothing to correct.
pub fn is_as_wanted(want: &Uplink, physical: &BTreeMap<String, String>, host: &Links, tag: &str) -> bool {
    let outside = outside(want, physical, host).ok();
    outside.is_some_and(|outside| {
        present(want, &outside.ifname, host)
            .is_some_and(|links| all_changes(want, &outside.ifname, &links, tag).is_empty())
    })
}

/// Removes a leg of ours, with its other end.
pub async fn delete(link: &Link) -> Result<(), Error> {
    let (name, kind) = (&link.ifname, &link.linkinfo.info_kind);
    if kind != "veth" && kind != "vlan" {
        return Err(taken("interface", name));
    }
    let command = format!("link delete dev {name} type {kind}");
    effect("network.uplink.delete", run::ip_batch(None, &[command])).await
}

/// The operator's device, if it can carry this leg.
fn outside<'a>(
    want: &Uplink,
    physical: &BTreeMap<String, String>,
    host: &'a Links,
) -> Result<&'a Link, Error> {
    let name = &want.physical_network;
    let no = |why: String| Error::conflict("network.physical_network", why);
    let device = physical.get(name).ok_or_else(|| {
        no(format!(
            "This host has no physical network {name}: name its bridge or interface in [agent.physical_networks]."
        ))
    })?;
    let link = host.get(device).ok_or_else(|| {
        no(format!("The physical network {name} is {device} on this host, and there is no such device."))
    })?;
    if want.segmentation_id.is_none() && link.linkinfo.info_kind != "bridge" {
        return Err(no(format!(
            "The physical network {name} is {device} on this host, which is no bridge: an untagged network needs one."
        )));
    }
    if link.mtu < want.mtu {
        return Err(no(format!(
            "The physical network {name} is {device} on this host, with an MTU of {}: lower the network's MTU of {}.",
            link.mtu, want.mtu
        )));
    }
    Ok(link)
}

/// The leg's devices when they are what is wanted, but for what can be changed.
fn present(want: &Uplink, outside: &str, host: &Links) -> Option<Vec<Link>> {
    let leg = host.get(&want.name)?;
    let kind = leg.linkinfo.info_kind.as_str();
    match want.segmentation_id {
        Some(vlan) => {
            let same =
                leg.link.as_deref() == Some(outside) && leg.linkinfo.info_data.id == Some(u64::from(vlan));
            (kind == "vlan" && same).then(|| vec![leg.clone()])
        }
        None => {
            let peer = host.get(&want.peer())?;
            let pair = leg.link.as_deref() == Some(peer.ifname.as_str())
                && peer.link.as_deref() == Some(leg.ifname.as_str());
            (kind == "veth" && pair).then(|| vec![leg.clone(), peer.clone()])
        }
    }
}

/// Makes it anew; what is left of an older one goes first.
async fn create(
    want: &Uplink,
    outside: &str,
    host: &Links,
    pending: &mut Pending,
) -> Result<Vec<Link>, Error> {
    let Uplink { name, mtu, .. } = want;
    let peer = want.peer();
    let mut old = Vec::new();
    if host.contains_key(name) {
        old.push(format!("link delete dev {name}"));
    }
    // The other end of a pair has gone with the first.
    let joined = host.get(name).and_then(|link| link.link.as_deref()) == Some(peer.as_str());
    if want.segmentation_id.is_none() && host.contains_key(&peer) && !joined {
        old.push(format!("link delete dev {peer}"));
    }
    let add = match want.segmentation_id {
        Some(vlan) => format!("link add link {outside} name {name} mtu {mtu} type vlan id {vlan}"),
        None => format!("link add name {name} mtu {mtu} type veth peer name {peer} mtu {mtu}"),
    };
    let created = effect("network.uplink.create", async {
        run::ip_batch(None, &old).await?;
        run::ip_batch(None, &[add]).await
    })
    .await;
    if let Err(error) = created {
        for name in devices(want) {
            pending.failed(&name, &error);
        }
        return Err(if error.chain().contains("Unknown device type") {
            let why = "This host's kernel has no VLANs: load its module 8021q.";
            Error::conflict("network.no_vlans", why).with_source(error)
        } else {
            error
        });
    }
    let link = |ifname: String| Link {
        ifname,
        mtu: *mtu,
        linkinfo: LinkInfo { info_data: BridgeInfo::default(), ..LinkInfo::default() },
        ..Link::default()
    };
    Ok(devices(want).into_iter().map(link).collect())
}

/// The first device joins our bridge, a second one the operator's.
fn all_changes(want: &Uplink, outside: &str, links: &[Link], tag: &str) -> Vec<String> {
    let masters = [want.bridge.as_str(), outside];
    links.iter().zip(masters).flat_map(|(have, master)| changes(want.mtu, master, have, tag)).collect()
}

/// The tag comes last, as for a bridge.
fn changes(mtu: u32, master: &str, have: &Link, tag: &str) -> Vec<String> {
    let name = &have.ifname;
    let mut commands = Vec::new();
    if have.mtu != mtu {
        commands.push(format!("link set dev {name} mtu {mtu}"));
    }
    if have.master.as_deref() != Some(master) {
        commands.push(format!("link set dev {name} master {master}"));
    }
    if !have.is_up() {
        commands.push(format!("link set dev {name} up"));
    }
    if have.ifalias.as_deref() != Some(tag) {
        commands.push(format!("link set dev {name} alias {tag}"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(segmentation_id: Option<u16>) -> Uplink {
        Uplink {
            name: "cnu7".into(),
            bridge: "cnb7".into(),
            physical_network: "external".into(),
            segmentation_id,
            mtu: 1500,
        }
    }

    fn link(name: &str, kind: &str, on: Option<&str>, vlan: Option<u64>) -> (String, Link) {
        let info_data = BridgeInfo { id: vlan, ..BridgeInfo::default() };
        let linkinfo = LinkInfo { info_kind: kind.into(), info_data };
        let link =
            Link { ifname: name.into(), mtu: 1500, link: on.map(str::to_owned), linkinfo, ..Link::default() };
        (name.to_owned(), link)
    }

    #[test]
    fn a_leg_is_kept_only_when_it_leads_where_it_should() {
        let pair = |peer: &str| {
            Links::from([
                link("cnu7", "veth", Some(peer), None),
                link("cnp7", "veth", Some("cnu7"), None),
                link("br0", "bridge", None, None),
            ])
        };
        assert_eq!(present(&want(None), "br0", &pair("cnp7")).unwrap().len(), 2);
        assert!(present(&want(None), "br0", &pair("other")).is_none());
        assert!(present(&want(Some(9)), "br0", &pair("cnp7")).is_none());
        let vlan = |on: &str, id| Links::from([link("cnu7", "vlan", Some(on), Some(id))]);
        assert_eq!(present(&want(Some(9)), "br0", &vlan("br0", 9)).unwrap().len(), 1);
        for wrong in [vlan("br1", 9), vlan("br0", 8), Links::new()] {
            assert!(present(&want(Some(9)), "br0", &wrong).is_none());
        }
    }

    #[test]
    fn what_the_host_does_not_have_is_explained() {
        let physical = BTreeMap::from([("external".to_owned(), "eth9".to_owned())]);
        let why = |want: &Uplink, host: &Links| outside(want, &physical, host).unwrap_err().message;
        let elsewhere = Uplink { physical_network: "dmz".into(), ..want(None) };
        assert!(why(&elsewhere, &Links::new()).contains("no physical network dmz"));
        assert!(why(&want(None), &Links::new()).contains("no such device"));
        let nic = Links::from([link("eth9", "", None, None)]);
        assert!(why(&want(None), &nic).contains("no bridge"));
        assert!(outside(&want(Some(9)), &physical, &nic).is_ok());
        let jumbo = Uplink { mtu: 9000, ..want(Some(9)) };
        assert!(why(&jumbo, &nic).contains("an MTU of 1500"));
    }

    #[test]
    fn only_names_that_survive_a_command_line_and_are_not_ours_are_taken() {
        for (name, device) in [("external", "br-ex"), ("a_1", "eth0.7"), ("x", "bond0")] {
            check(name, device).unwrap();
        }
        for (name, device) in [
            ("External", "br0"),
            ("a-b", "br0"),
            ("", "br0"),
            ("x", ""),
            ("x", "br0 up"),
            ("x", "-br0"),
            ("x", "a234567890123456"),
            ("x", "cnb7"),
            ("x", "cnu7"),
        ] {
            assert!(check(name, device).is_err(), "{name} {device}");
        }
    }

    #[test]
    fn only_differences_are_changed_and_the_tag_is_last() {
        let (_, mut have) = link("cnu7", "veth", None, None);
        assert_eq!(
            changes(1500, "cnb7", &have, "canopy:x").last().unwrap(),
            "link set dev cnu7 alias canopy:x"
        );
        have.master = Some("cnb7".into());
        have.flags = vec!["UP".into()];
        have.ifalias = Some("canopy:x".into());
        assert!(changes(1500, "cnb7", &have, "canopy:x").is_empty());
        assert_eq!(changes(1400, "cnb8", &have, "canopy:x").len(), 2);
    }
}
