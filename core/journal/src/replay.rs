//! Deciding again what a journal holds: as it was, which must come out equal, or with a candidate, which tells
//! what would have come out otherwise.
//!
//! A candidate lives in a world of its own: what it places elsewhere stays elsewhere until the server is gone,
//! so that one early difference shows in what fits later. Recorded faults are applied in a replay as it was; a
//! candidate has its own.
//!
//! A placer's answers may depend on every call before them, so its calls are made again in order, also before the range that
//! is asked for, from where the journal says that it began anew. What it decided before the first such place in the journal
//! is taken as it was, and counted.

use crate::entry::{Asked, Entry, Outcome, Round};
use crate::reader::{Reader, World};
use crate::together::decide;
use crate::{Recorded, takes};
use canopy_placement::{Change, Engine, Fleet, PluginUse, Scorer};
use canopy_types::resources::Amounts;
use canopy_types::{DecisionId, HostId, Result, ServerId, Timestamp};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Differences that a report names; the rest is counted.
const NAMED: usize = 50;

/// One end of what is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A request's number.
    Number(i64),
    Time(Timestamp),
}

impl Bound {
    fn reached(self, number: i64, at: Timestamp) -> bool {
        match self {
            Self::Number(from) => number >= from,
            Self::Time(from) => at >= from,
        }
    }
}

/// Finds the scorer that decided, by its identity and the folder that the journal keeps of it.
pub type Load<'a> = dyn FnMut(&PluginUse, Option<&Path>) -> Result<Box<dyn Scorer>> + 'a;

/// Who decides again.
pub enum Subject<'a> {
    Recorded(&'a mut Load<'a>),
    Candidate(Box<dyn Scorer>),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Servers decided on.
    pub decisions: u64,
    /// As recorded, bit for bit; of a candidate: on the same host, or on none.
    pub equal: u64,
    /// On another host.
    pub moved: u64,
    /// Placed then, refused now.
    pub refused: u64,
    /// Refused then, placed now.
    pub fitted: u64,
    /// The same host for other scores or counts; only of a replay as it was.
    pub otherwise: u64,
    /// Decided by the built-in because the plugin was at fault.
    pub faults: u64,
    /// By a placer that had begun before the journal did: taken as they were, and not among the decisions.
    pub taken: u64,
    /// Places where the journal does not tell how the fleet came to be as it went on: restarts, lost lines.
    pub gaps: u64,
    /// How much of what is free at the end cannot hold the most frequent request, 0 to 1.
    pub fragmentation: Fragmentation,
    /// The first differences.
    pub differences: Vec<Difference>,
}

impl Report {
    pub fn is_equal(&self) -> bool {
        self.equal == self.decisions
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fragmentation {
    pub request: Amounts,
    pub recorded: f64,
    pub replayed: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub number: i64,
    pub decision: DecisionId,
    pub server: ServerId,
    pub recorded: Option<HostId>,
    pub replayed: Option<HostId>,
    pub fault: Option<String>,
}

/// Replays the requests from the first that reaches `from` to the last before one reaches `to`. Blocking.
pub fn replay(
    reader: &Reader,
    from: Option<Bound>,
    to: Option<Bound>,
    subject: &mut Subject<'_>,
) -> Result<Report> {
    let mut run = Run::default();
    let mut loaded: Option<(PluginUse, Box<dyn Scorer>)> = None;
    for entry in reader.entries()? {
        match entry {
            Entry::Checkpoint { fleet, seed, .. } => run.checkpoint(&fleet, seed),
            Entry::Plugin { plugin, files } => {
                if let Subject::Recorded(load) = subject
                    && loaded.as_ref().is_none_or(|(known, _)| *known != plugin)
                {
                    let files = files.map(|name| reader.dir().join("plugins").join(name));
                    let scorer = load(&plugin, files.as_deref())?;
                    loaded = Some((plugin, scorer));
                    run.known = false;
                }
            }
            Entry::Round(round) => {
                if to.is_some_and(|to| to.reached(round.first, round.at)) {
                    break;
                }
                let starts = from
                    .is_none_or(|from| from.reached(round.first + round.asked.len() as i64 - 1, round.at));
                let Some((scorer, recorded)) = subject.scorer(&mut loaded) else {
                    run.pass(&round);
                    continue;
                };
                if recorded && scorer.placer().is_some() {
                    run.placed_round(&round, scorer, starts);
                } else if starts {
                    run.round(&round, scorer, recorded, true);
                } else {
                    run.pass(&round);
                }
            }
        }
    }
    Ok(run.finish())
}

impl Subject<'_> {
    /// The scorer, and whether it is the recorded one.
    fn scorer<'s>(
        &'s mut self,
        loaded: &'s mut Option<(PluginUse, Box<dyn Scorer>)>,
    ) -> Option<(&'s mut dyn Scorer, bool)> {
        match self {
            Self::Recorded(_) => {
                loaded.as_mut().map(|(_, scorer)| (scorer.as_mut() as &mut dyn Scorer, true))
            }
            Self::Candidate(scorer) => Some((scorer.as_mut(), false)),
        }
    }
}

