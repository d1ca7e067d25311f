//! `canopy policy`: everything that can be said about policies without a server.

mod check;
mod diff;
mod test;
mod why;

use canopy_types::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Policy {
    /// Say what is wrong or odd about a bundle: types, policies that never hold or change nothing
    Check(check::Check),
    /// Lay out the policy files of a folder in the one standard way
    Format(check::Format),
    /// Ask a bundle the cases beside it and say what they cover
    Test(test::Test),
    /// Prove what a change grants and removes; exit code 3 says that something is granted
    Diff(diff::Diff),
    /// Say what decides a request, or which policies came nearest to permitting it
    Why(why::Why),
    /// Say which roles in which scopes may do something
    WhoCan(why::WhoCan),
}

pub async fn policy(command: &Policy) -> Result<ExitCode> {
    match command {
        Policy::Check(args) => check::check(args).await,
        Policy::Format(args) => check::format(args).await,
        Policy::Test(args) => test::test(args).await,
        Policy::Diff(args) => diff::diff(args).await,
        Policy::Why(args) => why::why(args).await,
        Policy::WhoCan(args) => why::who(args).await,
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| canopy_types::Error::internal("policy.json", e))?;
    println!("{text}");
    Ok(())
}
