//! The server's states: what is desired, what is observed, and what a client sees.
//!
//! *Desired* is written by the API only. *Observed* is written by the host's agent only, under a
//! generation that the agent alone raises. What a client sees is derived from the two by [`derive`],
//! which joins two tables, [`WISHES`] and [`PHASES`]. Nothing else decides a status. What a client may ask in
//! a state is a third table, [`rules`].
//!
//! Power is an intent with a number: the API writes `(on, how, n)`, the agent reports the last `n` it
//! satisfied, and a satisfied intent is never applied again. So a guest that powers itself off is
//! SHUTOFF and stays so, while a host that restarts does not guess. Every operation on a guest is such an
//! intent, so at most one is open per server, and it supplies the task state.

pub mod rules;

use serde::{Deserialize, Serialize};

/// What the API wants of the guest's power, how it is to come about, and the number of that wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerIntent {
    /// Whether the guest has its power in the end.
    pub on: bool,
    pub n: i64,
    #[serde(default)]
    pub how: How,
}

impl PowerIntent {
    /// A plain start or stop.
    pub fn plain(on: bool, n: i64) -> Self {
        Self { on, n, how: How::Plain }
    }

    /// The next wish.
    #[must_use]
    pub fn next(self, on: bool, how: How) -> Self {
        Self { on, how, n: self.n + 1 }
    }
}

/// What an intent is besides a plain start or stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    #[default]
    Plain,
    /// Keeps its memory and its process, and does not run.
    Pause,
    Unpause,
    /// Its memory goes to the host's disk and its process ends.
    Suspend,
    Resume,
    /// Asked to power off, cut off after a deadline, started again.
    SoftReboot,
    HardReboot,
    /// A new disk from the image, and on again if it is to be on.
    Rebuild,
    /// Off, another flavor's amounts and a disk that is no smaller, and on again if it was. The disk as it was is
    /// kept.
    Resize,
    /// What a resize kept goes.
    ConfirmResize,
    /// What a resize kept comes back.
    RevertResize,
    /// Booted from another image, its own disk beside that.
    Rescue,
    Unrescue,
    /// Off, and to be left so until it is unshelved.
    Shelve,
    Unshelve,
    /// Off, and to be deleted unless it is restored in time.
    SoftDelete,
    Restore,
    /// Its disk becomes an image.
    Snapshot,
    /// Its network devices become what is wanted, whether it runs or not.
    Rewire,
    /// Whatever it is now is what is wanted: ends an operation that got nowhere.
    Accept,
}

impl How {
    pub const ALL: [Self; 20] = [
        Self::Plain,
        Self::Pause,
        Self::Unpause,
        Self::Suspend,
        Self::Resume,
        Self::SoftReboot,
        Self::HardReboot,
        Self::Rebuild,
        Self::Resize,
        Self::ConfirmResize,
        Self::RevertResize,
        Self::Rescue,
        Self::Unrescue,
        Self::Shelve,
        Self::Unshelve,
        Self::SoftDelete,
        Self::Restore,
        Self::Snapshot,
        Self::Rewire,
        Self::Accept,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::SoftReboot => "soft_reboot",
            Self::HardReboot => "hard_reboot",
            Self::Rebuild => "rebuild",
            Self::Resize => "resize",
            Self::ConfirmResize => "confirm_resize",
            Self::RevertResize => "revert_resize",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Shelve => "shelve",
            Self::Unshelve => "unshelve",
            Self::SoftDelete => "soft_delete",
            Self::Restore => "restore",
            Self::Snapshot => "snapshot",
            Self::Rewire => "rewire",
            Self::Accept => "accept",
        }
    }

    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.as_str() == s)
    }

    /// The guest goes off first, whatever it does after.
    pub fn cycles(self) -> bool {
        matches!(
            self,
            Self::SoftReboot
                | Self::HardReboot
                | Self::Rebuild
                | Self::Resize
                | Self::RevertResize
                | Self::Rescue
                | Self::Unrescue
        )
    }

    /// Before its power is cut the guest is asked to power off.
    pub fn is_gentle(self) -> bool {
        matches!(self, Self::SoftReboot | Self::Resize | Self::Rescue)
    }

    /// Leaves the guest's power as it is, whatever that is.
    pub fn leaves_power(self) -> bool {
        matches!(self, Self::ConfirmResize | Self::Snapshot | Self::Rewire)
    }
}

