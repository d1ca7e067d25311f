//! Makes the host's network exactly what the plan says, and touches nothing else.
//!
//! The network plugin decides (a set of [`Item`]s); this module acts. Per network: a bridge without any
//! address (so that overlapping CIDRs work) and a namespace joined to it by a veth pair, which holds the
//! service addresses, DHCP and the metadata service. Per port: stateless anti-spoofing rules in one
//! nftables table, which exist before the tap does.
//!
//! What is ours is recognised by a tag that lives on the thing itself (interface alias, table comment,
//! a process's command line), never by name alone. Several agents on one host are told apart by their
//! scope. The only thing on disk is a list of names in the middle of being created
//! ([`pending`]), since a name and its tag cannot be made in one step.

pub mod bridge;
pub mod dhcp;
pub mod dhcp_conf;
pub mod filter;
mod inspect;
pub mod items;
pub mod links;
pub mod linux;
pub mod namespace;
pub mod netns;
pub mod ownership;
pub mod pending;
pub mod run;
pub mod uplink;

pub use canopy_plugin_host::network::Item;
pub use linux::LinuxNetwork;

use async_trait::async_trait;
use canopy_agent_api::HostFinding;
use canopy_types::{Error, Kind, NetworkId};
use std::collections::{BTreeMap, BTreeSet};

/// What came of a plan that was carried out.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Applied {
    /// Networks that are not as planned, and why. All others are.
    pub failed: BTreeMap<NetworkId, Error>,
    /// Why something that nobody wants any more is still there. Holds nobody back.
    pub leftover: Option<Error>,
}

impl Applied {
    /// One failure to tell: one that lasts until somebody acts goes before one that may pass.
    pub fn failure(&self) -> Option<&Error> {
        let all = || self.failed.values().chain(&self.leftover);
        all().find(|error| error.kind == Kind::Conflict).or_else(|| all().next())
    }
}

/// Guests' devices, which the hypervisor makes and no plan names.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    /// Those that must be there, and the bridge that each is joined to.
    pub wanted: BTreeMap<String, String>,
    /// Those that may be there.
    pub allowed: BTreeSet<String>,
}

/// Carries out a network plan on this host.
#[async_trait]
pub trait NetworkExecutor: Send + Sync + 'static {
    /// Makes the host have exactly these items of ours, by the smallest difference. May be killed at any
    /// point and run again. An error: the plan has an invalid item and changes nothing, or something
    /// that every network needs failed. What fails in one network does not keep the others from being
    /// carried out, and is told of that network.
    async fn apply(&self, items: &[Item]) -> Result<Applied, Error>;

    /// What is not as these items say, and guests' devices that are not where they belong. Changes nothing.
    async fn inspect(&self, _items: &[Item], _taps: &Taps) -> Result<Vec<HostFinding>, Error> {
        Ok(Vec::new())
    }

    /// [`Self::apply`], after undoing what was changed so that it would not be noticed there.
    async fn mend(&self, items: &[Item], _taps: &Taps) -> Result<Applied, Error> {
        self.apply(items).await
    }

    /// The names of our things that exist, sorted: `bridge/cnb7`, `veth/cnv7`, `namespace/canopy-<id>`,
    /// `dhcp/<network id>`, `filter/<table>`, `uplink/cnu7`.
    async fn observed(&self) -> Result<Vec<String>, Error>;

    /// The operator's networks that this host has now, sorted.
    async fn physical_networks(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// Does nothing: for hosts without a network of their own, as in benchmarks of the control plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

#[async_trait]
impl NetworkExecutor for NoNetwork {
    async fn apply(&self, _items: &[Item]) -> Result<Applied, Error> {
        Ok(Applied::default())
    }

    async fn observed(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_failure_is_told_first() {
        let mut applied = Applied::default();
        assert!(applied.failure().is_none());
        applied.leftover = Some(Error::unavailable("a", "a"));
        assert_eq!(applied.failure().unwrap().code, "a");
        applied.failed.insert(NetworkId::random(), Error::conflict("b", "b"));
        assert_eq!(applied.failure().unwrap().code, "b");
    }
}
