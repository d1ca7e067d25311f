//! A placer on a made-up fleet: whether its answers hold, batch after batch, and come out the same in another
//! instance.

use super::Inspection;
use crate::scheduler::WasmScorer;
use canopy_placement::{Decision, Engine, Fleet, Host, Request, ResourceColumn};
use canopy_types::{DecisionId, HostId};
use std::sync::Arc;

const HOSTS: u32 = 150;
/// More than one call takes.
const REQUESTS: u32 = 200;

pub(super) fn try_out(first: &mut WasmScorer, second: &mut WasmScorer, found: &mut Inspection) {
    let questions: Vec<_> = (0..REQUESTS).map(|n| (DecisionId::random(), Arc::new(request(n)))).collect();
    let fleet = fleet();
    let decided = decide(&fleet, &questions, first);
    if let Some(fault) = decided.iter().find_map(|decision| decision.plugin.fault.as_ref()) {
        found.broken.push(format!("it fails on ordinary requests: {fault}"));
        return;
    }
    found.held.push("it is a placer, and every host it chose keeps every rule".to_owned());
    let again = decide(&fleet, &questions, second) == decided && decide(&fleet, &questions, first) == decided;
    found.say(again, "the same calls get the same hosts, in the same and in another instance");
}

/// Every fifth claim does not come about.
fn decide(fleet: &Fleet, questions: &[(DecisionId, Arc<Request>)], placer: &mut WasmScorer) -> Vec<Decision> {
    let mut engine = Engine::new(fleet.clone());
    engine.foresee(questions.iter().cloned());
    let decide = |(at, (id, request)): (usize, &(DecisionId, Arc<Request>))| {
        let decision = engine.decide(*id, request, placer);
        if let Some(host) = decision.winner.filter(|_| !at.is_multiple_of(5)) {
            engine.take(host, request, 1);
        }
        decision
    };
    questions.iter().enumerate().map(decide).collect()
}

fn fleet() -> Fleet {
    let host = |n: u32| Host::new(HostId::random(), format!("host-{n:03}"), format!("zone-{}", n % 3));
    let column = |class: &str, capacity: i64| {
        let capacity = (0..HOSTS).map(|n| capacity * i64::from(1 + n % 3)).collect();
        let used = (0..HOSTS).map(|n| i64::from(n % 7)).collect();
        ResourceColumn::new(class, capacity, used)
    };
    Fleet {
        revision: 1,
        hosts: (0..HOSTS).map(host).collect(),
        resources: vec![column("DISK_GB", 500), column("MEMORY_MB", 65_536), column("VCPU", 16)],
        ..Fleet::default()
    }
}

fn request(n: u32) -> Request {
    let amounts = [("VCPU", 1 << (n % 4)), ("MEMORY_MB", 2_048), ("DISK_GB", 10)];
    Request {
        amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
        zone: n.is_multiple_of(5).then(|| format!("zone-{}", n % 3)),
        ..Request::default()
    }
}
