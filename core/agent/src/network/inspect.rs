//! Holds the host's network against a plan without changing anything, and makes anew what was changed behind
//! its mark.
//!
//! Applying a plan trusts two marks: the hash in the filter's comment, and that a tap stays where the
//! hypervisor has put it. Here neither is trusted.

use super::items::{Plan, is_bridge_name, is_uplink_name, is_veth_name};
use super::links::{Link, Owner, owner};
use super::linux::{Host, LinuxNetwork};
use super::namespace::Found;
use super::{Taps, bridge, dhcp, dhcp_conf, filter, namespace, netns, run, uplink};
use crate::files;
use crate::inspect::finding;
use canopy_agent_api::{HostFinding, HostKind, HostProblem};
use canopy_types::effect::effect;
use canopy_types::{Error, NetworkId};
use std::collections::BTreeSet;

impl LinuxNetwork {
    /// What is not as planned. The caller holds the turn.
    pub(super) async fn differences(&self, plan: &Plan, taps: &Taps) -> Result<Vec<HostFinding>, Error> {
        let host = self.look().await?;
        let mut found = Vec::new();
        found.extend(self.filter(plan).await?);
        self.bridges(plan, &host, &mut found);
        self.uplinks(plan, &host, &mut found);
        self.namespaces(plan, &host, &mut found);
        self.dhcp(plan, &host, &mut found).await?;
        self.taps(taps, &host, &mut found);
        Ok(found)
    }

    /// Before a plan is applied: what its application would take for right is undone. The caller holds the turn.
    pub(super) async fn distrust(&self, plan: &Plan, taps: &Taps) -> Result<(), Error> {
        if self.filter(plan).await?.is_some_and(|finding| finding.repairable) {
            let ports: Vec<_> = plan.antispoof.values().collect();
            filter::renew(&self.table, &self.tag, &ports).await?;
        }
        let host = self.look().await?;
        let strayed: Vec<String> = self
            .strayed(taps, &host)
            .map(|(device, bridge)| format!("link set dev {device} master {bridge}"))
            .collect();
        if strayed.is_empty() {
            return Ok(());
        }
        effect("network.tap.join", run::ip_batch(None, &strayed)).await
    }

    async fn filter(&self, plan: &Plan) -> Result<Option<HostFinding>, Error> {
        let ports: Vec<_> = plan.antispoof.values().collect();
        let say = |problem, detail: &str, repairable| {
            let table = format!("bridge {}", self.table);
            Ok(Some(finding(HostKind::Filter, problem, table, detail, repairable)))
        };
        match filter::find(&self.table, &self.tag).await? {
            filter::Found::Absent if ports.is_empty() => Ok(None),
            filter::Found::Absent => {
                say(HostProblem::Missing, "guests may send from any address: the table is not there", true)
            }
            filter::Found::Foreign => {
                say(HostProblem::Changed, "the table of this name is not this agent's", false)
            }
            filter::Found::Ours(_) if ports.is_empty() => {
                say(HostProblem::Extra, "no port needs the table", true)
            }
            filter::Found::Ours(hash) => {
                if hash == filter::hash_of(&ports)
                    && filter::present(&self.table).await? == filter::expected(&ports)
                {
                    return Ok(None);
                }
                say(HostProblem::Changed, "the table does not hold the rules of the ports here", true)
            }
        }
    }

