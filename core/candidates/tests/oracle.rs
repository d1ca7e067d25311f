//! The search against an oracle that shares no code with it: plain loops over every assignment of every
//! provider to every choice, on the offers as they are, checking each rule as placement states it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

use canopy_candidates::{Group, Inventory, Offer, Request, Stock, Unknown, World, search};
use canopy_types::ProviderId;
use std::collections::{BTreeMap, BTreeSet};

const CLASSES: [&str; 3] = ["A", "B", "C"];
const TRAITS: [&str; 4] = ["MISC_SHARES_VIA_AGGREGATE", "T1", "T2", "T3"];
const AGGREGATES: [&str; 3] = ["g1", "g2", "g3"];

/// A small generator, so that a seed is all there is to a case.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn some<'a>(&mut self, of: &[&'a str], one_in: u64) -> Vec<String> {
        of.iter().filter(|_| self.one_in(one_in)).map(|name: &&'a str| (*name).to_owned()).collect()
    }
}

fn id(n: u64) -> ProviderId {
    format!("00000000-0000-4000-8000-{n:012}").parse().unwrap()
}

fn offers(dice: &mut Dice) -> Vec<Offer> {
    let count = 1 + dice.roll(7);
    let mut all: Vec<Offer> = Vec::new();
    for n in 0..count {
        let parent = if n == 0 || dice.one_in(2) { None } else { Some(dice.roll(n)) };
        let root = parent.map_or(id(n), |p| all[p as usize].root);
        let stock = CLASSES
            .iter()
            .filter(|_| dice.one_in(2))
            .map(|class| (*class).to_owned())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|class| {
                let inventory = Inventory {
                    capacity: dice.roll(8) as i64,
                    used: dice.roll(3) as i64,
                    min_unit: 1 + (dice.roll(6) / 5) as i64,
                    max_unit: 2 + dice.roll(6) as i64,
                    step_size: 1 + (dice.roll(6) / 5) as i64,
                };
                Stock { class, inventory }
            })
            .collect();
        let mut traits = dice.some(&TRAITS[1..], 3);
        if dice.one_in(4) {
            traits.push(TRAITS[0].to_owned());
        }
        let aggregates = dice.some(&AGGREGATES, 3);
        all.push(Offer {
            id: id(n),
            number: n as i64,
            parent: parent.map(id),
            root,
            traits,
            aggregates,
            stock,
        });
    }
    all
}

fn request(dice: &mut Dice, providers: u64) -> Request {
    let mut request = Request { isolate: dice.one_in(3), flat: dice.one_in(6), ..Request::default() };
    let mut suffixes: Vec<&str> = Vec::new();
    if dice.one_in(2) {
        suffixes.push("");
    }
    suffixes.extend(["_1", "_2", "_3"].into_iter().filter(|_| dice.one_in(3)));
    if suffixes.is_empty() {
        suffixes.push("_1");
    }
    for suffix in suffixes {
        let mut resources: Vec<(String, i64)> = CLASSES
            .iter()
            .filter(|_| dice.one_in(2))
            .map(|class| (*class).to_owned())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|class| (class, 1 + dice.roll(3) as i64))
            .collect();
        if suffix.is_empty() && resources.is_empty() {
            resources.push(("A".to_owned(), 1));
        }
        let mut required: Vec<Vec<String>> = Vec::new();
        if dice.one_in(3) {
            let any_of = dice.some(&TRAITS, 2);
            required.extend((!any_of.is_empty()).then_some(any_of));
        }
        let mut member_of: Vec<Vec<String>> = Vec::new();
        if dice.one_in(4) {
            let any_of = dice.some(&["g1", "g2", "g3", "nobody's"], 2);
            member_of.extend((!any_of.is_empty()).then_some(any_of));
        }
        request.groups.push(Group {
            suffix: suffix.to_owned(),
            resources,
            required,
            forbidden: dice.some(&TRAITS[1..], 8),
            member_of,
            not_member_of: dice.some(&AGGREGATES, 10),
            in_tree: if dice.one_in(6) { Some(id(dice.roll(providers + 1))) } else { None },
        });
    }
    if dice.one_in(3) {
        let granular: Vec<usize> = (0..request.groups.len())
            .filter(|at| !request.groups[*at].suffix.is_empty() && dice.one_in(2))
            .collect();
        if !granular.is_empty() {
            request.same_subtree.push(granular);
        }
    }
    if dice.one_in(5) {
        request.root_required = dice.some(&TRAITS, 3);
        request.root_forbidden = dice.some(&TRAITS[1..], 4);
    }
    request
}

