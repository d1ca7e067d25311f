//! Replays a trace on a fleet.

use crate::{Trace, clock};
use canopy_placement::seeded::StableHash;
use canopy_placement::{Engine, Fleet, Request, Scorer};
use canopy_types::HostId;
use canopy_types::resources::Amounts;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Points in time that a report has at most.
const SAMPLES: usize = 400;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub scheduler: String,
    pub hosts: usize,
    pub arrivals: u64,
    pub placed: u64,
    pub refused: u64,
    /// What the refused asked for, per resource class.
    pub refused_amounts: Amounts,
    /// The greatest used share, per resource class.
    pub peak: BTreeMap<String, f64>,
    /// Mean and greatest share of the free vCPUs that lie where the largest request does not fit, over samples.
    pub fragmentation_mean: f64,
    pub fragmentation_peak: f64,
    /// Changes of fleets and decisions, microseconds of the deciding thread per arrival.
    pub cpu_us_per_arrival: f64,
    /// Of all hosts chosen, in order: equal for equal runs.
    pub digest: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds.
    pub at: i64,
    /// Used share, per resource class.
    pub used: BTreeMap<String, f64>,
    pub fragmentation: f64,
    /// Refused so far.
    pub refused: u64,
}

/// Runs; `progress` hears of the arrivals done, now and then.
pub fn run(fleet: Fleet, trace: &Trace, scorer: &mut dyn Scorer, progress: impl FnMut(usize)) -> Report {
    run_with(fleet, trace, scorer, progress, |_, _| ())
}

/// The same, and `refused` sees the engine at each refusal.
pub fn run_with(
    fleet: Fleet,
    trace: &Trace,
    scorer: &mut dyn Scorer,
    mut progress: impl FnMut(usize),
    mut refused: impl FnMut(&mut Engine, &Request),
) -> Report {
    let mut report = Report {
        scheduler: scorer.identity().name.to_string(),
        hosts: fleet.hosts.len(),
        arrivals: trace.arrivals.len() as u64,
        ..Report::default()
    };
    let mut engine = Engine::new(fleet);
    let mut leaving: BinaryHeap<Reverse<(i64, usize, HostId)>> = BinaryHeap::new();
    let mut digest = StableHash::default();
    let mut spent = std::time::Duration::ZERO;
    let (mut now, mut sampled) = (None, None);
    let every = (trace.arrivals.len() / SAMPLES).max(1);
    let largest = largest(trace);
    for (number, arrival) in trace.arrivals.iter().enumerate() {
        let request = &trace.requests[arrival.request];
        let began = clock::cpu();
        if now != Some(arrival.at) {
            now = Some(arrival.at);
            while let Some(Reverse((until, left, host))) = leaving.peek().copied()
                && until <= arrival.at
            {
                leaving.pop();
                engine.claim(host, &trace.requests[left].amounts, -1);
            }
        }
        let winner = engine.find(request, scorer);
        if let Some(host) = winner {
            engine.claim(host, &request.amounts, 1);
        }
        spent += clock::cpu() - began;
        match winner {
            Some(host) => {
                report.placed += 1;
                let (high, low) = host.0.as_u64_pair();
                digest.number(high ^ low);
                if let Some(until) = arrival.until {
                    leaving.push(Reverse((until, arrival.request, host)));
                }
            }
            None => {
                refused(&mut engine, request);
                report.refused += 1;
                digest.number(0);
                for (class, amount) in &request.amounts {
                    let sum = report.refused_amounts.entry(class.clone()).or_default();
                    *sum = sum.saturating_add(*amount);
                }
            }
        }
        if number % every == 0 && sampled != now {
            sampled = now;
            report.samples.push(sample(engine.fleet(), arrival.at, report.refused, largest));
        }
        if number % 1024 == 0 {
            progress(number);
        }
    }
    progress(trace.arrivals.len());
    for sample in &report.samples {
        for (class, share) in &sample.used {
            let peak = report.peak.entry(class.clone()).or_default();
            *peak = peak.max(*share);
        }
        report.fragmentation_peak = report.fragmentation_peak.max(sample.fragmentation);
        report.fragmentation_mean += sample.fragmentation / report.samples.len() as f64;
    }
    report.cpu_us_per_arrival = spent.as_secs_f64() * 1e6 / (trace.arrivals.len() as f64).max(1.0);
    report.digest = format!("{:016x}", digest.finish());
    report
}

/// The request with the most vCPUs, then the most of everything.
fn largest(trace: &Trace) -> Option<&Request> {
    let size = |request: &&Request| {
        let vcpus = request.amounts.get("VCPU").copied().unwrap_or(0);
        (vcpus, request.amounts.values().fold(0_i64, |sum, amount| sum.saturating_add(*amount)))
    };
    trace.requests.iter().max_by_key(size)
}

fn sample(fleet: &Fleet, at: i64, refused: u64, largest: Option<&Request>) -> Sample {
    let sum = |values: &[i64]| values.iter().map(|value| *value as f64).sum::<f64>();
    let share = |column: &canopy_placement::ResourceColumn| {
        let capacity = sum(&column.capacity);
        (column.class.clone(), if capacity > 0.0 { sum(&column.used) / capacity } else { 0.0 })
    };
    let (mut free, mut lost) = (0.0, 0.0);
    if let (Some(largest), Some(vcpus)) = (largest, fleet.column("VCPU")) {
        let asked: Vec<_> =
            largest.amounts.iter().map(|(class, want)| (fleet.column(class), *want)).collect();
        for host in 0..fleet.hosts.len() {
            let here = vcpus.free(host).max(0) as f64;
            free += here;
            let fits =
                asked.iter().all(|(column, want)| column.is_some_and(|column| column.free(host) >= *want));
            lost += if fits { 0.0 } else { here };
        }
    }
    Sample {
        at,
        used: fleet.resources.iter().map(share).collect(),
        fragmentation: if free > 0.0 { lost / free } else { 0.0 },
        refused,
    }
}
