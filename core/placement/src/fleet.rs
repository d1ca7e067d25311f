//! The snapshot that decisions are made on.

use crate::NameSet;
use canopy_types::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Group id, then host, then how many of the group's servers are on it (never 0).
pub type Groups = BTreeMap<String, BTreeMap<HostId, u32>>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The event revision that this snapshot reflects.
    pub revision: i64,
    pub hosts: Vec<Host>,
    pub resources: Vec<ResourceColumn>,
    /// Numbers that change with time and that only a scorer looks at, e.g. `cpu.percent`, `build-failures`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalColumn>,
    #[serde(default, skip_serializing_if = "Groups::is_empty")]
    pub groups: Groups,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub zone: String,
    /// Why no new server goes here (disabled by the operator, agent silent); `None` when it may.
    pub closed: Option<String>,
    #[serde(default, skip_serializing_if = "no_names")]
    pub traits: NameSet,
    /// Ids of the aggregates that the host is in.
    #[serde(default, skip_serializing_if = "no_names")]
    pub aggregates: NameSet,
}

fn no_names(names: &NameSet) -> bool {
    names.is_empty()
}

impl Host {
    /// An open host without traits or aggregates.
    pub fn new(id: HostId, name: impl Into<String>, zone: impl Into<String>) -> Self {
        let (name, zone) = (name.into(), zone.into());
        Self { id, name, zone, closed: None, traits: NameSet::default(), aggregates: NameSet::default() }
    }
}

/// One resource class over all hosts, in the order of [`Fleet::hosts`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceColumn {
    pub class: String,
    /// (total − reserved) × allocation ratio, rounded down; 0 where the host has no such inventory.
    pub capacity: Vec<i64>,
    pub used: Vec<i64>,
    /// What one request may take, per host; empty when every host has [`Units::ANY`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Units>,
}

/// The amounts that one request may take of an inventory: `min`, `min + …` up to `max`, multiples of `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Units {
    pub min: i64,
    pub max: i64,
    pub step: i64,
}

impl Units {
    pub const ANY: Self = Self { min: 1, max: i64::MAX, step: 1 };

    pub fn allow(&self, amount: i64) -> bool {
        amount >= self.min && amount <= self.max && amount % self.step.max(1) == 0
    }
}

impl Default for Units {
    fn default() -> Self {
        Self::ANY
    }
}

impl ResourceColumn {
    /// A column whose hosts take any amount.
    pub fn new(class: impl Into<String>, capacity: Vec<i64>, used: Vec<i64>) -> Self {
        Self { class: class.into(), capacity, used, units: Vec::new() }
    }

    pub fn units_of(&self, host: usize) -> Units {
        self.units.get(host).copied().unwrap_or_default()
    }

    /// What is left on a host; below zero when an operator lowered the capacity.
    pub fn free(&self, host: usize) -> i64 {
        let (capacity, used) = (self.capacity.get(host), self.used.get(host));
        capacity.copied().unwrap_or(0).saturating_sub(used.copied().unwrap_or(0))
    }
}

/// One signal over all hosts, in the order of [`Fleet::hosts`]; 0 where a host has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalColumn {
    pub name: String,
    pub values: Vec<f64>,
}

impl Fleet {
    pub fn index_of(&self, host: HostId) -> Option<usize> {
        self.hosts.iter().position(|known| known.id == host)
    }

    pub fn column(&self, class: &str) -> Option<&ResourceColumn> {
        self.resources.iter().find(|column| column.class == class)
    }

    /// Servers of a group on a host.
    pub fn members(&self, group: &str, host: HostId) -> u32 {
        self.groups.get(group).and_then(|hosts| hosts.get(&host)).copied().unwrap_or(0)
    }
}
