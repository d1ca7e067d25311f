//! Repairs that an inspection has asked the servers' tasks for.
//!
//! Each task does its own, and only once it has nothing else to do: what is in the making is not repaired.

use canopy_types::ServerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mend {
    /// Give the hypervisor the guest's definition again; it is not started.
    Define,
    WriteConfigDrive,
    RemoveConfigDrive,
}

#[derive(Default)]
pub struct Mends {
    /// Of servers that are desired, so no more of them than of those.
    asked: Mutex<BTreeMap<ServerId, BTreeSet<Mend>>>,
    bell: watch::Sender<u64>,
    sweeps: watch::Sender<u64>,
}

impl Mends {
    pub fn ask(&self, id: ServerId, mend: Mend) {
        self.lock().entry(id).or_default().insert(mend);
        self.bell.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// What this server's task is to do; asked for no more.
    pub fn take(&self, id: ServerId) -> BTreeSet<Mend> {
        self.lock().remove(&id).unwrap_or_default()
    }

    /// Rings when something was asked for.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Asks for what lies on the host unwanted to be looked for again.
    pub fn sweep(&self) {
        self.sweeps.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub fn sweeps(&self) -> watch::Receiver<u64> {
        self.sweeps.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServerId, BTreeSet<Mend>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
