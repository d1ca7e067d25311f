//! What makes a host impossible for a request: each rule, in a fixed order, with its words.

use crate::decision::RuleCount;
use crate::{Fleet, GroupPolicy, GroupRule, Request};
use std::collections::BTreeMap;

/// The first rule that keeps the host out, and why in words that follow its name.
pub fn refusal(fleet: &Fleet, index: usize, request: &Request) -> Option<(String, String)> {
    let host = fleet.hosts.get(index)?;
    let no = |rule: &str, why: String| Some((rule.to_owned(), why));
    if let Some(why) = &host.closed {
        return no("closed", format!("takes no new servers: {why}"));
    }
    if let Some(zone) = &request.zone
        && *zone != host.zone
    {
        return no("zone", format!("is in zone {}, not {zone}", host.zone));
    }
    if let Some(name) = request.required_traits.iter().find(|name| !host.traits.contains(*name)) {
        return no("trait", format!("lacks the trait {name}"));
    }
    if let Some(name) = request.forbidden_traits.iter().find(|name| host.traits.contains(*name)) {
        return no("forbidden-trait", format!("has the trait {name}"));
    }
    if let Some(any) = request.member_of.iter().find(|any| any.is_disjoint(&host.aggregates)) {
        let names: Vec<&str> = any.iter().take(4).map(String::as_str).collect();
        return no("aggregate", format!("is in none of the aggregates {}", names.join(", ")));
    }
    if let Some(name) = request.forbidden_aggregates.iter().find(|name| host.aggregates.contains(*name)) {
        return no("forbidden-aggregate", format!("is in the aggregate {name}"));
    }
    if !request.only_hosts.is_empty() && !request.only_hosts.contains(&host.id) {
        return no("host-not-listed", "is not among the hosts asked for".into());
    }
    if request.forbidden_hosts.contains(&host.id) {
        return no("host-forbidden", "is among the hosts to avoid".into());
    }
    if request.exclude.contains(&host.id) {
        return no("raced", "was filled by another request".into());
    }
    if let Some(why) = request.group.as_ref().and_then(|group| group_refusal(fleet, index, group)) {
        return Some(why);
    }
    capacity_refusal(fleet, index, request)
}

fn group_refusal(fleet: &Fleet, index: usize, group: &GroupRule) -> Option<(String, String)> {
    let members = fleet.members(&group.id, fleet.hosts[index].id);
    match group.policy {
        GroupPolicy::Affinity if members == 0 && fleet.groups.contains_key(&group.id) => {
            Some(("affinity".into(), format!("has no server of group {}", group.id)))
        }
        GroupPolicy::AntiAffinity if members >= group.max_per_host.max(1) => Some((
            "anti-affinity".into(),
            format!("has {members} of at most {} servers of group {}", group.max_per_host.max(1), group.id),
        )),
        _ => None,
    }
}

fn capacity_refusal(fleet: &Fleet, index: usize, request: &Request) -> Option<(String, String)> {
    for (class, want) in &request.amounts {
        if *want == 0 {
            continue;
        }
        let column = fleet.column(class);
        let free = column.map_or(0, |column| column.free(index));
        if *want < 0 || *want > free {
            return Some((
                format!("capacity:{class}"),
                format!("has {} of {want} {class} free", free.max(0)),
            ));
        }
        let units = column.map(|column| column.units_of(index)).unwrap_or_default();
        if !units.allow(*want) {
            return Some((
                format!("unit:{class}"),
                format!("gives {} to {} {class} in steps of {}", units.min, units.max, units.step),
            ));
        }
    }
    None
}

/// Counts refusals per rule; the first host of each is the example.
#[derive(Default)]
pub struct Tally {
    rules: BTreeMap<String, (u64, String)>,
}

impl Tally {
    pub fn add(&mut self, rule: String, example: impl FnOnce() -> String) {
        self.rules.entry(rule).or_insert_with(|| (0, example())).0 += 1;
    }

    /// Most hosts first.
    pub fn counts(self) -> Vec<RuleCount> {
        let count = |(rule, (hosts, example))| RuleCount { rule, hosts, example };
        let mut counts: Vec<RuleCount> = self.rules.into_iter().map(count).collect();
        counts.sort_by(|a, b| b.hosts.cmp(&a.hosts).then_with(|| a.rule.cmp(&b.rule)));
        counts
    }
}

/// Hosts per rule of the core (not a plugin's vetoes), and the places of those that no rule keeps out.
pub fn tally(fleet: &Fleet, request: &Request) -> (Tally, Vec<u32>) {
    let (mut tally, mut feasible) = (Tally::default(), Vec::new());
    for (index, host) in fleet.hosts.iter().enumerate() {
        match refusal(fleet, index, request) {
            None => feasible.push(u32::try_from(index).unwrap_or(u32::MAX)),
            Some((rule, why)) => tally.add(rule, || format!("{} {why}", host.name)),
        }
    }
    (tally, feasible)
}
