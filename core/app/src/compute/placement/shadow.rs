//! A second scheduler beside the one in force: on a thread of its own it decides what the desk has decided, on a
//! fleet of its own that follows the desk's, and tells where it would have put the servers. What the desk decided
//! is what happened: both fleets take that.
//!
//! The desk never waits for it. When it does not keep up, rounds are left out, counted, and it begins again with
//! the fleet as it is then.

use crate::plugins::shadow::{Counts, difference};
use canopy_journal::{Asked, Round, decide};
use canopy_placement::{Engine, Fleet, Scorer};
use canopy_plugin_host::{PluginKind, WasmScorer};
use canopy_types::{Error, HostId, Result, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Rounds that may wait for it.
const QUEUE: usize = 64;

enum Message {
    Begin(Box<Fleet>, u64),
    Round(Box<Round>),
}

/// The desk's side.
pub struct Shadow {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
    /// Its fleet is not the desk's.
    behind: bool,
}

impl Shadow {
    /// Starts the thread, which ends with the handle.
    pub fn start(scorer: WasmScorer, counts: Arc<Counts>) -> Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let there = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("shadow-sched".into())
            .spawn(move || serve(&messages, scorer, &there))
            .map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { queue, counts, behind: true })
    }

    /// What was decided, and the fleet after it, which is looked at only when it is needed.
    pub(super) fn tell(&mut self, round: &Round, fleet: impl FnOnce() -> Fleet, seed: u64) {
        let message = if self.behind {
            Message::Begin(Box::new(fleet()), seed)
        } else {
            Message::Round(Box::new(round.clone()))
        };
        let beginning = self.behind;
        self.behind = self.queue.try_send(message).is_err();
        if beginning || self.behind {
            let asked = round.asked.iter().map(|asked| asked.decisions.len() as u64).sum();
            self.counts.skipped.fetch_add(asked, Ordering::Relaxed);
        }
    }

    /// The desk's fleet was made anew.
    pub(super) fn lose(&mut self) {
        self.behind = true;
    }
}

fn serve(messages: &Receiver<Message>, mut scorer: WasmScorer, counts: &Counts) {
    let mut engine = None;
    while let Ok(message) = messages.recv() {
        match (message, &mut engine) {
            (Message::Begin(fleet, seed), _) => engine = Some(Engine::with_seed(*fleet, seed)),
            (Message::Round(round), Some(engine)) => follow(engine, &round, &mut scorer, counts),
            (Message::Round(_), None) => {}
        }
    }
}

fn follow(engine: &mut Engine, round: &Round, scorer: &mut WasmScorer, counts: &Counts) {
    round.changes.iter().for_each(|change| engine.apply(change));
    for asked in &round.asked {
        compare(engine, asked, round.at, scorer, counts);
        for (host, recorded) in asked.placed() {
            engine.take(host, &recorded.request, 1);
        }
    }
}

fn compare(engine: &mut Engine, asked: &Asked, at: Timestamp, scorer: &mut WasmScorer, counts: &Counts) {
    let batch: Vec<_> = asked
        .decisions
        .iter()
        .map(|recorded| (recorded.id, recorded.server, recorded.request.clone()))
        .collect();
    let would = decide(engine, &batch, asked.all_or_nothing, |engine, at| {
        engine.decide(batch[at].0, &batch[at].2, scorer)
    });
    let shadow = scorer.identity().digest;
    for (recorded, would) in asked.decisions.iter().zip(&would.decisions) {
        let Some(was) = &recorded.outcome else { continue };
        let name = |host: Option<HostId>| {
            host.map_or_else(
                || "no host".to_owned(),
                |id| {
                    let known = engine.fleet().hosts.iter().find(|host| host.id == id);
                    known.map_or_else(|| id.to_string(), |host| host.name.clone())
                },
            )
        };
        let said = || match &would.plugin.fault {
            Some(fault) => format!("{} (the built-in's, after its fault: {fault})", name(would.winner)),
            None => name(would.winner),
        };
        let active =
            || if recorded.plugin.is_empty() { "built-in".to_owned() } else { recorded.plugin.to_string() };
        let subject = format!("decision {} on server {}", recorded.id, recorded.server);
        let differs = was.winner != would.winner;
        counts.compare(differs.then(|| {
            difference(
                PluginKind::Scheduler,
                at,
                active(),
                shadow.to_string(),
                &subject,
                name(was.winner),
                said(),
            )
        }));
    }
}
