//! The smallest change of a refused request that would fit.
//!
//! One pass over the fleet: what each host would need changed, at most two things, and of these the least per
//! kind. Single changes are looked for first; pairs only when no single one helps. Exact by the core's rules; a
//! plugin may still veto the host.

use crate::{Fleet, GroupPolicy, Host, NameSet, Request, ResourceColumn, Units};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Advice that is kept.
const MOST: usize = 8;
/// Changes of one piece of advice.
const MOST_CHANGES: usize = 2;

/// Changes that together make the request fit; each alone does not, when there is more than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    pub changes: Vec<Relax>,
}

/// One change of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "relax", rename_all = "kebab-case")]
pub enum Relax {
    /// Ask for `to` of the class instead.
    Amount { class: String, from: i64, to: i64 },
    /// Do not require (or forbid) the trait.
    Trait { name: String },
    /// Ask for this zone instead.
    Zone { from: String, to: String },
    /// Leave the aggregates that were asked for, or forbidden, out.
    Aggregates,
    /// Leave the server group's rule out.
    Group { id: String },
    /// Leave the list of hosts out (`same_host`, `different_host`, a forced host).
    Hosts,
}

impl Advice {
    /// "2 instead of 4 VCPU and without the trait CUSTOM_GPU".
    pub fn words(&self) -> String {
        let words: Vec<String> = self.changes.iter().map(Relax::words).collect();
        words.join(" and ")
    }
}

impl Advice {
    /// The request with the advice followed.
    pub fn follow(&self, request: &Request) -> Request {
        let mut request = request.clone();
        for change in &self.changes {
            change.apply(&mut request);
        }
        request
    }

    /// Smaller is less: fewer changes, then what gives up less.
    fn cost(&self) -> (usize, u64, i128, &[Relax]) {
        // Of amounts that differ by less than a thousandth, the larger.
        let left = |change: &Relax| if let Relax::Amount { to, .. } = change { -i128::from(*to) } else { 0 };
        let changes = &self.changes;
        (changes.len(), changes.iter().map(Relax::cost).sum(), changes.iter().map(left).sum(), changes)
    }
}

impl Relax {
    fn apply(&self, request: &mut Request) {
        let without = |names: &NameSet, name: &String| names.iter().filter(|n| *n != name).cloned().collect();
        match self {
            Self::Amount { class, to, .. } => _ = request.amounts.insert(class.clone(), *to),
            Self::Trait { name } => {
                request.required_traits = without(&request.required_traits, name);
                request.forbidden_traits = without(&request.forbidden_traits, name);
            }
            Self::Zone { to, .. } => request.zone = Some(to.clone()),
            Self::Aggregates => {
                request.member_of.clear();
                request.forbidden_aggregates = NameSet::default();
            }
            Self::Group { .. } => request.group = None,
            Self::Hosts => {
                request.only_hosts.clear();
                request.forbidden_hosts.clear();
            }
        }
    }

    /// In thousandths of an amount; a rule left out counts as more than any part of an amount.
    fn cost(&self) -> u64 {
        match self {
            Self::Amount { from, to, .. } => amount_cost(*from, *to),
            Self::Zone { .. } => 1_000,
            Self::Trait { .. } => 1_001,
            Self::Group { .. } => 1_002,
            Self::Aggregates => 1_003,
            Self::Hosts => 1_004,
        }
    }

    /// What is to be given up, without how much of it.
    fn kind(&self) -> (u8, &str) {
        match self {
            Self::Amount { class, .. } => (0, class),
            Self::Zone { .. } => (1, ""),
            Self::Trait { name } => (2, name),
            Self::Group { .. } => (3, ""),
            Self::Aggregates => (4, ""),
            Self::Hosts => (5, ""),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Amount { class, from, to } => format!("{to} instead of {from} {class}"),
            Self::Trait { name } => format!("the rule about the trait {name} left out"),
            Self::Zone { from, to } => format!("zone {to} instead of {from}"),
            Self::Aggregates => "the rule about aggregates left out".to_owned(),
            Self::Group { id } => format!("the rule of server group {id} left out"),
            Self::Hosts => "the list of hosts left out".to_owned(),
        }
    }
}

/// What would make a refused request fit, best first; empty when nothing of one or two changes does.
pub fn advise(fleet: &Fleet, request: &Request) -> Vec<Advice> {
    let columns: BTreeMap<&str, &ResourceColumn> =
        fleet.resources.iter().map(|column| (column.class.as_str(), column)).collect();
    let mut kept = Kept::default();
    for index in 0..fleet.hosts.len() {
        if let Some(changes) = needs(fleet, &columns, request, index, kept.fewest()) {
            kept.offer(changes);
        }
    }
    kept.best_first()
}