    fn bridges(&self, plan: &Plan, host: &Host, found: &mut Vec<HostFinding>) {
        for want in plan.bridges.values() {
            let mut say = |problem, detail: &str, repairable| {
                found.push(finding(HostKind::Bridge, problem, &want.name, detail, repairable));
            };
            match host.links.get(&want.name) {
                None => say(HostProblem::Missing, "the network's bridge is not there", true),
                Some(link) if !self.owns(link, host) || link.linkinfo.info_kind != "bridge" => {
                    say(HostProblem::Changed, "the device of this name is not this agent's bridge", false);
                }
                Some(link) if !bridge::changes(want, link, &self.tag).is_empty() => {
                    say(HostProblem::Changed, "the bridge is down or has other settings", true);
                }
                Some(_) => {}
            }
        }
        let wanted: BTreeSet<_> = plan.bridges.values().map(|b| b.name.as_str()).collect();
        for name in self.our_links(host, is_bridge_name, &wanted) {
            found.push(finding(
                HostKind::Bridge,
                HostProblem::Extra,
                name,
                "no network needs the bridge",
                true,
            ));
        }
    }

    /// Legs outside, told with the bridges that they are of.
    fn uplinks(&self, plan: &Plan, host: &Host, found: &mut Vec<HostFinding>) {
        for want in plan.uplinks.values() {
            let mut say = |problem, detail: &str, repairable| {
                found.push(finding(HostKind::Bridge, problem, &want.name, detail, repairable));
            };
            match host.links.get(&want.name) {
                None => say(HostProblem::Missing, "the network's leg in the operator's is not there", true),
                Some(link) if !self.owns(link, host) => {
                    say(HostProblem::Changed, "the device of this name is not this agent's leg", false);
                }
                Some(_) if !uplink::is_as_wanted(want, &self.physical, &host.links, &self.tag) => {
                    say(HostProblem::Changed, "the leg is down, or leads elsewhere", true);
                }
                Some(_) => {}
            }
        }
        let wanted: BTreeSet<_> = plan.uplinks.values().map(|u| u.name.as_str()).collect();
        for name in self.our_links(host, is_uplink_name, &wanted) {
            let detail = "no network needs the leg";
            found.push(finding(HostKind::Bridge, HostProblem::Extra, name, detail, true));
        }
    }

    fn namespaces(&self, plan: &Plan, host: &Host, found: &mut Vec<HostFinding>) {
        for want in plan.namespaces.values() {
            let mut say = |problem, detail: &str, repairable| {
                found.push(finding(HostKind::Namespace, problem, &want.name, detail, repairable));
            };
            let veth = host.links.get(&want.veth_host);
            match host.namespaces.get(&want.name) {
                None => say(HostProblem::Missing, "the network's namespace is not there", true),
                Some(there)
                    if namespace::whose(&want.name, there, &self.tag, &host.pending) != Owner::Ours =>
                {
                    say(HostProblem::Changed, "the namespace of this name is not this agent's", false);
                }
                Some(_) if veth.is_some_and(|link| !self.owns(link, host)) => {
                    say(
                        HostProblem::Changed,
                        "the device that joins the namespace is not this agent's",
                        false,
                    );
                }
                Some(Found::Broken) => say(HostProblem::Changed, "the namespace cannot be entered", true),
                Some(Found::Usable(inside)) => {
                    if !namespace::is_as_wanted(want, inside, veth, &self.tag) {
                        let detail =
                            "the namespace's addresses or its join with the bridge are not as planned";
                        say(HostProblem::Changed, detail, true);
                    }
                }
            }
        }
        let wanted: BTreeSet<_> = plan.namespaces.values().map(|n| n.name.as_str()).collect();
        for (name, there) in &host.namespaces {
            let ours = namespace::whose(name, there, &self.tag, &host.pending) == Owner::Ours;
            if ours && !wanted.contains(name.as_str()) {
                let detail = "no network needs the namespace";
                found.push(finding(HostKind::Namespace, HostProblem::Extra, name, detail, true));
            }
        }
        let wanted: BTreeSet<_> = plan.namespaces.values().map(|n| n.veth_host.as_str()).collect();
        for name in self.our_links(host, is_veth_name, &wanted) {
            let detail = "no namespace needs the device";
            found.push(finding(HostKind::Namespace, HostProblem::Extra, name, detail, true));
        }
    }

