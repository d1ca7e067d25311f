//! The built-in scorer, used when no plugin is configured and when one fails: most free share wins.

use crate::{Columns, PluginUse, Reason, Scorer};

pub struct Spread;

impl Spread {
    /// The smallest free share over the wanted classes, after placing the request.
    pub fn rank(&self, columns: &Columns) -> Vec<f32> {
        (0..columns.hosts.len())
            .map(|row| {
                let mut least = 1.0_f64;
                for class in 0..columns.classes.len() {
                    let capacity = columns.capacity[class][row];
                    if columns.want[class] > 0.0 && capacity > 0.0 {
                        least =
                            least.min((capacity - columns.used[class][row] - columns.want[class]) / capacity);
                    }
                }
                least as f32
            })
            .collect()
    }
}

impl Scorer for Spread {
    fn identity(&self) -> PluginUse {
        PluginUse {
            name: "built-in".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..PluginUse::default()
        }
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        Ok(self.rank(columns))
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        let reason = |score: f32| vec![Reason { code: "least-free-share".into(), value: f64::from(score) }];
        Ok(self.rank(columns).into_iter().map(reason).collect())
    }
}
