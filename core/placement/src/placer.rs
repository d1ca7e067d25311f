//! What a scheduler that owns the algorithm is told and asked: the second tier beside [`crate::Scorer`].
//!
//! A placer keeps state between calls. The engine tells it what differs from what it must believe, asks about a batch,
//! and checks every answer; see [`crate::engine`].

use crate::Names;
use std::sync::Arc;

/// Requests of one call.
pub const BATCH: usize = 64;
/// Rows of one call.
pub const ROWS: usize = 8_192;
/// Classes that one state knows; then it begins anew.
pub const CLASSES: usize = 4_096;
/// As an answer: no host. As a cell: none, the host takes no server at present.
pub const NOWHERE: u32 = u32::MAX;

/// Rows of hosts, column by column: the value of column c for row r is at `c * rows + r`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostRows {
    /// Places in the fleet, each once.
    pub at: Vec<u32>,
    /// Hosts that no request tells apart by what seldom changes; [`NOWHERE`] for a closed host.
    pub cells: Vec<u32>,
    pub capacity: Vec<i64>,
    pub free: Vec<i64>,
    /// The fleet's signals; not those that depend on the request.
    pub signals: Vec<f32>,
}

/// What requests have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacerClass {
    /// Per resource class.
    pub wants: Vec<i64>,
    /// Whose hosts may be chosen.
    pub cells: Vec<u32>,
    /// Hosts of the cells that may not.
    pub barred: Vec<u32>,
    /// Those of the cells that are in the zone which a moved server comes from.
    pub home: Vec<u32>,
}

/// Hosts that concern one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnLists {
    /// When given, nobody else.
    pub only: Option<Vec<u32>>,
    pub barred: Vec<u32>,
    /// With servers of the request's group, whose policy is soft affinity.
    pub near: Vec<u32>,
    /// The same with soft anti-affinity.
    pub apart: Vec<u32>,
}

impl OwnLists {
    pub fn is_empty(&self) -> bool {
        self.only.is_none() && self.barred.is_empty() && self.near.is_empty() && self.apart.is_empty()
    }
}

/// One request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    pub class: u32,
    pub lists: OwnLists,
}

/// An algorithm with state. Every error is a fault, after which the state is gone.
pub trait Placer {
    /// Which state it has: 0 for none, otherwise a number that no other state of this process has or had.
    fn state(&self) -> u64;

    /// Forgets everything, and will be told so many hosts; returns the new state's number.
    fn begin(&mut self, names: &Arc<Names>, hosts: u32) -> Result<u64, String>;

    /// Rows to know or to know better, at most [`ROWS`].
    fn hosts(&mut self, rows: &HostRows) -> Result<(), String>;

    /// Classes `first` and following.
    fn classes(&mut self, first: u32, classes: &[PlacerClass]) -> Result<(), String>;

    /// One answer a request, unchecked but in number. The placer takes what it places off what is free.
    fn place(&mut self, epoch: u64, changed: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String>;

    /// One of its answers broke a rule and was not followed: for whoever counts faults.
    fn wrong(&mut self, _why: &str) {}
}

/// A number for [`Placer::state`].
pub fn new_state() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
