//! The engine against the oracle: random fleets and requests, with churn and every kind of change between
//! decisions. `CANOPY_SEED` repeats one run; `CANOPY_ROUNDS` makes more of them.

#[path = "engine/placer.rs"]
mod placer;

use canopy_placement::seeded::Rng;
use canopy_placement::spread::Spread;
use canopy_placement::{
    Change, Columns, Engine, Fleet, GroupPolicy, GroupRule, Host, NameSet, PluginUse, Reason, Relax, Request,
    ResourceColumn, Scorer, SignalColumn, Units, engine,
};
use canopy_placement_oracle as oracle;
use canopy_types::{DecisionId, HostId};

const CLASSES: [&str; 3] = ["DISK_GB", "MEMORY_MB", "VCPU"];

/// A pure scorer with few different scores, so that ties abound; vetoes and faults on some rows.
#[derive(Clone)]
struct Odd {
    vetoes: bool,
    faults: bool,
    name: &'static str,
}

impl Scorer for Odd {
    fn identity(&self) -> PluginUse {
        PluginUse { name: self.name.into(), ..PluginUse::default() }
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        let rows = columns.rows();
        let signals = columns.names.signals.len();
        Ok((0..rows)
            .map(|row| {
                let of = |values: &[f32], count: usize| -> f32 {
                    (0..count)
                        .map(|c| values.get(c * rows + row).copied().unwrap_or(0.0) * (c + 1) as f32)
                        .sum()
                };
                let free = of(&columns.free, columns.want.len());
                let number = free + 3.0 * of(&columns.signals, signals) + columns.want.iter().sum::<f32>();
                let number = number.rem_euclid(23.0);
                match number as u32 {
                    0 | 1 if self.vetoes => f32::NEG_INFINITY,
                    2 if self.faults => f32::NAN,
                    n => (n / 4) as f32,
                }
            })
            .collect())
    }

    fn explain(&mut self, _: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Err("has no reasons".into())
    }
}

struct World {
    rng: Rng,
    engine: Engine,
    /// What the engine's fleet should be, kept by plain means.
    hosts: Vec<HostId>,
    next: u64,
}

fn id(rng: &mut Rng) -> HostId {
    HostId(uuid::Uuid::from_u64_pair(rng.number(), rng.number()))
}

fn names(rng: &mut Rng, what: &str, kinds: u64, one_in: u64) -> NameSet {
    (0..kinds).filter(|_| rng.one_in(one_in)).map(|n| format!("{what}{n}")).collect()
}

fn host(rng: &mut Rng, id: HostId, number: u64) -> Host {
    Host {
        closed: rng.one_in(12).then(|| "disabled".to_owned()),
        traits: names(rng, "T", 12, 4),
        aggregates: names(rng, "A", 5, 3),
        ..Host::new(id, format!("h{:04}", number % 700), format!("z{}", rng.below(3)))
    }
}

impl World {
    fn new(seed: u64, size: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ids: Vec<HostId> = (0..size).map(|_| id(&mut rng)).collect();
        let hosts: Vec<Host> = (0..size).map(|n| host(&mut rng, ids[n as usize], n)).collect();
        let resources = CLASSES.iter().map(|class| {
            let capacity: Vec<i64> = (0..size).map(|_| 4 + rng.below(30) as i64).collect();
            let used = capacity.iter().map(|c| rng.below(*c as u64 + 2) as i64).collect();
            ResourceColumn::new(*class, capacity, used)
        });
        let resources = resources.collect();
        let signals = if rng.one_in(2) {
            vec![SignalColumn {
                name: "cpu".into(),
                values: (0..size).map(|_| rng.below(3) as f64).collect(),
            }]
        } else {
            Vec::new()
        };
        let fleet = Fleet { revision: 1, hosts, resources, signals, ..Fleet::default() };
        let seed = if rng.one_in(4) { 1 + rng.below(1000) } else { 0 };
        Self { engine: Engine::with_seed(fleet, seed), hosts: ids, next: size, rng }
    }

