//! `cargo xtask bench`: measurements, in a release build. The program that measures is a crate of its own, so
//! that nothing heavy is linked in here.

use crate::plugins;
use crate::run::{Res, cargo, program, text, visible};
use clap::Subcommand;
use std::path::Path;

#[derive(Subcommand)]
pub enum Bench {
    /// Decisions per second through the shipped schedulers, at 10,000 and 100,000 hosts
    Scheduler {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// What plugins cost beside their decisions: loading, a verdict, a swap
    Plugins {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// What asking permission costs: a decision, a list, a token
    Authz {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Allocation candidates over 1,000 and 10,000 providers through HTTP, and what the journal costs a decision
    Placement {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// What users' requests cost: tokens, lists of 1,000 servers, creates, deletes; memory, start
    Api {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
        /// Other clouds than one of its own: `-- --url KEYSTONE --password WORD --pids 1,2 --against …`
        #[arg(last = true)]
        clouds: Vec<String>,
    },
}

pub fn run(root: &Path, bench: &Bench) -> Res<()> {
    let (package, program_name, json) = match bench {
        Bench::Scheduler { json } => ("canopy-sim", "bench-scheduler", json),
        Bench::Plugins { json } => ("canopy-sim", "bench-plugins", json),
        Bench::Authz { json } => ("canopy", "bench-authz", json),
        Bench::Placement { json } => ("canopy", "bench-placement", json),
        Bench::Api { json, .. } => ("canopy", "bench-api", json),
    };
    let plugins = root.join("target/plugins");
    let asks_plugins = !matches!(bench, Bench::Authz { .. });
    if asks_plugins && !root.join("target/plugins/scheduler-binpack/plugin.toml").is_file() {
        plugins::build(root)?;
    }
    let commit = text(program("git").current_dir(root).args(["rev-parse", "--short=12", "HEAD"]));
    let mut command = cargo(root);
    command.args([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        package,
        "--bin",
        program_name,
        "--",
    ]);
    if asks_plugins {
        command.arg("--plugins").arg(plugins);
    }
    command.args(json.then_some("--json"));
    if let Bench::Api { clouds, .. } = bench {
        command.args(clouds);
    }
    command.env("CANOPY_BENCH_COMMIT", commit.unwrap_or_default().trim());
    visible(&mut command)
}
