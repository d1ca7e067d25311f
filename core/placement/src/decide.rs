//! One decision: feasibility by rule, preference by the scorer, the lowest host on a tie.

use crate::decision::{Decision, PluginUse, RuleCount, ScoredHost, Smallest};
use crate::{Columns, Fleet, Request, Scorer, spread::Spread};
use canopy_types::DecisionId;
use std::collections::BTreeMap;

/// Decides where `request` goes. Total: it always returns a decision, with a winner or with reasons.
pub fn decide(id: DecisionId, fleet: &Fleet, request: &Request, scorer: &mut dyn Scorer) -> Decision {
    let mut refused: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut feasible: Vec<u32> = Vec::new();
    for (index, host) in fleet.hosts.iter().enumerate() {
        match refusal(fleet, index, request) {
            None => feasible.push(u32::try_from(index).unwrap_or(u32::MAX)),
            Some((rule, example)) => {
                let entry = refused.entry(rule).or_insert((0, format!("{} {example}", host.name)));
                entry.0 += 1;
            }
        }
    }
    let columns = columns(fleet, request, feasible);
    let (scores, plugin) = scores(&columns, scorer);
    let mut ranked: Vec<(u32, f32)> = columns.hosts.iter().copied().zip(scores).collect();
    ranked.retain(|(index, score)| {
        let keep = *score > f32::NEG_INFINITY;
        if !keep {
            let name = &fleet.hosts[*index as usize].name;
            refused.entry("veto".into()).or_insert((0, format!("{name} was vetoed by {}", plugin.name))).0 +=
                1;
        }
        keep
    });
    // Stable: equal scores keep the order of hosts, so the lowest wins.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let winner = ranked.first().map(|(index, _)| &fleet.hosts[*index as usize]);
    let mut refused: Vec<RuleCount> =
        refused.into_iter().map(|(rule, (hosts, example))| RuleCount { rule, hosts, example }).collect();
    refused.sort_by(|a, b| b.hosts.cmp(&a.hosts).then_with(|| a.rule.cmp(&b.rule)));
    Decision {
        v: 1,
        id,
        revision: fleet.revision,
        request: request.clone(),
        winner: winner.map(|h| h.id),
        winner_name: winner.map(|h| h.name.clone()),
        hosts_considered: fleet.hosts.len() as u64,
        hosts_feasible: columns.hosts.len() as u64,
        top: ranked
            .iter()
            .take(3)
            .map(|(index, score)| {
                let host = &fleet.hosts[*index as usize];
                ScoredHost { host_id: host.id, name: host.name.clone(), score: *score }
            })
            .collect(),
        nearest: if winner.is_some() { Vec::new() } else { nearest(fleet, request) },
        refused,
        plugin,
    }
}

/// The first rule that keeps this host out, in a fixed order.
fn refusal(fleet: &Fleet, index: usize, request: &Request) -> Option<(String, String)> {
    let host = &fleet.hosts[index];
    if let Some(why) = &host.closed {
        return Some(("closed".into(), format!("takes no new servers: {why}")));
    }
    if let Some(zone) = &request.zone
        && *zone != host.zone
    {
        return Some(("zone".into(), format!("is in zone {}, not {zone}", host.zone)));
    }
    if request.exclude.contains(&host.id) {
        return Some(("raced".into(), "was filled by another request".into()));
    }
    for (class, want) in &request.amounts {
        if *want == 0 {
            continue;
        }
        let free = fleet
            .resources
            .iter()
            .find(|column| column.class == *class)
            .map_or(0, |column| column.capacity[index].saturating_sub(column.used[index]));
        if *want < 0 || *want > free {
            return Some((
                format!("capacity:{class}"),
                format!("has {} of {want} {class} free", free.max(0)),
            ));
        }
    }
    None
}

fn columns(fleet: &Fleet, request: &Request, hosts: Vec<u32>) -> Columns {
    let mut columns = Columns { hosts, ..Columns::default() };
    for resource in &fleet.resources {
        let pick = |values: &[i64]| columns.hosts.iter().map(|i| values[*i as usize] as f64).collect();
        let (capacity, used) = (pick(&resource.capacity), pick(&resource.used));
        columns.classes.push(resource.class.clone());
        columns.capacity.push(capacity);
        columns.used.push(used);
        columns.want.push(request.amounts.get(&resource.class).copied().unwrap_or(0) as f64);
    }
    columns
}

/// The scorer's answer, checked; the built-in's when it is no answer.
fn scores(columns: &Columns, scorer: &mut dyn Scorer) -> (Vec<f32>, PluginUse) {
    let mut plugin = scorer.identity();
    if columns.hosts.is_empty() {
        return (Vec::new(), plugin);
    }
    let fault = match scorer.score(columns) {
        Ok(scores) if scores.len() != columns.hosts.len() => {
            format!("{} scores for {} hosts", scores.len(), columns.hosts.len())
        }
        Ok(scores) if scores.iter().any(|s| s.is_nan()) => "a score is not a number".to_owned(),
        Ok(scores) => return (scores, plugin),
        Err(fault) => fault,
    };
    plugin.fault = Some(fault);
    (Spread.rank(columns), plugin)
}

