//! The server's states: what is desired, what is observed, and what a client sees.
//!
//! *Desired* is written by the API only. *Observed* is written by the host's agent only, under a
//! generation that the agent alone raises. What a client sees is derived from the two by [`derive`],
//! which reads one table, [`TRANSITIONS`]. Nothing else decides a status.
//!
//! Power is an intent with a number: the API writes `(on, n)`, the agent reports the last `n` it
//! satisfied, and a satisfied intent is never applied again. So a guest that powers itself off is
//! SHUTOFF and stays so, while a host that restarts does not guess.

use serde::{Deserialize, Serialize};

/// What the API wants of the guest's power, and the number of that wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerIntent {
    pub on: bool,
    pub n: i64,
}

/// What the host last said about the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No host has reported on it yet.
    Pending,
    /// Bridges, DHCP, filters are being made.
    Networking,
    /// Image and disks are being made.
    BlockDeviceMapping,
    /// The domain is being defined and started.
    Spawning,
    Running,
    Paused,
    /// Defined, not running.
    Stopped,
    /// It could not be made or started; the reason is with it.
    Failed,
    /// The host has nothing of it any more.
    Gone,
}

impl Phase {
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Networking,
        Self::BlockDeviceMapping,
        Self::Spawning,
        Self::Running,
        Self::Paused,
        Self::Stopped,
        Self::Failed,
        Self::Gone,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Networking => "networking",
            Self::BlockDeviceMapping => "block_device_mapping",
            Self::Spawning => "spawning",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == s)
    }
}

/// What the API wants, as far as the table needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// First boot: no power intent was satisfied yet.
    Build,
    /// The last intent is satisfied; what is observed is the truth.
    Keep,
    /// A start was asked and is not satisfied yet.
    Start,
    /// A stop was asked and is not satisfied yet.
    Stop,
    /// To be deleted.
    Delete,
    /// Refused by placement, or failed for good: no host works on it.
    Error,
}

impl Wish {
    pub const ALL: [Self; 6] = [Self::Build, Self::Keep, Self::Start, Self::Stop, Self::Delete, Self::Error];
}

/// The three fields OpenStack shows, and the one status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    pub vm_state: &'static str,
    pub task_state: Option<&'static str>,
    pub power_state: i64,
    pub status: &'static str,
}

pub mod power {
    pub const NOSTATE: i64 = 0;
    pub const RUNNING: i64 = 1;
    pub const PAUSED: i64 = 3;
    pub const SHUTDOWN: i64 = 4;
    pub const CRASHED: i64 = 6;
}

use Phase as P;
use Wish as W;
use power::{NOSTATE, PAUSED, RUNNING, SHUTDOWN};

const fn d(
    vm_state: &'static str,
    task_state: Option<&'static str>,
    power_state: i64,
    status: &'static str,
) -> Derived {
    Derived { vm_state, task_state, power_state, status }
}

