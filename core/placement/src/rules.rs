//! What makes a host impossible for a request: each rule, in a fixed order, with its words.

use crate::decision::RuleCount;
use crate::{Fleet, GroupPolicy, Host, Request, ResourceColumn};
use canopy_types::HostId;
use std::collections::{BTreeMap, HashSet};

/// A rule, in the order in which rules are tried. The number is a place in [`Request::amounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    Closed,
    Zone,
    Trait,
    ForbiddenTrait,
    Aggregate,
    ForbiddenAggregate,
    NotListed,
    Forbidden,
    Raced,
    Affinity,
    AntiAffinity,
    Capacity(usize),
    Unit(usize),
}

/// A request against a fleet, looked up once for all hosts.
pub struct Ruler<'a> {
    fleet: &'a Fleet,
    request: &'a Request,
    wants: Vec<(&'a str, i64, Option<&'a ResourceColumn>)>,
    only: HashSet<HostId>,
    forbidden: HashSet<HostId>,
    raced: HashSet<HostId>,
}

impl<'a> Ruler<'a> {
    pub fn new(fleet: &'a Fleet, request: &'a Request) -> Self {
        let want = |(class, want): (&'a String, &i64)| (class.as_str(), *want, fleet.column(class));
        Self {
            fleet,
            request,
            wants: request.amounts.iter().map(want).collect(),
            only: request.only_hosts.iter().copied().collect(),
            forbidden: request.forbidden_hosts.iter().copied().collect(),
            raced: request.exclude.iter().copied().collect(),
        }
    }

    /// The first rule that keeps the host at this place out.
    pub fn refusal(&self, index: usize) -> Option<Rule> {
        self.refusal_but_capacity(index).or_else(|| self.capacity(index))
    }

    fn refusal_but_capacity(&self, index: usize) -> Option<Rule> {
        let (host, request) = (&self.fleet.hosts[index], self.request);
        if host.closed.is_some() {
            return Some(Rule::Closed);
        }
        if let Some(rule) = self.lasting(host) {
            return Some(rule);
        }
        if !self.only.is_empty() && !self.only.contains(&host.id) {
            return Some(Rule::NotListed);
        }
        if self.forbidden.contains(&host.id) {
            return Some(Rule::Forbidden);
        }
        if self.raced.contains(&host.id) {
            return Some(Rule::Raced);
        }
        let group = request.group.as_ref()?;
        let members = self.fleet.members(&group.id, host.id);
        match group.policy {
            GroupPolicy::Affinity if members == 0 && self.fleet.groups.contains_key(&group.id) => {
                Some(Rule::Affinity)
            }
            GroupPolicy::AntiAffinity if members >= group.max_per_host.max(1) => Some(Rule::AntiAffinity),
            _ => None,
        }
    }

    /// The first rule about zone, traits and aggregates that keeps a host like this out.
    pub(crate) fn lasting(&self, host: &Host) -> Option<Rule> {
        let request = self.request;
        if request.zone.as_ref().is_some_and(|zone| *zone != host.zone) {
            return Some(Rule::Zone);
        }
        if !request.required_traits.is_subset(&host.traits) {
            return Some(Rule::Trait);
        }
        if !request.forbidden_traits.is_disjoint(&host.traits) {
            return Some(Rule::ForbiddenTrait);
        }
        if request.member_of.iter().any(|any| any.is_disjoint(&host.aggregates)) {
            return Some(Rule::Aggregate);
        }
        if !request.forbidden_aggregates.is_disjoint(&host.aggregates) {
            return Some(Rule::ForbiddenAggregate);
        }
        None
    }

    fn capacity(&self, index: usize) -> Option<Rule> {
        let asked = self.wants.iter().enumerate().filter(|(_, (_, want, _))| *want != 0);
        for (at, (_, want, column)) in asked {
            if *want < 0 || *want > column.map_or(0, |column| column.free(index)) {
                return Some(Rule::Capacity(at));
            }
            if !column.is_none_or(|column| column.units_of(index).allow(*want)) {
                return Some(Rule::Unit(at));
            }
        }
        None
    }

    /// Whether any host could ever give what is asked.
    pub(crate) fn satisfiable(&self) -> bool {
        self.wants.iter().all(|(_, want, column)| *want == 0 || (*want > 0 && column.is_some()))
    }

    /// Whether this host is kept out for as long as its traits, aggregates, zone and units are what they are.
    pub(crate) fn never(&self, index: usize) -> bool {
        let unit = |(_, want, column): &(&str, i64, Option<&ResourceColumn>)| {
            *want > 0 && !column.is_none_or(|column| column.units_of(index).allow(*want))
        };
        self.lasting(&self.fleet.hosts[index]).is_some() || self.wants.iter().any(unit)
    }

    /// The rule's name as decisions carry it.
    pub fn name(&self, rule: Rule) -> String {
        let class = |at: usize| self.wants.get(at).map_or("", |(class, _, _)| class);
        match rule {
            Rule::Closed => "closed".into(),
            Rule::Zone => "zone".into(),
            Rule::Trait => "trait".into(),
            Rule::ForbiddenTrait => "forbidden-trait".into(),
            Rule::Aggregate => "aggregate".into(),
            Rule::ForbiddenAggregate => "forbidden-aggregate".into(),
            Rule::NotListed => "host-not-listed".into(),
            Rule::Forbidden => "host-forbidden".into(),
            Rule::Raced => "raced".into(),
            Rule::Affinity => "affinity".into(),
            Rule::AntiAffinity => "anti-affinity".into(),
            Rule::Capacity(at) => format!("capacity:{}", class(at)),
            Rule::Unit(at) => format!("unit:{}", class(at)),
        }
    }

    /// Why the rule keeps this host out: "host-1 has 2 of 4 VCPU free".
    pub fn words(&self, rule: Rule, index: usize) -> String {
        let (host, request) = (&self.fleet.hosts[index], self.request);
        let name = &host.name;
        let list = |names: &mut dyn Iterator<Item = &String>| {
            names.take(4).map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let group = request.group.as_ref().map_or("", |group| group.id.as_str());
        let want = |at: usize| self.wants.get(at).copied().unwrap_or(("", 0, None));
        match rule {
            Rule::Closed => {
                format!("{name} takes no new servers: {}", host.closed.as_deref().unwrap_or_default())
            }
            Rule::Zone => {
                format!(
                    "{name} is in zone {}, not {}",
                    host.zone,
                    request.zone.as_deref().unwrap_or_default()
                )
            }
            Rule::Trait => {
                format!("{name} lacks {}", list(&mut request.required_traits.difference(&host.traits)))
            }
            Rule::ForbiddenTrait => {
                format!("{name} has {}", list(&mut request.forbidden_traits.intersection(&host.traits)))
            }
            Rule::Aggregate => {
                let any = request.member_of.iter().find(|any| any.is_disjoint(&host.aggregates));
                let any = any.map(|any| list(&mut any.iter())).unwrap_or_default();
                format!("{name} is in none of the aggregates {any}")
            }
            Rule::ForbiddenAggregate => format!(
                "{name} is in the aggregate {}",
                list(&mut request.forbidden_aggregates.intersection(&host.aggregates))
            ),
            Rule::NotListed => format!("{name} is not among the hosts asked for"),
            Rule::Forbidden => format!("{name} is among the hosts to avoid"),
            Rule::Raced => format!("{name} was filled by another request"),
            Rule::Affinity => format!("{name} has no server of group {group}"),
            Rule::AntiAffinity => {
                let members = self.fleet.members(group, host.id);
                let most = request.group.as_ref().map_or(1, |group| group.max_per_host.max(1));
                format!("{name} has {members} of at most {most} servers of group {group}")
            }
            Rule::Capacity(at) => {
                let (class, want, column) = want(at);
                let free = column.map_or(0, |column| column.free(index)).max(0);
                format!("{name} has {free} of {want} {class} free")
            }
            Rule::Unit(at) => {
                let (class, want, column) = want(at);
                let units = column.map(|column| column.units_of(index)).unwrap_or_default();
                format!(
                    "{name} gives {} to {} {class} in steps of {}, not {want}",
                    units.min, units.max, units.step
                )
            }
        }
    }

    /// Hosts per rule, and the places of those that no rule keeps out.
    pub fn tally(&self) -> (Tally, Vec<u32>) {
        let (mut rules, mut feasible) = (BTreeMap::new(), Vec::new());
        for index in 0..self.fleet.hosts.len() {
            match self.refusal(index) {
                None => feasible.push(u32::try_from(index).unwrap_or(u32::MAX)),
                Some(rule) => rules.entry(rule).or_insert((0, index)).0 += 1,
            }
        }
        let counts = rules.into_iter().map(|(rule, (hosts, first))| RuleCount {
            rule: self.name(rule),
            hosts,
            example: self.words(rule, first),
        });
        (Tally { counts: counts.collect() }, feasible)
    }
}

/// Hosts per rule; the first host of each is its example.
#[derive(Default)]
pub struct Tally {
    counts: Vec<RuleCount>,
}

/// The rule by which a plugin keeps hosts out.
pub const VETO: &str = "veto";

impl Tally {
    /// Rule, hosts, example; rules in their order, as [`Ruler::tally`] has them.
    pub(crate) fn of(counts: impl Iterator<Item = (String, u64, String)>) -> Self {
        Self { counts: counts.map(|(rule, hosts, example)| RuleCount { rule, hosts, example }).collect() }
    }

    pub fn vetoed(&mut self, hosts: u64, example: String) {
        self.counts.push(RuleCount { rule: VETO.into(), hosts, example });
    }

    /// Most hosts first.
    pub fn counts(mut self) -> Vec<RuleCount> {
        self.counts.sort_by(|a, b| b.hosts.cmp(&a.hosts).then_with(|| a.rule.cmp(&b.rule)));
        self.counts
    }
}
