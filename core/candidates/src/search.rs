//! From a plan to candidates: for each anchor, depth first over the choices, without recursion.

use crate::plan::{Plan, Slot};
use crate::request::{Request, Unknown};
use crate::world::World;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Candidates in one answer, whatever the limit asked for.
pub const MAX_CANDIDATES: usize = 100_000;
/// Providers named in one answer, all candidates together.
const MAX_CHOICES: usize = 4_000_000;
/// Choices tried for one answer: what is not found by then is left out and said to be.
pub const MAX_STEPS: usize = 4_000_000;

/// One way to serve the whole request. Providers and classes are numbers of the [`World`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// (provider, class, amount), each pair once, by provider and class.
    pub allocations: Vec<(u32, u32, i64)>,
    /// Which providers serve each group of the request, ascending.
    pub mappings: Vec<Vec<u32>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// No two alike, by age of the anchor.
    pub candidates: Vec<Candidate>,
    /// The root that each candidate is for: what it takes is in that tree or shared with it.
    pub anchors: Vec<u32>,
    /// Work was stopped by [`MAX_STEPS`] or [`MAX_CANDIDATES`]: there may be more.
    pub cut_short: bool,
}

impl Found {
    /// Roots of all trees that the candidates take from, ascending.
    pub fn trees(&self, world: &World) -> BTreeSet<u32> {
        self.providers().into_iter().map(|provider| world.root(provider)).collect()
    }

    pub fn providers(&self) -> BTreeSet<u32> {
        self.candidates.iter().flat_map(|c| c.allocations.iter().map(|(provider, _, _)| *provider)).collect()
    }
}

pub fn search(world: &World, request: &Request) -> Result<Found, Unknown> {
    let plan = Plan::new(world, request)?;
    let most = MAX_CANDIDATES.min(MAX_CHOICES / plan.slots.len().max(1));
    let asked = request.limit.unwrap_or(usize::MAX);
    let mut walk = Walk {
        world,
        request,
        plan: &plan,
        limit: asked.min(most),
        found: Found::default(),
        steps: MAX_STEPS,
        seen: HashSet::new(),
    };
    if request.groups.is_empty() || plan.slots.iter().any(|slot| slot.feasible.is_empty()) {
        return Ok(walk.found);
    }
    let mut options: Vec<Vec<u32>> = vec![Vec::new(); plan.slots.len()];
    for anchor in plan.anchors(world) {
        if walk.found.candidates.len() >= walk.limit {
            break;
        }
        if walk.steps == 0 {
            walk.found.cut_short = true;
            break;
        }
        if walk.options(anchor, &mut options) {
            walk.descend(anchor, &options);
        }
    }
    walk.found.cut_short |= asked > most && walk.found.candidates.len() >= most;
    Ok(walk.found)
}

struct Walk<'a> {
    world: &'a World,
    request: &'a Request,
    plan: &'a Plan,
    limit: usize,
    found: Found,
    steps: usize,
    /// Choices of candidates whose providers all share: another anchor would find them again.
    seen: HashSet<Vec<u32>>,
}

