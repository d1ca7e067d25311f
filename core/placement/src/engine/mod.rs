//! Decisions over a long-lived fleet.
//!
//! An engine is its fleet and what was derived from it. The same fleet and the same request have the same
//! answer, whatever was asked before: what is kept between decisions saves time and decides nothing.

use crate::{Change, Decision, Fleet, Request, Scorer};
use canopy_types::{DecisionId, HostId};
use std::collections::HashMap;

pub struct Engine {
    fleet: Fleet,
    places: HashMap<HostId, usize>,
}

/// The rule under which servers of an all-or-nothing batch are refused with the one that found no host.
pub const BATCH: &str = "batch";

impl Engine {
    /// Takes a snapshot; hosts are put in the order of (name, id).
    pub fn new(mut fleet: Fleet) -> Self {
        fleet.normalise();
        let places = places(&fleet);
        Self { fleet, places }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Moves the fleet one step on.
    pub fn apply(&mut self, change: &Change) {
        let places = &self.places;
        let touched = self.fleet.apply(change, |host| places.get(&host).copied());
        if touched == crate::Touched::Shape {
            self.places = self::places(&self.fleet);
        }
    }

    /// Decides where `request` goes; changes nothing that a later answer depends on.
    pub fn decide(&mut self, id: DecisionId, request: &Request, scorer: &mut dyn Scorer) -> Decision {
        crate::decide(id, &self.fleet, request, scorer)
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
        let mut undo = Vec::new();
        for (id, request) in batch {
            let decision = self.decide(*id, request, scorer);
            match decision.winner {
                Some(host) => self.take(host, request, &mut undo),
                None if all_or_nothing => {
                    decisions.push(decision);
                    break;
                }
                None => {}
            }
            decisions.push(decision);
        }
        for change in undo.iter().rev() {
            self.apply(change);
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

    /// Puts the request on the host, and says what would take it off again.
    fn take(&mut self, host: HostId, request: &Request, undo: &mut Vec<Change>) {
        for (class, amount) in request.amounts.iter().filter(|(_, amount)| **amount > 0) {
            let used = |delta| Change::Used { host, class: class.clone(), delta };
            self.apply(&used(*amount));
            undo.push(used(-amount));
        }
        if let Some(group) = &request.group {
            let count = |delta| Change::Group { group: group.id.clone(), host, delta };
            self.apply(&count(1));
            undo.push(count(-1));
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

fn places(fleet: &Fleet) -> HashMap<HostId, usize> {
    fleet.hosts.iter().enumerate().map(|(place, host)| (host.id, place)).collect()
}
