//! What one server asks.

use crate::{NameSet, SharedAmounts};
use canopy_types::HostId;
use serde::{Deserialize, Serialize};

/// Every field narrows the choice; what is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Per resource class; 0 asks for nothing, a negative amount fits nowhere.
    pub amounts: SharedAmounts,
    pub zone: Option<String>,
    /// Hosts that a commit found full a moment ago.
    pub exclude: Vec<HostId>,
    #[serde(skip_serializing_if = "no_names")]
    pub required_traits: NameSet,
    #[serde(skip_serializing_if = "no_names")]
    pub forbidden_traits: NameSet,
    /// The host is in at least one aggregate of each of these sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub member_of: Vec<NameSet>,
    #[serde(skip_serializing_if = "no_names")]
    pub forbidden_aggregates: NameSet,
    /// When not empty, one of these: a forced host, or the hosts of the `same_host` hint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_hosts: Vec<HostId>,
    /// None of these: `different_host`, or the host that a server is moved away from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden_hosts: Vec<HostId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRule>,
    /// The zone that a moved server comes from, for scorers that dislike leaving it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_zone: Option<String>,
}

fn no_names(names: &NameSet) -> bool {
    names.is_empty()
}

/// The server group that the server joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRule {
    pub id: String,
    pub policy: GroupPolicy,
    /// For anti-affinity: servers of the group that may share a host; at least 1.
    #[serde(default = "one")]
    pub max_per_host: u32,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupPolicy {
    /// All on one host: once a server of the group is placed, only hosts that have one.
    Affinity,
    /// At most [`GroupRule::max_per_host`] on a host.
    AntiAffinity,
    /// Preferred by the scorer, never a reason to refuse.
    SoftAffinity,
    SoftAntiAffinity,
}

impl GroupRule {
    /// How the group's servers on a host show in the signal columns.
    pub fn is_soft(&self) -> bool {
        matches!(self.policy, GroupPolicy::SoftAffinity | GroupPolicy::SoftAntiAffinity)
    }
}