impl Walk<'_> {
    /// Fills in who may be chosen for each slot under this anchor; `false` when a slot has nobody.
    fn options(&self, anchor: u32, options: &mut [Vec<u32>]) -> bool {
        let spread = &self.plan.spread_rules;
        let tree = self.world.tree(anchor);
        let anchor_member = spread.is_member(self.world, anchor);
        let anchor_excluded = spread.is_excluded(self.world, anchor);
        for (at, (slot, list)) in self.plan.slots.iter().zip(options.iter_mut()).enumerate() {
            list.clear();
            let spreads = at < self.plan.spread;
            if spreads && anchor_excluded {
                return false;
            }
            let from = slot.feasible.partition_point(|provider| *provider < tree.start);
            let own = slot.feasible[from..].iter().take_while(|provider| **provider < tree.end);
            list.extend(own.filter(|provider| {
                !spreads
                    || ((anchor_member || spread.is_member(self.world, **provider))
                        && !spread.is_excluded(self.world, **provider))
            }));
            if slot.shared {
                let others = self.world.shared_with(anchor).iter();
                list.extend(others.filter(|provider| {
                    slot.feasible.binary_search(provider).is_ok()
                        && (!spreads
                            || (spread.is_member(self.world, **provider)
                                && !spread.is_excluded(self.world, **provider)))
                }));
            }
            if list.is_empty() {
                return false;
            }
        }
        true
    }

    fn descend(&mut self, anchor: u32, options: &[Vec<u32>]) {
        let depth = options.len();
        let known = self.found.candidates.len();
        let until =
            self.request.per_anchor.map_or(self.limit, |most| self.limit.min(known.saturating_add(most)));
        // For each slot, the next option to try; `chosen` holds the choices above it.
        let mut next = vec![0_usize; depth];
        let mut chosen: Vec<u32> = Vec::with_capacity(depth);
        let mut taken = Taken::new(self.request.groups.len() > 1);
        let mut isolated: HashSet<u32> = HashSet::new();
        loop {
            let at = chosen.len();
            let Some(provider) = options[at].get(next[at]).copied() else {
                // All options of this slot were tried: back to the one above.
                next[at] = 0;
                let Some(last) = chosen.pop() else { return };
                self.undo(at - 1, last, &mut taken, &mut isolated);
                continue;
            };
            next[at] += 1;
            if self.steps == 0 {
                self.found.cut_short = true;
                return;
            }
            self.steps -= 1;
            let slot = &self.plan.slots[at];
            let granular = at >= self.plan.spread;
            if granular && self.request.isolate && !isolated.insert(provider) {
                continue;
            }
            if !taken.take(self.world, slot, provider) {
                if granular {
                    isolated.remove(&provider);
                }
                continue;
            }
            chosen.push(provider);
            let spread_done = chosen.len() == self.plan.spread;
            let fails = spread_done && !self.spread_has_required(&chosen);
            if !fails && chosen.len() < depth {
                continue;
            }
            if !fails && self.is_allowed(&chosen) {
                self.emit(anchor, &chosen);
                if self.found.candidates.len() >= until {
                    return;
                }
            }
            chosen.pop();
            self.undo(at, provider, &mut taken, &mut isolated);
        }
    }

    fn undo(&self, at: usize, provider: u32, taken: &mut Taken, isolated: &mut HashSet<u32>) {
        taken.undo(&self.plan.slots[at], provider);
        if at >= self.plan.spread {
            isolated.remove(&provider);
        }
    }

    /// The providers of the spreading group together have the traits it requires.
    fn spread_has_required(&self, chosen: &[u32]) -> bool {
        self.plan.spread_rules.required.iter().all(|any_of| {
            chosen
                .iter()
                .any(|provider| any_of.iter().any(|t| self.world.traits(*provider).binary_search(t).is_ok()))
        })
    }

    fn is_allowed(&self, chosen: &[u32]) -> bool {
        let of_group = |group: usize| {
            self.plan.slots.iter().zip(chosen).filter(move |(slot, _)| slot.group == group).map(|(_, p)| *p)
        };
        for groups in &self.request.same_subtree {
            let providers: BTreeSet<u32> = groups.iter().flat_map(|group| of_group(*group)).collect();
            if !providers.iter().any(|top| providers.iter().all(|below| self.is_below(*below, *top))) {
                return false;
            }
        }
        if self.request.flat {
            let users = self.plan.slots.iter().zip(chosen).filter(|(slot, _)| !slot.wants.is_empty());
            let users: BTreeSet<u32> = users.map(|(_, provider)| *provider).collect();
            let trees: BTreeSet<u32> = users.iter().map(|provider| self.world.root(*provider)).collect();
            if trees.len() < users.len() {
                return false;
            }
        }
        true
    }

    fn is_below(&self, provider: u32, top: u32) -> bool {
        let mut at = Some(provider);
        while let Some(here) = at {
            if here == top {
                return true;
            }
            at = self.world.parent(here);
        }
        false
    }

    fn emit(&mut self, anchor: u32, chosen: &[u32]) {
        if chosen.iter().all(|provider| self.world.shares(*provider)) && !self.seen.insert(chosen.to_vec()) {
            return;
        }
        let mut allocations: Vec<(u32, u32, i64)> = Vec::new();
        let mut mappings: Vec<Vec<u32>> = vec![Vec::new(); self.request.groups.len()];
        for (slot, provider) in self.plan.slots.iter().zip(chosen) {
            allocations.extend(slot.wants.iter().map(|(class, amount)| (*provider, *class, *amount)));
            mappings[slot.group].push(*provider);
        }
        allocations.sort_unstable();
        allocations.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 = kept.2.saturating_add(next.2);
            }
            same
        });
        for providers in &mut mappings {
            providers.sort_unstable();
            providers.dedup();
        }
        self.found.anchors.push(anchor);
        self.found.candidates.push(Candidate { allocations, mappings });
    }
}

/// What the choices so far take together. With one group no inventory is taken from twice, and each was
/// found to have room.
struct Taken {
    counts: bool,
    amounts: HashMap<(u32, u32), i64>,
}

impl Taken {
    fn new(counts: bool) -> Self {
        Self { counts, amounts: HashMap::new() }
    }

    fn take(&mut self, world: &World, slot: &Slot, provider: u32) -> bool {
        if !self.counts {
            return true;
        }
        let holds = slot.wants.iter().all(|(class, amount)| {
            let already = self.amounts.get(&(provider, *class)).copied().unwrap_or(0);
            let together = already.saturating_add(*amount);
            world.inventory(provider, *class).is_some_and(|inventory| inventory.holds(together))
        });
        if holds {
            for (class, amount) in &slot.wants {
                let sum = self.amounts.entry((provider, *class)).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        holds
    }

    fn undo(&mut self, slot: &Slot, provider: u32) {
        if self.counts {
            for (class, amount) in &slot.wants {
                if let Some(sum) = self.amounts.get_mut(&(provider, *class)) {
                    *sum -= amount;
                }
            }
        }
    }
}