    fn some_host(&mut self) -> HostId {
        // Now and then one that is not there.
        if self.hosts.is_empty() || self.rng.one_in(40) {
            return id(&mut self.rng);
        }
        self.hosts[self.rng.below(self.hosts.len() as u64) as usize]
    }

    fn change(&mut self) {
        let at = self.some_host();
        let rng = &mut self.rng;
        let class = || CLASSES[0].to_owned();
        let change = match rng.below(100) {
            0 => {
                let new = id(rng);
                self.hosts.push(new);
                self.next += 1;
                Change::Host { host: host(rng, new, self.next * 37) }
            }
            1 if self.hosts.contains(&at) => {
                let number = rng.below(700);
                Change::Host { host: host(rng, at, number) }
            }
            2 => {
                self.hosts.retain(|host| *host != at);
                Change::Remove { host: at }
            }
            3..8 => Change::Closed { host: at, closed: rng.one_in(2).then(|| "silent".to_owned()) },
            8 => Change::Traits { host: at, traits: names(rng, "T", 12, 4) },
            9 => Change::Aggregates { host: at, aggregates: names(rng, "A", 5, 3) },
            10..15 => {
                let odd = Units { min: 1 + rng.below(2) as i64, max: 8, step: 1 + rng.below(2) as i64 };
                let units = if rng.one_in(4) { odd } else { Units::ANY };
                Change::Capacity { host: at, class: class(), capacity: rng.below(40) as i64 - 2, units }
            }
            15 => {
                let capacity = rng.below(5) as i64;
                Change::Capacity { host: at, class: "CUSTOM_GPU".into(), capacity, units: Units::ANY }
            }
            16..20 => Change::Signal { host: at, name: "cpu".into(), value: rng.below(4) as f64 },
            20 => Change::Signal { host: at, name: "broken".into(), value: f64::NAN },
            21..35 => {
                let (group, delta) = (format!("g{}", rng.below(4)), rng.below(3) as i64 - 1);
                Change::Group { group, host: at, delta }
            }
            35 => Change::GroupRemoved { group: format!("g{}", rng.below(4)) },
            36 => Change::UsedTotal {
                host: at,
                class: class(),
                used: [0, i64::MAX, i64::MIN, -3][rng.below(4) as usize],
            },
            37 => Change::Revision { revision: rng.below(1000) as i64 },
            38..50 => {
                let amounts =
                    [(class(), rng.below(4) as i64), ("CUSTOM_GPU".to_owned(), rng.below(2) as i64)];
                let group = rng.one_in(3).then(|| format!("g{}", rng.below(4)));
                Change::Taken { host: at, amounts: amounts.into(), group, times: rng.below(3) as i64 - 1 }
            }
            _ => {
                let class = CLASSES[rng.below(3) as usize].to_owned();
                Change::Used { host: at, class, delta: rng.below(9) as i64 - 4 }
            }
        };
        self.engine.apply(&change);
    }

    fn request(&mut self) -> Request {
        let listed: Vec<HostId> = (0..6).map(|_| self.some_host()).collect();
        let rng = &mut self.rng;
        let mut request = Request::default();
        for class in CLASSES {
            if !rng.one_in(4) {
                request.amounts.insert(class.into(), 1 + rng.below(3) as i64 * 3);
            }
        }
        match rng.below(60) {
            0 => {
                _ = request.amounts.insert("VCPU".into(), [-1, 0, i64::MIN, i64::MAX][rng.below(4) as usize])
            }
            1 => _ = request.amounts.insert("NO_SUCH".into(), rng.below(2) as i64),
            2 => _ = request.amounts.insert("CUSTOM_GPU".into(), 1),
            _ => {}
        }
        if rng.one_in(3) {
            request.zone = Some(format!("z{}", rng.below(4)));
        }
        if rng.one_in(4) {
            request.required_traits = names(rng, "T", 12, 10);
        }
        if rng.one_in(5) {
            request.forbidden_traits = names(rng, "T", 12, 10);
        }
        if rng.one_in(6) {
            request.member_of = (0..1 + rng.below(2)).map(|_| names(rng, "A", 5, 2)).collect();
        }
        if rng.one_in(8) {
            request.forbidden_aggregates = names(rng, "A", 5, 5);
        }
        if rng.one_in(6) {
            request.exclude = listed[..2].to_vec();
        }
        if rng.one_in(8) {
            request.forbidden_hosts = listed[2..].to_vec();
        }
        if rng.one_in(10) {
            request.only_hosts = listed[1..].to_vec();
        }
        if rng.one_in(8) {
            request.home_zone = Some(format!("z{}", rng.below(3)));
        }
        if rng.one_in(3) {
            let policies = [
                GroupPolicy::Affinity,
                GroupPolicy::AntiAffinity,
                GroupPolicy::SoftAffinity,
                GroupPolicy::SoftAntiAffinity,
            ];
            request.group = Some(GroupRule {
                id: format!("g{}", rng.below(5)),
                policy: policies[rng.below(4) as usize],
                max_per_host: rng.below(3) as u32,
            });
        }
        request
    }
}

