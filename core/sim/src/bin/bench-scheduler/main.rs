//! `cargo xtask bench scheduler`: exact decisions per second, through the shipped schedulers as they are
//! shipped (deadline and limits on) and natively, on fleets at 78 % of their vCPUs with many request classes.
//!
//! Rates are of CPU time of the deciding thread, medians over rounds; what is compared runs in turns.

use canopy_placement::scorer::OWN_SIGNALS;
use canopy_placement::spread::Spread;
use canopy_placement::{Columns, Names, Scorer};
use canopy_plugin_host::PluginHost;
use canopy_sim::clock;
use canopy_sim::cloud::{Cloud, FILL};
use canopy_sim::report::{self, at_least, at_most, median};
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use serde_json::{Value, json};
use std::path::PathBuf;

mod placers;

const ROUNDS: usize = 9;
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
    let free = PluginHost::without_deadlines().map_err(|e| e.to_string())?;
    placers::measure([&host, &free], &plugins.join("placer-bestfit"), json, &mut results)?;
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