type Allocations = BTreeMap<(ProviderId, String), i64>;
type Answer = (Allocations, Vec<BTreeSet<ProviderId>>);

/// A choice: which group, and what is taken.
type Choice<'a> = (usize, Vec<&'a (String, i64)>);

fn oracle(offers: &[Offer], request: &Request) -> BTreeSet<Answer> {
    let mut choices: Vec<Choice<'_>> = Vec::new();
    for (at, group) in request.groups.iter().enumerate() {
        if group.suffix.is_empty() {
            choices.extend(group.resources.iter().map(|want| (at, vec![want])));
        } else {
            choices.push((at, group.resources.iter().collect()));
        }
    }
    let mut answers = BTreeSet::new();
    for root in offers.iter().filter(|offer| offer.parent.is_none()) {
        let mut picks = vec![0_usize; choices.len()];
        loop {
            let picked: Vec<&Offer> = picks.iter().map(|at| &offers[*at]).collect();
            if let Some(answer) = judge(offers, request, &choices, root, &picked) {
                answers.insert(answer);
            }
            // Count up, as on an odometer.
            let Some(at) = picks.iter().position(|pick| pick + 1 < offers.len()) else { break };
            picks[..at].fill(0);
            picks[at] += 1;
        }
    }
    answers
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n == name)
}

/// Every group of the lists is met by one of the names.
fn meets(lists: &[Vec<String>], names: &[String]) -> bool {
    lists.iter().all(|any_of| any_of.iter().any(|name| has(names, name)))
}

fn shares_with(offers: &[Offer], provider: &Offer, root: &Offer) -> bool {
    has(&provider.traits, "MISC_SHARES_VIA_AGGREGATE")
        && offers
            .iter()
            .any(|o| o.root == root.id && o.aggregates.iter().any(|g| has(&provider.aggregates, g)))
}