/// Every pair of wish and phase, once. A test walks all pairs.
pub const TRANSITIONS: [(Wish, Phase, Derived); 54] = [
    (W::Build, P::Pending, d("building", Some("scheduling"), NOSTATE, "BUILD")),
    (W::Build, P::Networking, d("building", Some("networking"), NOSTATE, "BUILD")),
    (W::Build, P::BlockDeviceMapping, d("building", Some("block_device_mapping"), NOSTATE, "BUILD")),
    (W::Build, P::Spawning, d("building", Some("spawning"), NOSTATE, "BUILD")),
    // The domain runs, but its agent has not yet said that the intent is satisfied.
    (W::Build, P::Running, d("building", Some("spawning"), RUNNING, "BUILD")),
    (W::Build, P::Paused, d("building", Some("spawning"), PAUSED, "BUILD")),
    (W::Build, P::Stopped, d("building", Some("spawning"), SHUTDOWN, "BUILD")),
    (W::Build, P::Failed, d("error", None, NOSTATE, "ERROR")),
    (W::Build, P::Gone, d("building", Some("scheduling"), NOSTATE, "BUILD")),
    (W::Keep, P::Pending, d("active", None, NOSTATE, "ACTIVE")),
    (W::Keep, P::Networking, d("active", None, NOSTATE, "ACTIVE")),
    (W::Keep, P::BlockDeviceMapping, d("active", None, NOSTATE, "ACTIVE")),
    (W::Keep, P::Spawning, d("active", None, NOSTATE, "ACTIVE")),
    (W::Keep, P::Running, d("active", None, RUNNING, "ACTIVE")),
    (W::Keep, P::Paused, d("paused", None, PAUSED, "PAUSED")),
    (W::Keep, P::Stopped, d("stopped", None, SHUTDOWN, "SHUTOFF")),
    (W::Keep, P::Failed, d("error", None, NOSTATE, "ERROR")),
    // Defined nowhere although nobody deleted it: its disk may still be there, so it can be started.
    (W::Keep, P::Gone, d("stopped", None, SHUTDOWN, "SHUTOFF")),
    (W::Start, P::Pending, d("stopped", Some("powering-on"), NOSTATE, "SHUTOFF")),
    (W::Start, P::Networking, d("stopped", Some("powering-on"), NOSTATE, "SHUTOFF")),
    (W::Start, P::BlockDeviceMapping, d("stopped", Some("powering-on"), NOSTATE, "SHUTOFF")),
    (W::Start, P::Spawning, d("stopped", Some("powering-on"), NOSTATE, "SHUTOFF")),
    (W::Start, P::Running, d("stopped", Some("powering-on"), RUNNING, "SHUTOFF")),
    (W::Start, P::Paused, d("paused", Some("powering-on"), PAUSED, "PAUSED")),
    (W::Start, P::Stopped, d("stopped", Some("powering-on"), SHUTDOWN, "SHUTOFF")),
    (W::Start, P::Failed, d("error", None, NOSTATE, "ERROR")),
    (W::Start, P::Gone, d("stopped", Some("powering-on"), NOSTATE, "SHUTOFF")),
    (W::Stop, P::Pending, d("active", Some("powering-off"), NOSTATE, "ACTIVE")),
    (W::Stop, P::Networking, d("active", Some("powering-off"), NOSTATE, "ACTIVE")),
    (W::Stop, P::BlockDeviceMapping, d("active", Some("powering-off"), NOSTATE, "ACTIVE")),
    (W::Stop, P::Spawning, d("active", Some("powering-off"), NOSTATE, "ACTIVE")),
    (W::Stop, P::Running, d("active", Some("powering-off"), RUNNING, "ACTIVE")),
    (W::Stop, P::Paused, d("paused", Some("powering-off"), PAUSED, "PAUSED")),
    (W::Stop, P::Stopped, d("active", Some("powering-off"), SHUTDOWN, "ACTIVE")),
    (W::Stop, P::Failed, d("error", None, NOSTATE, "ERROR")),
    (W::Stop, P::Gone, d("stopped", Some("powering-off"), SHUTDOWN, "SHUTOFF")),
    (W::Delete, P::Pending, d("building", Some("deleting"), NOSTATE, "BUILD")),
    (W::Delete, P::Networking, d("building", Some("deleting"), NOSTATE, "BUILD")),
    (W::Delete, P::BlockDeviceMapping, d("building", Some("deleting"), NOSTATE, "BUILD")),
    (W::Delete, P::Spawning, d("building", Some("deleting"), NOSTATE, "BUILD")),
    (W::Delete, P::Running, d("active", Some("deleting"), RUNNING, "ACTIVE")),
    (W::Delete, P::Paused, d("paused", Some("deleting"), PAUSED, "PAUSED")),
    (W::Delete, P::Stopped, d("stopped", Some("deleting"), SHUTDOWN, "SHUTOFF")),
    (W::Delete, P::Failed, d("error", Some("deleting"), NOSTATE, "ERROR")),
    (W::Delete, P::Gone, d("deleted", None, NOSTATE, "DELETED")),
    (W::Error, P::Pending, d("error", None, NOSTATE, "ERROR")),
    (W::Error, P::Networking, d("error", None, NOSTATE, "ERROR")),
    (W::Error, P::BlockDeviceMapping, d("error", None, NOSTATE, "ERROR")),
    (W::Error, P::Spawning, d("error", None, NOSTATE, "ERROR")),
    (W::Error, P::Running, d("error", None, RUNNING, "ERROR")),
    (W::Error, P::Paused, d("error", None, PAUSED, "ERROR")),
    (W::Error, P::Stopped, d("error", None, SHUTDOWN, "ERROR")),
    (W::Error, P::Failed, d("error", None, NOSTATE, "ERROR")),
    (W::Error, P::Gone, d("error", None, NOSTATE, "ERROR")),
];

/// What the API wants, reduced to the table's column.
pub fn wish(deleted: bool, refused: bool, power: PowerIntent, satisfied: i64) -> Wish {
    match () {
        () if deleted => W::Delete,
        () if refused => W::Error,
        () if satisfied >= power.n => W::Keep,
        () if satisfied == 0 => W::Build,
        () if power.on => W::Start,
        () => W::Stop,
    }
}

/// What a client sees. Total: a pair that the table lacks cannot exist (tested).
pub fn derive(wish: Wish, phase: Phase) -> Derived {
    TRANSITIONS
        .iter()
        .find(|(w, p, _)| *w == wish && *p == phase)
        .map_or(d("error", None, NOSTATE, "UNKNOWN"), |(_, _, derived)| *derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_stands_once_in_the_table() {
        for wish in Wish::ALL {
            for phase in Phase::ALL {
                let rows = TRANSITIONS.iter().filter(|(w, p, _)| *w == wish && *p == phase).count();
                assert_eq!(rows, 1, "{wish:?} {phase:?}");
                assert_ne!(derive(wish, phase).status, "UNKNOWN");
            }
        }
    }

    #[test]
    fn a_guest_that_powers_itself_off_is_shutoff_and_stays_so() {
        let on = PowerIntent { on: true, n: 1 };
        assert_eq!(derive(wish(false, false, on, 1), Phase::Stopped).status, "SHUTOFF");
    }
}
