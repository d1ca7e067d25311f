//! The snapshot that a decision is made on.

use canopy_types::HostId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The event revision that this snapshot reflects.
    pub revision: i64,
    pub hosts: Vec<Host>,
    pub resources: Vec<ResourceColumn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub zone: String,
    /// Why no new server goes here (disabled by the operator, agent silent); `None` when it may.
    pub closed: Option<String>,
}

/// One resource class over all hosts, in the order of [`Fleet::hosts`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceColumn {
    pub class: String,
    /// (total − reserved) × allocation ratio, rounded down.
    pub capacity: Vec<i64>,
    pub used: Vec<i64>,
}
