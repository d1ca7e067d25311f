//! A weighted sum, for operators who come from nova's weighers.
//!
//! | nova's weigher | here |
//! |---|---|
//! | ram, cpu, disk | `free`, per resource class: the share that is free after placing |
//! | metrics | `signals`, by name, of those that the controller knows; `required_signals` |
//! | soft-affinity, soft-anti-affinity | `soft_affinity`, `soft_anti_affinity`, per server of the group |
//! | build-failure | `build_failures`, per failure |
//! | cross-cell | `cross_zone` |
//!
//! Nova stretches each weigher's values over the hosts of one request to 0..1. Here a score depends on its
//! host alone, so that it can be kept and replayed: free resources count by their share of the host, and
//! everything else by its own value.

use canopy_sdk::scheduler::{BLOCK, Blocks, Class, Columns, FreeShares, Names, Reason, Scorer, by_blocks};
use std::collections::BTreeMap;

pub struct Weighted {
    free: Vec<(usize, String, f32)>,
    /// Place of a signal, the code of its reason, its weight per unit.
    signals: Vec<(usize, String, f32)>,
    required: Vec<usize>,
    /// The cloud has no such signal: no host can have some of it.
    impossible: bool,
    /// Place of `home-zone`, and the weight against not being there.
    home: Option<(usize, f32)>,
}

/// What an operator may set; the manifest has the defaults.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub free: BTreeMap<String, f64>,
    pub signals: BTreeMap<String, f64>,
    pub required_signals: Vec<String>,
    pub soft_affinity: f64,
    pub soft_anti_affinity: f64,
    pub build_failures: f64,
    pub cross_zone: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            free: ["VCPU", "MEMORY_MB", "DISK_GB"].map(|class| (class.to_owned(), 1.0)).into(),
            signals: BTreeMap::new(),
            required_signals: Vec::new(),
            soft_affinity: 1.0,
            soft_anti_affinity: 1.0,
            build_failures: 1000.0,
            cross_zone: 1000.0,
        }
    }
}

const OWN: [&str; 3] = ["soft-affinity", "soft-anti-affinity", "home-zone"];
const BUILD_FAILURES: &str = "build-failures";

impl Scorer for Weighted {
    type Config = Config;

    fn init(config: Config, names: Names) -> Result<Self, String> {
        let known = |list: &[String], name: &str| list.iter().position(|known| known == name);
        for name in config.signals.keys().chain(&config.required_signals) {
            if OWN.contains(&name.as_str()) || name == BUILD_FAILURES {
                return Err(format!("`{name}` has a setting of its own and cannot stand among the signals"));
            }
        }
        let weighed = |list: &[String], weights: Vec<(String, f64)>| {
            let place = |(name, weight): (String, f64)| Some((known(list, &name)?, name, weight as f32));
            let mut found: Vec<(usize, String, f32)> = weights.into_iter().filter_map(place).collect();
            found.retain(|(_, _, weight)| *weight != 0.0);
            found.sort_by_key(|(place, _, _)| *place);
            found
        };
        let mut signals: Vec<(String, f64)> = config.signals.into_iter().collect();
        signals.push((OWN[0].to_owned(), config.soft_affinity));
        signals.push((OWN[1].to_owned(), -config.soft_anti_affinity));
        signals.push((BUILD_FAILURES.to_owned(), -config.build_failures));
        let required: Vec<_> =
            config.required_signals.iter().map(|name| known(&names.signals, name)).collect();
        Ok(Self {
            free: weighed(&names.resources, config.free.into_iter().collect()),
            signals: weighed(&names.signals, signals),
            impossible: required.iter().any(Option::is_none),
            required: required.into_iter().flatten().collect(),
            home: known(&names.signals, OWN[2]).map(|place| (place, config.cross_zone as f32)),
        })
    }

    fn score(&self, class: &Class, columns: &Columns) -> Vec<f32> {
        if self.impossible {
            return vec![f32::NEG_INFINITY; columns.rows as usize];
        }
        let want = |place: usize| class.wants.get(place).copied().unwrap_or(0.0);
        let of = |place: usize| FreeShares::of(columns, place, want(place));
        let free: Vec<_> = self.free.iter().map(|(place, _, weight)| (of(*place), *weight)).collect();
        // Without any host in it there is no zone to leave, or no host of it is left.
        let home = self.home.iter().map(|(place, weight)| (*place, *weight));
        let signals = self.signals.iter().map(|(place, _, weight)| (*place, *weight)).chain(home);
        let signals = signals.map(|(place, weight)| (columns.signal(place), weight));
        // Without values all are 0.
        let signals = signals.filter(|(values, _)| !values.is_empty());
        let signals: Vec<_> = signals.map(|(values, weight)| (Blocks::of(values), weight)).collect();
        let required: Vec<_> = self.required.iter().map(|place| Blocks::of(columns.signal(*place))).collect();
        by_blocks(columns.rows, |from| {
            let mut scores = [0.0_f32; BLOCK];
            for (shares, weight) in &free {
                // By value: a load that only some rows need would keep the loop below from becoming SIMD.
                let weight = *weight;
                for (score, share) in scores.iter_mut().zip(shares.at(from)) {
                    *score += if share.is_nan() { 0.0 } else { weight * share };
                }
            }
            for (values, weight) in &signals {
                for (score, value) in scores.iter_mut().zip(values.at(from)) {
                    *score += *weight * value;
                }
            }
            for values in &required {
                for (score, value) in scores.iter_mut().zip(values.at(from)) {
                    *score = if *value == 0.0 { f32::NEG_INFINITY } else { *score };
                }
            }
            scores
        })
    }

    fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
        let reason = |code: String, value: f32| Reason { code, value: value.into() };
        let at = |values: &[f32], row: usize| values.get(row).copied().unwrap_or(0.0);
        (0..columns.rows as usize)
            .map(|row| {
                let mut reasons = Vec::new();
                for (place, name, weight) in &self.free {
                    let capacity = at(columns.capacity_of(*place), row);
                    let want = class.wants.get(*place).copied().unwrap_or(0.0);
                    if capacity > 0.0 {
                        let share = (at(columns.free_of(*place), row) - want) / capacity;
                        let code = format!("free-share-{}", name.to_lowercase().replace('_', "-"));
                        reasons.push(reason(code, weight * share));
                    }
                }
                let signals =
                    self.signals.iter().map(|(place, name, weight)| (*place, name.as_str(), *weight));
                let home = self.home.iter().map(|(place, weight)| (*place, OWN[2], *weight));
                for (place, name, weight) in signals.chain(home) {
                    let value = weight * at(columns.signal(place), row);
                    if value != 0.0 {
                        reasons.push(reason(name.to_owned(), value));
                    }
                }
                let lacking =
                    self.required.iter().filter(|place| at(columns.signal(**place), row) == 0.0).count();
                if self.impossible || lacking > 0 {
                    reasons.insert(0, reason("required-signal-missing".into(), lacking.max(1) as f32));
                }
                reasons.truncate(16);
                reasons
            })
            .collect()
    }
}

canopy_sdk::export_scorer!(Weighted);
canopy_sdk::keep_memory!();

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            resources: ["DISK_GB", "MEMORY_MB", "VCPU"].map(String::from).into(),
            signals: [OWN[0], OWN[1], OWN[2], "build-failures", "cpu.percent"].map(String::from).into(),
            ..Names::default()
        }
    }

    fn scores(config: Config, signals: [[f32; 2]; 5]) -> Vec<f32> {
        let columns = Columns {
            capacity: vec![100.0, 100.0, 64.0, 64.0, 8.0, 8.0],
            free: vec![100.0, 100.0, 64.0, 32.0, 8.0, 8.0],
            signals: signals.concat(),
            ..Columns::of(2)
        };
        let scorer = Weighted::init(config, names()).unwrap();
        let class = Class { wants: vec![0.0, 0.0, 4.0], traits: vec![] };
        let scores = scorer.score(&class, &columns);
        for (reasons, score) in scorer.explain(&class, &columns).iter().zip(&scores) {
            let sum: f64 = reasons.iter().map(|reason| reason.value).sum();
            assert!(*score == f32::NEG_INFINITY || (sum as f32 - score).abs() < 1e-3, "{reasons:?} {score}");
        }
        scores
    }

    const NONE: [[f32; 2]; 5] = [[0.0; 2]; 5];

    fn with(place: usize, values: [f32; 2]) -> [[f32; 2]; 5] {
        let mut signals = NONE;
        signals[place] = values;
        signals
    }

    #[test]
    fn free_shares_spread_and_below_zero_pack() {
        assert_eq!(scores(Config::default(), NONE), [2.5, 2.0]);
        let free = [("MEMORY_MB".to_owned(), -2.0)].into();
        assert_eq!(scores(Config { free, ..Config::default() }, NONE), [-2.0, -1.0]);
    }

    #[test]
    fn groups_failures_and_zones_count_as_their_names_say() {
        assert_eq!(scores(Config::default(), with(0, [0.0, 3.0])), [2.5, 5.0]);
        assert_eq!(scores(Config::default(), with(1, [3.0, 0.0])), [-0.5, 2.0]);
        assert_eq!(scores(Config::default(), with(2, [0.0, 1.0])), [2.5, 1002.0]);
        assert_eq!(scores(Config::default(), with(3, [1.0, 0.0])), [-997.5, 2.0]);
        assert_eq!(
            scores(Config { build_failures: 0.0, ..Config::default() }, with(3, [1.0, 0.0])),
            [2.5, 2.0]
        );
    }

    #[test]
    fn signals_are_weighed_by_name_and_may_be_required() {
        let signals: BTreeMap<String, f64> = [("cpu.percent".to_owned(), -0.1)].into();
        let config = Config { signals: signals.clone(), ..Config::default() };
        assert_eq!(scores(config, with(4, [50.0, 0.0])), [-2.5, 2.0]);
        let required = vec!["cpu.percent".to_owned()];
        let config = Config { signals, required_signals: required.clone(), ..Config::default() };
        assert_eq!(scores(config, with(4, [50.0, 0.0])), [-2.5, f32::NEG_INFINITY]);
        let config = Config { required_signals: vec!["nowhere".into()], ..Config::default() };
        assert_eq!(scores(config, NONE), [f32::NEG_INFINITY; 2]);
    }

    #[test]
    fn a_signal_with_a_setting_of_its_own_is_refused_among_the_others() {
        let config = Config { signals: [("home-zone".to_owned(), 1.0)].into(), ..Config::default() };
        assert!(Weighted::init(config, names()).err().unwrap().contains("home-zone"));
    }
}
