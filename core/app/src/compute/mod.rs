//! Compute: servers, flavors, key pairs, hosts.

pub mod controller;
pub mod decisions;
pub mod flavors;
pub mod fleet;
pub mod keypairs;
pub mod questions;
pub mod servers;

pub use crate::quota;
