//! `cargo xtask bench scheduler`: exact decisions per second, through the shipped schedulers as they are
//! shipped (deadline and limits on) and natively, on fleets at 78 % of their vCPUs with many request classes.
//!
//! Rates are of CPU time of the deciding thread, medians over rounds; what is compared runs in turns.

use canopy_placement::scorer::OWN_SIGNALS;
use canopy_placement::seeded::Rng;
use canopy_placement::spread::Spread;
use canopy_placement::{Columns, Engine, Fleet, Host, NameSet, Names, Request, ResourceColumn, Scorer};
use canopy_plugin_host::PluginHost;
use canopy_sim::clock;
use canopy_sim::report::{self, at_least, at_most, median};
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{DecisionId, HostId};
use serde_json::{Value, json};
use std::path::PathBuf;

const ROUNDS: usize = 9;
const FILL: f64 = 0.78;
const SIZES: [(i64, i64, i64); 11] = [
    (1, 2_048, 10),
    (1, 4_096, 20),
    (2, 4_096, 20),
    (2, 8_192, 40),
    (4, 8_192, 40),
    (4, 16_384, 80),
    (8, 16_384, 80),
    (8, 32_768, 160),
    (16, 32_768, 160),
    (16, 65_536, 320),
    (32, 131_072, 640),
];

fn main() -> Result<(), String> {
    let mut json = false;
    let mut plugins = PathBuf::from("target/plugins");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--plugins" => plugins = arguments.next().ok_or("--plugins wants a folder")?.into(),
            other => return Err(format!("what is {other}? There are --json and --plugins FOLDER")),
        }
    }
    let host = PluginHost::new().map_err(|e| e.to_string())?;
    let load = |name: &str| {
        host.load_scorer(&plugins.join(name), Value::Null)
            .map_err(|e| format!("{e}: run `cargo xtask plugins`"))
    };
    let mut results = Vec::new();
    for (hosts, least, most) in [(10_000, 150_000.0, 3.0), (100_000, 100_000.0, 2.0)] {
        if !json {
            eprintln!("{hosts} hosts: filling");
        }
        let (mut native, mut same, mut default) =
            (Spread, load("scheduler-spread")?, load("scheduler-binpack")?);
        // Each on a fleet of its own, filled by its own choices.
        let mut clouds = [
            Cloud::filled(hosts, &mut native),
            Cloud::filled(hosts, &mut same),
            Cloud::filled(hosts, &mut default),
        ];
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            rates[0].push(clouds[0].round(&mut native));
            rates[1].push(clouds[1].round(&mut same));
            rates[2].push(clouds[2].round(&mut default));
        }
        let ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(native, wasm)| native / wasm).collect();
        let refusal = clouds[2].refusal(&mut default);
        let [native, same, default] = rates.map(median);
        let params = json!({"hosts": hosts, "classes": clouds[0].requests.len(), "fill": FILL});
        let with = |scheduler: &str| {
            let mut params = params.clone();
            params["scheduler"] = scheduler.into();
            params
        };
        results.push(at_least("decisions", with("scheduler-binpack"), default, "1/s", Some(least)));
        results.push(at_least("decisions", with("scheduler-spread"), same, "1/s", None));
        results.push(at_least("decisions", with("built-in spread"), native, "1/s", None));
        results.push(at_most(
            "component to native, spread",
            params.clone(),
            median(ratios),
            "ratio",
            Some(most),
        ));
        results.push(at_most("refusal with counts and advice", params, refusal, "ms", None));
    }
    let counting = PluginHost::counting().map_err(|e| e.to_string())?;
    for name in ["scheduler-binpack", "scheduler-spread", "scheduler-weighted"] {
        let params = json!({"scheduler": name});
        let cost = rows(&mut load(name)?)?;
        results.push(at_most("score of 256 rows", params.clone(), cost, "us", Some(1.5)));
        let mut scorer = counting.load_scorer(&plugins.join(name), Value::Null).map_err(|e| e.to_string())?;
        rows(&mut scorer)?;
        let taken = scorer.instructions().unwrap_or_default() as f64;
        results.push(at_most("instructions for 256 rows", params, taken, "1", None));
    }
    report::print("scheduler", &results, json);
    Ok(())
}

struct Cloud {
    engine: Engine,
    requests: Vec<Request>,
    placed: Vec<(HostId, usize)>,
    rng: Rng,
}

