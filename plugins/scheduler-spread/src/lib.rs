//! Spreads servers: the host with the largest share still free after placing wins, where a host counts by
//! the scarcest resource that the request asks for.

use canopy_sdk::scheduler::{BLOCK, Class, Columns, FreeShares, Names, Reason, Scorer, by_blocks};

/// The scorer; equal, row by row, to the core's built-in when every class counts.
pub struct Spread {
    /// Per resource class: does it count?
    counts: Vec<bool>,
}

/// What an operator may set.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Resource classes that count; empty means all.
    pub classes: Vec<String>,
}

impl Scorer for Spread {
    type Config = Config;

    fn init(config: Config, names: Names) -> Result<Self, String> {
        let all = config.classes.is_empty();
        Ok(Self { counts: names.resources.iter().map(|name| all || config.classes.contains(name)).collect() })
    }

    fn score(&self, class: &Class, columns: &Columns) -> Vec<f32> {
        let counts = |index: usize, want: f32| want > 0.0 && self.counts.get(index) == Some(&true);
        let wanted = class.wants.iter().copied().enumerate().filter(|(index, want)| counts(*index, *want));
        let shares: Vec<_> = wanted.map(|(index, want)| FreeShares::of(columns, index, want)).collect();
        by_blocks(columns.rows, |from| {
            let mut least = [1.0_f32; BLOCK];
            for shares in &shares {
                for (least, share) in least.iter_mut().zip(shares.at(from)) {
                    *least = if share < *least { share } else { *least };
                }
            }
            least
        })
    }

    fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
        let reason = |share: f32| vec![Reason { code: "least-free-share".into(), value: share.into() }];
        self.score(class, columns).into_iter().map(reason).collect()
    }
}

canopy_sdk::export_scorer!(Spread);
canopy_sdk::keep_memory!();

#[cfg(test)]
mod tests {
    use super::*;

    fn scorer(classes: &[&str]) -> Spread {
        let resources = ["VCPU", "MEMORY_MB"].map(String::from).into();
        let config = Config { classes: classes.iter().map(|c| String::from(*c)).collect() };
        Spread::init(config, Names { resources, ..Names::default() }).unwrap()
    }

    fn hosts() -> Columns {
        Columns {
            capacity: vec![8.0, 8.0, 0.0, 64.0, 64.0, 64.0],
            free: vec![4.0, 8.0, 0.0, 64.0, 4.0, 64.0],
            ..Columns::of(3)
        }
    }

    fn class(vcpu: f32, memory: f32) -> Class {
        Class { wants: vec![vcpu, memory], traits: vec![] }
    }

    #[test]
    fn the_scarcest_wanted_resource_decides() {
        assert_eq!(scorer(&[]).score(&class(1.0, 2.0), &hosts()), [0.375, 0.03125, 0.96875]);
    }

    #[test]
    fn what_is_not_wanted_or_not_configured_does_not_count() {
        assert_eq!(scorer(&[]).score(&class(1.0, 0.0), &hosts()), [0.375, 0.875, 1.0]);
        assert_eq!(scorer(&["VCPU"]).score(&class(1.0, 2.0), &hosts()), [0.375, 0.875, 1.0]);
    }

    #[test]
    fn overcommitted_hosts_score_below_zero_and_no_answer_is_nan() {
        let columns = Columns { capacity: vec![8.0, 0.0], free: vec![-8.0, -5.0], ..Columns::of(2) };
        let scores = scorer(&[]).score(&class(1.0, 0.0), &columns);
        assert_eq!(scores, [-1.125, 1.0]);
    }

    #[test]
    fn every_row_gets_its_reason() {
        let reasons = scorer(&[]).explain(&class(1.0, 2.0), &hosts());
        assert_eq!(reasons.len(), 3);
        assert_eq!(reasons[0], [Reason { code: "least-free-share".into(), value: 0.375 }]);
    }

    #[test]
    fn a_misspelt_setting_is_refused_by_name() {
        let error = canopy_sdk::parse_config::<Config>(r#"{"clases": []}"#).unwrap_err();
        assert!(error.contains("clases"), "{error}");
    }
}
