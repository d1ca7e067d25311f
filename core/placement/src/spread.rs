//! The built-in scorer, used when no plugin is configured and when one fails: most free share wins.

use crate::{Columns, PluginUse, Reason, Scorer};

pub struct Spread;

impl Spread {
    /// The smallest free share over the wanted classes, after placing the request.
    pub fn rank(&self, columns: &Columns) -> Vec<f32> {
        let mut least = vec![1.0_f32; columns.rows()];
        for (class, want) in columns.want.iter().enumerate().filter(|(_, want)| **want > 0.0) {
            let rows = columns.capacity_of(class).iter().zip(columns.free_of(class));
            for (least, (capacity, free)) in least.iter_mut().zip(rows) {
                let share = (free - want) / capacity;
                *least = if *capacity > 0.0 && share < *least { share } else { *least };
            }
        }
        least
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