/// What a server stays in with nothing in flight, besides what its host says of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    #[default]
    None,
    /// A resize is done, to be confirmed or reverted.
    Resized,
    Rescued,
    Shelved,
    SoftDeleted,
}

impl Hold {
    pub const ALL: [Self; 5] = [Self::None, Self::Resized, Self::Rescued, Self::Shelved, Self::SoftDeleted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Resized => "resized",
            Self::Rescued => "rescued",
            Self::Shelved => "shelved",
            Self::SoftDeleted => "soft_deleted",
        }
    }

    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hold| hold.as_str() == s)
    }
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
    /// Off, with its memory on the host's disk.
    Suspended,
    /// Defined, not running.
    Stopped,
    /// It could not be made or started; the reason is with it.
    Failed,
    /// The host has nothing of it any more.
    Gone,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Networking,
        Self::BlockDeviceMapping,
        Self::Spawning,
        Self::Running,
        Self::Paused,
        Self::Suspended,
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
            Self::Suspended => "suspended",
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
    /// The last intent is satisfied, or was to accept things as they are; what is observed is the truth.
    Keep,
    /// A start was asked and is not satisfied yet.
    Start,
    /// A stop was asked and is not satisfied yet.
    Stop,
    Pause,
    Unpause,
    Suspend,
    Resume,
    SoftReboot,
    HardReboot,
    Rebuild,
    Resize,
    ConfirmResize,
    RevertResize,
    Rescue,
    Unrescue,
    Shelve,
    Unshelve,
    SoftDelete,
    Restore,
    Snapshot,
    Rewire,
    /// Kept, and held in a state of its own.
    Resized,
    Rescued,
    Shelved,
    SoftDeleted,
    /// To be deleted.
    Delete,
    /// Refused by placement, or an operator says so: whatever the host has, this is an error.
    Error,
}

impl Wish {
    pub const ALL: [Self; 28] = [
        Self::Build,
        Self::Keep,
        Self::Start,
        Self::Stop,
        Self::Pause,
        Self::Unpause,
        Self::Suspend,
        Self::Resume,
        Self::SoftReboot,
        Self::HardReboot,
        Self::Rebuild,
        Self::Resize,
        Self::ConfirmResize,
        Self::RevertResize,
        Self::Rescue,
        Self::Unrescue,
        Self::Shelve,
        Self::Unshelve,
        Self::SoftDelete,
        Self::Restore,
        Self::Snapshot,
        Self::Rewire,
        Self::Resized,
        Self::Rescued,
        Self::Shelved,
        Self::SoftDeleted,
        Self::Delete,
        Self::Error,
    ];
}

/// The three fields OpenStack shows, and the one status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Derived {
    pub vm_state: &'static str,
    pub task_state: Option<&'static str>,
    pub power_state: i64,
    pub status: &'static str,
}

impl Derived {
    /// Percent of what it is being made of: nova knows only all and nothing.
    pub fn progress(&self) -> u8 {
        if self.status == "ACTIVE" { 100 } else { 0 }
    }
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

/// A phase by itself.
#[derive(Clone, Copy, Debug)]
pub struct PhaseRow {
    pub phase: Phase,
    /// Where nothing is in flight.
    pub vm_state: &'static str,
    pub power_state: i64,
    /// What a first boot shows as its task.
    pub building: &'static str,
}

const fn phase(phase: Phase, vm_state: &'static str, power_state: i64, building: &'static str) -> PhaseRow {
    PhaseRow { phase, vm_state, power_state, building }
}

/// Every phase, once.
pub const PHASES: [PhaseRow; 10] = [
    phase(P::Pending, "active", NOSTATE, "scheduling"),
    phase(P::Networking, "active", NOSTATE, "networking"),
    phase(P::BlockDeviceMapping, "active", NOSTATE, "block_device_mapping"),
    phase(P::Spawning, "active", NOSTATE, "spawning"),
    // In a first boot the domain runs, but its agent has not yet said that the intent is satisfied.
    phase(P::Running, "active", RUNNING, "spawning"),
    phase(P::Paused, "paused", PAUSED, "spawning"),
    phase(P::Suspended, "suspended", SHUTDOWN, "spawning"),
    phase(P::Stopped, "stopped", SHUTDOWN, "spawning"),
    phase(P::Failed, "error", NOSTATE, ""),
    // Defined nowhere although nobody deleted it: its disk may still be there, so it can be started.
    phase(P::Gone, "stopped", SHUTDOWN, "scheduling"),
];

/// A wish by itself: the task it shows, and what it shows of the server meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct WishRow {
    pub wish: Wish,
    pub task: Option<&'static str>,
    pub shown: Shown,
    /// Instead of the word that belongs to the state.
    pub status: Option<&'static str>,
}

