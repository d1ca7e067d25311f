//! Real arrivals: what the formats read, what the simulator makes of known algorithms, and that the default
//! scheduler packs at least as well as the best of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_placement::{Columns, PluginUse, Reason, Scorer};
use canopy_plugin_host::PluginHost;
use canopy_sim::fleet::{Size, equal};
use canopy_sim::{Report, Trace, formats, run};
use std::path::{Path, PathBuf};

/// First, best and worst fit by the free share of vCPUs and memory before placing.
struct Fit(f32);

impl Scorer for Fit {
    fn identity(&self) -> PluginUse {
        PluginUse { name: format!("fit {}", self.0).into(), ..PluginUse::default() }
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        let mut scores = vec![0.0_f32; columns.rows()];
        for class in ["MEMORY_MB", "VCPU"] {
            let Some(class) = columns.names.resources.iter().position(|name| name == class) else { continue };
            let numbers = columns.capacity_of(class).iter().zip(columns.free_of(class));
            for (score, (capacity, free)) in scores.iter_mut().zip(numbers) {
                *score += self.0 * free / capacity;
            }
        }
        Ok(scores)
    }

    fn explain(&mut self, _: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Err("has no reasons".into())
    }
}

fn azure() -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/azure-v1/test.csv.gz");
    formats::read(&path).unwrap()
}

fn on(hosts: usize, trace: &Trace, scorer: &mut dyn Scorer) -> (u64, i64) {
    let fleet = equal(hosts, Size { vcpus: 64, memory_mb: 192 * 1024, disk_gb: 0 });
    let report = run(fleet, trace, scorer, |_| ());
    (report.refused, report.refused_amounts.get("VCPU").copied().unwrap_or(0))
}

#[test]
fn the_default_scheduler_packs_as_well_as_the_best_of_first_best_and_worst_fit() {
    let plugins = std::env::var_os("CANOPY_TEST_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"), PathBuf::from);
    let plugin = plugins.join("scheduler-binpack");
    assert!(plugin.join("plugin.toml").is_file(), "run `cargo xtask plugins`");
    let trace = azure();
    assert_eq!(trace.arrivals.len(), 410_276);
    // Limited by instructions: on a busy machine a deadline in time would hand decisions to the built-in.
    let host = PluginHost::counting().unwrap();
    let mut default = host.load_scorer(&plugin, serde_json::Value::Null).unwrap();
    // The least that any of the three refuses: servers, vCPUs.
    for (hosts, servers, vcpus) in [(980, 1_509, 10_247), (1_010, 962, 2_548), (1_030, 122, 244)] {
        let refused = on(hosts, &trace, &mut default);
        println!("{hosts} hosts: refused {refused:?}");
        assert!(refused.0 <= servers && refused.1 <= vcpus, "{hosts} hosts: refused {refused:?}");
    }
}

#[test]
fn first_fit_refuses_what_a_simulation_by_hand_refuses() {
    assert_eq!(on(1_030, &azure(), &mut Fit(0.0)), (1_748, 5_525));
}

#[test]
fn a_run_is_the_same_each_time_and_counts_everyone() {
    let trace = Trace::generated(7, 3_000);
    let again = || -> Report {
        let fleet = equal(2, Size { vcpus: 64, memory_mb: 192 * 1024, disk_gb: 4_000 });
        let mut report = run(fleet, &trace, &mut Fit(-1.0), |_| ());
        report.cpu_us_per_arrival = 0.0;
        report
    };
    let report = again();
    assert_eq!(report, again());
    assert_eq!(report.placed + report.refused, 3_000);
    assert!(report.refused > 0 && report.placed > 0, "{} refused", report.refused);
    assert!(
        report.samples.iter().all(|sample| sample.used.values().all(|share| (0.0..=1.0).contains(share)))
    );
    let picture = canopy_sim::picture::svg(&report);
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n") && picture.contains("polyline"));
}
