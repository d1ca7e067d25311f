//! Decisions over a long-lived fleet.
//!
//! An engine is its fleet and what was derived from it. The same fleet and the same request have the same
//! answer, whatever was asked before: what is kept between decisions saves time and decides nothing.

mod blocks;
mod cells;
mod choose;
mod class;
mod classes;
mod cuts;
mod hash;
mod marks;
mod part;
mod placing;
mod refusal;
mod rows;

pub use choose::tie;
pub use class::class_hash;

use crate::decide::names;
use crate::scorer::Names;
use crate::spread::Spread;
use crate::{Change, Decision, Fleet, PluginUse, Request, ScoredHost, Scorer, Touched};
use blocks::Profiles;
use canopy_types::resources::Amounts;
use canopy_types::{DecisionId, HostId};
use cells::{Cells, mentioned};
use choose::{Choice, Lists, choose};
use class::{Class, Scratch};
use classes::Classes;
use hash::{QuickMap, quick};
use placing::Placing;
use refusal::{Refusal, refusal};
use rows::Rows;
use std::sync::Arc;

/// Up to here a successful decision counts its refusals too: it costs less than anyone would notice.
const COUNTED: usize = 256;

/// A fleet, and an index over it per class of requests: blocks of hosts with their best score, brought up to
/// date from a log of changes when the class is next asked about. Only hosts that changed are scored again.
pub struct Engine {
    fleet: Fleet,
    places: QuickMap<HostId, usize>,
    seed: u64,
    /// Hosts, zones, names or columns changed since the rest was derived.
    stale: bool,
    names: Arc<Names>,
    rows: Rows,
    cells: Cells,
    /// Made when a refusal is first explained.
    profiles: Option<Profiles>,
    classes: Classes,
    /// The built-in's scores, for when the scorer is at fault.
    fallback: Classes,
    scratch: Scratch,
    /// What a placer was told.
    placing: Placing,
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
            profiles: None,
            classes: Classes::default(),
            fallback: Classes::default(),
            scratch: Scratch::default(),
            placing: Placing::default(),
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
        if let Change::Capacity { host, class, units, .. } = change
            && let Some(place) = self.places.get(host).copied()
            && self.fleet.column(class).is_some_and(|column| column.units_of(place) != *units)
        {
            // A placer knows of units only which hosts a class cannot have.
            self.placing.forget();
        }
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
                self.changed(place);
            }
            Touched::Row(_) | Touched::Group | Touched::Nothing => {}
        }
    }

    /// Puts `amounts` on a host `times` times; −1 takes them off again. The same as a [`Change::Taken`], sooner. Does nothing about a host that is not there.
    pub fn claim(&mut self, host: HostId, amounts: &Amounts, times: i64) {
        let Some(place) = self.places.get(&host).copied() else { return };
        // An amount of nothing makes no column.
        for (class, amount) in amounts.iter().filter(|(_, amount)| **amount != 0) {
            let delta = amount.saturating_mul(times);
            if let Some(at) = self.fleet.resources.iter().position(|column| column.class == *class) {
                let used = &mut self.fleet.resources[at].used[place];
                *used = used.saturating_add(delta);
                if !self.stale {
                    self.rows.used(place, at, *used);
                }
            } else {
                self.apply(&Change::Used { host, class: class.clone(), delta });
            }
        }
        if !self.stale {
            self.changed(place);
        }
    }

    fn changed(&mut self, place: usize) {
        self.cells.changed(place);
        self.placing.touch(place);
        if let Some(profiles) = &mut self.profiles {
            profiles.changed(place);
        }
    }

    /// Decides where `request` goes; changes nothing that a later answer depends on.
    ///
    /// Over more than 256 hosts a success leaves [`Decision::refused`] to be counted by whoever reads it.
    pub fn decide(&mut self, id: DecisionId, request: &Request, scorer: &mut dyn Scorer) -> Decision {
        let plugin = scorer.identity();
        if let Some(placer) = scorer.placer() {
            return self.decide_placed(id, request, plugin, placer);
        }
        self.placing.forget();
        self.classes.belong_to(&plugin);
        let lists = Lists::of(request, &self.fleet, &self.places);
        match self.choice(false, request, &lists, scorer) {
            Ok(choice) => self.decision(id, request, choice, plugin),
            Err(fault) => self.decide_at_fault(id, request, PluginUse { fault: Some(fault), ..plugin }),
        }
    }

    /// The winner of [`Self::decide`] alone, without the reasons: for simulations, where most of a refusal's cost
    /// would be words that nobody reads.
    pub fn find(&mut self, request: &Request, scorer: &mut dyn Scorer) -> Option<HostId> {
        if let Some(placer) = scorer.placer() {
            let place = self.find_placed(request, placer);
            let place = place.or_else(|| self.find_built_in(request))?;
            return Some(self.fleet.hosts[place].id);
        }
        self.classes.belong_to(&scorer.identity());
        let lists = Lists::of(request, &self.fleet, &self.places);
        let choice = self.choice(false, request, &lists, scorer).or_else(|_| {
            self.fallback.belong_to(&Spread.identity());
            self.choice(true, request, &lists, &mut Spread)
        });
        let (place, _) = *choice.ok()?.top.first()?;
        Some(self.fleet.hosts[place as usize].id)
    }

    fn find_built_in(&mut self, request: &Request) -> Option<usize> {
        self.fallback.belong_to(&Spread.identity());
        let lists = Lists::of(request, &self.fleet, &self.places);
        let choice = self.choice(true, request, &lists, &mut Spread).ok()?;
        choice.top.first().map(|(place, _)| *place as usize)
    }

    /// The built-in's decision in place of a scorer that was at fault, which `plugin` names.
    pub fn decide_at_fault(&mut self, id: DecisionId, request: &Request, plugin: PluginUse) -> Decision {
        self.fallback.belong_to(&Spread.identity());
        let lists = Lists::of(request, &self.fleet, &self.places);
        // The built-in has no faults.
        let choice = self.choice(true, request, &lists, &mut Spread);
        let choice = choice.unwrap_or_default();
        self.decision(id, request, choice, plugin)
    }

    fn choice(
        &mut self,
        fallback: bool,
        request: &Request,
        lists: &Lists,
        scorer: &mut dyn Scorer,
    ) -> Result<Choice, String> {
        let at = self.class(fallback, request);
        let classes = if fallback { &mut self.fallback } else { &mut self.classes };
        let class = classes.at(at);
        class.refresh(&self.fleet, &self.rows, &mut self.cells, &self.names, &mut self.scratch, scorer)?;
        let how = (self.seed, self.fleet.hosts.len() <= COUNTED);
        choose(class, &self.cells, &self.fleet, request, lists, how, scorer)
    }

    /// The place of the request's class; derives what is missing for it.
    fn class(&mut self, fallback: bool, request: &Request) -> usize {
        if self.stale {
            self.derive(self.cells.names().to_vec());
        }
        let quick = quick(request);
        let classes = if fallback { &self.fallback } else { &self.classes };
        if let Some(known) = classes.find(request, quick) {
            return known;
        }
        let new = mentioned(request, self.cells.names());
        if !new.is_empty() {
            let names = self.cells.names().iter().cloned().chain(new).collect();
            self.derive(names);
        }
        let class = Class::new(request, quick, &self.fleet, &self.cells);
        let classes = if fallback { &mut self.fallback } else { &mut self.classes };
        classes.add(class, &self.fleet)
    }

    fn derive(&mut self, names: Vec<cells::Name>) {
        self.names = Arc::new(self::names(&self.fleet));
        self.rows = Rows::of(&self.fleet);
        self.cells = Cells::of(&self.fleet, names);
        self.profiles = None;
        self.classes.forget();
        self.fallback.forget();
        self.placing.forget();
        self.stale = false;
    }

    fn decision(&mut self, id: DecisionId, request: &Request, choice: Choice, plugin: PluginUse) -> Decision {
        let found = !choice.top.is_empty();
        let refusal = if !found || self.fleet.hosts.len() <= COUNTED {
            self.refusal(request, !found, &choice.vetoed, &plugin)
        } else {
            Refusal::default()
        };
        let fleet = &self.fleet;
        let host = |place: u32| &fleet.hosts[place as usize];
        let scored = |(place, score): &(u32, f32)| ScoredHost {
            host_id: host(*place).id,
            name: host(*place).name.clone(),
            score: *score,
        };
        let top: Vec<ScoredHost> = choice.top.iter().map(scored).collect();
        let winner = top.first();
        Decision {
            v: 2,
            id,
            revision: fleet.revision,
            request: request.clone(),
            winner: winner.map(|host| host.host_id),
            winner_name: winner.map(|host| host.name.clone()),
            hosts_considered: fleet.hosts.len() as u64,
            hosts_feasible: choice.feasible,
            nearest: refusal.nearest,
            advice: refusal.advice,
            refused: refusal.tally.counts(),
            top,
            plugin,
            seed: self.seed,
        }
    }

    /// Hosts per rule, the plugin's vetoes among them; with `help`, what would fit.
    fn refusal(&mut self, request: &Request, help: bool, vetoed: &[u32], plugin: &PluginUse) -> Refusal {
        let (fleet, rows, places) = (&self.fleet, &self.rows, &self.places);
        let profiles = self.profiles.get_or_insert_with(|| Profiles::of(fleet));
        let mut refusal = refusal(fleet, rows, profiles, places, request, help);
        if let Some(first) = vetoed.first() {
            let name = &fleet.hosts[*first as usize].name;
            refusal.tally.vetoed(vetoed.len() as u64, format!("{name} was vetoed by {}", plugin.name));
        }
        refusal
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
        if scorer.placer().is_some() {
            self.foresee(batch.iter().map(|(id, request)| (*id, Arc::new(request.clone()))));
        }
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

    /// Puts a request on a host, its server group's count too, or with −1 takes it off again.
    pub fn take(&mut self, host: HostId, request: &Request, times: i64) {
        self.claim(host, &request.amounts, times);
        if let Some(group) = &request.group {
            self.fleet.on_group(&group.id, host, times);
        }
    }
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

fn places(fleet: &Fleet) -> QuickMap<HostId, usize> {
    fleet.hosts.iter().enumerate().map(|(place, host)| (host.id, place)).collect()
}
