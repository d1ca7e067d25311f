//! The desk: one task that decides for all requests, in rounds.
//!
//! A round takes what waits (up to [`ROUND`] requests), learns what changed, and has it all decided in one visit
//! to the scheduler's thread, each request seeing what the earlier ones took. What is decided stays reserved
//! until its commit has ended, so requests in flight never choose the same last place; the hosts are then read
//! again, whichever way the commit went.
//!
//! A refusal must be true of the store, not of reservations that may yet be given back. If the request would fit
//! without them it waits until they are resolved and is decided again; meanwhile nothing new is begun, so the
//! wait is the length of a commit, and it has a bound.

use super::feed::Feed;
use super::shadow::Shadow;
use super::{Ask, Placed, Placement, Reservation, Scheduler, Shared, inverse};
use crate::App;
use canopy_journal::{Asked, Decided, PutOff, Question, Round, Writer, decide};
use canopy_placement::spread::Spread;
use canopy_placement::{Change, Decision, Engine, Fleet, Scorer};
use canopy_types::{DecisionId, Error, HostId, Result, ServerId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Requests of one round.
const ROUND: usize = 64;
/// How long a refusal may wait for others' commits; then it stands.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds after which a placer begins anew, so that replay finds a beginning wherever a journal's first kept line is.
const ANEW: u32 = 4_096;

/// Runs until `stopped`. Only once per [`Placement`].
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let back = app.placement.back.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(back) = back else { return };
    let mut asks = back.asks;
    let mut desk = Desk::new(&app.placement, back.journal, back.seed);
    loop {
        let mut new = Vec::new();
        let waiting = desk.waits_until();
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            n = asks.recv_many(&mut new, ROUND), if waiting.is_none() => if n == 0 { break },
            () = desk.shared.wake.notified() => {}
            () = tokio::time::sleep_until(waiting.unwrap_or_else(Instant::now)), if waiting.is_some() => {}
        }
        desk.hear();
        let until = waiting.filter(|until| Instant::now() < *until);
        if until.is_some() && !desk.pending.is_empty() && !desk.all_resolved() {
            continue;
        }
        let asks = desk.waiting(new);
        if !asks.is_empty() {
            desk.round(&app, asks).await;
        }
    }
    if let Some(journal) = desk.journal {
        let flusher = journal.flusher();
        let _ = tokio::task::spawn_blocking(move || flusher.flush()).await;
    }
}

/// A request at the desk, with ids for its decisions.
struct Case {
    batch: Arc<Vec<Question>>,
    ask: Ask,
    since: Instant,
}

/// What is reserved for one request.
struct Pending {
    takes: Vec<Change>,
    hosts: BTreeSet<HostId>,
    servers: Vec<ServerId>,
}

struct Desk {
    shared: Arc<Shared>,
    scheduler: Scheduler,
    shadow: Option<Shadow>,
    engine: Arc<Mutex<Engine>>,
    feed: Feed,
    journal: Option<Writer>,
    pending: HashMap<u64, Pending>,
    resolved: Vec<(u64, bool)>,
    touched: BTreeSet<HostId>,
    parked: VecDeque<Case>,
    next: u64,
    seed: u64,
    /// Rounds since a placer began anew; none when it must.
    since_anew: Option<u32>,
}

impl Desk {
    fn new(placement: &Placement, journal: Option<Writer>, seed: u64) -> Self {
        let scheduler = Scheduler { plugin: canopy_plugin_host::SchedulerPlugin::built_in(), files: None };
        Self {
            shared: placement.shared.clone(),
            scheduler,
            shadow: None,
            engine: Arc::new(Mutex::new(Engine::with_seed(Fleet::default(), seed))),
            feed: Feed::default(),
            journal,
            pending: HashMap::new(),
            resolved: Vec::new(),
            touched: BTreeSet::new(),
            parked: VecDeque::new(),
            next: 0,
            seed,
            since_anew: None,
        }
    }

    /// Until when those whose refusal is not certain wait for others.
    fn waits_until(&self) -> Option<Instant> {
        self.parked.front().map(|case| case.since + PATIENCE)
    }

    fn all_resolved(&self) -> bool {
        self.resolved.iter().filter(|(id, _)| self.pending.contains_key(id)).count() == self.pending.len()
    }

    fn hear(&mut self) {
        let news = self.shared.take();
        self.resolved.extend(news.resolved);
        self.touched.extend(news.touched);
        if let Some(scheduler) = news.scheduler {
            if let Some(journal) = &mut self.journal {
                journal.plugin(scheduler.plugin.identity(), scheduler.files.clone());
            }
            self.scheduler = scheduler;
            self.since_anew = None;
        }
        if let Some(shadow) = news.shadow {
            self.shadow = shadow;
        }
    }