impl Cloud {
    /// 64 vCPUs and 256 GiB a host, three zones; a tenth of the hosts have a trait, another tenth two.
    fn filled(hosts: usize, scorer: &mut dyn Scorer) -> Self {
        let traits = [
            NameSet::default(),
            NameSet::from_iter(["CUSTOM_SSD"]),
            NameSet::from_iter(["CUSTOM_GPU", "CUSTOM_SSD"]),
        ];
        let host = |n: usize| Host {
            traits: traits[match n % 10 {
                3 => 1,
                7 => 2,
                _ => 0,
            }]
            .clone(),
            ..Host::new(
                HostId(uuid::Uuid::from_u64_pair(1, n as u64 + 1)),
                format!("host-{n:06}"),
                format!("zone-{}", n % 3),
            )
        };
        let column =
            |class: &str, capacity| ResourceColumn::new(class, vec![capacity; hosts], vec![0; hosts]);
        let resources = vec![column(DISK_GB, 4_000), column(MEMORY_MB, 262_144), column(VCPU, 64)];
        let fleet =
            Fleet { revision: 1, hosts: (0..hosts).map(host).collect(), resources, ..Fleet::default() };
        let mut cloud = Self {
            engine: Engine::new(fleet),
            requests: requests(),
            placed: Vec::new(),
            rng: Rng::new(hosts as u64),
        };
        let mut used = 0;
        while (used as f64) < FILL * 64.0 * hosts as f64 {
            let class = cloud.class();
            if let Some(host) = cloud.engine.find(&cloud.requests[class], scorer) {
                used += cloud.requests[class].amounts[VCPU];
                cloud.take(host, class, 1);
                cloud.placed.push((host, class));
            }
        }
        cloud
    }

    /// Small sizes and requests without wishes are the common ones.
    fn class(&mut self) -> usize {
        let count = self.requests.len() as u64;
        self.rng.below(count).min(self.rng.below(count)) as usize
    }

    fn take(&mut self, host: HostId, class: usize, times: i64) {
        self.engine.claim(host, &self.requests[class].amounts, times);
    }

    /// One server goes and one comes, again and again: decisions per second, the changes' cost included.
    fn round(&mut self, scorer: &mut dyn Scorer) -> f64 {
        const DECISIONS: usize = 4_000;
        let id = DecisionId::random();
        let began = clock::cpu();
        for _ in 0..DECISIONS {
            let (host, gone) = self.placed.swap_remove(self.rng.below(self.placed.len() as u64) as usize);
            self.take(host, gone, -1);
            let class = self.class();
            let decision = self.engine.decide(id, &self.requests[class], scorer);
            assert_eq!(decision.plugin.fault, None, "the plugin is at fault");
            if let Some(host) = decision.winner {
                self.take(host, class, 1);
                self.placed.push((host, class));
            }
        }
        DECISIONS as f64 / (clock::cpu() - began).as_secs_f64()
    }

    /// Milliseconds of a decision that finds no host.
    fn refusal(&mut self, scorer: &mut dyn Scorer) -> f64 {
        let request = Request { amounts: [(VCPU.to_owned(), 65)].into(), ..Request::default() };
        let times = (0..5).map(|_| {
            let began = clock::cpu();
            let decision = self.engine.decide(DecisionId::random(), &request, scorer);
            assert!(decision.winner.is_none() && !decision.advice.is_empty());
            (clock::cpu() - began).as_secs_f64() * 1e3
        });
        median(times.collect())
    }
}

/// 11 sizes, any or one of three zones, with or without each of three wishes for traits: 176 classes.
fn requests() -> Vec<Request> {
    let ssd = || NameSet::from_iter(["CUSTOM_SSD"]);
    let mut requests = Vec::new();
    for (required, forbidden) in [
        (NameSet::default(), NameSet::default()),
        (NameSet::default(), ssd()),
        (ssd(), NameSet::default()),
        (NameSet::from_iter(["CUSTOM_GPU"]), NameSet::default()),
    ] {
        for zone in [None, Some("zone-0"), Some("zone-1"), Some("zone-2")] {
            for (vcpus, memory, disk) in SIZES {
                let amounts = [(VCPU, vcpus), (MEMORY_MB, memory), (DISK_GB, disk)];
                requests.push(Request {
                    amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
                    zone: zone.map(str::to_owned),
                    required_traits: required.clone(),
                    forbidden_traits: forbidden.clone(),
                    ..Request::default()
                });
            }
        }
    }
    requests
}

/// Microseconds of scoring 256 rows.
fn rows(scorer: &mut dyn Scorer) -> Result<f64, String> {
    let rows = 256;
    let resources = [DISK_GB, MEMORY_MB, VCPU].map(str::to_owned).to_vec();
    let signals = OWN_SIGNALS.map(str::to_owned).to_vec();
    let columns = Columns {
        names: std::sync::Arc::new(Names { resources, signals }),
        want: vec![10.0, 4_096.0, 2.0],
        hosts: (0..rows).collect(),
        capacity: [4_000.0, 262_144.0, 64.0]
            .iter()
            .flat_map(|capacity| vec![*capacity; rows as usize])
            .collect(),
        free: (0..3 * rows).map(|n| 4.0 + (n % 60) as f32).collect(),
        signals: Vec::new(),
    };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = clock::cpu();
        for _ in 0..5_000 {
            scorer.score(&columns)?;
        }
        times.push((clock::cpu() - began).as_secs_f64() * 1e6 / 5_000.0);
    }
    Ok(median(times))
}