/// What the oracle says, with ties put in the engine's order.
fn expected(engine: &Engine, request: &Request, scorer: &mut Odd, seed: u64) -> oracle::Answer {
    let mut answer = oracle::decide(engine.fleet(), request, scorer);
    let class = engine::class_hash(request);
    // Stable: without a seed nothing moves.
    answer.ranked.sort_by(|a, b| {
        let tie = |host: &(HostId, f32)| engine::tie(seed, class, host.0);
        b.1.total_cmp(&a.1).then_with(|| tie(a).cmp(&tie(b)))
    });
    answer
}

fn check(world: &mut World, request: &Request, scorer: &mut Odd, what: &str) -> Option<HostId> {
    let decision = world.engine.decide(DecisionId::random(), request, scorer);
    let answer = expected(&world.engine, request, scorer, decision.seed);
    let top: Vec<(HostId, f32)> = decision.top.iter().map(|host| (host.host_id, host.score)).collect();
    assert_eq!(top, answer.ranked[..answer.ranked.len().min(3)], "{what}: {request:?}");
    assert_eq!(decision.winner, answer.ranked.first().map(|host| host.0), "{what}");
    assert_eq!(decision.hosts_feasible, answer.feasible, "{what}: {request:?}");
    assert_eq!(decision.plugin.fault.is_some(), answer.fault, "{what}: {request:?}");
    if decision.counted() && decision.hosts_considered > 0 {
        let refused: u64 = decision.refused.iter().map(|rule| rule.hosts).sum();
        assert_eq!(refused + answer.ranked.len() as u64, decision.hosts_considered, "{what}: {request:?}");
    }
    assert!(decision.winner.is_some() || decision.counted(), "{what}: a refusal counts");
    decision.winner
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("CANOPY_SEED").unwrap_or(1);
    first..first + number("CANOPY_ROUNDS").unwrap_or(if number("CANOPY_SEED").is_some() { 1 } else { 12 })
}

#[test]
fn the_engine_answers_as_the_oracle_does_whatever_changes_in_between() {
    for seed in seeds() {
        let size = [0, 1, 7, 130, 300, 700][(seed % 6) as usize];
        let mut world = World::new(seed, size);
        let vetoes = seed % 3 == 0;
        let mut scorer = Odd { vetoes, faults: false, name: if vetoes { "another" } else { "odd" } };
        // Few classes come back often, so that their logs are replayed and not only their first scan seen.
        let mut known: Vec<Request> = (0..8).map(|_| world.request()).collect();
        for step in 0..400 {
            for _ in 0..world.rng.below(6) {
                world.change();
            }
            if world.rng.one_in(30) {
                let at = world.rng.below(8) as usize;
                known[at] = world.request();
            }
            let request = known[world.rng.below(8) as usize].clone();
            let what = format!("CANOPY_SEED={seed}, step {step}");
            if let Some(winner) = check(&mut world, &request, &mut scorer, &what) {
                world.engine.claim(winner, &request.amounts, 1);
                if world.rng.one_in(2) {
                    world.engine.claim(winner, &request.amounts, -1);
                }
            }
            if world.rng.one_in(150) {
                scorer.vetoes = !scorer.vetoes;
                scorer.name = if scorer.vetoes { "another" } else { "odd" };
            }
        }
    }
}

