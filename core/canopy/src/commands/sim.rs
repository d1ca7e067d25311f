//! `canopy sim`: a workload against a fleet and a scheduler, without a cloud.

use canopy_placement::{Fleet, Scorer, spread::Spread};
use canopy_plugin_host::PluginHost;
use canopy_sim::fleet::{self, Size, WhatIf};
use canopy_sim::{Report, Trace, formats, picture, run};
use canopy_types::{Error, Result};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Hosts of one simulation.
const MOST_HOSTS: usize = 100_000;
/// Servers of a made-up workload.
const MOST_SERVERS: usize = 10_000_000;

#[derive(clap::Args)]
pub struct Sim {
    /// A trace (the formats are in core/sim/src/formats.rs), or `generated`
    #[arg(long)]
    trace: PathBuf,
    /// Number of hosts, 1 to 100,000; without it those of the trace
    #[arg(long)]
    hosts: Option<usize>,
    /// A scheduler plugin's folder, or `built-in`
    #[arg(long, default_value = "built-in")]
    scheduler: String,
    /// The plugin's configuration, as JSON
    #[arg(long)]
    scheduler_config: Option<String>,
    /// vCPUs of a host, when the trace has no hosts of its own
    #[arg(long, default_value_t = 64)]
    vcpus: i64,
    /// Memory of a host, GiB
    #[arg(long, default_value_t = 192)]
    memory: i64,
    /// Disk of a host, GB
    #[arg(long, default_value_t = 4000)]
    disk: i64,
    /// Also run with `add=N` or `lose=N` hosts, or `overcommit=CLASS:RATIO`, and compare; may be repeated
    #[arg(long)]
    what_if: Vec<WhatIf>,
    /// Servers of a `generated` workload, 1 to 10,000,000
    #[arg(long, default_value_t = 100_000)]
    servers: usize,
    /// Seed of a `generated` workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw utilisation over time
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn sim(args: &Sim) -> Result<()> {
    let bad = |why: String| Error::bad_request("sim.arguments", why);
    let bounded = |what: &str, n: usize, most: usize| match n {
        n if (1..=most).contains(&n) => Ok(()),
        n => Err(bad(format!("{what} is {n}, not 1 to {most}"))),
    };
    bounded("--servers", args.servers, MOST_SERVERS)?;
    let trace = if args.trace.as_os_str() == "generated" {
        Trace::generated(args.seed, args.servers)
    } else {
        formats::read(&args.trace).map_err(bad)?
    };
    let hosts = args.hosts.unwrap_or(trace.hosts.len());
    bounded("--hosts", hosts, MOST_HOSTS)?;
    let limits = [("--vcpus", args.vcpus), ("--memory", args.memory), ("--disk", args.disk)];
    if let Some((name, n)) = limits.iter().find(|(_, n)| !(0..=1 << 40).contains(n)) {
        return Err(bad(format!("{name} is {n}, not 0 to 2^40")));
    }
    let base = if trace.hosts.is_empty() {
        fleet::equal(hosts, Size { vcpus: args.vcpus, memory_mb: args.memory * 1024, disk_gb: args.disk })
    } else {
        fleet::of_trace(&trace, hosts)
    };
    let mut reports = vec![("as it is".to_owned(), one(args, base.clone(), &trace)?)];
    for what_if in &args.what_if {
        let mut fleet = base.clone();
        what_if.apply(&mut fleet).map_err(bad)?;
        bounded("the number of hosts", fleet.hosts.len(), 2 * MOST_HOSTS)?;
        reports.push((what_if.to_string(), one(args, fleet, &trace)?));
    }
    if let Some(path) = &args.svg {
        let written = std::fs::write(path, picture::svg(&reports[0].1));
        written.map_err(|e| bad(format!("{} cannot be written: {e}", path.display())))?;
    }
    let mut out = std::io::stdout().lock();
    let printed = if args.json {
        let runs: Vec<Value> =
            reports.iter().map(|(name, report)| serde_json::json!({"run": name, "report": report})).collect();
        writeln!(out, "{:#}", serde_json::json!({"v": 1, "runs": runs}))
    } else {
        reports.iter().try_for_each(|(name, report)| print(&mut out, name, report))
    };
    // Whoever closes the pipe has read enough.
    printed
        .or_else(|e| if e.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })
        .map_err(|e| Error::internal("sim.output", e))
}

fn one(args: &Sim, fleet: Fleet, trace: &Trace) -> Result<Report> {
    let mut scorer: Box<dyn Scorer> = if args.scheduler == "built-in" {
        Box::new(Spread)
    } else {
        let config = args.scheduler_config.as_deref().map_or(Ok(Value::Null), serde_json::from_str);
        let config =
            config.map_err(|e| Error::bad_request("sim.arguments", format!("--scheduler-config: {e}")))?;
        Box::new(PluginHost::new()?.load_scorer(args.scheduler.as_ref(), config)?)
    };
    let shows = std::io::stderr().is_terminal();
    let (all, mut last) = (trace.arrivals.len().max(1), 0);
    let report = run(fleet, trace, scorer.as_mut(), |done| {
        let percent = done * 100 / all;
        if shows && percent != last {
            last = percent;
            eprint!("\r[{:<50}] {percent:>3} %", "#".repeat(percent / 2));
        }
    });
    if shows {
        eprintln!();
    }
    Ok(report)
}

fn print(out: &mut impl Write, name: &str, report: &Report) -> std::io::Result<()> {
    writeln!(out, "{name}: {} hosts, {}", report.hosts, report.scheduler)?;
    let share = 100.0 * report.refused as f64 / (report.arrivals as f64).max(1.0);
    writeln!(
        out,
        "  {} of {} servers placed, {} refused ({share:.3} %)",
        report.placed, report.arrivals, report.refused
    )?;
    for (class, amount) in &report.refused_amounts {
        writeln!(out, "  refused {class}: {amount}")?;
    }
    for (class, share) in &report.peak {
        writeln!(out, "  peak {class}: {:.1} %", share * 100.0)?;
    }
    writeln!(
        out,
        "  free vCPUs where the largest request does not fit: {:.1} % on average, {:.1} % at most",
        report.fragmentation_mean * 100.0,
        report.fragmentation_peak * 100.0
    )?;
    writeln!(out, "  CPU per server: {:.2} µs; choices {}", report.cpu_us_per_arrival, report.digest)
}