fn nearest(fleet: &Fleet, request: &Request) -> Vec<Smallest> {
    request
        .amounts
        .iter()
        .map(|(class, wanted)| {
            let column = fleet.resources.iter().find(|column| column.class == *class);
            let most_free = column.map_or(0, |column| {
                (0..fleet.hosts.len())
                    .filter(|i| fleet.hosts[*i].closed.is_none())
                    .map(|i| column.capacity[i].saturating_sub(column.used[i]))
                    .max()
                    .unwrap_or(0)
            });
            Smallest { class: class.clone(), wanted: *wanted, most_free: most_free.max(0) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, ResourceColumn};
    use canopy_types::HostId;

    fn fleet(used: &[i64]) -> Fleet {
        Fleet {
            revision: 7,
            hosts: (0..used.len())
                .map(|i| Host {
                    id: HostId::random(),
                    name: format!("host-{i}"),
                    zone: "nova".into(),
                    closed: None,
                })
                .collect(),
            resources: vec![ResourceColumn {
                class: "VCPU".into(),
                capacity: vec![8; used.len()],
                used: used.to_vec(),
            }],
        }
    }

    fn want(n: i64) -> Request {
        Request { amounts: [("VCPU".to_owned(), n)].into(), ..Request::default() }
    }

    #[test]
    fn the_emptiest_host_wins_and_the_lowest_on_a_tie() {
        let decision = decide(DecisionId::random(), &fleet(&[4, 2, 2]), &want(1), &mut Spread);
        assert_eq!(decision.winner_name.as_deref(), Some("host-1"));
        assert_eq!(decision.hosts_feasible, 3);
    }

    #[test]
    fn a_refusal_counts_hosts_per_rule_and_says_how_short_they_are() {
        let mut fleet = fleet(&[4, 7, 0]);
        fleet.hosts[2].closed = Some("disabled".into());
        let decision = decide(DecisionId::random(), &fleet, &want(5), &mut Spread);
        assert_eq!(decision.winner, None);
        assert_eq!(decision.refused[0].rule, "capacity:VCPU");
        assert_eq!(decision.refused[0].hosts, 2);
        assert_eq!(decision.refused[0].example, "host-0 has 4 of 5 VCPU free");
        assert_eq!(decision.nearest, [Smallest { class: "VCPU".into(), wanted: 5, most_free: 4 }]);
        assert!(
            decision.refusal().starts_with("No valid host was found. 2 of 3 hosts refused by capacity:VCPU")
        );
        assert!(decision.refusal().contains(&decision.id.to_string()));
    }

    struct Broken(Result<Vec<f32>, String>);
    impl Scorer for Broken {
        fn identity(&self) -> PluginUse {
            PluginUse { name: "broken".into(), ..PluginUse::default() }
        }
        fn score(&mut self, _: &Columns) -> Result<Vec<f32>, String> {
            self.0.clone()
        }
        fn explain(&mut self, _: &Columns) -> Result<Vec<Vec<crate::Reason>>, String> {
            Err("no".into())
        }
    }

    #[test]
    fn a_scorer_that_traps_lies_or_answers_nonsense_costs_only_its_opinion() {
        for answer in [Err("trap".to_owned()), Ok(vec![1.0]), Ok(vec![f32::NAN; 2])] {
            let decision = decide(DecisionId::random(), &fleet(&[4, 2]), &want(1), &mut Broken(answer));
            assert_eq!(decision.winner_name.as_deref(), Some("host-1"));
            assert!(decision.plugin.fault.is_some());
        }
    }

    #[test]
    fn vetoing_every_host_is_a_refusal_by_that_rule() {
        let decision = decide(
            DecisionId::random(),
            &fleet(&[4, 2]),
            &want(1),
            &mut Broken(Ok(vec![f32::NEG_INFINITY; 2])),
        );
        assert_eq!(decision.winner, None);
        assert_eq!((decision.refused[0].rule.as_str(), decision.refused[0].hosts), ("veto", 2));
    }

    #[test]
    fn negative_huge_and_unknown_amounts_find_no_host_and_do_not_overflow() {
        for n in [-1, i64::MIN, i64::MAX] {
            assert_eq!(decide(DecisionId::random(), &fleet(&[0]), &want(n), &mut Spread).winner, None);
        }
        let unknown = Request { amounts: [("CUSTOM_X".to_owned(), 1)].into(), ..Request::default() };
        assert_eq!(decide(DecisionId::random(), &fleet(&[0]), &unknown, &mut Spread).winner, None);
    }
}