    /// Those that waited first, then the new ones.
    fn waiting(&mut self, new: Vec<Ask>) -> Vec<Case> {
        let case = |ask: Ask| Case {
            batch: Arc::new(
                ask.batch
                    .iter()
                    .map(|(server, request)| (DecisionId::random(), *server, request.clone()))
                    .collect(),
            ),
            ask,
            since: Instant::now(),
        };
        self.parked.drain(..).chain(new.into_iter().map(case)).collect()
    }

    async fn round(&mut self, app: &App, cases: Vec<Case>) {
        if self.engine.is_poisoned() {
            self.begin_again();
        }
        let mut round = match self.learn(app).await {
            Ok(round) => round,
            Err(error) => {
                for case in cases {
                    let _ = case.ask.reply.send(Err(error.clone()));
                }
                return;
            }
        };
        let desk: Vec<_> =
            cases.iter().map(|case| (case.batch.clone(), case.ask.all_or_nothing, case.since)).collect();
        let (engine, changes) = (self.engine.clone(), Arc::new(round.changes.clone()));
        let reserved: Vec<Change> =
            self.pending.values().flat_map(|pending| pending.takes.iter().cloned()).collect();
        let (desk, reserved) = (Arc::new(desk), Arc::new(reserved));
        round.anew = self.scheduler.plugin.places() && self.begins_anew();
        let anew = round.anew;
        let outcomes = self
            .scheduler
            .plugin
            .visit(move |scorer| {
                // Poisoned by a panic in the middle of a round: nothing in it can be relied on.
                let Ok(mut engine) = engine.lock() else { return Vec::new() };
                changes.iter().for_each(|change| engine.apply(change));
                if anew {
                    engine.forget_placer();
                }
                decide_round(&mut engine, &desk, &reserved, scorer)
            })
            .await;
        self.answer(cases, outcomes, round);
    }

    /// Whether a placer begins anew with this round: it is new, the journal begins here, or it is time.
    fn begins_anew(&mut self) -> bool {
        let behind = self.journal.as_ref().is_some_and(Writer::behind);
        let anew = behind || self.since_anew.is_none_or(|rounds| rounds >= ANEW);
        self.since_anew = Some(if anew { 0 } else { self.since_anew.map_or(0, |rounds| rounds + 1) });
        anew
    }

    /// What changed since the last round, the ends of reservations among it.
    async fn learn(&mut self, app: &App) -> Result<Round> {
        let mut touched = self.touched.clone();
        for (id, _) in &self.resolved {
            touched.extend(self.pending.get(id).into_iter().flat_map(|pending| &pending.hosts));
        }
        let news = self.feed.changes(app, &touched).await?;
        self.touched.clear();
        let mut round = Round { at: app.now(), gone: news.gone, ..Round::default() };
        for (id, committed) in std::mem::take(&mut self.resolved) {
            let Some(pending) = self.pending.remove(&id) else { continue };
            round.changes.extend(inverse(&pending.takes));
            if !committed {
                round.gone.extend(pending.servers);
            }
        }
        round.changes.extend(news.changes);
        Ok(round)
    }