    async fn dhcp(&self, plan: &Plan, host: &Host, found: &mut Vec<HostFinding>) -> Result<(), Error> {
        let folder = dhcp::folder(&self.state_dir);
        for (network, want) in &plan.dhcp {
            let interface = plan.namespaces.get(network).map_or("eth0", |n| n.veth_ns.as_str());
            let pid_file = folder.join(network.to_string()).join("pid");
            let running: Vec<_> = host.servers.iter().filter(|server| server.network == *network).collect();
            let mut say = |problem, detail: &str| {
                found.push(finding(HostKind::Dhcp, problem, network, detail, true));
            };
            let Some(text) = dhcp_conf::render(want, interface, &pid_file) else {
                if !running.is_empty() {
                    say(HostProblem::Extra, "the network has no DHCP and a server runs");
                }
                continue;
            };
            let conf = dhcp::conf_path(&folder, *network, &text);
            let place = netns::path(&want.namespace);
            let identity = files::blocking(move || Ok(netns::identity(&place).ok())).await?;
            let right = |server: &&&dhcp::Server| {
                server.conf == conf && server.netns.is_some() && server.netns == identity
            };
            match (running.len(), running.iter().filter(right).count()) {
                (0, _) => say(HostProblem::Missing, "no DHCP server answers guests of the network"),
                (1, 1) => {}
                (_, 1) => say(HostProblem::Extra, "more than one DHCP server answers guests of the network"),
                _ => say(HostProblem::Changed, "the DHCP server has another configuration or place"),
            }
        }
        let wanted: BTreeSet<&NetworkId> = plan.dhcp.keys().collect();
        for server in host.servers.iter().filter(|server| !wanted.contains(&server.network)) {
            let detail = "a DHCP server runs for a network that is not here";
            found.push(finding(HostKind::Dhcp, HostProblem::Extra, server.network, detail, true));
        }
        Ok(())
    }

    fn taps(&self, taps: &Taps, host: &Host, found: &mut Vec<HostFinding>) {
        for device in taps.wanted.keys().filter(|device| !host.links.contains_key(*device)) {
            let detail = "a guest that runs has lost its network device: reboot it hard";
            found.push(finding(HostKind::Tap, HostProblem::Missing, device, detail, false));
        }
        for (device, bridge) in self.strayed(taps, host) {
            let detail = format!("the guest's device is not joined to its network's bridge {bridge}");
            found.push(finding(HostKind::Tap, HostProblem::Changed, device, detail, true));
        }
        // The hypervisor makes taps, which therefore carry no mark: what stands on a bridge of ours with such a
        // name can only be told.
        for link in host.links.values() {
            let on_ours = link.master.as_deref().and_then(|master| host.links.get(master));
            let on_ours =
                on_ours.is_some_and(|bridge| is_bridge_name(&bridge.ifname) && self.owns(bridge, host));
            if on_ours && is_tap_name(&link.ifname) && !taps.allowed.contains(&link.ifname) {
                let detail = "a device stands on a tenant's bridge and no port here is behind it";
                found.push(finding(HostKind::Tap, HostProblem::Extra, &link.ifname, detail, false));
            }
        }
    }

    /// Taps of running guests that are not on their bridge, and the bridge, where that is there.
    fn strayed<'a>(&'a self, taps: &'a Taps, host: &'a Host) -> impl Iterator<Item = (&'a str, &'a str)> {
        taps.wanted.iter().filter_map(move |(device, bridge)| {
            let (tap, target) = (host.links.get(device)?, host.links.get(bridge)?);
            let strayed = tap.master.as_deref() != Some(bridge) && self.owns(target, host);
            strayed.then_some((device.as_str(), bridge.as_str()))
        })
    }

    fn owns(&self, link: &Link, host: &Host) -> bool {
        owner(&link.ifname, link.ifalias.as_deref(), &self.tag, &host.pending) == Owner::Ours
    }
}

fn is_tap_name(name: &str) -> bool {
    name.strip_prefix("cnt")
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
