//! A placer beside the oracle: whatever changes in between, it finds a host when there is one, and none of its
//! answers breaks a rule. Both hold only if it believes what is true of every host, every time it is asked.

#[allow(dead_code, reason = "shared with the simulator")]
#[path = "../../../sim/src/bestfit.rs"]
mod bestfit;

use super::{World, seeds};
use bestfit::NativeBestFit;
use canopy_placement::placer::{Asking, HostRows, NOWHERE, Placer, PlacerClass};
use canopy_placement::{
    Change, Columns, Engine, Fleet, GroupPolicy, GroupRule, Host, Names, PluginUse, Reason, Request,
    ResourceColumn, Scorer,
};
use canopy_placement_oracle as oracle;
use canopy_types::{DecisionId, HostId};
use std::sync::Arc;

#[test]
fn its_answers_hold_whatever_changes_and_whatever_is_committed() {
    for seed in seeds() {
        let mut world = World::new(seed, [0, 1, 7, 130, 300, 700][(seed % 6) as usize]);
        let mut placer = NativeBestFit::default();
        let known: Vec<Request> = (0..12).map(|_| world.request()).collect();
        let mut placed = 0;
        for step in 0..120 {
            for _ in 0..world.rng.below(4) {
                world.change();
            }
            let count = 1 + world.rng.below(90);
            let mut request =
                || (DecisionId::random(), Arc::new(known[world.rng.below(12) as usize].clone()));
            let batch: Vec<_> = (0..count).map(|_| request()).collect();
            world.engine.foresee(batch.clone());
            for (id, request) in batch {
                let what = format!("CANOPY_SEED={seed}, step {step}: {request:?}");
                if world.rng.one_in(12) {
                    // Never asked for after all: what it was given comes back.
                    continue;
                }
                let decision = world.engine.decide(id, &request, &mut placer);
                assert_eq!(decision.plugin.fault, None, "{what}");
                let answer = oracle::decide(world.engine.fleet(), &request, &mut super::Spread);
                assert_eq!(decision.winner.is_some(), answer.feasible > 0, "{what}");
                let Some(host) = decision.winner else { continue };
                placed += 1;
                assert!(answer.ranked.iter().any(|(fits, _)| *fits == host), "{what}");
                if decision.hosts_feasible > 0 {
                    assert_eq!(decision.hosts_feasible, answer.feasible, "{what}");
                }
                // Some claims do not commit, some servers are gone at once.
                if !world.rng.one_in(5) {
                    world.engine.take(host, &request, 1);
                    if world.rng.one_in(3) {
                        world.engine.take(host, &request, -1);
                    }
                }
            }
        }
        assert!(placed > 0 || world.engine.fleet().hosts.len() < 30, "CANOPY_SEED={seed}");
    }
}

fn fleet(hosts: usize, vcpus: i64) -> Fleet {
    let host =
        |n: usize| Host::new(HostId(uuid::Uuid::from_u64_pair(7, n as u64)), format!("h{n:04}"), "nova");
    Fleet {
        hosts: (0..hosts).map(host).collect(),
        resources: vec![ResourceColumn::new("VCPU", vec![vcpus; hosts], vec![0; hosts])],
        ..Fleet::default()
    }
}

fn want(vcpus: i64) -> Request {
    Request { amounts: [("VCPU".to_owned(), vcpus)].into(), ..Request::default() }
}

fn many(request: &Request, count: usize) -> Vec<(DecisionId, Arc<Request>)> {
    (0..count).map(|_| (DecisionId::random(), Arc::new(request.clone()))).collect()
}

/// Decides all of them in order and commits those that `commits` says.
fn run(
    engine: &mut Engine,
    batch: &[(DecisionId, Arc<Request>)],
    scorer: &mut dyn Scorer,
    commits: impl Fn(usize) -> bool,
) -> Vec<canopy_placement::Decision> {
    engine.foresee(batch.iter().cloned());
    let mut decisions = Vec::new();
    for (at, (id, request)) in batch.iter().enumerate() {
        let decision = engine.decide(*id, request, scorer);
        if let (Some(host), true) = (decision.winner, commits(at)) {
            engine.take(host, request, 1);
        }
        decisions.push(decision);
    }
    decisions
}

#[test]
fn what_is_committed_is_not_told_again_and_what_is_not_is_told_once() {
    let (mut engine, mut placer) = (Engine::new(fleet(300, 8)), NativeBestFit::default());
    let one = want(1);
    run(&mut engine, &many(&one, 130), &mut placer, |_| true);
    assert_eq!((placer.begun, placer.calls, placer.corrected), (1, 3, 0), "64, 64 and 2");
    // Of eight servers on one host, one claim fails; of the next eight on the next, none.
    run(&mut engine, &many(&want(4), 2), &mut placer, |at| at > 0);
    assert_eq!(placer.corrected, 0, "nobody has asked since");
    let decisions = run(&mut engine, &many(&one, 1), &mut placer, |_| true);
    assert_eq!((placer.begun, placer.corrected), (1, 1));
    assert!(decisions[0].plugin.fault.is_none());
    // Changes that cancel out are none; another's server is one.
    let host = engine.fleet().hosts[299].id;
    for delta in [3, -3] {
        engine.apply(&Change::Used { host, class: "VCPU".into(), delta });
    }
    run(&mut engine, &many(&one, 1), &mut placer, |_| true);
    assert_eq!(placer.corrected, 1);
    engine.apply(&Change::Used { host, class: "VCPU".into(), delta: 3 });
    run(&mut engine, &many(&one, 1), &mut placer, |_| true);
    assert_eq!((placer.begun, placer.corrected), (1, 2));
    // More than one call takes.
    let mut engine = Engine::new(fleet(20_000, 8));
    run(&mut engine, &many(&one, 1), &mut placer, |_| true);
    for place in 0..20_000 {
        let host = engine.fleet().hosts[place].id;
        engine.apply(&Change::Used { host, class: "VCPU".into(), delta: 1 });
    }
    assert!(run(&mut engine, &many(&one, 1), &mut placer, |_| true)[0].winner.is_some());
    assert_eq!(placer.begun, 2);
}

