//! Packs servers: fills the fullest host first, but not so that one resource runs out while another is left
//! over. What is left over where the scarce resource is gone is lost, and counts more than emptiness does.
//!
//! A host's score is `Σ free[c] · share(c) + imbalance · (max share − min share)`, where `share(c)` is the
//! part of class `c` that is still free after placing, over the classes in `free` that the host has.

use canopy_sdk::scheduler::{BLOCK, Block, Class, Columns, FreeShares, Names, Reason, Scorer, by_blocks};
use std::collections::BTreeMap;

pub struct Binpack {
    /// Position of a resource class, and what its free share counts for.
    free: Vec<(usize, String, f32)>,
    imbalance: f32,
}

/// What an operator may set.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Per resource class, what its free share counts for; classes that a cloud does not count are ignored.
    pub free: BTreeMap<String, f64>,
    pub imbalance: f64,
}

impl Default for Config {
    fn default() -> Self {
        let free = [("VCPU", -1.0), ("MEMORY_MB", 0.63)];
        Self { free: free.map(|(class, weight)| (class.to_owned(), weight)).into(), imbalance: -3.0 }
    }
}

impl Scorer for Binpack {
    type Config = Config;

    fn init(config: Config, names: Names) -> Result<Self, String> {
        if let Some((class, _)) = config.free.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(format!("`free.{class}` must be a finite number"));
        }
        let place = |name: &String| names.resources.iter().position(|known| known == name);
        // In the order of the columns, so that sums come out the same however they are configured.
        let mut free: Vec<(usize, String, f32)> = config
            .free
            .into_iter()
            .filter_map(|(name, weight)| Some((place(&name)?, name, weight as f32)))
            .collect();
        free.sort_by_key(|(place, _, _)| *place);
        Ok(Self { free, imbalance: config.imbalance as f32 })
    }

    fn score(&self, class: &Class, columns: &Columns) -> Vec<f32> {
        let shares = self.shares(class, columns);
        by_blocks(columns.rows, |from| {
            let Sums { mut score, least, most } = sums(&shares, from);
            for (score, (least, most)) in score.iter_mut().zip(least.iter().zip(&most)) {
                *score += self.imbalance * spread_of(*least, *most);
            }
            score
        })
    }

    fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
        let reason = |code: String, value: f32| Reason { code, value: value.into() };
        let all_shares = self.shares(class, columns);
        (0..columns.rows as usize)
            .map(|row| {
                let Sums { least, most, .. } = sums(&all_shares, row - row % BLOCK);
                let shares = self.free.iter().filter_map(|(place, name, weight)| {
                    let capacity = columns.capacity_of(*place).get(row).copied()?;
                    let free = columns.free_of(*place).get(row).copied()? - class.wants.get(*place)?;
                    let code = format!("free-share-{}", name.to_lowercase().replace('_', "-"));
                    (capacity > 0.0).then(|| reason(code, weight * (free / capacity)))
                });
                let spread = self.imbalance * spread_of(least[row % BLOCK], most[row % BLOCK]);
                // Room for the last one within the 16 that are kept.
                shares.take(15).chain([reason("imbalance".into(), spread)]).collect()
            })
            .collect()
    }
}

/// Of each row of a block: the weighted sum of free shares, the least and the largest share.
struct Sums {
    score: Block,
    least: Block,
    most: Block,
}

/// No class: nothing is out of balance.
fn spread_of(least: f32, most: f32) -> f32 {
    if most >= least { most - least } else { 0.0 }
}

impl Binpack {
    /// Of each class that counts, its free shares and what they count for.
    fn shares<'a>(&self, class: &Class, columns: &'a Columns) -> Vec<(FreeShares<'a>, f32)> {
        let want = |place: usize| class.wants.get(place).copied().unwrap_or(0.0);
        let of = |(place, _, weight): &(usize, String, f32)| {
            (FreeShares::of(columns, *place, want(*place)), *weight)
        };
        self.free.iter().map(of).collect()
    }
}

/// Of the block of rows from `from` on.
#[inline]
fn sums(all: &[(FreeShares<'_>, f32)], from: usize) -> Sums {
    let mut sums =
        Sums { score: [0.0; BLOCK], least: [f32::INFINITY; BLOCK], most: [f32::NEG_INFINITY; BLOCK] };
    for (shares, weight) in all {
        // By value: a load that only some rows need would keep the loop below from becoming SIMD.
        let (shares, weight) = (shares.at(from), *weight);
        for (row, share) in shares.into_iter().enumerate() {
            sums.score[row] += if share.is_nan() { 0.0 } else { weight * share };
            sums.least[row] = if share < sums.least[row] { share } else { sums.least[row] };
            sums.most[row] = if share > sums.most[row] { share } else { sums.most[row] };
        }
    }
    sums
}

canopy_sdk::export_scorer!(Binpack);
canopy_sdk::keep_memory!();

#[cfg(test)]
mod tests {
    use super::*;

    fn scorer(config: Config) -> Binpack {
        let resources = ["DISK_GB", "MEMORY_MB", "VCPU"].map(String::from).into();
        Binpack::init(config, Names { resources, ..Names::default() }).unwrap()
    }

    fn hosts() -> Columns {
        Columns {
            // Half full and balanced; half full with all its memory; empty; without memory.
            capacity: vec![100.0, 100.0, 100.0, 100.0, 64.0, 64.0, 64.0, 0.0, 8.0, 8.0, 8.0, 8.0],
            free: vec![100.0, 100.0, 100.0, 100.0, 32.0, 64.0, 64.0, 0.0, 4.0, 4.0, 8.0, 8.0],
            ..Columns::of(4)
        }
    }

    fn class() -> Class {
        Class { wants: vec![10.0, 8.0, 1.0], traits: vec![] }
    }

    #[test]
    fn the_full_and_balanced_host_beats_the_full_and_the_empty() {
        let scores = scorer(Config::default()).score(&class(), &hosts());
        assert!((scores[0] + 0.13875).abs() < 1e-6, "{scores:?}");
        assert!(scores[0] > scores[2] && scores[2] > scores[1], "{scores:?}");
        assert_eq!(scores[3], -0.875);
    }

    #[test]
    fn weights_are_the_operators() {
        let free = [("VCPU".to_owned(), -1.0), ("CUSTOM_NONE".to_owned(), 5.0)].into();
        let scores = scorer(Config { free, imbalance: -100.0 }).score(&class(), &hosts());
        assert_eq!(scores, [-0.375, -0.375, -0.875, -0.875]);
        let nothing = scorer(Config { free: BTreeMap::new(), imbalance: -1.0 }).score(&class(), &hosts());
        assert_eq!(nothing, [0.0; 4]);
    }

    #[test]
    fn reasons_add_up_to_the_score_whatever_the_numbers_are() {
        let mut columns = hosts();
        columns.free[8] = -1e15;
        let scorer = scorer(Config::default());
        for (reasons, score) in
            scorer.explain(&class(), &columns).iter().zip(scorer.score(&class(), &columns))
        {
            let sum: f64 = reasons.iter().map(|reason| reason.value).sum();
            assert!(
                score.is_finite() && (sum as f32 - score).abs() <= score.abs() * 1e-5 + 1e-6,
                "{reasons:?}"
            );
        }
    }
}