/// Which `vm_state` a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What the phase says.
    Observed,
    /// What it was before, which is this.
    Was(&'static str),
    /// Not yet made.
    Building,
    /// An error whatever is observed.
    Error,
}

const fn wish_row(
    wish: Wish,
    task: Option<&'static str>,
    shown: Shown,
    status: Option<&'static str>,
) -> WishRow {
    WishRow { wish, task, shown, status }
}

/// Every wish, once.
pub const WISHES: [WishRow; 28] = [
    wish_row(W::Build, None, Shown::Building, None),
    wish_row(W::Keep, None, Shown::Observed, None),
    wish_row(W::Start, Some("powering-on"), Shown::Was("stopped"), None),
    wish_row(W::Stop, Some("powering-off"), Shown::Was("active"), None),
    wish_row(W::Pause, Some("pausing"), Shown::Was("active"), None),
    wish_row(W::Unpause, Some("unpausing"), Shown::Was("paused"), None),
    wish_row(W::Suspend, Some("suspending"), Shown::Was("active"), None),
    wish_row(W::Resume, Some("resuming"), Shown::Was("suspended"), None),
    wish_row(W::SoftReboot, Some("rebooting"), Shown::Was("active"), Some("REBOOT")),
    wish_row(W::HardReboot, Some("rebooting_hard"), Shown::Was("active"), Some("HARD_REBOOT")),
    wish_row(W::Rebuild, Some("rebuilding"), Shown::Was("active"), Some("REBUILD")),
    wish_row(W::Resize, Some("resize_migrating"), Shown::Was("active"), Some("RESIZE")),
    wish_row(W::ConfirmResize, Some("resize_confirming"), Shown::Was("resized"), None),
    wish_row(W::RevertResize, Some("resize_reverting"), Shown::Was("resized"), Some("REVERT_RESIZE")),
    wish_row(W::Rescue, Some("rescuing"), Shown::Was("active"), None),
    wish_row(W::Unrescue, Some("unrescuing"), Shown::Was("rescued"), None),
    wish_row(W::Shelve, Some("shelving"), Shown::Observed, None),
    wish_row(W::Unshelve, Some("unshelving"), Shown::Was("shelved"), None),
    wish_row(W::SoftDelete, Some("soft-deleting"), Shown::Observed, None),
    wish_row(W::Restore, Some("restoring"), Shown::Was("soft-delete"), None),
    wish_row(W::Snapshot, Some("image_uploading"), Shown::Observed, None),
    // nova has no word for it: there the next request waits where this one is refused.
    wish_row(W::Rewire, Some("updating_interfaces"), Shown::Observed, None),
    wish_row(W::Resized, None, Shown::Was("resized"), None),
    wish_row(W::Rescued, None, Shown::Was("rescued"), None),
    wish_row(W::Shelved, None, Shown::Was("shelved"), None),
    wish_row(W::SoftDeleted, None, Shown::Was("soft-delete"), None),
    wish_row(W::Delete, Some("deleting"), Shown::Observed, None),
    wish_row(W::Error, None, Shown::Error, None),
];

