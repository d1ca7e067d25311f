//! `canopy policy check` and `canopy policy format`.

use super::print_json;
use crate::policies;
use canopy_authz::{Bundle, format::formatted};
use canopy_policy_proof::{Finding, Prover};
use canopy_types::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Check {
    /// Folder, or git revision (`REV` or `REV:FOLDER`)
    #[arg(default_value = "policies")]
    source: String,
    /// Also say which files `canopy policy format` would change
    #[arg(long)]
    format: bool,
    /// Only what needs no solver: not which policies never hold or change nothing
    #[arg(long)]
    without_solver: bool,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Format {
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Only say which files would change
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
struct Report {
    policies: usize,
    commit: Option<String>,
    digest: String,
    /// What the validator finds odd.
    warnings: Vec<String>,
    /// What the solver proved.
    findings: Vec<Finding>,
    not_formatted: Vec<String>,
    proved: bool,
}

/// Fails for a bundle that does not load; exit code 1 also where something odd is found.
pub async fn check(args: &Check) -> Result<ExitCode> {
    let source = policies::named(&args.source).await?;
    let not_formatted = if args.format { unformatted(&source.files)? } else { Vec::new() };
    let bundle = match source.bundle().await {
        Err(error) if args.json && error.code == "policy.invalid" => {
            let errors: Vec<&str> = error.message.lines().collect();
            print_json(&serde_json::json!({ "errors": errors }))?;
            return Ok(ExitCode::FAILURE);
        }
        bundle => bundle?,
    };
    let findings = if args.without_solver { Vec::new() } else { proved(&bundle).await? };
    let report = Report {
        policies: bundle.policies().count(),
        commit: bundle.commit().map(str::to_owned),
        digest: bundle.digest().to_owned(),
        warnings: bundle.warnings().to_vec(),
        findings,
        not_formatted,
        proved: !args.without_solver,
    };
    let odd = report.warnings.len() + report.findings.len() + report.not_formatted.len();
    if args.json {
        print_json(&report)?;
    } else {
        for warning in &report.warnings {
            println!("{warning}");
        }
        for Finding { policy, file, text } in &report.findings {
            println!("{file}: @id(\"{policy}\") {text}");
        }
        for name in &report.not_formatted {
            println!("{name}: `canopy policy format` would change it");
        }
        let proved = if report.proved { "" } else { " (nothing proved: --without-solver)" };
        println!("{} policies, {odd} findings{proved}", report.policies);
    }
    Ok(if odd == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn proved(bundle: &Bundle) -> Result<Vec<Finding>> {
    let mut prover = Prover::start().await?;
    canopy_policy_proof::check(&mut prover, bundle)
        .await
        .map_err(|reason| Error::unavailable("policy.undecided", reason))
}

fn unformatted(files: &[(String, String)]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".cedar")) {
        if formatted(name, text)? != *text {
            names.push(name.clone());
        }
    }
    Ok(names)
}

pub async fn format(args: &Format) -> Result<ExitCode> {
    let source = policies::folder(&args.dir).await?;
    let names = unformatted(&source.files)?;
    for (name, text) in source.files.iter().filter(|(name, _)| names.contains(name)) {
        println!("{name}");
        if !args.check {
            let path = args.dir.join(name);
            tokio::fs::write(&path, formatted(name, text)?)
                .await
                .map_err(|e| Error::unavailable("policy.write", format!("{}: {e}", path.display())))?;
        }
    }
    Ok(if args.check && !names.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
