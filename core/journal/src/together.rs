//! Deciding one request, of one server or of several: the same piece live and in replay.

use crate::entry::{Asked, Outcome, Recorded};
use crate::takes;
use canopy_placement::engine::BATCH;
use canopy_placement::{Change, Decision, Engine, Request, RuleCount};
use canopy_types::{DecisionId, ServerId};
use std::sync::Arc;

/// One server of a request: the id of its decision, the server, what it asks for.
pub type Question = (DecisionId, ServerId, Arc<Request>);

/// What one request came to.
pub struct Decided {
    /// A decision a server, in the order asked.
    pub decisions: Vec<Decision>,
    pub asked: Asked,
    /// What is taken if it is placed, a change a server; not applied.
    pub takes: Vec<Change>,
}

impl Decided {
    pub fn placed(&self) -> bool {
        self.decisions.iter().all(|decision| decision.winner.is_some())
    }
}

/// Decides in order, each seeing what the earlier ones took; afterwards the engine is as before. With
/// `all_or_nothing`, one that finds no host refuses the others by the rule `batch`, and the rest is not asked.
/// `each` decides one of them, given its place.
pub fn decide(
    engine: &mut Engine,
    batch: &[Question],
    all_or_nothing: bool,
    mut each: impl FnMut(&mut Engine, usize) -> Decision,
) -> Decided {
    let (mut decisions, mut taken): (Vec<Decision>, Vec<Change>) =
        (Vec::with_capacity(batch.len()), Vec::new());
    let mut applied = Vec::new();
    for (at, (_, _, request)) in batch.iter().enumerate() {
        let decision = each(engine, at);
        let winner = decision.winner;
        decisions.push(decision);
        match winner {
            Some(host) => {
                taken.push(takes(host, request, 1));
                // Nobody looks after the last.
                if at + 1 < batch.len() {
                    engine.take(host, request, 1);
                    applied.push((host, request));
                }
            }
            None if all_or_nothing => break,
            None => {}
        }
    }
    applied.into_iter().rev().for_each(|(host, request)| engine.take(host, request, -1));
    let recorded = batch.iter().enumerate().map(|(at, (id, server, request))| {
        let made = decisions.get(at);
        Recorded {
            id: *id,
            server: *server,
            request: Arc::clone(request),
            class: 0,
            plugin: made.map(|made| made.plugin.digest.clone()).unwrap_or_default(),
            config: made.map(|made| made.plugin.config.clone()).unwrap_or_default(),
            outcome: made.map(Outcome::of),
        }
    });
    let asked = Asked { all_or_nothing, decisions: recorded.collect() };
    if all_or_nothing && decisions.last().is_some_and(|last| last.winner.is_none()) {
        taken.clear();
        refuse_with_the_last(&mut decisions, batch);
    }
    Decided { decisions, asked, takes: taken }
}

/// The last one decided found no host: the others go with it, and say so.
fn refuse_with_the_last(decisions: &mut Vec<Decision>, batch: &[Question]) {
    let Some((failed, template)) = decisions.len().checked_sub(1).zip(decisions.last().cloned()) else {
        return;
    };
    for (at, (id, _, request)) in batch.iter().enumerate().filter(|(at, _)| *at != failed) {
        let example = format!("server {} of the request found no host: decision {}", failed + 1, template.id);
        let rule = RuleCount { rule: BATCH.into(), hosts: template.hosts_considered, example };
        let refused = Decision {
            id: *id,
            request: Request::clone(request),
            winner: None,
            winner_name: None,
            refused: vec![rule],
            top: Vec::new(),
            nearest: Vec::new(),
            advice: Vec::new(),
            ..template.clone()
        };
        match decisions.get_mut(at) {
            Some(decision) => *decision = refused,
            None => decisions.push(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_placement::spread::Spread;
    use canopy_placement::{Fleet, Host, ResourceColumn};
    use canopy_types::HostId;

    fn ask(engine: &mut Engine, servers: usize, all: bool) -> Decided {
        let request = Request { amounts: [("VCPU".to_owned(), 3)].into(), ..Request::default() };
        let one = || (DecisionId::random(), ServerId::random(), Arc::new(request.clone()));
        let batch: Vec<_> = (0..servers).map(|_| one()).collect();
        decide(engine, &batch, all, |engine, at| engine.decide(batch[at].0, &batch[at].2, &mut Spread))
    }

    #[test]
    fn servers_of_one_request_see_each_other_and_fail_together() {
        let host = |i: usize| Host::new(HostId::random(), format!("h{i}"), "nova");
        let mut engine = Engine::new(Fleet {
            hosts: (0..2).map(host).collect(),
            resources: vec![ResourceColumn::new("VCPU", vec![4; 2], vec![0; 2])],
            ..Fleet::default()
        });
        let before = engine.fleet().clone();
        let two = ask(&mut engine, 2, true);
        assert!(two.placed() && two.decisions[0].winner != two.decisions[1].winner);
        assert_eq!((two.takes.len(), two.asked.placed().count()), (2, 2));
        let four = ask(&mut engine, 4, true);
        assert!(four.decisions.iter().all(|decision| decision.winner.is_none()));
        assert_eq!((four.takes.len(), four.asked.placed().count()), (0, 0));
        assert_eq!(four.decisions[0].refused[0].rule, BATCH);
        assert_eq!(four.decisions[2].refused[0].rule, "capacity:VCPU");
        assert!(four.asked.decisions[3].outcome.is_none(), "not asked");
        let some = ask(&mut engine, 4, false);
        assert_eq!((some.takes.len(), some.asked.placed().count()), (2, 2));
        assert_eq!(*engine.fleet(), before);
    }
}