/// What the API wants, reduced to the table's column.
pub fn wish(deleted: bool, refused: bool, power: PowerIntent, satisfied: i64, hold: Hold) -> Wish {
    let kept = match hold {
        Hold::None => W::Keep,
        Hold::Resized => W::Resized,
        Hold::Rescued => W::Rescued,
        Hold::Shelved => W::Shelved,
        Hold::SoftDeleted => W::SoftDeleted,
    };
    match () {
        () if deleted => W::Delete,
        () if refused => W::Error,
        () if satisfied >= power.n => kept,
        // Also a first boot that an operator gave up on.
        () if power.how == How::Accept => kept,
        () if satisfied == 0 => W::Build,
        () => match power.how {
            How::Plain if power.on => W::Start,
            How::Plain | How::Accept => W::Stop,
            How::Pause => W::Pause,
            How::Unpause => W::Unpause,
            How::Suspend => W::Suspend,
            How::Resume => W::Resume,
            How::SoftReboot => W::SoftReboot,
            How::HardReboot => W::HardReboot,
            How::Rebuild => W::Rebuild,
            How::Resize => W::Resize,
            How::ConfirmResize => W::ConfirmResize,
            How::RevertResize => W::RevertResize,
            How::Rescue => W::Rescue,
            How::Unrescue => W::Unrescue,
            How::Shelve => W::Shelve,
            How::Unshelve => W::Unshelve,
            How::SoftDelete => W::SoftDelete,
            How::Restore => W::Restore,
            How::Snapshot => W::Snapshot,
            How::Rewire => W::Rewire,
        },
    }
}

/// The word for a state with nothing in flight.
fn status(vm_state: &str) -> &'static str {
    match vm_state {
        "active" => "ACTIVE",
        "building" => "BUILD",
        "paused" => "PAUSED",
        "suspended" => "SUSPENDED",
        "stopped" => "SHUTOFF",
        "resized" => "VERIFY_RESIZE",
        "rescued" => "RESCUE",
        "shelved" => "SHELVED",
        "soft-delete" => "SOFT_DELETED",
        "deleted" => "DELETED",
        "error" => "ERROR",
        _ => "UNKNOWN",
    }
}

/// What a client sees. Total: a wish or phase that the tables lack cannot exist (tested).
pub fn derive(wish: Wish, phase: Phase) -> Derived {
    let unknown = Derived { vm_state: "error", task_state: None, power_state: NOSTATE, status: "UNKNOWN" };
    let rows = WISHES.iter().find(|row| row.wish == wish).zip(PHASES.iter().find(|row| row.phase == phase));
    let Some((wish, phase)) = rows else { return unknown };
    let power_state = phase.power_state;
    let show = |vm_state: &'static str, task_state, word: Option<&'static str>| Derived {
        vm_state,
        task_state,
        power_state,
        status: word.unwrap_or_else(|| status(vm_state)),
    };
    match wish.shown {
        Shown::Error => show("error", None, None),
        // Nothing is left of it: for its user it is gone.
        Shown::Observed if wish.wish == W::Delete => match phase.phase {
            P::Gone => Derived { power_state: NOSTATE, ..show("deleted", None, None) },
            P::Pending | P::Networking | P::BlockDeviceMapping | P::Spawning => {
                show("building", wish.task, None)
            }
            _ => show(phase.vm_state, wish.task, None),
        },
        // A failed operation is over: what a user may do about it is what one may do about an error.
        _ if phase.phase == P::Failed => show("error", None, None),
        Shown::Observed => show(phase.vm_state, wish.task, wish.status),
        Shown::Building => Derived {
            power_state: if phase.phase == P::Gone { NOSTATE } else { power_state },
            ..show("building", Some(phase.building), None)
        },
        Shown::Was(vm_state) => show(vm_state, wish.task, wish.status),
    }
}

