//! The advice of every refusal of real workloads: followed, it fits; with less, it does not. The oracle judges.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_placement::spread::Spread;
use canopy_placement::{Engine, Relax, Request, seeded::Rng};
use canopy_placement_oracle::fits;
use canopy_sim::fleet::{Size, equal, of_trace};
use canopy_sim::{Trace, formats, run_with};
use canopy_types::DecisionId;
use std::path::Path;

fn trace(name: &str) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    formats::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Default)]
struct Seen {
    refusals: usize,
    advised: usize,
    pairs: usize,
}

fn follow(engine: &mut Engine, request: &Request, seen: &mut Seen) {
    let decision = engine.decide(DecisionId::random(), request, &mut Spread);
    assert_eq!(decision.winner, None);
    let fleet = engine.fleet();
    seen.refusals += 1;
    seen.advised += usize::from(!decision.advice.is_empty());
    for advice in &decision.advice {
        let what = format!("{request:?}: {}", advice.words());
        assert!(fits(fleet, &advice.follow(request)), "{what}");
        seen.pairs += usize::from(advice.changes.len() == 2);
        for (at, change) in advice.changes.iter().enumerate() {
            let mut less = advice.clone();
            less.changes.remove(at);
            assert!(!fits(fleet, &less.follow(request)), "{what}: {change:?} is not needed");
            let Relax::Amount { class, from, to } = change else { continue };
            if advice.changes.len() > 1 || to + 1 == *from {
                continue;
            }
            // One more than advised, one fewer than asked, and something in between.
            let between = to + 1 + Rng::new(seen.refusals as u64).below((from - to - 1) as u64) as i64;
            for to in [to + 1, between, from - 1] {
                less.changes = vec![Relax::Amount { class: class.clone(), from: *from, to }];
                assert!(!fits(fleet, &less.follow(request)), "{what}: {to} {class} fits too");
            }
        }
    }
}

#[test]
fn azure_on_a_fleet_that_is_a_little_too_small() {
    let (trace, mut seen) = (trace("azure-v1/test.csv.gz"), Seen::default());
    let fleet = equal(980, Size { vcpus: 64, memory_mb: 192 * 1024, disk_gb: 0 });
    run_with(fleet, &trace, &mut Spread, |_| (), |engine, request| follow(engine, request, &mut seen));
    assert!(seen.refusals > 1_000, "{} refusals", seen.refusals);
    // Where something is free on one host, the advice says how much.
    assert!(seen.advised * 10 > seen.refusals, "{} of {}", seen.advised, seen.refusals);
}

#[test]
fn alibaba_with_gpus_of_named_models() {
    let (trace, mut seen) = (trace("alibaba-openb-2023/openb_pod_list_gpuspec33.csv.gz"), Seen::default());
    assert_eq!((trace.hosts.len(), trace.arrivals.len()), (1_523, 8_152));
    let mut few = trace.clone();
    // Every hundredth host: GPUs are few, and some models are gone.
    few.hosts = few.hosts.into_iter().step_by(100).collect();
    let fleet = of_trace(&few, few.hosts.len());
    run_with(fleet, &few, &mut Spread, |_| (), |engine, request| follow(engine, request, &mut seen));
    println!("{} refusals, {} advised, {} pairs", seen.refusals, seen.advised, seen.pairs);
    assert!(seen.refusals > 100, "{} refusals", seen.refusals);
    assert!(seen.advised > 10, "{} advised", seen.advised);
}