/// The least advice of each kind, of those with the fewest changes.
pub(crate) struct Kept {
    best: BTreeMap<Vec<(u8, String)>, Advice>,
    fewest: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { best: BTreeMap::new(), fewest: MOST_CHANGES }
    }
}

impl Kept {
    /// More changes than this are of no use any more.
    pub(crate) fn fewest(&self) -> usize {
        self.fewest
    }

    /// Changes that would do for some host, at least one.
    pub(crate) fn offer(&mut self, changes: Vec<Relax>) {
        if changes.len() > self.fewest {
            return;
        }
        if changes.len() < self.fewest {
            self.fewest = changes.len();
            self.best.clear();
        }
        let kinds = changes.iter().map(|change| (change.kind().0, change.kind().1.to_owned())).collect();
        let advice = Advice { changes };
        let known = self.best.entry(kinds).or_insert_with(|| advice.clone());
        if advice.cost() < known.cost() {
            *known = advice;
        }
    }

    pub(crate) fn best_first(self) -> Vec<Advice> {
        let mut advice: Vec<Advice> = self.best.into_values().collect();
        advice.sort_by(|a, b| a.cost().cmp(&b.cost()));
        advice.truncate(MOST);
        advice
    }
}

/// The zone to ask for and the traits to leave out for a host like this, as far as more than `most` are not.
pub(crate) fn zone_and_traits(request: &Request, host: &Host, most: usize) -> Vec<Relax> {
    let mut changes = Vec::new();
    if let Some(zone) = request.zone.as_ref().filter(|zone| **zone != host.zone) {
        changes.push(Relax::Zone { from: zone.clone(), to: host.zone.clone() });
    }
    // A host lacks a trait or has it: none is in both.
    let lacking = request.required_traits.difference(&host.traits);
    let unwanted = request.forbidden_traits.intersection(&host.traits);
    for name in lacking.chain(unwanted).take(most + 1) {
        changes.push(Relax::Trait { name: name.clone() });
    }
    changes
}

/// Thousandths of an amount that are given up.
pub(crate) fn amount_cost(from: i64, to: i64) -> u64 {
    let (given_up, of) = (from.abs_diff(to), from.unsigned_abs().max(1));
    match given_up.checked_mul(1000) {
        Some(thousandfold) => thousandfold / of,
        None => u64::try_from(u128::from(given_up) * 1000 / u128::from(of)).unwrap_or(1000),
    }
}

/// Whether a host like this is in the way of what the request says of aggregates.
pub(crate) fn not_in_aggregates(request: &Request, host: &Host) -> bool {
    request.member_of.iter().any(|any| any.is_disjoint(&host.aggregates))
        || !request.forbidden_aggregates.is_disjoint(&host.aggregates)
}

/// The most that can be asked for instead of `want`, of an inventory with so much left; `None` for nothing.
pub(crate) fn instead(want: i64, free: i64, units: Units) -> Option<i64> {
    let to = free.min(want.saturating_sub(1)).min(units.max);
    let to = to.checked_sub(to.checked_rem(units.step.max(1))?)?;
    (to >= 1 && units.allow(to)).then_some(to)
}

/// What would have to change for this host, if that is one to `most` things.
fn needs(
    fleet: &Fleet,
    columns: &BTreeMap<&str, &ResourceColumn>,
    request: &Request,
    index: usize,
    most: usize,
) -> Option<Vec<Relax>> {
    let host = &fleet.hosts[index];
    if host.closed.is_some() || request.exclude.contains(&host.id) {
        return None;
    }
    let mut changes = Vec::new();
    for (class, want) in request.amounts.iter().filter(|(_, want)| **want != 0) {
        let column = columns.get(class.as_str())?;
        let (free, units) = (column.free(index), column.units_of(index));
        if *want > 0 && *want <= free && units.allow(*want) {
            continue;
        }
        let to = instead(*want, free, units)?;
        if changes.len() == most {
            return None;
        }
        changes.push(Relax::Amount { class: class.clone(), from: *want, to });
    }
    changes.extend(zone_and_traits(request, host, most));
    if let Some(group) = &request.group {
        let members = fleet.members(&group.id, host.id);
        let refused = match group.policy {
            GroupPolicy::Affinity => members == 0 && fleet.groups.contains_key(&group.id),
            GroupPolicy::AntiAffinity => members >= group.max_per_host.max(1),
            GroupPolicy::SoftAffinity | GroupPolicy::SoftAntiAffinity => false,
        };
        if refused {
            changes.push(Relax::Group { id: group.id.clone() });
        }
    }
    if not_in_aggregates(request, host) {
        changes.push(Relax::Aggregates);
    }
    if (!request.only_hosts.is_empty() && !request.only_hosts.contains(&host.id))
        || request.forbidden_hosts.contains(&host.id)
    {
        changes.push(Relax::Hosts);
    }
    (1..=most).contains(&changes.len()).then_some(changes)
}