/// What became of a password that a guest's own agent was to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordOutcome {
    Set,
    /// The guest does not run.
    Off,
    /// The guest has no agent that answers.
    Silent,
    /// The agent could not, for example as there is no such user.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_and_every_phase_stands_once_and_every_pair_shows_something() {
        for wish in Wish::ALL {
            assert_eq!(WISHES.iter().filter(|row| row.wish == wish).count(), 1, "{wish:?}");
            for phase in Phase::ALL {
                assert_eq!(PHASES.iter().filter(|row| row.phase == phase).count(), 1, "{phase:?}");
                let derived = derive(wish, phase);
                assert_ne!(derived.status, "UNKNOWN", "{wish:?} {phase:?}");
                assert_eq!(derived.status == "ERROR", derived.vm_state == "error", "{wish:?} {phase:?}");
            }
        }
    }

    /// What first light showed; a change here is a change that clients see.
    #[test]
    fn the_words_clients_know() {
        let rows = [
            (W::Build, P::Pending, "building", Some("scheduling"), 0, "BUILD"),
            (W::Build, P::Running, "building", Some("spawning"), 1, "BUILD"),
            (W::Build, P::Failed, "error", None, 0, "ERROR"),
            (W::Build, P::Gone, "building", Some("scheduling"), 0, "BUILD"),
            (W::Keep, P::Pending, "active", None, 0, "ACTIVE"),
            (W::Keep, P::Running, "active", None, 1, "ACTIVE"),
            (W::Keep, P::Paused, "paused", None, 3, "PAUSED"),
            (W::Keep, P::Suspended, "suspended", None, 4, "SUSPENDED"),
            (W::Keep, P::Stopped, "stopped", None, 4, "SHUTOFF"),
            (W::Keep, P::Failed, "error", None, 0, "ERROR"),
            (W::Keep, P::Gone, "stopped", None, 4, "SHUTOFF"),
            (W::Start, P::Stopped, "stopped", Some("powering-on"), 4, "SHUTOFF"),
            (W::Start, P::Failed, "error", None, 0, "ERROR"),
            (W::Stop, P::Running, "active", Some("powering-off"), 1, "ACTIVE"),
            (W::Pause, P::Running, "active", Some("pausing"), 1, "ACTIVE"),
            (W::Unpause, P::Paused, "paused", Some("unpausing"), 3, "PAUSED"),
            (W::Resume, P::Running, "suspended", Some("resuming"), 1, "SUSPENDED"),
            (W::SoftReboot, P::Running, "active", Some("rebooting"), 1, "REBOOT"),
            (W::HardReboot, P::Spawning, "active", Some("rebooting_hard"), 0, "HARD_REBOOT"),
            (W::Rebuild, P::Stopped, "active", Some("rebuilding"), 4, "REBUILD"),
            (W::Resize, P::Stopped, "active", Some("resize_migrating"), 4, "RESIZE"),
            (W::Resized, P::Running, "resized", None, 1, "VERIFY_RESIZE"),
            (W::Resized, P::Failed, "error", None, 0, "ERROR"),
            (W::RevertResize, P::Stopped, "resized", Some("resize_reverting"), 4, "REVERT_RESIZE"),
            (W::Rescued, P::Running, "rescued", None, 1, "RESCUE"),
            (W::Shelve, P::Running, "active", Some("shelving"), 1, "ACTIVE"),
            (W::Shelved, P::Stopped, "shelved", None, 4, "SHELVED"),
            (W::SoftDeleted, P::Stopped, "soft-delete", None, 4, "SOFT_DELETED"),
            (W::Snapshot, P::Paused, "paused", Some("image_uploading"), 3, "PAUSED"),
            (W::Rewire, P::Stopped, "stopped", Some("updating_interfaces"), 4, "SHUTOFF"),
            (W::Delete, P::Pending, "building", Some("deleting"), 0, "BUILD"),
            (W::Delete, P::Running, "active", Some("deleting"), 1, "ACTIVE"),
            (W::Delete, P::Failed, "error", Some("deleting"), 0, "ERROR"),
            (W::Delete, P::Gone, "deleted", None, 0, "DELETED"),
            (W::Error, P::Running, "error", None, 1, "ERROR"),
        ];
        for (wish, phase, vm_state, task_state, power_state, status) in rows {
            let expected = Derived { vm_state, task_state, power_state, status };
            assert_eq!(derive(wish, phase), expected, "{wish:?} {phase:?}");
        }
    }

    #[test]
    fn a_guest_that_powers_itself_off_is_shutoff_and_stays_so() {
        let on = PowerIntent::plain(true, 1);
        assert_eq!(derive(wish(false, false, on, 1, Hold::None), Phase::Stopped).status, "SHUTOFF");
    }

    #[test]
    fn an_intent_kept_by_an_older_agent_is_plain() {
        let kept: PowerIntent = serde_json::from_str(r#"{"on":true,"n":3}"#).unwrap();
        assert_eq!(kept, PowerIntent::plain(true, 3));
        for how in How::ALL {
            assert_eq!(How::parse(how.as_str()), Some(how));
            assert_eq!(serde_json::to_string(&how).unwrap(), format!("\"{}\"", how.as_str()));
        }
    }
}
