//! What placement knows of hosts: rows become facts, and the difference of two facts becomes changes.

use crate::compute::hosts::{is_up, zones};
use canopy_placement::{Change, Host, NameSet, Units};
use canopy_store::fleet::FleetRows;
use canopy_store::inventories::Inventory;
use canopy_types::resources::MAX_AMOUNT;
use canopy_types::{HostId, ServerGroupId, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// One host as the store last said.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    pub host: Host,
    pub seen_at: Timestamp,
    pub classes: BTreeMap<String, Supply>,
    /// Servers per group; never 0.
    pub groups: BTreeMap<ServerGroupId, i64>,
    /// What only schedulers look at; never 0.
    pub signals: BTreeMap<&'static str, f64>,
}

/// Builds that failed on the host since one last succeeded.
pub const BUILD_FAILURES: &str = "build-failures";
/// How busy the machine is, of hosts whose agent tells.
pub const CPU_PERCENT: &str = "cpu.percent";
pub const MEMORY_PERCENT: &str = "memory.percent";

/// What a host has of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    pub capacity: i64,
    pub units: Units,
    pub used: i64,
}

/// The hosts of these rows, by id.
pub fn facts(rows: &FleetRows, now: Timestamp) -> HashMap<HostId, Facts> {
    let mut zones = zones(rows);
    let ids: HashMap<i64, &str> = rows.aggregates.iter().map(|a| (a.number, a.id.as_str())).collect();
    let mut aggregates: HashMap<HostId, Vec<&str>> = HashMap::new();
    for (number, host, _) in &rows.memberships {
        aggregates.entry(*host).or_default().extend(ids.get(number));
    }
    for (provider, id) in &rows.provider_aggregates {
        aggregates.entry(HostId(provider.0)).or_default().push(id);
    }
    let mut traits: HashMap<HostId, Vec<&str>> = HashMap::new();
    for (provider, name) in &rows.traits {
        traits.entry(HostId(provider.0)).or_default().push(name);
    }
    // Many hosts have the same traits: those share one set.
    let mut sets: HashMap<Vec<&str>, NameSet> = HashMap::new();
    let mut facts: HashMap<HostId, Facts> = HashMap::with_capacity(rows.hosts.len());
    for row in &rows.hosts {
        let closed = match &row.closed {
            Some(reason) if reason.is_empty() => Some("disabled by the operator".to_owned()),
            Some(reason) => Some(format!("disabled by the operator: {reason}")),
            None if row.forced_down => Some("counted as down by the operator".to_owned()),
            // Without the seconds: the words stay the same for as long as it is silent.
            None if !is_up(row, now) => {
                Some(format!("its agent has not been heard since {}", row.seen_at.seconds_z()))
            }
            None => None,
        };
        let host = Host {
            closed,
            traits: shared(&mut sets, traits.remove(&row.id)),
            aggregates: shared(&mut sets, aggregates.remove(&row.id)),
            ..Host::new(row.id, &row.name, zones.remove(&row.id).unwrap_or_default())
        };
        let (classes, groups) = (BTreeMap::new(), BTreeMap::new());
        #[expect(clippy::cast_precision_loss, reason = "nobody fails that often, and percent are small")]
        let signals = [
            (BUILD_FAILURES, row.build_failures as f64),
            (CPU_PERCENT, row.cpu_percent as f64),
            (MEMORY_PERCENT, row.memory_percent as f64),
        ];
        let signals = signals.into_iter().filter(|(_, value)| *value > 0.0).collect();
        facts.insert(row.id, Facts { host, seen_at: row.seen_at, classes, groups, signals });
    }
    for row in &rows.inventories {
        if let Some(known) = facts.get_mut(&HostId(row.provider_id.0)) {
            let supply = Supply { capacity: row.capacity().max(0), units: units(row), used: row.used };
            known.classes.insert(row.class.clone(), supply);
        }
    }
    for (group, host, servers) in &rows.groups {
        if let Some(known) = facts.get_mut(host) {
            known.groups.insert(*group, *servers);
        }
    }
    facts
}

/// One set for all that are equal; `names` come in the order of the rows, which is sorted.
fn shared<'a>(sets: &mut HashMap<Vec<&'a str>, NameSet>, names: Option<Vec<&'a str>>) -> NameSet {
    let Some(mut names) = names else { return NameSet::default() };
    names.sort_unstable();
    names.dedup();
    if let Some(known) = sets.get(&names) {
        return known.clone();
    }
    let set = NameSet::from_iter(names.iter().copied());
    sets.insert(names, set.clone());
    set
}

