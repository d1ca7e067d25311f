//! The answer of a class to one request: its scores with the request's own lists and group laid over them.

use super::cells::Cells;
use super::class::Class;
use super::part::{NO, Part};
use crate::decide::{checked, columns};
use crate::seeded::mix;
use crate::{Fleet, GroupPolicy, Request, Scorer};
use canopy_types::HostId;

/// Hosts that a decision names.
const TOP: usize = 3;

#[derive(Default)]
pub(super) struct Choice {
    /// Places and scores, best first.
    pub(super) top: Vec<(u32, f32)>,
    pub(super) feasible: u64,
    /// Places that the plugin vetoed, ascending; looked for when `count` asks or nothing was found.
    pub(super) vetoed: Vec<u32>,
}

/// Whom a request treats otherwise than its class does.
pub(super) struct Lists {
    /// Not to be chosen.
    pub(super) out: Vec<u32>,
    /// When given, nobody else.
    pub(super) only: Option<Vec<u32>>,
    /// Hosts of the request's soft group, which have another score than the class gives them.
    pub(super) group: Vec<u32>,
}

impl Lists {
    pub(super) fn of(
        request: &Request,
        fleet: &Fleet,
        places: &super::hash::QuickMap<HostId, usize>,
    ) -> Self {
        let at = |host: &HostId| places.get(host).map(|place| super::cells::index(*place));
        let mut lists = Self { out: Vec::new(), only: None, group: Vec::new() };
        lists.out.extend(request.exclude.iter().chain(&request.forbidden_hosts).filter_map(at));
        if !request.only_hosts.is_empty() {
            lists.only = Some(request.only_hosts.iter().filter_map(at).collect());
        }
        lists.group(request, fleet, at);
        if let Some(only) = &mut lists.only {
            only.sort_unstable();
            only.dedup();
        }
        lists
    }

    fn group(&mut self, request: &Request, fleet: &Fleet, at: impl Fn(&HostId) -> Option<u32>) {
        let Some(group) = &request.group else { return };
        let Some(members) = fleet.groups.get(&group.id) else { return };
        match group.policy {
            GroupPolicy::Affinity => {
                let hosts = members.keys().filter_map(at);
                self.only = Some(match self.only.take() {
                    None => hosts.collect(),
                    Some(listed) => hosts.filter(|place| listed.contains(place)).collect(),
                });
            }
            GroupPolicy::AntiAffinity => {
                let full = members.iter().filter(|(_, count)| **count >= group.max_per_host.max(1));
                self.out.extend(full.filter_map(|(host, _)| at(host)));
            }
            GroupPolicy::SoftAffinity | GroupPolicy::SoftAntiAffinity => {
                self.group = members.keys().filter_map(at).collect();
            }
        }
    }
}

/// Chooses; the class is as before when it is done. The error is a fault of the scorer.
pub(super) fn choose(
    class: &mut Class,
    cells: &Cells,
    fleet: &Fleet,
    request: &Request,
    lists: &Lists,
    (seed, count): (u64, bool),
    scorer: &mut dyn Scorer,
) -> Result<Choice, String> {
    let mut undo: Vec<(usize, u32, f32)> = Vec::new();
    for place in &lists.out {
        lay(class, cells, *place, NO, &mut undo);
    }
    let group: Vec<u32> = lists.group.iter().copied().filter(|p| score(class, cells, *p) != NO).collect();
    let rescored = if group.is_empty() {
        Ok(Vec::new())
    } else {
        checked(&columns(fleet, request, group.clone()), scorer)
    };
    let choice = rescored.map(|scores| {
        for (place, score) in group.iter().zip(scores) {
            let score = if score == NO { super::part::VETO } else { score };
            lay(class, cells, *place, score, &mut undo);
        }
        let mut choice = match &lists.only {
            Some(only) => among(class, cells, fleet, only, seed),
            None => best(class, cells, fleet, seed),
        };
        if (count || choice.top.is_empty()) && class.parts.iter().any(Part::vetoes) {
            choice.vetoed = vetoed(class, cells, fleet, lists);
        }
        choice
    });
    for (part, position, score) in undo.into_iter().rev() {
        class.parts[part].set(position, score);
    }
    choice
}

