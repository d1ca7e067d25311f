//! What a placement decision should be, said as plainly as possible: a loop over hosts, each asked about on
//! its own. Slow, and sharing no code with the engine that it is held against — only the types of question
//! and answer.

use canopy_placement::{Columns, Fleet, GroupPolicy, Names, Request, Scorer};
use canopy_types::HostId;
use std::sync::Arc;

/// The part of a decision that the oracle has an opinion on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Hosts and scores, best first, all of them.
    pub ranked: Vec<(HostId, f32)>,
    /// Hosts that the rules leave, before vetoes.
    pub feasible: u64,
    /// Whether the scorer was at fault on some host, so that free shares decided.
    pub fault: bool,
}

/// Decides; equal scores go to the first host by (name, id).
pub fn decide(fleet: &Fleet, request: &Request, scorer: &mut dyn Scorer) -> Answer {
    let mut hosts: Vec<usize> =
        (0..fleet.hosts.len()).filter(|host| possible(fleet, *host, request)).collect();
    hosts.sort_by_key(|host| (fleet.hosts[*host].name.clone(), fleet.hosts[*host].id));
    let mut scored = Vec::new();
    let mut fault = false;
    for host in &hosts {
        match scorer.score(&row(fleet, *host, request)).as_deref() {
            Ok([score]) if !score.is_nan() => scored.push((*host, *score)),
            _ => fault = true,
        }
    }
    if fault {
        scored = hosts.iter().map(|host| (*host, least_free_share(fleet, *host, request))).collect();
    }
    scored.retain(|(_, score)| *score != f32::NEG_INFINITY);
    // Insertion: each host goes behind all that are at least as good.
    let mut ranked: Vec<(usize, f32)> = Vec::new();
    for (host, score) in scored {
        let at = ranked.iter().position(|(_, other)| score > *other).unwrap_or(ranked.len());
        ranked.insert(at, (host, score));
    }
    Answer {
        ranked: ranked.into_iter().map(|(host, score)| (fleet.hosts[host].id, score)).collect(),
        feasible: hosts.len() as u64,
        fault,
    }
}

/// Whether any host is possible.
pub fn fits(fleet: &Fleet, request: &Request) -> bool {
    (0..fleet.hosts.len()).any(|host| possible(fleet, host, request))
}

fn possible(fleet: &Fleet, index: usize, request: &Request) -> bool {
    let host = &fleet.hosts[index];
    if host.closed.is_some() {
        return false;
    }
    if let Some(zone) = &request.zone
        && zone != &host.zone
    {
        return false;
    }
    for name in request.required_traits.iter() {
        if !host.traits.contains(name) {
            return false;
        }
    }
    for name in request.forbidden_traits.iter() {
        if host.traits.contains(name) {
            return false;
        }
    }
    for any in &request.member_of {
        if !any.iter().any(|name| host.aggregates.contains(name)) {
            return false;
        }
    }
    for name in request.forbidden_aggregates.iter() {
        if host.aggregates.contains(name) {
            return false;
        }
    }
    if !request.only_hosts.is_empty() && !request.only_hosts.contains(&host.id) {
        return false;
    }
    if request.forbidden_hosts.contains(&host.id) || request.exclude.contains(&host.id) {
        return false;
    }
    if let Some(group) = &request.group {
        let here = members(fleet, &group.id, host.id);
        let anywhere: u32 = fleet.groups.get(&group.id).map_or(0, |hosts| hosts.values().sum());
        match group.policy {
            GroupPolicy::Affinity if anywhere > 0 && here == 0 => return false,
            GroupPolicy::AntiAffinity if here >= group.max_per_host.max(1) => return false,
            _ => {}
        }
    }
    for (class, want) in &request.amounts {
        if *want == 0 {
            continue;
        }
        let Some(column) = fleet.resources.iter().find(|column| &column.class == class) else { return false };
        let free = i128::from(column.capacity[index]) - i128::from(column.used[index]);
        if *want < 0 || i128::from(*want) > free {
            return false;
        }
        if let Some(units) = column.units.get(index)
            && (*want < units.min || *want > units.max || *want % units.step.max(1) != 0)
        {
            return false;
        }
    }
    true
}

fn members(fleet: &Fleet, group: &str, host: HostId) -> u32 {
    fleet.groups.get(group).and_then(|hosts| hosts.get(&host)).copied().unwrap_or(0)
}

/// One host, as a scorer sees it.
fn row(fleet: &Fleet, index: usize, request: &Request) -> Columns {
    let host = &fleet.hosts[index];
    let here = |policy| match &request.group {
        Some(group) if group.policy == policy => members(fleet, &group.id, host.id) as f32,
        _ => 0.0,
    };
    let home = if request.home_zone.as_ref() == Some(&host.zone) { 1.0 } else { 0.0 };
    let mut signals = vec![here(GroupPolicy::SoftAffinity), here(GroupPolicy::SoftAntiAffinity), home];
    let mut named = vec!["soft-affinity".to_owned(), "soft-anti-affinity".to_owned(), "home-zone".to_owned()];
    for signal in &fleet.signals {
        named.push(signal.name.clone());
        signals.push((signal.values[index] as f32).clamp(f32::MIN, f32::MAX));
    }
    if !signals.iter().any(|value| *value != 0.0) {
        signals = Vec::new();
    }
    let each = |value: &dyn Fn(&canopy_placement::ResourceColumn) -> f32| {
        fleet.resources.iter().map(value).collect()
    };
    Columns {
        names: Arc::new(Names {
            resources: fleet.resources.iter().map(|column| column.class.clone()).collect(),
            signals: named,
        }),
        want: each(&|column| *request.amounts.get(&column.class).unwrap_or(&0) as f32),
        hosts: vec![u32::try_from(index).unwrap_or(0)],
        capacity: each(&|column| column.capacity[index] as f32),
        free: each(&|column| column.capacity[index].saturating_sub(column.used[index]) as f32),
        signals,
    }
}

fn least_free_share(fleet: &Fleet, index: usize, request: &Request) -> f32 {
    let mut least = 1.0_f32;
    for column in &fleet.resources {
        let want = *request.amounts.get(&column.class).unwrap_or(&0) as f32;
        let capacity = column.capacity[index] as f32;
        let free = column.capacity[index].saturating_sub(column.used[index]) as f32;
        if want > 0.0 && capacity > 0.0 {
            least = least.min((free - want) / capacity);
        }
    }
    least
}
