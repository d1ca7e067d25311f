//! Where a server goes. Pure: a snapshot of the fleet and a request in, a decision with its reasons out.
//!
//! Hard constraints (capacity, state, zone) are decided here; preference is asked of a [`Scorer`], which
//! is a WASM plugin in production. A scorer that traps or answers nonsense costs its own opinion, not the
//! decision: the built-in spread takes over and the decision says so.

pub mod decide;
pub mod decision;
pub mod fleet;
pub mod spread;

pub use decide::decide;
pub use decision::{Decision, PluginUse, RuleCount, ScoredHost, Smallest};
pub use fleet::{Fleet, Host, ResourceColumn};

use canopy_types::resources::Amounts;
use serde::{Deserialize, Serialize};

/// What one server asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub amounts: Amounts,
    pub zone: Option<String>,
    /// Hosts that a commit found full a moment ago.
    pub exclude: Vec<canopy_types::HostId>,
}

/// The rows of feasible hosts, column by column: what crosses to a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Index of each row's host in the fleet.
    pub hosts: Vec<u32>,
    /// Resource class names, in the order of `total` and `used`.
    pub classes: Vec<String>,
    /// Per class, one value a row: capacity = (total − reserved) × allocation ratio.
    pub capacity: Vec<Vec<f64>>,
    /// Per class, one value a row.
    pub used: Vec<Vec<f64>>,
    /// What is asked, per class.
    pub want: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub code: String,
    pub value: f64,
}

/// A preference over feasible hosts: higher wins, −∞ is a veto, NaN or a wrong length is a fault.
pub trait Scorer {
    fn identity(&self) -> PluginUse;
    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String>;
    /// Off the hot path: why each row got its score.
    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String>;
}
