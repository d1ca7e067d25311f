//! Decisions over a long-lived fleet.
//!
//! An engine is its fleet and what was derived from it. The same fleet and the same request have the same
//! answer, whatever was asked before: what is kept between decisions saves time and decides nothing.

mod cells;
mod choose;
mod class;
mod classes;
mod part;
mod rows;

pub use choose::tie;
pub use class::class_hash;

use crate::advice::advise;
use crate::decide::{names, nearest};
use crate::rules::Ruler;
use crate::scorer::Names;
use crate::spread::Spread;
use crate::{Change, Decision, Fleet, PluginUse, Request, ScoredHost, Scorer, Touched};
use canopy_types::resources::Amounts;
use canopy_types::{DecisionId, HostId};
use cells::{Cells, mentioned};
use choose::{Choice, Lists, choose};
use class::Scratch;
use classes::Classes;
use rows::Rows;
use std::collections::HashMap;
use std::sync::Arc;

/// Up to here a successful decision counts its refusals too: it costs less than anyone would notice.
const COUNTED: usize = 256;

/// A fleet, and an index over it per class of requests: blocks of hosts with their best score, brought up to
/// date from a log of changes when the class is next asked about. Only hosts that changed are scored again.
pub struct Engine {
    fleet: Fleet,
    places: HashMap<HostId, usize>,
    seed: u64,
    /// Hosts, zones, names or columns changed since the rest was derived.
    stale: bool,
    names: Arc<Names>,
    rows: Rows,
    cells: Cells,
    classes: Classes,
    /// The built-in's scores, for when the scorer is at fault.
    fallback: Classes,
    scratch: Scratch,
}

/// The rule under which servers of an all-or-nothing batch are refused with the one that found no host.
pub const BATCH: &str = "batch";

impl Engine {
    /// Takes a snapshot; hosts are put in the order of (name, id). Among equal scores the first host wins.
    pub fn new(fleet: Fleet) -> Self {
        Self::with_seed(fleet, 0)
    }