fn judge(
    offers: &[Offer],
    request: &Request,
    choices: &[Choice<'_>],
    root: &Offer,
    picked: &[&Offer],
) -> Option<Answer> {
    if !request.root_required.iter().all(|t| has(&root.traits, t))
        || request.root_forbidden.iter().any(|t| has(&root.traits, t))
    {
        return None;
    }
    let mut sums: Allocations = BTreeMap::new();
    let mut mappings: Vec<BTreeSet<ProviderId>> = vec![BTreeSet::new(); request.groups.len()];
    for ((at, wants), provider) in choices.iter().zip(picked) {
        let group = &request.groups[*at];
        let own = provider.root == root.id;
        let foreign = !own && shares_with(offers, provider, root);
        if !own && !foreign {
            return None;
        }
        if let Some(inside) = group.in_tree {
            let inside = offers.iter().find(|o| o.id == inside)?;
            if provider.root != inside.root || (group.suffix.is_empty() && foreign) {
                return None;
            }
        }
        if group.forbidden.iter().any(|t| has(&provider.traits, t)) {
            return None;
        }
        let member = meets(&group.member_of, &provider.aggregates);
        let excluded = |o: &Offer| group.not_member_of.iter().any(|g| has(&o.aggregates, g));
        if group.suffix.is_empty() {
            // An aggregate of the root spans its tree.
            let root_member = own && meets(&group.member_of, &root.aggregates);
            if !(member || root_member) || excluded(provider) || excluded(root) {
                return None;
            }
        } else if !member || excluded(provider) || !meets(&group.required, &provider.traits) {
            return None;
        }
        for (class, amount) in wants {
            let stock = &provider.stock.iter().find(|s| s.class == *class)?.inventory;
            if *amount < stock.min_unit || *amount > stock.max_unit || *amount % stock.step_size != 0 {
                return None;
            }
            *sums.entry((provider.id, class.clone())).or_default() += *amount;
        }
        mappings[*at].insert(provider.id);
    }
    for ((provider, class), amount) in &sums {
        let provider = offers.iter().find(|o| o.id == *provider)?;
        let stock = &provider.stock.iter().find(|s| s.class == *class)?.inventory;
        if stock.used + amount > stock.capacity || *amount > stock.max_unit {
            return None;
        }
    }
    for (at, group) in request.groups.iter().enumerate().filter(|(_, g)| g.suffix.is_empty()) {
        let together: Vec<String> = offers
            .iter()
            .filter(|o| mappings[at].contains(&o.id))
            .flat_map(|o| o.traits.iter().cloned())
            .collect();
        if !meets(&group.required, &together) {
            return None;
        }
    }
    if request.isolate {
        let granular: Vec<ProviderId> = choices
            .iter()
            .zip(picked)
            .filter(|((at, _), _)| !request.groups[*at].suffix.is_empty())
            .map(|(_, provider)| provider.id)
            .collect();
        if granular.iter().collect::<BTreeSet<_>>().len() < granular.len() {
            return None;
        }
    }
    for set in &request.same_subtree {
        let members: BTreeSet<ProviderId> = set.iter().flat_map(|at| mappings[*at].clone()).collect();
        let above = |top: ProviderId, below: ProviderId| {
            let mut at = Some(below);
            while let Some(here) = at {
                if here == top {
                    return true;
                }
                at = offers.iter().find(|o| o.id == here).and_then(|o| o.parent);
            }
            false
        };
        if !members.iter().any(|top| members.iter().all(|below| above(*top, *below))) {
            return None;
        }
    }
    if request.flat {
        let users: BTreeSet<ProviderId> = sums.keys().map(|(provider, _)| *provider).collect();
        let trees: BTreeSet<ProviderId> =
            offers.iter().filter(|o| users.contains(&o.id)).map(|o| o.root).collect();
        if trees.len() < users.len() {
            return None;
        }
    }
    Some((sums, mappings))
}

fn found(world: &World, request: &Request) -> Vec<Answer> {
    let found = search(world, request).unwrap();
    assert!(!found.cut_short);
    let (mut rows, mut providers) = (Vec::new(), Vec::new());
    found
        .candidates()
        .map(|candidate| {
            candidate.allocations(&mut rows);
            let allocations: Allocations = rows
                .iter()
                .map(|(provider, class, amount)| {
                    ((world.id(*provider), world.class_names.name(*class).to_owned()), *amount)
                })
                .collect();
            assert_eq!(allocations.len(), rows.len(), "a provider and class twice");
            let mappings = (0..request.groups.len()).map(|group| {
                candidate.mapping(group, &mut providers);
                providers.iter().map(|provider| world.id(*provider)).collect()
            });
            (allocations, mappings.collect())
        })
        .collect()
}

#[test]
fn the_search_finds_what_the_oracle_finds() {
    let start = match std::env::var("CANOPY_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 1_u64,
    };
    let (mut answered, mut spread, mut nested) = (0, 0, 0);
    for seed in start..start + 3_000 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        dice.roll(2);
        let offers = offers(&mut dice);
        let request = request(&mut dice, offers.len() as u64);
        let choices: usize =
            request.groups.iter().map(|g| if g.suffix.is_empty() { g.resources.len() } else { 1 }).sum();
        if offers.len().pow(choices as u32) > 20_000 {
            continue;
        }
        let world = World::new(&offers, CLASSES, TRAITS);
        let expected = oracle(&offers, &request);
        let list = found(&world, &request);
        let got: BTreeSet<Answer> = list.iter().cloned().collect();
        assert_eq!(got.len(), list.len(), "seed {seed}: a candidate twice: {request:#?}");
        assert_eq!(got, expected, "seed {seed}\n{offers:#?}\n{request:#?}");
        for limit in [1, 2, expected.len() + 1] {
            let some = found(&world, &Request { limit: Some(limit), ..request.clone() });
            assert_eq!(some.len(), limit.min(expected.len()), "seed {seed}, limit {limit}");
            assert!(some.iter().all(|answer| expected.contains(answer)), "seed {seed}, limit {limit}");
        }
        answered += usize::from(!expected.is_empty());
        spread += usize::from(expected.iter().any(|(_, m)| m.iter().any(|providers| providers.len() > 1)));
        nested += usize::from(!expected.is_empty() && offers.iter().any(|o| o.parent.is_some()));
    }
    // The cases are worth something only if they are not all refusals.
    assert!(answered > 150 && spread > 25 && nested > 75, "{answered} {spread} {nested}");
}

