//! What this host has, as it is told to the controller.
//!
//! Tasks write the newest state of their server here; one task reports: what changed at once and in one
//! message, how far a build has come when it takes a while, everything at each resync. The generation goes on above the one that the controller knows,
//! so nothing needs to be kept on disk. A failed report is repeated with the newest state.

use crate::config::AgentConfig;
use crate::load::Monitor;
use canopy_agent_api::{Controller, Load, Observed, Registered, ServerObserved};
use canopy_types::server::Phase;
use canopy_types::{HostId, Kind, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Servers in one report.
const BATCH: usize = 1000;

#[derive(Default)]
struct State {
    servers: BTreeMap<ServerId, ServerObserved>,
    dirty: BTreeSet<ServerId>,
    /// The newest desired revision that was acted on.
    revision: i64,
}

#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, observed: ServerObserved) {
        let mut state = self.lock();
        let id = observed.id;
        if state.servers.get(&id) == Some(&observed) {
            return;
        }
        count(observed.phase, 1.0);
        if let Some(before) = state.servers.insert(id, observed) {
            count(before.phase, -1.0);
        }
        state.dirty.insert(id);
        drop(state);
        self.changed.notify_one();
    }

    pub fn forget(&self, id: ServerId) {
        let mut state = self.lock();
        if let Some(before) = state.servers.remove(&id) {
            count(before.phase, -1.0);
        }
        state.dirty.remove(&id);
    }

    /// From now on reports carry this revision.
    pub fn seen(&self, revision: i64) {
        self.lock().revision = revision;
    }

    /// What to report next; taken off the list of changes.
    fn take(&self, everything: bool) -> Vec<ServerObserved> {
        let mut state = self.lock();
        if everything {
            state.dirty = state.servers.keys().copied().collect();
        }
        let ids: Vec<ServerId> = state.dirty.iter().take(BATCH).copied().collect();
        ids.iter()
            .filter_map(|id| {
                state.dirty.remove(id);
                state.servers.get(id).cloned()
            })
            .collect()
    }

    fn put_back(&self, servers: &[ServerObserved]) {
        let mut state = self.lock();
        for server in servers {
            if state.servers.contains_key(&server.id) {
                state.dirty.insert(server.id);
            }
        }
    }

    /// Waits until there is something to tell: at once, unless it is only how far builds have come.
    async fn news(&self, patience: Duration) {
        let pending = |state: &State| !state.dirty.is_empty();
        let lasting = |state: &State| {
            state.dirty.iter().filter_map(|id| state.servers.get(id)).any(|server| !passing(server))
        };
        self.changed_until(pending).await;
        let _ = tokio::time::timeout(patience, self.changed_until(lasting)).await;
    }

    async fn changed_until(&self, level: impl Fn(&State) -> bool) {
        while !level(&self.lock()) {
            self.changed.notified().await;
        }
    }

    /// Reports for ever. `register` is asked for the host's id first and again when the controller has
    /// lost it or knows a higher generation; what it answers is published in `host`.
    pub async fn run<F: Future<Output = Registered>>(
        &self,
        config: &AgentConfig,
        controller: &dyn Controller,
        host: &watch::Sender<Option<HostId>>,
        mut register: impl FnMut() -> F,
    ) {
        loop {
            let registered = register().await;
            host.send_replace(Some(registered.host_id));
            self.report(config, controller, registered).await;
        }
    }

    /// Reports until the controller wants a new registration.
    async fn report(&self, config: &AgentConfig, controller: &dyn Controller, registered: Registered) {
        let mut generation = registered.generation;
        let mut failures = 0u32;
        let mut everything = true;
        let (mut monitor, mut told) = (Monitor::default(), None);
        loop {
            let begun = Instant::now();
            let load = if everything && config.monitors { look(&mut monitor).await } else { None };
            let load = load.filter(|load| told != Some(*load));
            let servers = self.take(everything);
            generation += 1;
            let revision = self.lock().revision;
            let report = Observed { revision, generation, servers, load };
            match controller.report(registered.host_id, report.clone()).await {
                // The acknowledged revision is not needed: the long poll for desired state is under way.
                Ok(_) => {
                    failures = 0;
                    everything = false;
                    told = load.or(told);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.put_back(&report.servers);
                    tracing::warn!(error = %error.chain(), failures, "the report did not arrive");
                    tokio::time::sleep(config.pause(failures)).await;
                    if matches!(error.kind, Kind::NotFound | Kind::Conflict | Kind::Gone) {
                        return;
                    }
                    continue;
                }
            }
            tokio::select! {
                () = self.news(config.patience) => {}
                () = tokio::time::sleep(config.resync) => everything = true,
            }
            tokio::time::sleep_until(begun + config.pace).await;
        }
    }
}

async fn look(monitor: &mut Monitor) -> Option<Load> {
    monitor.look().await.unwrap_or_else(|error| {
        tracing::warn!(error = %error.chain(), "how busy the machine is could not be told");
        None
    })
}

fn count(phase: Phase, more: f64) {
    metrics::gauge!("canopy_agent_servers", "phase" => phase.as_str()).increment(more);
}

/// Whether more is to be told of this server in a moment, when its build goes on.
fn passing(server: &ServerObserved) -> bool {
    let builds = matches!(server.phase, Phase::Networking | Phase::BlockDeviceMapping | Phase::Spawning);
    builds && server.error.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(id: ServerId) -> ServerObserved {
        ServerObserved { id, phase: Phase::Running, power_n: 1, failed_n: None, error: None }
    }

    #[test]
    fn only_changes_are_reported_and_a_lost_report_is_repeated() {
        let board = Board::default();
        let (a, b) = (ServerId::random(), ServerId::random());
        board.set(running(a));
        board.set(running(b));
        let first = board.take(false);
        assert_eq!(first.len(), 2);
        board.set(running(a));
        assert!(board.lock().dirty.is_empty(), "nothing new");
        board.forget(b);
        board.put_back(&first);
        assert_eq!(board.take(false), [running(a)], "what is forgotten stays so");
        assert_eq!(board.take(true).len(), 1);
    }
}
