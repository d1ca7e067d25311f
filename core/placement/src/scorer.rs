//! What a preference over hosts is asked, and how.

use crate::{Placer, PluginUse};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Signals that every request has; their columns come first. The rest are [`crate::Fleet::signals`].
pub const SOFT_AFFINITY: &str = "soft-affinity";
pub const SOFT_ANTI_AFFINITY: &str = "soft-anti-affinity";
pub const HOME_ZONE: &str = "home-zone";
pub const OWN_SIGNALS: [&str; 3] = [SOFT_AFFINITY, SOFT_ANTI_AFFINITY, HOME_ZONE];

/// The names that columns refer to by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Resource classes, e.g. `VCPU`, `MEMORY_MB`, `DISK_GB`.
    pub resources: Vec<String>,
    /// [`OWN_SIGNALS`], then the fleet's.
    pub signals: Vec<String>,
}

/// The rows of feasible hosts, column by column: what crosses to a plugin. The value of column c for row r is
/// at `c * rows + r`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub names: Arc<Names>,
    /// What is asked, per resource class.
    pub want: Vec<f32>,
    /// Index of each row's host in the fleet.
    pub hosts: Vec<u32>,
    /// Per resource class: (total − reserved) × allocation ratio.
    pub capacity: Vec<f32>,
    /// Per resource class, what is not allocated before this request: subtracted exactly, then rounded.
    pub free: Vec<f32>,
    /// Per signal; empty when all are 0.
    pub signals: Vec<f32>,
}

impl Columns {
    pub fn rows(&self) -> usize {
        self.hosts.len()
    }

    /// Capacity of one class, a value per row; empty when there is no such class.
    pub fn capacity_of(&self, class: usize) -> &[f32] {
        self.column(&self.capacity, class)
    }

    /// What is free of one class, a value per row; empty when there is no such class.
    pub fn free_of(&self, class: usize) -> &[f32] {
        self.column(&self.free, class)
    }

    fn column<'a>(&self, values: &'a [f32], index: usize) -> &'a [f32] {
        let range =
            index.checked_mul(self.rows()).and_then(|from| Some(from..from.checked_add(self.rows())?));
        range.and_then(|range| values.get(range)).unwrap_or(&[])
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub code: String,
    pub value: f64,
}

/// The row of the first score that is not a number. There is none in good answers: looking at all, without a way out
/// in between, is SIMD.
pub fn first_nan(scores: &[f32]) -> Option<usize> {
    let any = scores.iter().fold(false, |found, score| found | score.is_nan());
    if any { scores.iter().position(|score| score.is_nan()) } else { None }
}

/// A preference over feasible hosts: higher wins, −∞ is a veto, NaN or a wrong length is a fault.
///
/// The score of a row may depend on the names, on what is asked and on that row only; the engine asks about
/// any subset of hosts and keeps the answers.
pub trait Scorer {
    fn identity(&self) -> PluginUse;
    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String>;
    /// Off the hot path: why each row got its score.
    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String>;
    /// The algorithm of one that chooses hosts itself and has no scores to give.
    fn placer(&mut self) -> Option<&mut dyn Placer> {
        None
    }
}

impl<S: Scorer + ?Sized> Scorer for &mut S {
    fn identity(&self) -> PluginUse {
        (**self).identity()
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        (**self).score(columns)
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        (**self).explain(columns)
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        (**self).placer()
    }
}