#[test]
fn a_scorer_at_fault_is_replaced_by_the_built_in_on_the_same_hosts() {
    for seed in seeds() {
        let mut world = World::new(seed, 200);
        let mut scorer = Odd { vetoes: true, faults: true, name: "faulty" };
        let mut known: Vec<Request> = (0..6).map(|_| world.request()).collect();
        for request in &mut known {
            // A fault on a host that only this request leaves out still is one of its class.
            (request.exclude, request.forbidden_hosts, request.only_hosts) = Default::default();
            request.group = None;
        }
        for step in 0..150 {
            for _ in 0..world.rng.below(4) {
                world.change();
            }
            let request = known[world.rng.below(6) as usize].clone();
            check(&mut world, &request, &mut scorer, &format!("CANOPY_SEED={seed}, step {step}"));
        }
    }
}

#[test]
fn a_batch_decides_as_one_after_the_other_and_leaves_no_trace() {
    for seed in seeds() {
        let mut world = World::new(seed, 60);
        let mut scorer = Odd { vetoes: false, faults: false, name: "odd" };
        for _ in 0..20 {
            world.change();
            let request = world.request();
            let batch: Vec<(DecisionId, Request)> =
                (0..1 + world.rng.below(40)).map(|_| (DecisionId::random(), request.clone())).collect();
            let before = world.engine.fleet().clone();
            let decisions = world.engine.decide_batch(&batch, false, &mut scorer);
            assert_eq!(*world.engine.fleet(), before, "CANOPY_SEED={seed}");
            assert_eq!(decisions.len(), batch.len());
            let mut alone = Engine::with_seed(before.clone(), decisions[0].seed);
            for ((id, request), decision) in batch.iter().zip(&decisions) {
                assert_eq!(alone.decide(*id, request, &mut scorer), *decision, "CANOPY_SEED={seed}");
                let Some(host) = decision.winner else { continue };
                let (amounts, group) = (request.amounts.clone(), request.group.as_ref());
                let group = group.map(|group| group.id.clone());
                let mut at_once = Engine::new(alone.fleet().clone());
                at_once.apply(&Change::Taken { host, amounts, group, times: 1 });
                for (class, amount) in request.amounts.iter().filter(|(_, amount)| **amount > 0) {
                    alone.apply(&Change::Used { host, class: class.clone(), delta: *amount });
                }
                if let Some(group) = &request.group {
                    alone.apply(&Change::Group { group: group.id.clone(), host, delta: 1 });
                }
                assert_eq!(at_once.fleet(), alone.fleet(), "CANOPY_SEED={seed}");
            }
            let all = world.engine.decide_batch(&batch, true, &mut scorer);
            let refused = decisions.iter().any(|decision| decision.winner.is_none());
            assert_eq!(all.len(), batch.len());
            if refused {
                assert!(all.iter().all(|decision| decision.winner.is_none()), "CANOPY_SEED={seed}");
                assert!(all.iter().zip(&batch).all(|(decision, (id, _))| decision.id == *id));
            } else {
                assert_eq!(all, decisions, "CANOPY_SEED={seed}");
            }
        }
    }
}

#[test]
fn changes_one_by_one_are_as_good_as_a_new_snapshot() {
    for seed in seeds() {
        let mut world = World::new(seed, 150);
        for step in 0..60 {
            world.change();
            let request = world.request();
            let id = DecisionId::random();
            let old = world.engine.decide(id, &request, &mut Spread);
            let mut fresh = Engine::with_seed(world.engine.fleet().clone(), old.seed);
            assert_eq!(fresh.decide(id, &request, &mut Spread), old, "CANOPY_SEED={seed}, step {step}");
            assert_eq!(fresh.fleet(), world.engine.fleet(), "CANOPY_SEED={seed}, step {step}");
            if old.seed == 0 {
                let plain = canopy_placement::decide(id, world.engine.fleet(), &request, &mut Spread);
                assert_eq!(plain, old, "CANOPY_SEED={seed}, step {step}");
            }
        }
    }
}

