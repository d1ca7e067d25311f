//! The smallest change of a refused request that would fit.
//!
//! One pass over the fleet: what each host would need changed, at most two things, and of these the least per
//! kind. Single changes are looked for first; pairs only when no single one helps. Exact by the core's rules; a
//! plugin may still veto the host.

use crate::{Fleet, GroupPolicy, NameSet, Request, ResourceColumn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Advice that is kept.
const MOST: usize = 8;

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
            Self::Amount { from, to, .. } => {
                let part = from.abs_diff(*to) as u128 * 1000 / u128::from(from.unsigned_abs().max(1));
                u64::try_from(part).unwrap_or(1000)
            }
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
    let mut best: BTreeMap<Vec<(u8, String)>, Advice> = BTreeMap::new();
    let mut fewest = 2;
    for index in 0..fleet.hosts.len() {
        let Some(changes) = needs(fleet, &columns, request, index, fewest) else { continue };
        if changes.len() < fewest {
            fewest = changes.len();
            best.clear();
        }
        let kinds = changes.iter().map(|change| (change.kind().0, change.kind().1.to_owned())).collect();
        let advice = Advice { changes };
        let known = best.entry(kinds).or_insert_with(|| advice.clone());
        if advice.cost() < known.cost() {
            *known = advice;
        }
    }
    let mut advice: Vec<Advice> = best.into_values().collect();
    advice.sort_by(|a, b| a.cost().cmp(&b.cost()));
    advice.truncate(MOST);
    advice
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
        let to = free.min(want.saturating_sub(1)).min(units.max);
        let to = to - to % units.step.max(1);
        if to < 1 || !units.allow(to) || changes.len() == most {
            return None;
        }
        changes.push(Relax::Amount { class: class.clone(), from: *want, to });
    }
    if let Some(zone) = request.zone.as_ref().filter(|zone| **zone != host.zone) {
        changes.push(Relax::Zone { from: zone.clone(), to: host.zone.clone() });
    }
    let lacking = request.required_traits.difference(&host.traits);
    let unwanted = request.forbidden_traits.intersection(&host.traits);
    for name in lacking.chain(unwanted).take(most + 1) {
        changes.push(Relax::Trait { name: name.clone() });
    }
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
    if request.member_of.iter().any(|any| any.is_disjoint(&host.aggregates))
        || !request.forbidden_aggregates.is_disjoint(&host.aggregates)
    {
        changes.push(Relax::Aggregates);
    }
    if (!request.only_hosts.is_empty() && !request.only_hosts.contains(&host.id))
        || request.forbidden_hosts.contains(&host.id)
    {
        changes.push(Relax::Hosts);
    }
    // A trait both required and forbidden is one change.
    changes.dedup();
    (1..=most).contains(&changes.len()).then_some(changes)
}