    fn answer(&mut self, cases: Vec<Case>, outcomes: Vec<Outcome>, mut round: Round) {
        let lost = outcomes.len() != cases.len();
        let places = self.scheduler.plugin.places();
        let mut answers = Vec::new();
        for (case, outcome) in
            cases.into_iter().zip(outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None)))
        {
            match outcome {
                Some(Outcome::Stands(decided)) => {
                    round.asked.push(decided.asked);
                    answers.push((case, decided.decisions, decided.takes));
                }
                Some(Outcome::PutOff(decided)) => {
                    if places {
                        round.put_off.push(PutOff { before: round.asked.len(), asked: decided.asked });
                    }
                    self.parked.push_back(case);
                }
                None => {
                    let error = Error::internal("placement.panicked", "the engine panicked");
                    let _ = case.ask.reply.send(Err(error));
                }
            }
        }
        if let (Some(shadow), false) = (&mut self.shadow, lost) {
            let fleet = || self.engine.lock().unwrap_or_else(PoisonError::into_inner).fleet().clone();
            shadow.tell(&round, fleet, self.seed);
        }
        let first = self.write(round, lost);
        for (number, (case, decisions, takes)) in (first..).zip(answers) {
            self.reply(case, decisions, takes, number);
        }
    }

    fn reply(&mut self, case: Case, decisions: Vec<Decision>, takes: Vec<Change>, number: i64) {
        let id = self.next;
        self.next += 1;
        if !takes.is_empty() || decisions.iter().all(|decision| decision.winner.is_some()) {
            let pending = Pending {
                hosts: decisions.iter().filter_map(|decision| decision.winner).collect(),
                servers: case.batch.iter().map(|(_, server, _)| *server).collect(),
                takes,
            };
            self.pending.insert(id, pending);
        }
        let placed = Placed {
            decisions,
            journal: self.journal.as_ref().map(|journal| journal.id().to_owned()).unwrap_or_default(),
            number,
            reservation: Reservation { id, committed: false, shared: self.shared.clone() },
        };
        // Nobody waits any more: dropping it gives the reservation back.
        let _ = case.ask.reply.send(Ok(placed));
    }

    /// The number of the round's first request.
    fn write(&mut self, round: Round, lost: bool) -> i64 {
        let (engine, seed) = (self.engine.clone(), self.seed);
        let Some(journal) = &mut self.journal else { return 0 };
        let (first, at) = (journal.next(), round.at);
        if journal.behind() && !lost {
            // The fleet as it was before what this round decided, which then is told as usual.
            let mut fleet = engine.lock().unwrap_or_else(PoisonError::into_inner);
            let takes: Vec<Change> = round
                .asked
                .iter()
                .flat_map(Asked::placed)
                .map(|(host, recorded)| canopy_journal::takes(host, &recorded.request, 1))
                .collect();
            inverse(&takes).iter().for_each(|change| fleet.apply(change));
            journal.begin(fleet.fleet().clone(), seed, at);
            takes.iter().for_each(|change| fleet.apply(change));
            drop(fleet);
            journal.plugin(self.scheduler.plugin.identity(), self.scheduler.files.clone());
            journal.round(Round { changes: Vec::new(), gone: Vec::new(), ..round });
        } else {
            journal.round(round);
        }
        first
    }

    /// After a panic: everything is read again, and reservations are put back on top.
    fn begin_again(&mut self) {
        let mut engine = Engine::with_seed(Fleet::default(), self.seed);
        for pending in self.pending.values() {
            pending.takes.iter().for_each(|change| engine.apply(change));
        }
        self.engine = Arc::new(Mutex::new(engine));
        self.feed = Feed::default();
        if let Some(shadow) = &mut self.shadow {
            shadow.lose();
        }
        if let Some(journal) = &mut self.journal {
            journal.lose();
        }
    }
}

/// A case as the scheduler's thread sees it.
type Asking = (Arc<Vec<Question>>, bool, Instant);

/// What came of one request in a round.
enum Outcome {
    Stands(Decided),
    /// Its refusal depends on reservations that may be given back.
    PutOff(Decided),
}

/// Decides every request in order.
fn decide_round(
    engine: &mut Engine,
    desk: &[Asking],
    reserved: &[Change],
    scorer: &mut dyn Scorer,
) -> Vec<Outcome> {
    let mut reserved = reserved.to_vec();
    let mut outcomes = Vec::with_capacity(desk.len());
    if scorer.placer().is_some() {
        let questions = desk.iter().flat_map(|(batch, ..)| batch.iter());
        engine.foresee(questions.map(|(id, _, request)| (*id, Arc::clone(request))));
    }
    for (batch, all_or_nothing, since) in desk {
        let decided = decide(engine, batch, *all_or_nothing, |engine, at| {
            engine.decide(batch[at].0, &batch[at].2, scorer)
        });
        if !decided.placed() && !reserved.is_empty() && since.elapsed() < PATIENCE {
            let without = inverse(&reserved);
            without.iter().for_each(|change| engine.apply(change));
            let fits = |decided: &Decided| decided.decisions.iter().filter(|d| d.winner.is_some()).count();
            let better = fits(&without_asking(engine, batch, *all_or_nothing)) > fits(&decided);
            reserved.iter().for_each(|change| engine.apply(change));
            if better {
                outcomes.push(Outcome::PutOff(decided));
                continue;
            }
        }
        for (host, recorded) in decided.asked.placed() {
            engine.take(host, &recorded.request, 1);
        }
        reserved.extend(decided.takes.iter().cloned());
        outcomes.push(Outcome::Stands(decided));
    }
    outcomes
}

/// Whether hosts can be found at all, by the built-in: the scorer is neither asked nor made to forget.
fn without_asking(engine: &mut Engine, batch: &[Question], all_or_nothing: bool) -> Decided {
    decide(engine, batch, all_or_nothing, |engine, at| {
        engine.decide_at_fault(batch[at].0, &batch[at].2, Spread.identity())
    })
}
