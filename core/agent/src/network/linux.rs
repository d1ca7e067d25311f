//! The executor for a Linux host: compares the plan with what the kernel has, and changes the difference.
//!
//! Order: the filter first, so that no frame passes before its rules; then what is not wanted any more,
//! which frees names; then bridges, their legs outside, namespaces and DHCP, each on top of the one before.

use crate::metadata::server::MetadataServer;
use crate::network::items::{Plan, is_bridge_name, is_uplink_name, is_veth_name};
use crate::network::links::{Links, Owner, owner};
use crate::network::namespace::Found;
use crate::network::pending::Pending;
use crate::network::{
    Applied, Item, NetworkExecutor, Taps, bridge, dhcp, dhcp_conf, filter, links, namespace, uplink,
};
use async_trait::async_trait;
use canopy_agent_api::HostFinding;
use canopy_types::{Error, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Longest scope: it goes into the name of a table and into tags.
const MAX_SCOPE: usize = 32;

/// Applies plans with `ip`, `nft` and `dnsmasq`.
pub struct LinuxNetwork {
    pub(super) state_dir: PathBuf,
    pub(super) tag: String,
    pub(super) table: String,
    metadata: Option<Arc<MetadataServer>>,
    /// Bridges and interfaces of the operator's own networks, by their names.
    pub(super) physical: BTreeMap<String, String>,
    /// One application at a time.
    turn: Mutex<()>,
}

/// What this host has under our kinds of name, ours or not.
pub(super) struct Host {
    pub(super) links: Links,
    pub(super) namespaces: BTreeMap<String, Found>,
    pub(super) servers: Vec<dhcp::Server>,
    pub(super) pending: Pending,
}

impl Host {
    /// Forgets announced names that are finished, or that nothing has: somebody else may take those.
    fn keep_unfinished(&mut self) {
        let Self { links, namespaces, pending, .. } = self;
        pending.retain(|name| {
            links.get(name).is_some_and(|l| l.ifalias.is_none())
                || namespaces.get(name).is_some_and(|found| match found {
                    Found::Usable(inside) => inside.get("lo").is_none_or(|lo| lo.ifalias.is_none()),
                    Found::Broken => true,
                })
        });
    }

    /// Looks again at what changes without being asked: one removal takes others with it.
    async fn refresh(&mut self) -> Result<(), Error> {
        self.links = links::read(None).await?;
        self.namespaces = namespace::list().await?;
        Ok(())
    }
}

impl LinuxNetwork {
    /// `scope` tells several agents on one host apart (lower-case letters, digits and `_`, at most 32);
    /// it is empty for the usual single one. The state directory must exist and be absolute, and is this
    /// agent's alone.
    pub fn new(state_dir: impl Into<PathBuf>, scope: &str) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if scope.len() > MAX_SCOPE || !scope.bytes().all(plain) {
            return Err(Error::bad_request(
                "network.bad_scope",
                "The network scope must be at most 32 lower-case letters, digits and underscores.",
            ));
        }
        let state_dir = state_dir.into();
        // It is written into dnsmasq's configuration and command line as it is.
        let usable = |path: &str| {
            path.starts_with('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b))
        };
        if !state_dir.to_str().is_some_and(usable) {
            return Err(Error::bad_request(
                "network.bad_state_dir",
                "The agent's state directory must be an absolute path of letters, digits and `/._-+`.",
            ));
        }
        let (tag, table) = match scope {
            "" => ("canopy".to_owned(), "canopy".to_owned()),
            _ => (format!("canopy:{scope}"), format!("canopy_{scope}")),
        };
        Ok(Self { state_dir, tag, table, metadata: None, physical: BTreeMap::new(), turn: Mutex::new(()) })
    }

    /// Lets this server listen for the plan's `metadata@1` items; without one they are not served.
    #[must_use]
    pub fn with_metadata(self, server: Arc<MetadataServer>) -> Self {
        Self { metadata: Some(server), ..self }
    }

    /// Lets networks have legs in these networks of the operator's: name to bridge or interface. Both are checked.
    pub fn with_physical_networks(self, physical: BTreeMap<String, String>) -> Result<Self, Error> {
        for (name, device) in &physical {
            uplink::check(name, device)?;
        }
        Ok(Self { physical, ..self })
    }

    pub(super) async fn look(&self) -> Result<Host, Error> {
        Ok(Host {
            links: links::read(None).await?,
            namespaces: namespace::list().await?,
            servers: dhcp::running(&dhcp::folder(&self.state_dir)).await?,
            pending: Pending::load(&self.state_dir).await?,
        })
    }

    /// Writes down what is going to be created, before any of it is.
    async fn announce(&self, plan: &Plan, host: &mut Host) -> Result<(), Error> {
        host.keep_unfinished();
        let Host { links, namespaces, pending, .. } = host;
        let devices = plan.bridges.values().map(|b| &b.name);
        let devices = devices.chain(plan.namespaces.values().map(|n| &n.veth_host));
        let legs = plan.uplinks.values().flat_map(uplink::devices);
        for name in devices.cloned().chain(legs).filter(|name| !links.contains_key(name)) {
            pending.add(&name);
        }
        for namespace in plan.namespaces.values().filter(|n| !namespaces.contains_key(&n.name)) {
            pending.add(&namespace.name);
        }
        pending.save().await
    }

    /// Removes what is ours and not in the plan; returns why some of it is still there.
    async fn remove_surplus(&self, plan: &Plan, host: &mut Host) -> Result<Option<Error>, Error> {
        let mut failures = Failures::default();
        let folder = dhcp::folder(&self.state_dir);
        for server in &host.servers {
            if !plan.dhcp.contains_key(&server.network) {
                failures.note(dhcp::stop(&folder, server).await);
            }
        }
        let served: BTreeSet<NetworkId> = plan.dhcp.keys().copied().collect();
        failures.note(dhcp::forget(&folder, move |network| served.contains(&network)).await);

        let mut removed = false;
        let legs: BTreeSet<_> = plan.uplinks.values().map(|u| u.name.as_str()).collect();
        for name in self.our_links(host, is_uplink_name, &legs) {
            if let Some(link) = host.links.get(&name) {
                failures.note(uplink::delete(link).await);
                removed = true;
            }
        }
        let veths: BTreeSet<_> = plan.namespaces.values().map(|n| n.veth_host.as_str()).collect();
        for name in self.our_links(host, is_veth_name, &veths) {
            failures.note(namespace::delete_veth(&name).await);
            removed = true;
        }
        let wanted: BTreeSet<_> = plan.namespaces.values().map(|n| n.name.as_str()).collect();
        let surplus: Vec<String> = host
            .namespaces
            .iter()
            .filter(|(name, found)| {
                !wanted.contains(name.as_str())
                    && namespace::whose(name, found, &self.tag, &host.pending) == Owner::Ours
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in surplus {
            failures.note(namespace::delete(&name).await);
            removed = true;
        }
        let bridges: BTreeSet<_> = plan.bridges.values().map(|b| b.name.as_str()).collect();
        for name in self.our_links(host, is_bridge_name, &bridges) {
            failures.note(bridge::delete(&name).await);
            removed = true;
        }
        if removed {
            host.refresh().await?;
        }
        Ok(failures.0)
    }

    /// Our interfaces of a pattern that the plan does not have.
    pub(super) fn our_links(
        &self,
        host: &Host,
        pattern: fn(&str) -> bool,
        wanted: &BTreeSet<&str>,
    ) -> Vec<String> {
        host.links
            .values()
            .filter(|link| pattern(&link.ifname) && !wanted.contains(link.ifname.as_str()))
            .filter(|link| {
                owner(&link.ifname, link.ifalias.as_deref(), &self.tag, &host.pending) == Owner::Ours
            })
            .map(|link| link.ifname.clone())
            .collect()
    }

    async fn serve_dhcp(&self, plan: &Plan, host: &Host, network: NetworkId) -> Result<(), Error> {
        let Some(wanted) = plan.dhcp.get(&network) else { return Ok(()) };
        let folder = dhcp::folder(&self.state_dir);
        let present: Vec<_> = host.servers.iter().filter(|s| s.network == network).cloned().collect();
        let interface = plan.namespaces.get(&network).map_or("eth0", |n| n.veth_ns.as_str());
        let pid_file = folder.join(network.to_string()).join("pid");
        match dhcp_conf::render(wanted, interface, &pid_file) {
            Some(text) => dhcp::converge(&folder, network, &wanted.namespace, &text, &present).await,
            None => {
                for server in &present {
                    dhcp::stop(&folder, server).await?;
                }
                Ok(())
            }
        }
    }

    /// One network from the bridge up; stops at the first step that fails, since the rest needs it.
    async fn build(&self, plan: &Plan, host: &mut Host, network: NetworkId) -> Result<(), Error> {
        if let Some(want) = plan.bridges.get(&network) {
            let have = host.links.get(&want.name);
            bridge::converge(want, have, &self.tag, &mut host.pending).await?;
        }
        if let Some(want) = plan.uplinks.get(&network) {
            uplink::converge(want, &self.physical, &host.links, &self.tag, &mut host.pending).await?;
        }
        if let Some(want) = plan.namespaces.get(&network) {
            let have = host.namespaces.get(&want.name);
            namespace::converge(want, have, &host.links, &self.tag, &mut host.pending).await?;
        }
        self.serve_dhcp(plan, host, network).await
    }
}

impl LinuxNetwork {
    /// Carries the plan out; the caller holds the turn.
    async fn converge(&self, plan: &Plan) -> Result<Applied, Error> {
        let mut failed = BTreeMap::new();
        let ports: Vec<_> = plan.antispoof.values().collect();
        // Without the filter nothing else may come up.
        filter::converge(&self.table, &self.tag, &ports).await?;
        let mut host = self.look().await?;
        let mut leftover = Failures(self.remove_surplus(plan, &mut host).await?);
        self.announce(plan, &mut host).await?;
        let networks: BTreeSet<NetworkId> =
            plan.bridges.keys().chain(plan.namespaces.keys()).copied().collect();
        for network in networks {
            if let Err(error) = self.build(plan, &mut host, network).await {
                failed.insert(network, error);
            }
        }
        if !failed.is_empty() {
            // Some of what was announced may not have been begun.
            host.refresh().await?;
            host.keep_unfinished();
        }
        leftover.note(host.pending.save().await);
        if let Some(metadata) = &self.metadata {
            for (network, error) in metadata.converge(&plan.metadata).await {
                // What failed before is why.
                failed.entry(network).or_insert(error);
            }
        }
        for (network, error) in &failed {
            tracing::warn!(%network, error = %error.chain(), "the network is not as planned");
        }
        Ok(Applied { failed, leftover: leftover.0 })
    }
}

#[async_trait]
impl NetworkExecutor for LinuxNetwork {
    async fn apply(&self, items: &[Item]) -> Result<Applied, Error> {
        let plan = Plan::parse(items)?;
        let _turn = self.turn.lock().await;
        self.converge(&plan).await
    }

    async fn inspect(&self, items: &[Item], taps: &Taps) -> Result<Vec<HostFinding>, Error> {
        let plan = Plan::parse(items)?;
        let _turn = self.turn.lock().await;
        self.differences(&plan, taps).await
    }

    async fn mend(&self, items: &[Item], taps: &Taps) -> Result<Applied, Error> {
        let plan = Plan::parse(items)?;
        let _turn = self.turn.lock().await;
        // Bridges first, so that a device can be joined to one.
        let applied = self.converge(&plan).await?;
        self.distrust(&plan, taps).await?;
        Ok(applied)
    }

    async fn observed(&self) -> Result<Vec<String>, Error> {
        let _turn = self.turn.lock().await;
        let host = self.look().await?;
        let mut names: BTreeSet<String> = BTreeSet::new();
        let none = BTreeSet::new();
        names.extend(self.our_links(&host, is_bridge_name, &none).iter().map(|n| format!("bridge/{n}")));
        names.extend(self.our_links(&host, is_veth_name, &none).iter().map(|n| format!("veth/{n}")));
        names.extend(self.our_links(&host, is_uplink_name, &none).iter().map(|n| format!("uplink/{n}")));
        let ours = |(name, found): &(&String, &Found)| {
            namespace::whose(name, found, &self.tag, &host.pending) == Owner::Ours
        };
        names.extend(host.namespaces.iter().filter(ours).map(|(n, _)| format!("namespace/{n}")));
        names.extend(host.servers.iter().map(|s| format!("dhcp/{}", s.network)));
        if let filter::Found::Ours(_) = filter::find(&self.table, &self.tag).await? {
            names.insert(format!("filter/{}", self.table));
        }
        Ok(names.into_iter().collect())
    }

    async fn physical_networks(&self) -> Result<Vec<String>, Error> {
        if self.physical.is_empty() {
            return Ok(Vec::new());
        }
        let links = links::read(None).await?;
        let there = |(_, device): &(&String, &String)| links.contains_key(*device);
        Ok(self.physical.iter().filter(there).map(|(name, _)| name.clone()).collect())
    }
}

/// The first failure of those that do not keep the rest of the plan from being carried out.
#[derive(Default)]
struct Failures(Option<Error>);

impl Failures {
    fn note(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            tracing::warn!(error = %error.chain(), "part of the network plan failed");
            self.0.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_folders_that_would_not_survive_quoting_are_refused() {
        let network = LinuxNetwork::new("/var/lib/canopy", "a_1").unwrap();
        assert_eq!((network.tag.as_str(), network.table.as_str()), ("canopy:a_1", "canopy_a_1"));
        assert_eq!(LinuxNetwork::new("/var/lib/canopy", "").unwrap().table, "canopy");
        for scope in ["a b", "A", "a:b", "é", &"x".repeat(33)] {
            assert!(LinuxNetwork::new("/var/lib/canopy", scope).is_err(), "{scope}");
        }
        for dir in ["var/lib", "/var/a b", "/var/a\nb", "/var/a,b"] {
            assert!(LinuxNetwork::new(dir, "").is_err(), "{dir}");
        }
    }
}