#[test]
fn unknown_names_are_errors_and_unknown_aggregates_and_trees_are_not() {
    let offers = [Offer {
        id: id(0),
        number: 0,
        parent: None,
        root: id(0),
        traits: Vec::new(),
        aggregates: Vec::new(),
        stock: Vec::new(),
    }];
    let world = World::new(&offers, ["A"], ["T1"]);
    let with = |change: &dyn Fn(&mut Group)| {
        let mut group = Group { resources: vec![("A".into(), 1)], ..Group::default() };
        change(&mut group);
        search(&world, &Request { groups: vec![group], ..Request::default() })
    };
    assert_eq!(with(&|g| g.resources[0].0 = "Z".into()), Err(Unknown::Class("Z".into())));
    assert_eq!(with(&|g| g.required.push(vec!["Z".into()])), Err(Unknown::Trait("Z".into())));
    assert_eq!(with(&|g| g.forbidden.push("Z".into())), Err(Unknown::Trait("Z".into())));
    assert!(with(&|g| g.member_of.push(vec!["Z".into()])).unwrap().is_empty());
    assert!(with(&|g| g.in_tree = Some(id(9))).unwrap().is_empty());
}

/// 10,000 groups, and groups that combine in more ways than there are atoms: an answer, in bounded work.
#[test]
fn hostile_requests_end() {
    let inventory = Inventory { capacity: 1 << 40, used: 0, min_unit: 1, max_unit: 1 << 30, step_size: 1 };
    let offers: Vec<Offer> = (0..50)
        .map(|n| Offer {
            id: id(n),
            number: n as i64,
            parent: (n > 0).then(|| id(0)),
            root: id(0),
            traits: Vec::new(),
            aggregates: Vec::new(),
            stock: vec![Stock { class: "A".into(), inventory }],
        })
        .collect();
    let world = World::new(&offers, ["A"], []);
    let groups = |count: usize| -> Vec<Group> {
        (0..count)
            .map(|n| Group { suffix: format!("_{n}"), resources: vec![("A".into(), 1)], ..Group::default() })
            .collect()
    };
    let many = search(&world, &Request { groups: groups(10_000), limit: Some(3), ..Request::default() });
    assert_eq!(many.unwrap().len(), 3);
    // 51 groups cannot each have one of 50 providers; finding that out by trying takes for ever.
    let pigeons = Request { groups: groups(51), isolate: true, ..Request::default() };
    let found = search(&world, &pigeons).unwrap();
    assert!(found.is_empty() && found.cut_short);
    let huge = Request { groups: groups(40), ..Request::default() };
    let found = search(&world, &huge).unwrap();
    assert!(found.cut_short && found.len() <= canopy_candidates::MAX_CANDIDATES);
}