fn vetoed(class: &Class, cells: &Cells, fleet: &Fleet, lists: &Lists) -> Vec<u32> {
    let vetoed = |place: &u32| score(class, cells, *place).is_nan();
    match &lists.only {
        Some(only) => only.iter().copied().filter(vetoed).collect(),
        None => (0..super::cells::index(fleet.hosts.len())).filter(vetoed).collect(),
    }
}

fn score(class: &Class, cells: &Cells, place: u32) -> f32 {
    class.at(cells, place as usize).map_or(NO, |(part, position)| class.parts[part].score(position))
}

fn lay(class: &mut Class, cells: &Cells, place: u32, score: f32, undo: &mut Vec<(usize, u32, f32)>) {
    if let Some((part, position)) = class.at(cells, place as usize) {
        undo.push((part, position, class.parts[part].replace(position, score)));
    }
}

/// The best few of a short list.
fn among(class: &Class, cells: &Cells, fleet: &Fleet, only: &[u32], seed: u64) -> Choice {
    let mut top: Vec<(u32, f32)> = only.iter().map(|place| (*place, score(class, cells, *place))).collect();
    top.retain(|(_, score)| *score != NO);
    let feasible = top.len() as u64;
    top.retain(|(_, score)| !score.is_nan());
    top.sort_by(|a, b| {
        let tie = || order(seed, class.hash, fleet, a.0).cmp(&order(seed, class.hash, fleet, b.0));
        b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal).then_with(tie)
    });
    top.truncate(TOP);
    Choice { top, feasible, vetoed: Vec::new() }
}

/// The best few of all: the best are taken, hidden, and the next best looked for.
fn best(class: &mut Class, cells: &Cells, fleet: &Fleet, seed: u64) -> Choice {
    let feasible = class.parts.iter().map(Part::feasible).sum();
    let (mut top, mut hidden) = (Vec::with_capacity(TOP), Vec::with_capacity(TOP));
    let Class { parts, hash, .. } = class;
    let mut found: Vec<((u64, u32), usize, u32)> = Vec::with_capacity(TOP + 1);
    while top.len() < TOP {
        let bests = parts.iter_mut().filter_map(Part::best);
        let best = bests.fold(NO, |best, (_, score)| if score > best { score } else { best });
        if best == NO {
            break;
        }
        for (number, part) in parts.iter_mut().enumerate() {
            let Some((first, _)) = part.best().filter(|(_, score)| *score == best) else { continue };
            let rows = &cells.cells[part.cell as usize].rows;
            let least = (seed == 0).then_some(first);
            let equal = (seed != 0).then(|| part.at_best(best));
            // Without a seed the first of a part is its least; with one, all that are equal are looked at, once.
            let most = if seed == 0 { 1 } else { TOP - top.len() };
            for position in least.into_iter().chain(equal.into_iter().flatten()) {
                let order = order(seed, *hash, fleet, rows[position as usize]);
                let at = found.partition_point(|(known, _, _)| *known < order);
                if at < most {
                    found.truncate(most - 1);
                    found.insert(at, (order, number, position));
                }
            }
        }
        for ((_, place), number, position) in found.drain(..) {
            top.push((place, parts[number].score(position)));
            hidden.push((number, parts[number].hide(position)));
        }
    }
    hidden.iter().rev().for_each(|(number, hidden)| parts[*number].show(hidden));
    Choice { top, feasible, vetoed: Vec::new() }
}

/// What decides among equal scores; the least wins.
fn order(seed: u64, class: u64, fleet: &Fleet, place: u32) -> (u64, u32) {
    (tie(seed, class, fleet.hosts[place as usize].id), place)
}

/// A number per host by which equal scores are put in order; 0 for every host when `seed` is 0.
pub fn tie(seed: u64, class: u64, host: HostId) -> u64 {
    if seed == 0 {
        return 0;
    }
    let (high, low) = host.0.as_u64_pair();
    mix(mix(mix(seed ^ class) ^ high) ^ low)
}
