//! Compute: servers, flavors, key pairs, hosts.

pub mod aggregates;
pub mod consoles;
pub mod controller;
pub mod decisions;
pub mod flavors;
pub mod fleet;
pub mod hosts;
pub mod keypairs;
pub mod placement;
pub mod questions;
pub mod revisions;
pub mod server_groups;
pub mod servers;
pub mod usage;

pub use crate::quota;
