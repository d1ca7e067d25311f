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
}

pub fn run(root: &Path, bench: &Bench) -> Res<()> {
    let (program_name, json) = match bench {
        Bench::Scheduler { json } => ("bench-scheduler", json),
        Bench::Plugins { json } => ("bench-plugins", json),
    };
    if !root.join("target/plugins/scheduler-binpack/plugin.toml").is_file() {
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
        "canopy-sim",
        "--bin",
        program_name,
    ]);
    command.args(["--", "--plugins"]).arg(root.join("target/plugins"));
    command.args(json.then_some("--json"));
    command.env("CANOPY_BENCH_COMMIT", commit.unwrap_or_default().trim());
    visible(&mut command)
}
