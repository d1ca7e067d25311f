//! A placer whose answers depend on everything it was ever asked comes out again all the same.

use super::fleet;
use crate::{Bound, PutOff, Reader, Report, Round, Subject, Writer, decide, replay, takes};
use canopy_placement::placer::{Asking, HostRows, NOWHERE, Placer, PlacerClass, new_state};
use canopy_placement::{Columns, Engine, Names, PluginUse, Reason, Request, Scorer};
use canopy_types::{DecisionId, ServerId, Timestamp};
use std::path::Path;
use std::sync::Arc;

/// Goes round the hosts that have room, from where it stopped; wherever it was, counts.
#[derive(Default)]
struct Round3 {
    state: u64,
    free: Vec<i64>,
    wants: Vec<i64>,
    next: usize,
    /// Fails at this call of a state.
    fails: Option<u64>,
}

impl Scorer for Round3 {
    fn identity(&self) -> PluginUse {
        PluginUse { name: "round".into(), digest: "d".into(), ..PluginUse::default() }
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

impl Placer for Round3 {
    fn state(&self) -> u64 {
        self.state
    }

    fn begin(&mut self, _: &Arc<Names>, hosts: u32) -> Result<u64, String> {
        *self =
            Self { state: new_state(), free: vec![0; hosts as usize], fails: self.fails, ..Self::default() };
        Ok(self.state)
    }

    fn hosts(&mut self, rows: &HostRows) -> Result<(), String> {
        for (host, free) in rows.at.iter().zip(&rows.free) {
            self.free[*host as usize] = *free;
        }
        Ok(())
    }

    fn classes(&mut self, _: u32, classes: &[PlacerClass]) -> Result<(), String> {
        self.wants.extend(classes.iter().map(|class| class.wants[0]));
        Ok(())
    }

    fn place(&mut self, epoch: u64, changed: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String> {
        if self.fails == Some(epoch) {
            self.state = 0;
            return Err("deadline: no answer".into());
        }
        self.hosts(changed)?;
        let mut place = |asking: &Asking| {
            let want = self.wants[asking.class as usize];
            // 7 is where it is wrong.
            if want == 7 {
                self.next += 1;
                return 99;
            }
            for step in 0..self.free.len() {
                let at = (self.next + step) % self.free.len();
                if self.free[at] >= want {
                    (self.free[at], self.next) = (self.free[at] - want, at + 1);
                    return at as u32;
                }
            }
            NOWHERE
        };
        Ok(requests.iter().map(&mut place).collect())
    }
}

/// Rounds of five requests; some servers end, and of each round one request is put off.
fn record(dir: &Path, rounds: i64, anew: impl Fn(i64) -> bool) {
    let mut writer = Writer::open(dir, crate::Limits::default()).unwrap();
    let (mut engine, mut placer) = (Engine::new(fleet()), Round3 { fails: Some(9), ..Round3::default() });
    let mut placed = std::collections::VecDeque::new();
    for n in 0..rounds {
        let mut round = Round { at: Timestamp(n), anew: anew(n), ..Round::default() };
        while placed.len() > 6 {
            let (server, host, request) = placed.pop_front().unwrap();
            round.changes.push(takes(host, &request, -1));
            round.gone.push(server);
        }
        round.changes.iter().for_each(|change| engine.apply(change));
        if writer.behind() {
            writer.begin(engine.fleet().clone(), 0, round.at);
            writer.plugin(placer.identity(), None);
            round.changes.clear();
        }
        if round.anew {
            engine.forget_placer();
        }
        let want =
            |vcpus: i64| Request { amounts: [("VCPU".to_owned(), vcpus)].into(), ..Request::default() };
        let one = |vcpus| (DecisionId::random(), ServerId::random(), Arc::new(want(vcpus)));
        let wants = [1 + n % 2, 2, if n % 5 == 0 { 7 } else { 1 }, 1, 1];
        let batch: Vec<_> = wants.into_iter().map(one).collect();
        engine.foresee(batch.iter().map(|(id, _, request)| (*id, Arc::clone(request))));
        for (at, question) in batch.iter().enumerate() {
            let one = std::slice::from_ref(question);
            let decided = decide(&mut engine, one, true, |engine, _| {
                engine.decide(question.0, &question.2, &mut placer)
            });
            if at as i64 == n % 4 {
                round.put_off.push(PutOff { before: round.asked.len(), asked: decided.asked });
                continue;
            }
            decided.takes.iter().for_each(|change| engine.apply(change));
            if let Some(host) = decided.decisions[0].winner {
                placed.push_back((question.1, host, Request::clone(&question.2)));
            }
            round.asked.push(decided.asked);
        }
        writer.round(round);
    }
    writer.flusher().flush();
}

fn again(dir: &Path, from: Option<Bound>, to: Option<Bound>) -> Report {
    // It does not fail again: what time did is applied as recorded.
    let mut load = |_: &PluginUse, _: Option<&Path>| -> canopy_types::Result<Box<dyn Scorer>> {
        Ok(Box::new(Round3::default()))
    };
    replay(&Reader::new(dir), from, to, &mut Subject::Recorded(&mut load)).unwrap()
}

#[test]
fn it_comes_out_again_with_its_faults_its_mistakes_and_what_was_put_off() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 60, |n| n == 0 || n == 40);
    let report = again(dir.path(), None, None);
    assert_eq!((report.decisions, report.equal, report.taken), (240, 240, 0), "{report:?}");
    assert!(report.faults > 10, "{report:?}");
    let part = again(dir.path(), Some(Bound::Time(Timestamp(30))), Some(Bound::Time(Timestamp(45))));
    assert_eq!((part.decisions, part.equal, part.taken), (60, 60, 0), "{part:?}");
}

#[test]
fn before_it_is_known_to_have_begun_it_is_taken_as_it_was_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 30, |n| n == 10);
    let report = again(dir.path(), None, None);
    assert_eq!((report.decisions, report.equal, report.taken), (80, 80, 40), "{report:?}");
}