#[test]
fn a_refusal_over_many_hosts_is_explained_as_host_by_host() {
    let mut refused = 0;
    for seed in seeds() {
        let mut world = World::new(seed, 200 + 300 * (seed % 3));
        for step in 0..80 {
            for _ in 0..world.rng.below(30) {
                world.change();
            }
            let mut request = world.request();
            // So that nearly all are refused, some by little.
            let factor = 1 + world.rng.below(12) as i64;
            request.amounts.values_mut().for_each(|amount| *amount = amount.saturating_mul(factor));
            let id = DecisionId::random();
            let decision = world.engine.decide(id, &request, &mut Spread);
            if decision.winner.is_some() {
                continue;
            }
            refused += 1;
            let plain = canopy_placement::decide(id, world.engine.fleet(), &request, &mut Spread);
            let what = format!("CANOPY_SEED={seed}, step {step}: {request:?}");
            assert_eq!(decision.refused, plain.refused, "{what}");
            assert_eq!(decision.nearest, plain.nearest, "{what}");
            assert_eq!(decision.advice, plain.advice, "{what}");
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn more_classes_than_are_kept_and_more_changes_than_are_logged_cost_only_time() {
    let mut world = World::new(6, 40);
    let mut scorer = Odd { vetoes: false, faults: false, name: "odd" };
    let request = |n: i64| Request { amounts: [("DISK_GB".to_owned(), n)].into(), ..Request::default() };
    for round in 0..3 {
        for n in 0..1100 {
            if n % 50 == round {
                (0..10).for_each(|_| world.change());
            }
            check(&mut world, &request(n), &mut scorer, &format!("round {round}, class {n}"));
            // One class is there all the time.
            check(&mut world, &request(5), &mut scorer, &format!("round {round}, before class {n}"));
        }
        assert!(world.engine.live_classes() <= 1024);
        for _ in 0..5000 {
            let (host, class) = (world.some_host(), "DISK_GB".to_owned());
            world.engine.apply(&Change::Used { host, class, delta: world.rng.below(3) as i64 - 1 });
        }
    }
}

#[test]
fn advice_fits_when_followed_and_nothing_smaller_does() {
    let (mut followed, mut none) = (0, 0);
    for seed in seeds() {
        let mut world = World::new(seed, 5 + 4 * (seed % 5));
        for step in 0..150 {
            world.change();
            let mut request = world.request();
            request.exclude.clear();
            let decision = world.engine.decide(DecisionId::random(), &request, &mut Spread);
            let fleet = world.engine.fleet();
            let what = format!("CANOPY_SEED={seed}, step {step}: {request:?} {:?}", decision.advice);
            assert!(decision.winner.is_none() || decision.advice.is_empty(), "{what}");
            if decision.winner.is_none() {
                followed += decision.advice.len();
                none += usize::from(decision.advice.is_empty());
            }
            for advice in &decision.advice {
                assert!(oracle::fits(fleet, &advice.follow(&request)), "{what}");
                // Without any one of the changes it does not fit, nor with one more of an amount that is cut.
                for (at, change) in advice.changes.iter().enumerate() {
                    let mut less = advice.clone();
                    less.changes.remove(at);
                    assert!(!oracle::fits(fleet, &less.follow(&request)), "{what}");
                    if let Relax::Amount { class, from, to } = change
                        && advice.changes.len() == 1
                    {
                        for to in to + 1..(to + 40).min(*from) {
                            less.changes = vec![Relax::Amount { class: class.clone(), from: *from, to }];
                            assert!(!oracle::fits(fleet, &less.follow(&request)), "{what}");
                        }
                    }
                }
            }
        }
    }
    assert!(followed > 100 && none > 0, "{followed} followed, {none} without");
}
