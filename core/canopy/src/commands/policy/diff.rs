//! `canopy policy diff OLD NEW`: what a change grants and removes, proved.

use super::print_json;
use crate::policies;
use canopy_authz::Snapshot;
use canopy_policy_proof::{Change, Example, Prover, Verdict};
use canopy_types::{Error, Result};
use serde::Serialize;
use std::process::ExitCode;

/// Exit code where something is granted that was not before.
const GRANTED: u8 = 3;

#[derive(clap::Args)]
pub struct Diff {
    /// Folder, or git revision (`REV` or `REV:FOLDER`)
    old: String,
    /// Folder, or git revision
    new: String,
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    old: String,
    new: String,
    grants_something_new: bool,
    removes_something: bool,
    actions: Vec<Change>,
}

/// 0: nothing new is granted; 3: something is; 1: it could not be proved either way.
pub async fn diff(args: &Diff) -> Result<ExitCode> {
    let old = policies::named(&args.old).await?.other_version().await;
    let old = old.map_err(|e| named(&args.old, e))?;
    let new = policies::named(&args.new).await?.bundle().await.map_err(|e| named(&args.new, e))?;
    let version = |bundle: &canopy_authz::Bundle| bundle.commit().unwrap_or(bundle.digest()).to_owned();
    let (from, to) = (version(&old), version(&new));
    let mut prover = Prover::start().await?;
    let actions = canopy_policy_proof::diff(&mut prover, &Snapshot::of(old), &Snapshot::of(new)).await;
    let any = |of: fn(&Change) -> &Verdict, what: fn(&Verdict) -> bool| {
        actions.iter().any(|change| what(of(change)))
    };
    let example = |verdict: &Verdict| matches!(verdict, Verdict::Example(_));
    let undecided = |verdict: &Verdict| matches!(verdict, Verdict::Undecided(_));
    let granted = any(|change| &change.granted, example);
    let unsure = any(|change| &change.granted, undecided) || any(|change| &change.removed, undecided);
    let report = Report {
        old: from,
        new: to,
        grants_something_new: granted,
        removes_something: any(|change| &change.removed, example),
        actions,
    };
    if args.json {
        print_json(&report)?
    } else {
        print(&report)
    }
    Ok(if unsure {
        ExitCode::FAILURE
    } else if granted {
        ExitCode::from(GRANTED)
    } else {
        ExitCode::SUCCESS
    })
}

fn named(source: &str, error: Error) -> Error {
    Error::new(error.kind, error.code, format!("{source}:\n{}", error.message))
}

fn print(report: &Report) {
    let mut same = 0;
    for Change { action, granted, removed } in &report.actions {
        if (granted, removed) == (&Verdict::Nothing, &Verdict::Nothing) {
            same += 1;
            continue;
        }
        println!("{action}");
        line("nothing new", "newly allowed", granted);
        line("nothing removed", "no longer allowed", removed);
    }
    println!(
        "{same} of {} actions: the same answer to every request. {}",
        report.actions.len(),
        match (report.grants_something_new, report.removes_something) {
            (true, _) => "Something new is granted.",
            (false, true) => "Nothing new is granted; something is removed.",
            (false, false) => "Nothing new is granted, nothing removed.",
        }
    );
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn line(nothing: &str, something: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Nothing => println!("  {nothing}"),
        Verdict::Undecided(reason) => println!("  not proved: {reason}"),
        Verdict::Example(example) => {
            let Example { principal, target, allowed_by, forbidden_by } = example.as_ref();
            println!("  {something}, for example:");
            println!("    principal {}", json(principal));
            println!("    resource  {}", json(target));
            println!("    allowed by {}", allowed_by.join(", "));
            if !forbidden_by.is_empty() {
                println!("    forbidden by {}", forbidden_by.join(", "));
            }
        }
    }
}
