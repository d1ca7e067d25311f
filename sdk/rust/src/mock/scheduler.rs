//! A fleet for a scorer, and its scores held to the rules.

use crate::scheduler::{Class, Columns, Names, Scorer};

/// Signals that every cloud has.
const SIGNALS: [&str; 3] = ["soft-affinity", "soft-anti-affinity", "home-zone"];

/// A fleet of hosts with `VCPU`, `MEMORY_MB` and `DISK_GB`.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    hosts: Vec<Host>,
}

/// Capacities and what is free of them, in the order `VCPU`, `MEMORY_MB`, `DISK_GB`.
#[derive(Clone, Debug)]
struct Host {
    name: String,
    capacity: [f32; 3],
    free: [f32; 3],
    signals: [f32; 3],
}

impl Fleet {
    /// Without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more host; amounts in virtual CPUs, MiB and GiB.
    #[must_use]
    pub fn host(mut self, name: &str, capacity: [u32; 3], used: [u32; 3]) -> Self {
        let free = [0, 1, 2].map(|at| amount(capacity[at]) - amount(used[at]));
        self.hosts.push(Host { name: name.into(), capacity: capacity.map(amount), free, signals: [0.0; 3] });
        self
    }

    /// A signal of the host added last: `soft-affinity`, `soft-anti-affinity` or `home-zone`.
    #[must_use]
    pub fn signal(mut self, name: &str, value: f32) -> Self {
        if let (Some(at), Some(host)) =
            (SIGNALS.iter().position(|known| *known == name), self.hosts.last_mut())
        {
            host.signals[at] = value;
        }
        self
    }

    /// What `init` hears of this cloud.
    pub fn names(&self) -> Names {
        let resources = ["VCPU", "MEMORY_MB", "DISK_GB"].map(String::from).into();
        Names { resources, signals: SIGNALS.map(String::from).into(), ..Names::default() }
    }

    fn columns(&self, hosts: &[&Host]) -> Columns {
        let column = |of: fn(&Host) -> &[f32; 3]| -> Vec<f32> {
            (0..3).flat_map(|at| hosts.iter().map(move |host| of(host)[at])).collect()
        };
        Columns {
            capacity: column(|host| &host.capacity),
            free: column(|host| &host.free),
            signals: column(|host| &host.signals),
            ..Columns::of(u32::try_from(hosts.len()).unwrap_or(u32::MAX))
        }
    }

    /// Names of the hosts that a server of these amounts fits on, best first, as the core would choose: only
    /// possible hosts are asked about, vetoed ones are left out, equal ones keep their order. The error says which
    /// rule the scorer broke.
    pub fn rank<S: Scorer>(&self, scorer: &S, wants: [u32; 3]) -> Result<Vec<String>, String> {
        let wants = wants.map(amount);
        let fits = |host: &&Host| (0..3).all(|at| wants[at] <= host.free[at]);
        let hosts: Vec<&Host> = self.hosts.iter().filter(fits).collect();
        let class = Class { wants: wants.into(), traits: vec![] };
        let columns = self.columns(&hosts);
        let scores = scorer.score(&class, &columns);
        if scores.len() != hosts.len() {
            return Err(format!("{} scores for {} hosts", scores.len(), hosts.len()));
        }
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(format!("the score of {} is not a number", hosts[at].name));
        }
        let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        if bits(&scorer.score(&class, &columns)) != bits(&scores) {
            return Err("the same question got another answer".into());
        }
        for (host, score) in hosts.iter().zip(&scores) {
            let alone = scorer.score(&class, &self.columns(&[*host]));
            if bits(&alone) != bits(&[*score]) {
                return Err(format!(
                    "the score of {} depends on other hosts: the core could not keep it",
                    host.name
                ));
            }
        }
        let reasons = scorer.explain(&class, &columns);
        if reasons.len() != hosts.len() || reasons.iter().any(|row| row.is_empty() || row.len() > 16) {
            return Err("`explain` gives each host 1 to 16 reasons".into());
        }
        let mut ranked: Vec<(f32, &Host)> = scores.into_iter().zip(hosts).collect();
        ranked.retain(|(score, _)| *score != f32::NEG_INFINITY);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(ranked.into_iter().map(|(_, host)| host.name.clone()).collect())
    }
}

/// As the core rounds it: amounts above 2^24 lose their last bits.
#[allow(clippy::cast_precision_loss, reason = "columns are 32-bit floats")]
fn amount(n: u32) -> f32 {
    n as f32
}

/// A scorer with this configuration, as `init` makes one for `fleet`.
pub fn scorer<S: Scorer>(config: &str, fleet: &Fleet) -> Result<S, String> {
    S::init(crate::parse_config(config)?, fleet.names())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Reason;

    type Score = fn(&Columns) -> Vec<f32>;

    /// Scores as the test wants.
    struct Wanted(Score);

    impl Scorer for Wanted {
        type Config = serde_json::Value;

        fn init(_: Self::Config, _: Names) -> Result<Self, String> {
            Err("made by hand".into())
        }

        fn score(&self, _: &Class, columns: &Columns) -> Vec<f32> {
            self.0(columns)
        }

        fn explain(&self, _: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
            vec![vec![Reason { code: "r".into(), value: 0.0 }]; columns.rows as usize]
        }
    }

    fn fleet() -> Fleet {
        Fleet::new()
            .host("small", [4, 4096, 10], [0, 0, 0])
            .host("full", [4, 4096, 10], [4, 0, 0])
            .host("large", [64, 65_536, 100], [8, 0, 0])
            .signal("home-zone", 1.0)
    }

    #[test]
    fn only_possible_hosts_are_ranked_and_vetoes_are_kept() {
        let free = Wanted(|columns| columns.free_of(0).to_vec());
        assert_eq!(fleet().rank(&free, [2, 1, 1]).unwrap(), ["large", "small"]);
        let home = Wanted(|columns| {
            columns.signal(2).iter().map(|home| if *home > 0.0 { 1.0 } else { f32::NEG_INFINITY }).collect()
        });
        assert_eq!(fleet().rank(&home, [2, 1, 1]).unwrap(), ["large"]);
    }

    #[test]
    fn broken_rules_are_named() {
        let broken: [(Score, &str); 3] = [
            (|_| vec![], "0 scores for 2 hosts"),
            (|columns| vec![f32::NAN; columns.rows as usize], "not a number"),
            (|columns| vec![columns.rows as f32; columns.rows as usize], "depends on other hosts"),
        ];
        for (score, why) in broken {
            let error = fleet().rank(&Wanted(score), [2, 1, 1]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
