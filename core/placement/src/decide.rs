//! One decision on a snapshot: feasibility by rule, preference by the scorer, the first host on a tie.

use crate::advice::advise;
use crate::decision::{Decision, PluginUse, ScoredHost, Smallest};
use crate::scorer::{HOME_ZONE, Names, OWN_SIGNALS};
use crate::{Columns, Engine, Fleet, GroupPolicy, Request, Scorer, rules::Ruler, spread::Spread};
use canopy_types::DecisionId;
use std::sync::Arc;

/// Decides where `request` goes. Total: it always returns a decision, with a winner or with reasons. Among
/// equal scores the host that comes first in `fleet` wins.
///
/// A placer is asked through an engine made for this one question: it is told the whole fleet.
pub fn decide(id: DecisionId, fleet: &Fleet, request: &Request, scorer: &mut dyn Scorer) -> Decision {
    if scorer.placer().is_some() {
        return Engine::new(fleet.clone()).decide(id, request, scorer);
    }
    let (mut tally, feasible) = Ruler::new(fleet, request).tally();
    let columns = columns(fleet, request, feasible);
    let (scores, plugin) = scores(&columns, scorer);
    let mut ranked: Vec<(u32, f32)> = columns.hosts.iter().copied().zip(scores).collect();
    let vetoed = ranked.iter().filter(|(_, score)| *score == f32::NEG_INFINITY).count();
    if let Some((index, _)) = ranked.iter().find(|(_, score)| *score == f32::NEG_INFINITY) {
        let name = &fleet.hosts[*index as usize].name;
        tally.vetoed(vetoed as u64, format!("{name} was vetoed by {}", plugin.name));
    }
    ranked.retain(|(_, score)| *score > f32::NEG_INFINITY);
    // Stable: equal scores keep the order of hosts, so the first wins. No NaN is left.
    ranked.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal));
    let winner = ranked.first().map(|(index, _)| &fleet.hosts[*index as usize]);
    Decision {
        v: 2,
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
        refused: tally.counts(),
        plugin,
        advice: if winner.is_some() { Vec::new() } else { advise(fleet, request) },
        seed: 0,
    }
}

/// The names of a fleet's columns.
pub fn names(fleet: &Fleet) -> Names {
    let own = OWN_SIGNALS.iter().map(|name| (*name).to_owned());
    Names {
        resources: fleet.resources.iter().map(|column| column.class.clone()).collect(),
        signals: own.chain(fleet.signals.iter().map(|column| column.name.clone())).collect(),
    }
}

/// What a scorer is told of these hosts.
pub fn columns(fleet: &Fleet, request: &Request, hosts: Vec<u32>) -> Columns {
    let mut columns = Columns { names: Arc::new(names(fleet)), hosts, ..Columns::default() };
    for resource in &fleet.resources {
        let hosts = columns.hosts.iter().map(|host| *host as usize);
        columns.capacity.extend(hosts.clone().map(|host| resource.capacity[host] as f32));
        columns.free.extend(hosts.map(|host| resource.free(host) as f32));
        columns.want.push(request.amounts.get(&resource.class).copied().unwrap_or(0) as f32);
    }
    columns.signals = signals(fleet, request, &columns.hosts);
    columns
}

fn signals(fleet: &Fleet, request: &Request, hosts: &[u32]) -> Vec<f32> {
    let mut signals: Vec<f32> = Vec::with_capacity((OWN_SIGNALS.len() + fleet.signals.len()) * hosts.len());
    for policy in [GroupPolicy::SoftAffinity, GroupPolicy::SoftAntiAffinity] {
        let group = request.group.as_ref().filter(|group| group.policy == policy);
        signals.extend(hosts.iter().map(|index| {
            group.map_or(0.0, |group| fleet.members(&group.id, fleet.hosts[*index as usize].id) as f32)
        }));
    }
    debug_assert_eq!(OWN_SIGNALS[2], HOME_ZONE);
    let home = request.home_zone.as_deref();
    signals.extend(
        hosts.iter().map(
            |index| {
                if home == Some(fleet.hosts[*index as usize].zone.as_str()) { 1.0 } else { 0.0 }
            },
        ),
    );
    for column in &fleet.signals {
        signals.extend(hosts.iter().map(|index| signal(column.values[*index as usize])));
    }
    if signals.iter().all(|value| *value == 0.0) { Vec::new() } else { signals }
}

/// A signal as scorers see it: finite, also where an `f32` ends.
pub(crate) fn signal(value: f64) -> f32 {
    (value as f32).clamp(f32::MIN, f32::MAX)
}

/// The scorer's answer, checked; the built-in's when it is no answer.
pub(crate) fn scores(columns: &Columns, scorer: &mut dyn Scorer) -> (Vec<f32>, PluginUse) {
    let mut plugin = scorer.identity();
    if columns.hosts.is_empty() {
        return (Vec::new(), plugin);
    }
    match checked(columns, scorer) {
        Ok(scores) => (scores, plugin),
        Err(fault) => {
            plugin.fault = Some(fault);
            (Spread.rank(columns), plugin)
        }
    }
}

/// The scorer's answer, or why it is none.
pub(crate) fn checked(columns: &Columns, scorer: &mut dyn Scorer) -> Result<Vec<f32>, String> {
    let scores = scorer.score(columns)?;
    if scores.len() != columns.rows() {
        return Err(format!("{} scores for {} hosts", scores.len(), columns.rows()));
    }
    if crate::scorer::first_nan(&scores).is_some() {
        return Err("a score is not a number".to_owned());
    }
    Ok(scores)
}

/// Per class asked for, the most that any one open host could give.
pub(crate) fn nearest(fleet: &Fleet, request: &Request) -> Vec<Smallest> {
    request
        .amounts
        .iter()
        .map(|(class, wanted)| {
            let most_free = fleet.column(class).map_or(0, |column| {
                let open = (0..fleet.hosts.len()).filter(|i| fleet.hosts[*i].closed.is_none());
                open.map(|i| column.free(i)).max().unwrap_or(0)
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
                .map(|i| Host::new(HostId::random(), format!("host-{i}"), "nova"))
                .collect(),
            resources: vec![ResourceColumn::new("VCPU", vec![8; used.len()], used.to_vec())],
            ..Fleet::default()
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