#[derive(Default)]
struct Run {
    recorded: World,
    replayed: Option<Engine>,
    /// What sets the replayed world right when a server that went elsewhere is gone.
    elsewhere: HashMap<ServerId, Vec<Change>>,
    frequent: HashMap<Vec<(String, i64)>, u64>,
    report: Report,
    /// The placer has the state that the recorded one had.
    known: bool,
}

impl Run {
    fn checkpoint(&mut self, fleet: &Fleet, seed: u64) {
        if self.replayed.is_some() && *self.recorded.engine.fleet() == *fleet && self.recorded.seed == seed {
            return;
        }
        self.report.gaps += u64::from(self.replayed.is_some());
        self.known = false;
        self.recorded.engine = Engine::with_seed(fleet.clone(), seed);
        self.recorded.seed = seed;
        self.replayed = Some(Engine::with_seed(fleet.clone(), seed));
        self.elsewhere.clear();
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.recorded.engine.apply(change);
            if let Some(replayed) = &mut self.replayed {
                replayed.apply(change);
            }
        }
    }

    fn begin(&mut self, round: &Round) {
        self.apply(&round.changes);
        for server in &round.gone {
            let right = self.elsewhere.remove(server).unwrap_or_default();
            if let Some(replayed) = &mut self.replayed {
                right.iter().for_each(|change| replayed.apply(change));
            }
        }
    }

    /// Takes the round as it was.
    fn pass(&mut self, round: &Round) {
        self.begin(round);
        for (host, recorded) in round.asked.iter().flat_map(Asked::placed) {
            self.apply(&[takes(host, &recorded.request, 1)]);
        }
    }

    /// A round of the recorded placer; before the range it is decided again too, but not `counted`.
    fn placed_round(&mut self, round: &Round, scorer: &mut dyn Scorer, counted: bool) {
        self.known |= round.anew;
        if !self.known {
            let decisions = round.asked.iter().map(|asked| asked.decisions.len() as u64).sum::<u64>();
            self.report.taken += if counted { decisions } else { 0 };
            return self.pass(round);
        }
        self.round(round, scorer, true, counted);
    }

    fn round(&mut self, round: &Round, scorer: &mut dyn Scorer, as_recorded: bool, counted: bool) {
        self.begin(round);
        if let (Some(engine), true) = (&mut self.replayed, scorer.placer().is_some()) {
            if as_recorded && round.anew {
                engine.forget_placer();
            }
            let ahead = round.in_order().filter(|(_, stood)| *stood || as_recorded);
            let questions = ahead.flat_map(|(asked, _)| &asked.decisions);
            engine.foresee(questions.map(|recorded| (recorded.id, Arc::clone(&recorded.request))));
        }
        let mut number = round.first;
        for (asked, stood) in round.in_order() {
            let again = match &mut self.replayed {
                Some(engine) if stood || as_recorded => ask(engine, asked, scorer, as_recorded),
                _ => continue,
            };
            if !stood {
                continue;
            }
            if counted {
                self.compare(number, asked, &again, as_recorded);
            }
            number += 1;
            let placed: HashMap<ServerId, HostId> =
                asked.placed().map(|(host, recorded)| (recorded.server, host)).collect();
            let moved: HashMap<ServerId, HostId> = if as_recorded {
                placed.clone()
            } else {
                again.placed().map(|(host, recorded)| (recorded.server, host)).collect()
            };
            for recorded in &asked.decisions {
                self.place(recorded, placed.get(&recorded.server), moved.get(&recorded.server));
            }
        }
    }

    /// Puts one server where it was in one world, and where it is now in the other.
    fn place(&mut self, recorded: &Recorded, then: Option<&HostId>, now: Option<&HostId>) {
        let request = &recorded.request;
        if let Some(host) = then {
            self.recorded.engine.take(*host, request, 1);
        }
        if let (Some(host), Some(replayed)) = (now, &mut self.replayed) {
            replayed.take(*host, request, 1);
        }
        if then != now {
            // When it is gone, the journal takes it off where it was.
            let back = then.into_iter().map(|host| takes(*host, request, 1));
            let off = now.into_iter().map(|host| takes(*host, request, -1));
            self.elsewhere.insert(recorded.server, back.chain(off).collect());
        }
    }

    fn compare(&mut self, number: i64, asked: &Asked, again: &Asked, as_recorded: bool) {
        let placed = |asked: &Asked, server| {
            asked.placed().find(|(_, recorded)| recorded.server == server).map(|(host, _)| host)
        };
        for (recorded, again_one) in asked.decisions.iter().zip(&again.decisions) {
            let amounts: Vec<(String, i64)> =
                recorded.request.amounts.iter().map(|(class, n)| (class.clone(), *n)).collect();
            *self.frequent.entry(amounts).or_default() += 1;
            let (then, now) = (placed(asked, recorded.server), placed(again, recorded.server));
            let fault = again_one.outcome.as_ref().and_then(|outcome| outcome.fault.clone());
            let report = &mut self.report;
            report.decisions += 1;
            report.faults += u64::from(fault.is_some());
            let same = if as_recorded { recorded.outcome == again_one.outcome } else { then == now };
            match (same, then, now) {
                (true, ..) => {
                    report.equal += 1;
                    continue;
                }
                (false, Some(_), None) => report.refused += 1,
                (false, None, Some(_)) => report.fitted += 1,
                (false, Some(then), Some(now)) if then != now => report.moved += 1,
                (false, ..) => report.otherwise += 1,
            }
            if report.differences.len() < NAMED {
                report.differences.push(Difference {
                    number,
                    decision: recorded.id,
                    server: recorded.server,
                    recorded: then,
                    replayed: now,
                    fault,
                });
            }
        }
    }

    fn finish(mut self) -> Report {
        let most = self.frequent.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        if let (Some((request, _)), Some(replayed)) = (most, &self.replayed) {
            let request: Amounts = request.into_iter().collect();
            self.report.fragmentation = Fragmentation {
                recorded: fragmentation(self.recorded.engine.fleet(), &request),
                replayed: fragmentation(replayed.fleet(), &request),
                request,
            };
        }
        self.report
    }
}

