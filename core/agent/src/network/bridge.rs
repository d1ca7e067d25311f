//! One bridge per network, in the root namespace and without any address.

use crate::network::items::Bridge;
use crate::network::links::{BridgeInfo, Link, LinkInfo, Owner, owner, taken};
use crate::network::pending::Pending;
use crate::network::run;
use canopy_types::Error;
use canopy_types::effect::effect;

/// Creates the bridge if it is missing and corrects what differs.
pub async fn converge(
    want: &Bridge,
    have: Option<&Link>,
    tag: &str,
    pending: &mut Pending,
) -> Result<(), Error> {
    let have = match have {
        Some(link) => {
            let ours = owner(&want.name, link.ifalias.as_deref(), tag, pending) == Owner::Ours;
            if !ours || link.linkinfo.info_kind != "bridge" {
                return Err(taken("bridge", &want.name));
            }
            link.clone()
        }
        None => create(want, pending).await?,
    };
    let commands = changes(want, &have, tag);
    let quiet = ipv6_is_off(&want.name).await;
    if !commands.is_empty() || !quiet {
        effect("network.bridge.update", async {
            // Before it comes up, so that the host never has an address on a tenant's segment.
            turn_ipv6_off(&want.name).await?;
            run::ip_batch(None, &commands).await?;
            // A larger MTU makes the switch appear.
            turn_ipv6_off(&want.name).await
        })
        .await?;
    }
    pending.remove(&want.name);
    Ok(())
}

/// Removes the bridge; taps still joined to it stay, cut off.
pub async fn delete(name: &str) -> Result<(), Error> {
    let command = format!("link delete dev {name} type bridge");
    effect("network.bridge.delete", run::ip_batch(None, &[command])).await
}

async fn create(want: &Bridge, pending: &mut Pending) -> Result<Link, Error> {
    let command = format!(
        "link add name {} mtu {} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
        want.name, want.mtu
    );
    let created = effect("network.bridge.create", run::ip_batch(None, &[command])).await;
    if let Err(error) = created {
        pending.failed(&want.name, &error);
        return Err(error);
    }
    let info_data =
        BridgeInfo { forward_delay: Some(0), stp_state: Some(0), mcast_snooping: Some(0), id: None };
    Ok(Link {
        ifname: want.name.clone(),
        mtu: want.mtu,
        linkinfo: LinkInfo { info_kind: "bridge".to_owned(), info_data },
        ..Link::default()
    })
}

/// The tag comes last: until then the name is in the list of unfinished ones.
pub fn changes(want: &Bridge, have: &Link, tag: &str) -> Vec<String> {
    let name = &want.name;
    let mut commands = Vec::new();
    let info = &have.linkinfo.info_data;
    if (info.forward_delay, info.stp_state, info.mcast_snooping) != (Some(0), Some(0), Some(0)) {
        commands
            .push(format!("link set dev {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"));
    }
    if have.mtu != want.mtu {
        commands.push(format!("link set dev {name} mtu {}", want.mtu));
    }
    if !have.is_up() {
        commands.push(format!("link set dev {name} up"));
    }
    if have.ifalias.as_deref() != Some(tag) {
        commands.push(format!("link set dev {name} alias {tag}"));
    }
    commands
}

fn ipv6_switch(interface: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
}

/// Whether the host itself speaks no IPv6 on this interface. There is no switch on a kernel without IPv6,
/// and none while the MTU is below what IPv6 needs.
pub async fn ipv6_is_off(interface: &str) -> bool {
    match tokio::fs::read_to_string(ipv6_switch(interface)).await {
        Ok(value) => value.trim() == "1",
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Turns IPv6 off for the host itself on this interface; guests' frames pass as before.
pub async fn turn_ipv6_off(interface: &str) -> Result<(), Error> {
    if ipv6_is_off(interface).await {
        return Ok(());
    }
    let path = ipv6_switch(interface);
    tokio::fs::write(&path, "1").await.map_err(|e| crate::files::error("write", path.as_ref(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_changed() {
        let want = Bridge { name: "cnb9".to_owned(), mtu: 1450 };
        let info_data =
            BridgeInfo { forward_delay: Some(0), stp_state: Some(0), mcast_snooping: Some(0), id: None };
        let mut have = Link {
            ifname: "cnb9".to_owned(),
            mtu: 1450,
            flags: vec!["UP".to_owned()],
            ifalias: Some("canopy:x".to_owned()),
            linkinfo: LinkInfo { info_kind: "bridge".to_owned(), info_data },
            ..Link::default()
        };
        assert!(changes(&want, &have, "canopy:x").is_empty());
        have.mtu = 1500;
        have.flags.clear();
        have.ifalias = None;
        have.linkinfo.info_data.stp_state = Some(1);
        let commands = changes(&want, &have, "canopy:x");
        assert_eq!(commands.len(), 4);
        assert_eq!(commands.last().unwrap(), "link set dev cnb9 alias canopy:x", "the tag is last");
    }
}
