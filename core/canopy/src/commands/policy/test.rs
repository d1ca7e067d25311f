//! `canopy policy test`: the cases beside a bundle.

use super::print_json;
use crate::policies;
use canopy_authz::{Snapshot, cases};
use canopy_types::Result;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Test {
    /// Folder with the policies, and the cases in `tests/` under it
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Also fail where an action has no allowed or no denied case, or a policy decides none
    #[arg(long)]
    full_coverage: bool,
    #[arg(long)]
    json: bool,
}

/// Exit code 1 where a case is answered otherwise than it expects, and where there is none: nothing was tested.
pub async fn test(args: &Test) -> Result<ExitCode> {
    let bundle = policies::folder(&args.dir).await?.bundle().await?;
    let report = cases::run(&Snapshot::of(bundle), &cases::read(&args.dir)?);
    if args.json {
        print_json(&report)?;
    } else {
        for wrong in &report.wrong {
            println!("{wrong}");
        }
        for action in &report.untried_actions {
            println!("no case for both answers: {action}");
        }
        for policy in &report.untried_policies {
            println!("decides no case: @id(\"{policy}\")");
        }
        println!(
            "{} cases, {} wrong; actions with an allowed and a denied case: {} of {}; policies that decide a case: {} of {}",
            report.cases,
            report.wrong.len(),
            report.actions - report.untried_actions.len(),
            report.actions,
            report.deciding.len(),
            report.policies,
        );
    }
    let covered = report.untried_actions.is_empty() && report.untried_policies.is_empty();
    if report.cases == 0 {
        eprintln!("there are no cases in {}: write some", args.dir.join("tests").display());
    }
    let good = report.cases > 0 && report.wrong.is_empty() && (covered || !args.full_coverage);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