#[test]
fn servers_of_one_group_are_asked_about_one_after_the_other() {
    let (mut engine, mut placer) = (Engine::new(fleet(10, 8)), NativeBestFit::default());
    let policy = GroupPolicy::AntiAffinity;
    let group = Some(GroupRule { id: "g".into(), policy, max_per_host: 1 });
    let apart = Request { group, ..want(1) };
    let decisions = run(&mut engine, &many(&apart, 12), &mut placer, |_| true);
    let winners: std::collections::BTreeSet<_> =
        decisions.iter().filter_map(|decision| decision.winner).collect();
    assert_eq!(winners.len(), 10);
    assert!(decisions[10..].iter().all(|decision| decision.winner.is_none()));
    assert!(decisions.iter().all(|decision| decision.plugin.fault.is_none()));
}

/// A placer that answers as it is told to.
struct Said {
    state: u64,
    answers: Vec<Result<Vec<u32>, String>>,
    asked: Vec<usize>,
    wrong: usize,
}

impl Said {
    fn new(answers: Vec<Result<Vec<u32>, String>>) -> Self {
        Self { state: 0, answers, asked: Vec::new(), wrong: 0 }
    }
}

impl Scorer for Said {
    fn identity(&self) -> PluginUse {
        PluginUse { name: "said".into(), ..PluginUse::default() }
    }

    fn score(&mut self, _: &Columns) -> Result<Vec<f32>, String> {
        Err("none".into())
    }

    fn explain(&mut self, _: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Err("none".into())
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        Some(self)
    }
}

impl Placer for Said {
    fn state(&self) -> u64 {
        self.state
    }

    fn begin(&mut self, _: &Arc<Names>, _: u32) -> Result<u64, String> {
        self.state = canopy_placement::placer::new_state();
        Ok(self.state)
    }

    fn hosts(&mut self, _: &HostRows) -> Result<(), String> {
        Ok(())
    }

    fn classes(&mut self, _: u32, _: &[PlacerClass]) -> Result<(), String> {
        Ok(())
    }

    fn place(&mut self, _: u64, _: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String> {
        self.asked.push(requests.len());
        self.answers.remove(0)
    }

    fn wrong(&mut self, _: &str) {
        self.wrong += 1;
    }
}

fn faults(decisions: &[canopy_placement::Decision]) -> Vec<Option<&str>> {
    decisions.iter().map(|decision| decision.plugin.fault.as_deref()).collect()
}

#[test]
fn an_answer_that_breaks_a_rule_costs_one_request_and_the_rest_is_asked_again() {
    let mut engine = Engine::new(fleet(3, 2));
    let mut said = Said::new(vec![Ok(vec![1, 9, 1, 1]), Ok(vec![1, 1]), Ok(vec![2])]);
    let decisions = run(&mut engine, &many(&want(1), 4), &mut said, |_| true);
    assert_eq!(
        faults(&decisions),
        [None, Some("answer: host 9 of 3"), None, Some("answer: capacity:VCPU: h0001 has 0 of 1 VCPU free")]
    );
    assert_eq!((said.asked.as_slice(), said.wrong), (&[4, 2][..], 2));
    assert!(decisions.iter().all(|decision| decision.winner.is_some()), "the built-in decides instead");
    assert!(decisions[0].top.is_empty() && !decisions[1].top.is_empty());
}

#[test]
fn no_host_is_believed_only_when_there_is_none() {
    let mut engine = Engine::new(fleet(3, 2));
    let mut said = Said::new(vec![Ok(vec![NOWHERE]), Ok(vec![NOWHERE])]);
    let decisions = run(&mut engine, &many(&want(1), 1), &mut said, |_| true);
    assert_eq!(faults(&decisions), [Some("answer: no host, where 3 are possible")]);
    let decisions = run(&mut engine, &many(&want(3), 1), &mut said, |_| true);
    assert_eq!((faults(&decisions), decisions[0].winner), (vec![None], None));
    assert_eq!(decisions[0].refused[0].rule, "capacity:VCPU");
}

#[test]
fn a_fault_costs_its_call_and_the_state() {
    let mut engine = Engine::new(fleet(3, 2));
    let mut said = Said::new(vec![Ok(vec![2]), Err("trap: x".into()), Ok(vec![0]), Ok(vec![0, 0])]);
    run(&mut engine, &many(&want(1), 1), &mut said, |_| true);
    let first = said.state;
    let decisions = run(&mut engine, &many(&want(1), 2), &mut said, |_| true);
    assert_eq!(faults(&decisions), [Some("trap: x"), Some("trap: x")]);
    assert_eq!(said.state, first);
    run(&mut engine, &many(&want(1), 1), &mut said, |_| true);
    assert_ne!(said.state, first, "it was told everything again");
    let decisions = run(&mut engine, &many(&want(1), 1), &mut said, |_| true);
    assert_eq!(faults(&decisions), [Some("answer: 2 hosts for 1 requests")]);
}
