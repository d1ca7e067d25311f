//! `canopy fsck`: what is kept twice and does not agree.

use super::client::Client;
use canopy_types::Result;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Every host is asked, and has a minute to repair.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub struct Fsck {
    /// Put right what can only mean one thing; the rest is told
    #[arg(long)]
    repair: bool,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Whose admin asks when OS_AUTH_URL is not set
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

/// Exit code 1 when something is wrong and has not been put right, or was not looked at.
pub async fn fsck(args: &Fsck) -> Result<ExitCode> {
    let client = Client::from_environment(args.config.as_deref()).await?;
    let path = "/canopy/v1/fsck";
    let method = if args.repair { Method::POST } else { Method::GET };
    let report = client.patient(method, path, PATIENCE).await?;
    let many = |name: &str| report[name].as_array().map_or(0, Vec::len);
    let left = many("findings") + many("unseen");
    if args.json {
        println!("{report:#}");
    } else {
        print(&report);
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Value) {
    for (word, list) in [("repaired", &report["repaired"]), ("wrong", &report["findings"])] {
        for finding in list.as_array().into_iter().flatten() {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            println!(
                "{word}: {} {} {} {}: {}",
                text("invariant"),
                text("problem"),
                text("subject"),
                text("part"),
                text("detail")
            );
        }
    }
    for what in report["unseen"].as_array().into_iter().flatten() {
        println!("not looked at: {}", what.as_str().unwrap_or_default());
    }
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    println!(
        "{} invariants checked, {} findings repaired, {} left, {} not looked at",
        count(&report["checked"]),
        count(&report["repaired"]),
        count(&report["findings"]),
        count(&report["unseen"])
    );
}