    /// With a seed other than 0, equal scores are decided by a hash of it, the class and the host, so that
    /// several deciders do not all run after the same host.
    pub fn with_seed(mut fleet: Fleet, seed: u64) -> Self {
        fleet.normalise();
        Self {
            places: places(&fleet),
            fleet,
            seed,
            stale: true,
            names: Arc::default(),
            rows: Rows::default(),
            cells: Cells::default(),
            classes: Classes::default(),
            fallback: Classes::default(),
            scratch: Scratch::default(),
        }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Request classes that are kept, for metrics.
    pub fn live_classes(&self) -> usize {
        self.classes.len()
    }

    /// Moves the fleet one step on.
    pub fn apply(&mut self, change: &Change) {
        let places = &self.places;
        match self.fleet.apply(change, |host| places.get(&host).copied()) {
            Touched::Shape => {
                self.stale = true;
                if matches!(change, Change::Host { .. } | Change::Remove { .. }) {
                    self.places = self::places(&self.fleet);
                }
            }
            Touched::Row(place) if !self.stale => {
                self.rows.read(&self.fleet, place);
                self.cells.changed(place);
            }
            Touched::Row(_) | Touched::Group | Touched::Nothing => {}
        }
    }

    /// Puts `amounts` on a host `times` times; −1 takes them off again. The same as a [`Change::Used`] for each
    /// class, at once. Does nothing about a host that is not there.
    pub fn claim(&mut self, host: HostId, amounts: &Amounts, times: i64) {
        let Some(place) = self.places.get(&host).copied() else { return };
        // An amount of nothing makes no column.
        for (class, amount) in amounts.iter().filter(|(_, amount)| **amount != 0) {
            if let Some(column) = self.fleet.resources.iter_mut().find(|column| column.class == *class) {
                column.used[place] = column.used[place].saturating_add(amount.saturating_mul(times));
            } else {
                let delta = amount.saturating_mul(times);
                self.apply(&Change::Used { host, class: class.clone(), delta });
            }
        }
        if !self.stale {
            self.rows.read(&self.fleet, place);
            self.cells.changed(place);
        }
    }

    /// Decides where `request` goes; changes nothing that a later answer depends on.
    ///
    /// Over more than 256 hosts a success leaves [`Decision::refused`] to be counted by whoever reads it.
    pub fn decide(&mut self, id: DecisionId, request: &Request, scorer: &mut dyn Scorer) -> Decision {
        let plugin = scorer.identity();
        let hash = self.prepare(request);
        self.classes.belong_to(&plugin);
        let lists = Lists::of(request, &self.fleet, &self.places);
        let asked = Asked { request, hash, lists: &lists };
        match self.choice(false, &asked, scorer) {
            Ok(choice) => self.decision(id, &asked, choice, plugin),
            Err(fault) => self.decide_at_fault(id, request, PluginUse { fault: Some(fault), ..plugin }),
        }
    }

    /// The winner of [`Self::decide`] alone, without the reasons: for simulations, where most of a refusal's cost
    /// would be words that nobody reads.
    pub fn find(&mut self, request: &Request, scorer: &mut dyn Scorer) -> Option<HostId> {
        let hash = self.prepare(request);
        self.classes.belong_to(&scorer.identity());
        let lists = Lists::of(request, &self.fleet, &self.places);
        let asked = Asked { request, hash, lists: &lists };
        let choice = self.choice(false, &asked, scorer).or_else(|_| {
            self.fallback.belong_to(&Spread.identity());
            self.choice(true, &asked, &mut Spread)
        });
        let (place, _) = *choice.ok()?.top.first()?;
        Some(self.fleet.hosts[place as usize].id)
    }

    /// The built-in's decision in place of a scorer that was at fault, which `plugin` names.
    pub fn decide_at_fault(&mut self, id: DecisionId, request: &Request, plugin: PluginUse) -> Decision {
        let hash = self.prepare(request);
        self.fallback.belong_to(&Spread.identity());
        let lists = Lists::of(request, &self.fleet, &self.places);
        let asked = Asked { request, hash, lists: &lists };
        // The built-in has no faults.
        let choice = self.choice(true, &asked, &mut Spread);
        let choice = choice.unwrap_or_default();
        self.decision(id, &asked, choice, plugin)
    }

    fn choice(
        &mut self,
        fallback: bool,
        asked: &Asked<'_>,
        scorer: &mut dyn Scorer,
    ) -> Result<Choice, String> {
        let classes = if fallback { &mut self.fallback } else { &mut self.classes };
        let class = classes.of(asked.request, asked.hash, &self.fleet, &self.cells);
        class.refresh(&self.fleet, &self.rows, &mut self.cells, &self.names, &mut self.scratch, scorer)?;
        let how = (self.seed, self.fleet.hosts.len() <= COUNTED);
        choose(class, &self.cells, &self.fleet, asked.request, asked.lists, how, scorer)
    }

    /// Derives what is missing for this request, and tells its class.
    fn prepare(&mut self, request: &Request) -> u64 {
        let hash = class_hash(request);
        if self.stale {
            self.derive(self.cells.names().to_vec());
        }
        let known = self.classes.find(request, hash).or_else(|| self.fallback.find(request, hash));
        if known.is_none() {
            let new = mentioned(request, self.cells.names());
            if !new.is_empty() {
                let names = self.cells.names().iter().cloned().chain(new).collect();
                self.derive(names);
            }
        }
        hash
    }

    fn derive(&mut self, names: Vec<cells::Name>) {
        self.names = Arc::new(self::names(&self.fleet));
        self.rows = Rows::of(&self.fleet);
        self.cells = Cells::of(&self.fleet, names);
        self.classes.forget();
        self.fallback.forget();
        self.stale = false;
    }

    fn decision(&self, id: DecisionId, asked: &Asked<'_>, choice: Choice, plugin: PluginUse) -> Decision {
        let fleet = &self.fleet;
        let host = |place: u32| &fleet.hosts[place as usize];
        let top: Vec<ScoredHost> = choice
            .top
            .iter()
            .map(|(place, score)| ScoredHost {
                host_id: host(*place).id,
                name: host(*place).name.clone(),
                score: *score,
            })
            .collect();
        let winner = top.first();
        let refused = if winner.is_none() || fleet.hosts.len() <= COUNTED {
            self.counts(asked.request, &choice.vetoed, &plugin)
        } else {
            Vec::new()
        };
        Decision {
            v: 2,
            id,
            revision: fleet.revision,
            request: asked.request.clone(),
            winner: winner.map(|host| host.host_id),
            winner_name: winner.map(|host| host.name.clone()),
            hosts_considered: fleet.hosts.len() as u64,
            hosts_feasible: choice.feasible,
            nearest: if winner.is_some() { Vec::new() } else { nearest(fleet, asked.request) },
            advice: if winner.is_some() { Vec::new() } else { advise(fleet, asked.request) },
            top,
            refused,
            plugin,
            seed: self.seed,
        }
    }
    /// Decides a batch in order, each seeing what the earlier ones took; afterwards the fleet is as before.
    /// With `all_or_nothing`, one that finds no host refuses the others by the rule `batch`, and the rest is
    /// not asked.
    pub fn decide_batch(
        &mut self,
        batch: &[(DecisionId, Request)],
        all_or_nothing: bool,
        scorer: &mut dyn Scorer,
    ) -> Vec<Decision> {
        let mut decisions: Vec<Decision> = Vec::with_capacity(batch.len());
        let mut taken = Vec::new();
        for (id, request) in batch {
            let decision = self.decide(*id, request, scorer);
            match decision.winner {
                Some(host) => {
                    self.take(host, request, 1);
                    taken.push((host, request));
                }
                None if all_or_nothing => {
                    decisions.push(decision);
                    break;
                }
                None => {}
            }
            decisions.push(decision);
        }
        for (host, request) in taken.into_iter().rev() {
            self.take(host, request, -1);
        }
        if all_or_nothing && decisions.last().is_some_and(|last| last.winner.is_none()) {
            let failed = decisions.len() - 1;
            let template = decisions[failed].clone();
            for (at, (id, request)) in batch.iter().enumerate().filter(|(at, _)| *at != failed) {
                let refused = with_the_batch(&template, *id, request, failed);
                if at < failed {
                    decisions[at] = refused;
                } else {
                    decisions.push(refused);
                }
            }
        }
        decisions
    }

    /// Hosts per rule, the plugin's vetoes among them.
    fn counts(&self, request: &Request, vetoed: &[u32], plugin: &PluginUse) -> Vec<crate::RuleCount> {
        let (mut tally, _) = Ruler::new(&self.fleet, request).tally();
        if let Some(first) = vetoed.first() {
            let name = &self.fleet.hosts[*first as usize].name;
            tally.vetoed(vetoed.len() as u64, format!("{name} was vetoed by {}", plugin.name));
        }
        tally.counts()
    }

    /// Puts a request on a host, or takes it off again.
    fn take(&mut self, host: HostId, request: &Request, times: i64) {
        self.claim(host, &request.amounts, times);
        if let Some(group) = &request.group {
            self.apply(&Change::Group { group: group.id.clone(), host, delta: times });
        }
    }
}

/// A request, its class and whom it treats otherwise.
struct Asked<'a> {
    request: &'a Request,
    hash: u64,
    lists: &'a Lists,
}

fn with_the_batch(failed: &Decision, id: DecisionId, request: &Request, at: usize) -> Decision {
    let example = format!("server {} of the batch found no host: decision {}", at + 1, failed.id);
    let refused = crate::RuleCount { rule: BATCH.into(), hosts: failed.hosts_considered, example };
    Decision {
        id,
        request: request.clone(),
        refused: vec![refused],
        top: Vec::new(),
        nearest: Vec::new(),
        advice: Vec::new(),
        ..failed.clone()
    }
}

fn places(fleet: &Fleet) -> HashMap<HostId, usize> {
    fleet.hosts.iter().enumerate().map(|(place, host)| (host.id, place)).collect()
}
