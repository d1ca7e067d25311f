//! `cargo xtask lint`: everything that can be said about the sources without running them.

use crate::phases::{Phases, seconds};
use crate::run::{Res, cargo, program, quiet, visible};
use crate::{client, generated, layout, packages, tidy};
use std::path::Path;

/// The workspaces, by their folders: plugins are built for another machine, with their own lock file.
pub const WORKSPACES: [&str; 2] = ["", "plugins"];

type Step = (&'static str, fn(&Path) -> Res<()>);

const STEPS: &[Step] = &[
    ("installing system packages", |_| packages::ensure(&[packages::BUILD, packages::PYTHON].concat())),
    ("checking the formatting", formatting),
    ("checking layers, names and scripts", tidy::check),
    ("checking licences, sources and banned crates", dependencies),
    ("checking with clippy", clippy),
    ("checking generated files", generated::check),
];

/// Runs every step, also after one has failed.
pub fn run(root: &Path) -> Res<()> {
    let mut phases = Phases::new(STEPS.len());
    let mut failures = Vec::new();
    for (title, step) in STEPS {
        if let Err(error) = phases.loud(title, || step(root)) {
            eprintln!("error: {error}\n");
            failures.push(*title);
        }
    }
    if failures.is_empty() {
        println!("nothing to complain about in {}", seconds(phases.elapsed()));
        return Ok(());
    }
    Err(format!("failed: {}", failures.join("; ")))
}

fn formatting(root: &Path) -> Res<()> {
    for workspace in WORKSPACES {
        let mut command = cargo(&root.join(workspace));
        visible(command.args(["fmt", "--all", "--", "--check", "-l"]))
            .map_err(|e| format!("{e}: run `cargo fmt --all`"))?;
    }
    Ok(())
}

fn clippy(root: &Path) -> Res<()> {
    for workspace in WORKSPACES {
        let mut command = cargo(&root.join(workspace));
        command.args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked"]);
        if !workspace.is_empty() {
            command.arg("--target-dir").arg(root.join("target/plugins-build"));
        }
        visible(command.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn dependencies(root: &Path) -> Res<()> {
    let tool = client::tools(root, &layout::cache(root), "lint")?.join("cargo-deny");
    for workspace in WORKSPACES {
        let mut command = program(&tool.to_string_lossy());
        command.current_dir(root.join(workspace)).arg("--config").arg(root.join("deny.toml"));
        command.args(["--locked", "--log-level", "error", "check", "--hide-inclusion-graph"]);
        if !workspace.is_empty() {
            // The smaller workspace need not have every licence that the list allows.
            command.args([
                "--allow",
                "license-not-encountered",
                "--allow",
                "license-exception-not-encountered",
            ]);
        }
        quiet(command.args(["bans", "licenses", "sources"]))?;
    }
    Ok(())
}
