//! Which of the possible hosts is better: here, the one with the most virtual CPUs left.

use canopy_sdk::scheduler::{Class, Columns, Names, Reason, Scorer};

pub struct Plugin {
    /// Where `VCPU` stands among the resource classes.
    vcpu: usize,
    /// Multiplies every score.
    weight: f32,
}

/// What an operator may set; `plugin.toml` has the schema and the defaults.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    weight: f32,
}

impl Scorer for Plugin {
    type Config = Config;

    fn init(config: Config, names: Names) -> Result<Self, String> {
        let vcpu =
            names.resources.iter().position(|name| name == "VCPU").ok_or("this cloud counts no VCPU")?;
        Ok(Self { vcpu, weight: config.weight })
    }

    /// One score a host, by that host alone. Minus infinity is a veto.
    fn score(&self, _: &Class, columns: &Columns) -> Vec<f32> {
        columns.free_of(self.vcpu).iter().map(|free| free * self.weight).collect()
    }

    fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
        let reason = |score: f32| vec![Reason { code: "free-vcpus".into(), value: score.into() }];
        self.score(class, columns).into_iter().map(reason).collect()
    }
}

canopy_sdk::export_scorer!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock::{self, Fleet};

    #[test]
    fn the_host_with_the_most_vcpus_left_comes_first() {
        let fleet = Fleet::new().host("busy", [32, 65_536, 500], [30, 0, 0]).host(
            "idle",
            [16, 65_536, 500],
            [0, 0, 0],
        );
        let scorer: Plugin = mock::scorer(r#"{"weight": 1.0}"#, &fleet).unwrap();
        assert_eq!(fleet.rank(&scorer, [2, 1024, 10]).unwrap(), ["idle", "busy"]);
    }
}
