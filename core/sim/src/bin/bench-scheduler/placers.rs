//! The batched placer: the example's component against the same algorithm natively. Both see the same calls; what is
//! compared is the time inside them, the deciding thread's. The rates are of whole decisions, checks included.

use super::ROUNDS;
use canopy_placement::placer::{Asking, HostRows, PlacerClass};
use canopy_placement::{Columns, Names, Placer, PluginUse, Reason, Scorer};
use canopy_plugin_host::PluginHost;
use canopy_sim::bestfit::NativeBestFit;
use canopy_sim::clock;
use canopy_sim::cloud::{Cloud, FILL};
use canopy_sim::report::{at_least, at_most, median};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `hosts` are the one with deadlines and the one without.
pub fn measure(
    hosts: [&PluginHost; 2],
    folder: &Path,
    quiet: bool,
    results: &mut Vec<Value>,
) -> Result<(), String> {
    let load = |host: &PluginHost| {
        host.load_scorer(folder, Value::Null).map_err(|e| format!("{e}: run `cargo xtask plugins`"))
    };
    for size in [10_000, 100_000] {
        if !quiet {
            eprintln!("{size} hosts: filling, by placers");
        }
        let mut placers: [Timed; 3] =
            [Timed::new(NativeBestFit::default()), Timed::new(load(hosts[0])?), Timed::new(load(hosts[1])?)];
        let mut clouds = placers.each_mut().map(|placer| Cloud::filled(size, placer));
        let (mut rates, mut ratios) = ([const { Vec::new() }; 3], [const { Vec::new() }; 2]);
        for _ in 0..ROUNDS {
            let mut spent = [Duration::ZERO; 3];
            for (at, (cloud, placer)) in clouds.iter_mut().zip(&mut placers).enumerate() {
                placer.spent = Duration::ZERO;
                rates[at].push(cloud.batches(placer));
                spent[at] = placer.spent;
            }
            for (ratios, spent_there) in ratios.iter_mut().zip(&spent[1..]) {
                ratios.push(spent_there.as_secs_f64() / spent[0].as_secs_f64());
            }
        }
        if let Some(fault) = placers.iter().find_map(|placer| placer.fault.as_ref()) {
            return Err(format!("a placer did not answer, so that there is nothing to compare: {fault}"));
        }
        if clouds[1..].iter().any(|cloud| cloud.placed() != clouds[0].placed()) {
            return Err("the component and its native twin decided differently".to_owned());
        }
        let params = json!({"hosts": size, "classes": clouds[0].requests.len(), "fill": FILL, "batch": 64});
        let [native, bounded, _] = rates.map(median);
        let with = |scheduler: &str| {
            let mut params = params.clone();
            params["scheduler"] = scheduler.into();
            params
        };
        results.push(at_least("decisions", with("placer-bestfit"), bounded, "1/s", None));
        results.push(at_least("decisions", with("placer-bestfit, native"), native, "1/s", None));
        let [bounded, free] = ratios.map(median);
        let name = "placer to native, with the deadline";
        results.push(at_most(name, params.clone(), bounded, "ratio", Some(1.6)));
        let name = "placer to native, without";
        results.push(at_most(name, params, free, "ratio", Some(1.35)));
    }
    Ok(())
}

/// A placer, the thread's time in its calls, and the first that it did not answer: its deadline is the wall's, and a
/// machine that is busy otherwise may run it out.
struct Timed {
    placer: Box<dyn Scorer>,
    state: u64,
    spent: Duration,
    fault: Option<String>,
}

impl Timed {
    fn new(placer: impl Scorer + 'static) -> Self {
        Self { placer: Box::new(placer), state: 0, spent: Duration::ZERO, fault: None }
    }

    fn timed<T>(&mut self, call: impl FnOnce(&mut dyn Placer) -> Result<T, String>) -> Result<T, String> {
        let placer = self.placer.placer().ok_or("it is no placer")?;
        let began = clock::cpu();
        let answer = call(&mut *placer);
        self.spent += clock::cpu() - began;
        self.state = placer.state();
        if let (None, Err(fault)) = (&self.fault, &answer) {
            self.fault = Some(fault.clone());
        }
        answer
    }
}

impl Scorer for Timed {
    fn identity(&self) -> PluginUse {
        self.placer.identity()
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        self.placer.score(columns)
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        self.placer.explain(columns)
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        Some(self)
    }
}

impl Placer for Timed {
    fn state(&self) -> u64 {
        self.state
    }

    fn begin(&mut self, names: &Arc<Names>, hosts: u32) -> Result<u64, String> {
        self.timed(|placer| placer.begin(names, hosts))
    }

    fn hosts(&mut self, rows: &HostRows) -> Result<(), String> {
        self.timed(|placer| placer.hosts(rows))
    }

    fn classes(&mut self, first: u32, classes: &[PlacerClass]) -> Result<(), String> {
        self.timed(|placer| placer.classes(first, classes))
    }

    fn place(&mut self, epoch: u64, changed: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String> {
        self.timed(|placer| placer.place(epoch, changed, requests))
    }
}