/// Decides one request again; the engine is as before afterwards.
fn ask(engine: &mut Engine, asked: &Asked, scorer: &mut dyn Scorer, as_recorded: bool) -> Asked {
    let batch: Vec<_> = asked.decisions.iter().map(|r| (r.id, r.server, r.request.clone())).collect();
    let fault = |at: usize| {
        let outcome: Option<&Outcome> = asked.decisions[at].outcome.as_ref();
        outcome.and_then(|outcome| outcome.fault.clone()).filter(|_| as_recorded)
    };
    let each = |engine: &mut Engine, at: usize| {
        let (id, _, request) = &batch[at];
        // What a placer answered wrongly it answers wrongly again, and goes on; its other faults ended its state.
        let places = scorer.placer().is_some();
        match fault(at).filter(|fault| !(places && fault.starts_with("answer:"))) {
            Some(fault) => {
                engine.forget_state();
                let plugin = PluginUse { fault: Some(fault), ..scorer.identity() };
                engine.decide_at_fault(*id, request, plugin)
            }
            None => engine.decide(*id, request, scorer),
        }
    };
    decide(engine, &batch, asked.all_or_nothing, each).asked
}

/// 1 − (how often `request` fits host by host) ⁄ (how often it would fit if all that is free were one host).
pub fn fragmentation(fleet: &Fleet, request: &Amounts) -> f64 {
    let wanted: Vec<(&String, i64)> = request.iter().filter(|(_, n)| **n > 0).map(|(c, n)| (c, *n)).collect();
    let fits = |free: &dyn Fn(&str) -> i64| {
        wanted.iter().map(|(class, n)| free(class).max(0) / n).min().unwrap_or(0)
    };
    let open: Vec<usize> = (0..fleet.hosts.len()).filter(|at| fleet.hosts[*at].closed.is_none()).collect();
    let free = |class: &str, at: usize| fleet.column(class).map_or(0, |column| column.free(at).max(0));
    let apart: i64 = open.iter().map(|at| fits(&|class| free(class, *at))).sum();
    let together =
        fits(&|class| open.iter().map(|at| free(class, *at)).fold(0_i64, |sum, n| sum.saturating_add(n)));
    if together == 0 { 0.0 } else { 1.0 - apart as f64 / together as f64 }
}