/// What one server may take of the inventory.
fn units(row: &Inventory) -> Units {
    // No amount is larger: an inventory that says nothing of units gives any.
    let max = if row.max_unit >= MAX_AMOUNT { Units::ANY.max } else { row.max_unit };
    Units { min: row.min_unit, max, step: row.step_size }
}

/// The changes that lead from what was known to what is known now. Usage is told as a difference, so that
/// what is reserved beside it stays counted.
pub fn changes(before: Option<&Facts>, now: Option<&Facts>, out: &mut Vec<Change>) {
    let Some(now) = now else {
        out.extend(before.map(|gone| Change::Remove { host: gone.host.id }));
        return;
    };
    let host = now.host.id;
    match before {
        Some(before) if before.host == now.host => {}
        Some(before) if Host { closed: now.host.closed.clone(), ..before.host.clone() } == now.host => {
            out.push(Change::Closed { host, closed: now.host.closed.clone() });
        }
        _ => out.push(Change::Host { host: now.host.clone() }),
    }
    let nothing = Supply::default();
    let classes_before = before.map(|before| &before.classes);
    for (class, supply) in &now.classes {
        let known = classes_before.and_then(|classes| classes.get(class)).unwrap_or(&nothing);
        push_supply(host, class, known, supply, out);
    }
    for (class, known) in classes_before.into_iter().flatten() {
        if !now.classes.contains_key(class) {
            push_supply(host, class, known, &nothing, out);
        }
    }
    let signals_before = before.map(|before| &before.signals);
    let gone = signals_before.into_iter().flatten().filter(|(name, _)| !now.signals.contains_key(*name));
    for (name, value) in
        now.signals.iter().map(|(name, value)| (name, *value)).chain(gone.map(|(n, _)| (n, 0.0)))
    {
        if signals_before.and_then(|signals| signals.get(name)).copied().unwrap_or(0.0) != value {
            out.push(Change::Signal { host, name: (*name).to_owned(), value });
        }
    }
    let groups_before = before.map(|before| &before.groups);
    let count = |groups: Option<&BTreeMap<ServerGroupId, i64>>, group| {
        groups.and_then(|groups| groups.get(group)).copied().unwrap_or(0)
    };
    let mut groups: Vec<&ServerGroupId> =
        now.groups.keys().chain(groups_before.into_iter().flat_map(BTreeMap::keys)).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let delta = count(Some(&now.groups), group) - count(groups_before, group);
        if delta != 0 {
            out.push(Change::Group { group: group.to_string(), host, delta });
        }
    }
}

fn push_supply(host: HostId, class: &str, before: &Supply, now: &Supply, out: &mut Vec<Change>) {
    if (before.capacity, before.units) != (now.capacity, now.units) {
        let (class, capacity, units) = (class.to_owned(), now.capacity, now.units);
        out.push(Change::Capacity { host, class, capacity, units });
    }
    if before.used != now.used {
        let (class, delta) = (class.to_owned(), now.used.saturating_sub(before.used));
        out.push(Change::Used { host, class, delta });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_placement::Engine;

    fn facts(used: i64, closed: Option<&str>, servers: i64) -> Facts {
        let mut host = Host::new(HostId(Default::default()), "h", "nova");
        host.closed = closed.map(str::to_owned);
        let supply = Supply { capacity: 8, units: Units::ANY, used };
        Facts {
            host,
            seen_at: Timestamp(0),
            classes: [("VCPU".to_owned(), supply)].into(),
            groups: (servers > 0).then(|| (ServerGroupId(Default::default()), servers)).into_iter().collect(),
            signals: (servers > 1).then_some((BUILD_FAILURES, servers as f64)).into_iter().collect(),
        }
    }

    #[test]
    fn changes_lead_from_any_facts_to_any_other() {
        let all = [facts(0, None, 0), facts(5, None, 2), facts(3, Some("why"), 1)];
        for from in &all {
            for to in &all {
                let mut told = Vec::new();
                changes(None, Some(from), &mut told);
                changes(Some(from), Some(to), &mut told);
                let mut straight = Vec::new();
                changes(None, Some(to), &mut straight);
                let [one, other] = [told, straight].map(|changes| {
                    let mut engine = Engine::new(Default::default());
                    changes.iter().for_each(|change| engine.apply(change));
                    engine.fleet().clone()
                });
                // A signal that was there once leaves a column of nothing.
                let [one, other] = [one, other].map(|mut fleet| {
                    fleet.signals.retain(|signal| signal.values.iter().any(|value| *value != 0.0));
                    fleet
                });
                assert_eq!(one, other);
            }
        }
        let mut nothing = Vec::new();
        changes(Some(&all[1]), Some(&all[1]), &mut nothing);
        assert_eq!(nothing, []);
        changes(Some(&all[1]), None, &mut nothing);
        assert_eq!(nothing.len(), 1);
    }
}
