//! Plugins while the cloud serves: installed, tried beside the one in force, put in force, taken out again.
//!
//! What is wanted is in the store (one document a kind, [`slot`]), so that a restart and every other controller
//! follow it; what is in force in this process is here ([`Plugins`]). Components are in the store in parts, and in
//! a folder of each controller under their digest. Nothing is compiled while a request waits: installing compiles,
//! and the rest finds the code ready.
//!
//! | module | owns |
//! |---|---|
//! | [`slot`] | which plugin a kind is served by, and which it goes back to |
//! | `packages` | components, in the store and on this controller's disk |
//! | `force` | loading what a slot wants and putting it in force |
//! | [`manage`] | what operators ask |
//! | [`shown`] | what operators see |
//! | [`follow`] | what happens by itself: other controllers' choices, demotion, the log of faults |
//! | [`shadow`] | asking a second plugin, and what it would have said |

pub mod follow;
mod force;
pub mod manage;
mod packages;
pub mod shadow;
pub mod shown;
pub mod slot;

pub use canopy_plugin_host::MAX_PACKAGE;
pub use follow::{restore, run};

use crate::compute::placement::Scheduler;
use canopy_plugin_host::{NetworkPlugin, PluginHost, PluginKind, QuotaPlugin, Stats};
use canopy_types::{Error, Timestamp};
use slot::{Choice, Slot};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Plugins exchanged within a second whose last faults are written down.
const RETIRED: usize = 64;

/// Longest wait for the turn to place networks.
const PLACING: std::time::Duration = std::time::Duration::from_secs(10);

/// What the configuration file names, loaded.
#[derive(Clone)]
pub struct Start {
    pub scheduler: Scheduler,
    pub quota: QuotaPlugin,
    pub network: NetworkPlugin,
}

/// What is in force in this process, and what it takes to change it.
pub struct Plugins {
    host: PluginHost,
    /// Installed components: `<dir>/sha256/<digest>/`.
    dir: PathBuf,
    start: Start,
    /// The network backend of the agent in this process.
    network: canopy_plugin_host::Live<NetworkPlugin>,
    states: Mutex<BTreeMap<PluginKind, State>>,
    shadows: shadow::Shadows,
    /// What was in force a moment ago: its last faults are still to be written down.
    retired: Mutex<Vec<Arc<Stats>>>,
    /// One change at a time: a slow older one must not replace a newer one.
    turn: tokio::sync::Mutex<()>,
    /// One package in memory at a time.
    arrival: Arc<tokio::sync::Semaphore>,
    /// New networks get their places one request after the other: at once they would all want the same one.
    placing: tokio::sync::Mutex<()>,
}

/// One kind, as this process has it.
#[derive(Clone)]
struct State {
    /// Of the slot that is in force here; 0 before there is one.
    revision: i64,
    slot: Slot,
    /// Of the plugin in force; none of the built-in.
    stats: Option<Arc<Stats>>,
    since: Timestamp,
    started: Instant,
    /// Why the newest slot is not in force here.
    error: Option<Failure>,
    /// Whether that there is nothing to go back to was said.
    cornered: bool,
}

/// What could not be loaded, and when it is tried again.
#[derive(Clone)]
struct Failure {
    revision: i64,
    at: Timestamp,
    message: String,
    again: Instant,
}

impl Plugins {
    /// `start` is in force until [`restore`] has read what was chosen.
    pub fn new(host: PluginHost, dir: PathBuf, start: Start, now: Timestamp) -> Self {
        let network = canopy_plugin_host::Live::new(start.network.clone());
        let state = |stats| State {
            revision: 0,
            slot: Slot::default(),
            stats,
            since: now,
            started: Instant::now(),
            error: None,
            cornered: false,
        };
        let states = BTreeMap::from([
            (PluginKind::Scheduler, state(start.scheduler.plugin.stats())),
            (PluginKind::Quota, state(start.quota.stats())),
            (PluginKind::Network, state(start.network.stats())),
        ]);
        Self {
            host,
            dir,
            start,
            network,
            states: Mutex::new(states),
            shadows: shadow::Shadows::default(),
            retired: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            arrival: Arc::new(tokio::sync::Semaphore::new(1)),
            placing: tokio::sync::Mutex::default(),
        }
    }

    /// The network backend for an agent in this process: the one in force, at every moment.
    pub fn network(&self) -> canopy_plugin_host::Live<NetworkPlugin> {
        self.network.clone()
    }

    /// The turn to place networks; what other controllers do meanwhile shows at the commit.
    pub(crate) async fn placing(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        tokio::time::timeout(PLACING, self.placing.lock()).await.map_err(|_| {
            Error::unavailable(
                "plugin.busy",
                "Too many networks are being made at once: the network backend places one after the other. Try again.",
            )
        })
    }

    fn state(&self, kind: PluginKind) -> State {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // Every kind is there from the start.
        states.get(&kind).cloned().unwrap_or_else(|| State {
            revision: 0,
            slot: Slot { active: Choice::start(), ..Slot::default() },
            stats: None,
            since: Timestamp(0),
            started: Instant::now(),
            error: None,
            cornered: false,
        })
    }

    fn retire(&self, stats: Option<Arc<Stats>>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if retired.len() < RETIRED {
            retired.extend(stats);
        }
    }

    fn take_retired(&self) -> Vec<Arc<Stats>> {
        std::mem::take(&mut self.retired.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, kind: PluginKind, change: impl FnOnce(&mut State)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(&kind) {
            change(state);
        }
    }
}

/// The kind of this name.
pub fn kind(name: &str) -> Result<PluginKind, Error> {
    PluginKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        Error::not_found(
            "plugin.kind_not_found",
            format!("There are no plugins of kind {shown}: scheduler, quota or network."),
        )
    })
}

pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::not_found("plugin.not_found", format!("Plugin {shown} could not be found: `canopy plugin list`."))
}
