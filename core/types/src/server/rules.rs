//! In which states an operation may be asked: one table, read by the use cases and walked by the tests.
//!
//! The states are nova's own, so that a client that knows them is never surprised. Every pair of state and
//! operation is either allowed or refused with a conflict that names the state; no pair is a dead end: from
//! every state with nothing in flight a server can be deleted, and from every one but a deleted one it can be
//! brought back (tested).

use super::Derived;

/// In which `vm_state` an operation may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Any,
    These(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As it stands in refusals and in the server's history.
    pub name: &'static str,
    pub from: From,
    /// Only with nothing in flight.
    pub idle: bool,
    /// Refused while the server is locked.
    pub lockable: bool,
    /// Stands in the server's history.
    pub recorded: bool,
}

const fn rule(name: &'static str, from: &'static [&'static str]) -> Rule {
    Rule { name, from: From::These(from), idle: true, lockable: true, recorded: true }
}

/// In any state, whatever is in flight.
const fn always(name: &'static str, lockable: bool, recorded: bool) -> Rule {
    Rule { name, from: From::Any, idle: false, lockable, recorded }
}

const fn kept_beside(name: &'static str, idle: bool, lockable: bool) -> Rule {
    Rule { name, from: From::These(SETTLED), idle, lockable, recorded: false }
}

/// Where what is kept beside the guest may change.
const SETTLED: &[&str] = &["active", "paused", "suspended", "stopped"];

/// Where network devices may come and go.
const WIRED: &[&str] = &["active", "paused", "stopped"];

pub const START: Rule = rule("start", &["stopped"]);
pub const STOP: Rule = rule("stop", &["active", "error"]);
pub const PAUSE: Rule = rule("pause", &["active"]);
pub const UNPAUSE: Rule = rule("unpause", &["paused"]);
pub const SUSPEND: Rule = rule("suspend", &["active"]);
pub const RESUME: Rule = rule("resume", &["suspended"]);
pub const SOFT_REBOOT: Rule = rule("reboot", &["active"]);
pub const HARD_REBOOT: Rule = rule("reboot", &["active", "stopped", "paused", "suspended", "error"]);
pub const REBUILD: Rule = rule("rebuild", &["active", "stopped", "error"]);
pub const RESIZE: Rule = rule("resize", &["active", "stopped"]);
pub const CONFIRM_RESIZE: Rule = rule("confirmResize", &["resized"]);
pub const REVERT_RESIZE: Rule = rule("revertResize", &["resized"]);
pub const RESCUE: Rule = rule("rescue", &["active", "stopped", "error"]);
pub const UNRESCUE: Rule = rule("unrescue", &["rescued"]);
pub const SHELVE: Rule = rule("shelve", SETTLED);
pub const UNSHELVE: Rule = rule("unshelve", &["shelved"]);
pub const RESTORE: Rule = rule("restore", &["soft-delete"]);
pub const CREATE_IMAGE: Rule = rule("createImage", SETTLED);
pub const CREATE_BACKUP: Rule = rule("createBackup", SETTLED);
pub const ATTACH_INTERFACE: Rule = rule("attach_interface", WIRED);
pub const DETACH_INTERFACE: Rule = rule("detach_interface", WIRED);
pub const CHANGE_PASSWORD: Rule = rule("changePassword", &["active"]);
pub const DELETE: Rule = always("delete", true, true);
pub const FORCE_DELETE: Rule = always("forceDelete", true, true);
pub const LOCK: Rule = always("lock", false, true);
pub const UNLOCK: Rule = always("unlock", false, true);
pub const RESET_STATE: Rule = always("resetState", false, false);
pub const INJECT_NETWORK_INFO: Rule = always("injectNetworkInfo", true, false);
pub const UPDATE: Rule = always("update", false, false);
pub const UPDATE_METADATA: Rule = kept_beside("update metadata", true, true);
pub const DELETE_METADATA: Rule = kept_beside("delete metadata", true, true);
pub const UPDATE_TAGS: Rule = kept_beside("update tags", false, false);

/// Every rule there is.
pub const ALL: [&Rule; 32] = [
    &START,
    &STOP,
    &PAUSE,
    &UNPAUSE,
    &SUSPEND,
    &RESUME,
    &SOFT_REBOOT,
    &HARD_REBOOT,
    &REBUILD,
    &RESIZE,
    &CONFIRM_RESIZE,
    &REVERT_RESIZE,
    &RESCUE,
    &UNRESCUE,
    &SHELVE,
    &UNSHELVE,
    &RESTORE,
    &CREATE_IMAGE,
    &CREATE_BACKUP,
    &ATTACH_INTERFACE,
    &DETACH_INTERFACE,
    &CHANGE_PASSWORD,
    &DELETE,
    &FORCE_DELETE,
    &LOCK,
    &UNLOCK,
    &RESET_STATE,
    &INJECT_NETWORK_INFO,
    &UPDATE,
    &UPDATE_METADATA,
    &DELETE_METADATA,
    &UPDATE_TAGS,
];

/// Why not: the attribute and its value, as a refusal names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub attribute: &'static str,
    pub value: &'static str,
}

/// Whether `rule` may begin on a server that shows `state`.
pub fn check(rule: &Rule, state: &Derived) -> Result<(), Refusal> {
    if let From::These(from) = rule.from
        && !from.contains(&state.vm_state)
    {
        return Err(Refusal { attribute: "vm_state", value: state.vm_state });
    }
    match state.task_state {
        Some(task) if rule.idle => Err(Refusal { attribute: "task_state", value: task }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Phase, Wish, derive};
    use std::collections::HashSet;

    fn states() -> HashSet<Derived> {
        Wish::ALL.iter().flat_map(|wish| Phase::ALL.map(|phase| derive(*wish, phase))).collect()
    }

    #[test]
    fn every_pair_of_state_and_operation_is_allowed_or_refused_by_name() {
        for state in states() {
            for rule in ALL {
                match check(rule, &state) {
                    Ok(()) => assert!(
                        rule.from == From::Any || !rule.idle || state.task_state.is_none(),
                        "{} in {state:?}",
                        rule.name
                    ),
                    Err(refusal) => {
                        let named = [Some(state.vm_state), state.task_state].contains(&Some(refusal.value));
                        assert!(
                            named && !refusal.value.is_empty(),
                            "{} in {state:?}: {refusal:?}",
                            rule.name
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn no_state_is_a_dead_end() {
        for state in states() {
            assert_eq!(check(&DELETE, &state), Ok(()), "{state:?}");
            assert_eq!(check(&RESET_STATE, &state), Ok(()), "{state:?}: an operator can end what is stuck");
            if state.task_state.is_some() || state.vm_state == "deleted" {
                continue;
            }
            let ways =
                [&START, &UNPAUSE, &RESUME, &HARD_REBOOT, &REVERT_RESIZE, &UNRESCUE, &UNSHELVE, &RESTORE];
            let back = ways.iter().any(|rule| check(rule, &state).is_ok());
            assert!(back, "nothing brings {state:?} back");
        }
    }
}
