//! From a plan to candidates: for each anchor, depth first over the choices, without recursion.

use crate::found::{Found, Part};
use crate::plan::Plan;
use crate::request::{Request, Unknown};
use crate::world::World;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Candidates in one answer, whatever the limit asked for.
pub const MAX_CANDIDATES: usize = 100_000;
/// Providers named in one answer, all candidates together.
const MAX_CHOICES: usize = 4_000_000;
/// Choices tried for one answer: what is not found by then is left out and said to be.
pub const MAX_STEPS: usize = 4_000_000;

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
        reached: vec![0; plan.slots.len()],
        options: vec![Vec::new(); plan.slots.len()],
        next: vec![0; plan.slots.len()],
        chosen: Vec::with_capacity(plan.slots.len()),
    };
    if request.groups.is_empty() || plan.slots.iter().any(|slot| slot.feasible.is_empty()) {
        return Ok(walk.found);
    }
    for anchor in plan.anchors(world) {
        if walk.found.len() >= walk.limit {
            break;
        }
        if walk.steps == 0 {
            walk.found.cut_short = true;
            break;
        }
        if walk.look(anchor) {
            walk.descend(anchor);
        }
    }
    let mut found = walk.found;
    found.cut_short |= asked > most && found.len() >= most;
    found.parts = plan.slots.into_iter().map(|slot| slot.part).collect();
    Ok(found)
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
    /// For each slot, how many of those feasible come before all trees to come: anchors ascend.
    reached: Vec<usize>,
    /// For each slot, who may be chosen under the present anchor.
    options: Vec<Vec<u32>>,
    /// For each slot, the next option to try; `chosen` holds the choices above it.
    next: Vec<usize>,
    chosen: Vec<u32>,
}

impl Walk<'_> {
    /// Fills in who may be chosen for each slot under this anchor; `false` when a slot has nobody.
    fn look(&mut self, anchor: u32) -> bool {
        let spread = &self.plan.spread_rules;
        let tree = self.world.tree(anchor);
        let anchor_member = spread.is_member(self.world, anchor);
        let anchor_excluded = spread.is_excluded(self.world, anchor);
        for (at, (slot, list)) in self.plan.slots.iter().zip(&mut self.options).enumerate() {
            list.clear();
            let spreads = at < self.plan.spread;
            if spreads && anchor_excluded {
                return false;
            }
            let from = &mut self.reached[at];
            *from += slot.feasible[*from..].iter().take_while(|provider| **provider < tree.start).count();
            let own = slot.feasible[*from..].iter().take_while(|provider| **provider < tree.end);
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

    fn descend(&mut self, anchor: u32) {
        let depth = self.options.len();
        let known = self.found.len();
        let until =
            self.request.per_anchor.map_or(self.limit, |most| self.limit.min(known.saturating_add(most)));
        self.next.fill(0);
        self.chosen.clear();
        let mut taken = Taken::new(self.request.groups.len() > 1);
        let mut isolated: HashSet<u32> = HashSet::new();
        loop {
            let at = self.chosen.len();
            let Some(provider) = self.options[at].get(self.next[at]).copied() else {
                // All options of this slot were tried: back to the one above.
                self.next[at] = 0;
                let Some(last) = self.chosen.pop() else { return };
                self.undo(at - 1, last, &mut taken, &mut isolated);
                continue;
            };
            self.next[at] += 1;
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
            if !taken.take(self.world, &slot.part, provider) {
                if granular {
                    isolated.remove(&provider);
                }
                continue;
            }
            self.chosen.push(provider);
            let spread_done = self.chosen.len() == self.plan.spread;
            let fails = spread_done && !self.spread_has_required(&self.chosen);
            if !fails && self.chosen.len() < depth {
                continue;
            }
            if !fails && self.is_allowed(&self.chosen) {
                self.emit(anchor);
                if self.found.len() >= until {
                    return;
                }
            }
            self.chosen.pop();
            self.undo(at, provider, &mut taken, &mut isolated);
        }
    }

    fn undo(&self, at: usize, provider: u32, taken: &mut Taken, isolated: &mut HashSet<u32>) {
        taken.undo(&self.plan.slots[at].part, provider);
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
            self.plan
                .slots
                .iter()
                .zip(chosen)
                .filter(move |(slot, _)| slot.part.group == group)
                .map(|(_, p)| *p)
        };
        for groups in &self.request.same_subtree {
            let providers: BTreeSet<u32> = groups.iter().flat_map(|group| of_group(*group)).collect();
            if !providers.iter().any(|top| providers.iter().all(|below| self.is_below(*below, *top))) {
                return false;
            }
        }
        if self.request.flat {
            let users = self.plan.slots.iter().zip(chosen).filter(|(slot, _)| !slot.part.wants.is_empty());
            let mut users: Vec<u32> = users.map(|(_, provider)| *provider).collect();
            users.sort_unstable();
            users.dedup();
            // Trees are contiguous: two of one tree are neighbours here.
            if users.windows(2).any(|two| self.world.root(two[0]) == self.world.root(two[1])) {
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

    fn emit(&mut self, anchor: u32) {
        let chosen = &self.chosen;
        if chosen.iter().all(|provider| self.world.shares(*provider)) && !self.seen.insert(chosen.clone()) {
            return;
        }
        self.found.anchors.push(anchor);
        self.found.chosen.extend_from_slice(chosen);
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

    fn take(&mut self, world: &World, part: &Part, provider: u32) -> bool {
        if !self.counts {
            return true;
        }
        let holds = part.wants.iter().all(|(class, amount)| {
            let already = self.amounts.get(&(provider, *class)).copied().unwrap_or(0);
            let together = already.saturating_add(*amount);
            world.inventory(provider, *class).is_some_and(|inventory| inventory.holds(together))
        });
        if holds {
            for (class, amount) in &part.wants {
                let sum = self.amounts.entry((provider, *class)).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        holds
    }

    fn undo(&mut self, part: &Part, provider: u32) {
        if self.counts {
            for (class, amount) in &part.wants {
                if let Some(sum) = self.amounts.get_mut(&(provider, *class)) {
                    *sum -= amount;
                }
            }
        }
    }
}
