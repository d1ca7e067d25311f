//! The one entry for developers: `cargo xtask <command>`.
//!
//! It runs on a bare Debian 12 with git, a C linker and Rust, as root or as a user whose `sudo` asks for no
//! password, so it depends on nothing that needs a system library.

mod bench;
mod client;
mod cloud;
mod demo;
mod down;
mod generated;
mod guest_image;
mod janitor;
mod layout;
mod libvirt;
mod lint;
mod packages;
mod phases;
mod plugins;
mod postgres;
mod processes;
mod prove;
mod run;
mod server;
mod sweep;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tries and tests Canopy", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From a bare machine to a running cloud with a guest in it; safe to run again at any time
    Demo,
    /// Removes what `demo` started or created outside the checkout's state folder
    Down {
        /// Also removes the state folder: guest image, client, keys, logs
        #[arg(long)]
        all: bool,
    },
    /// Sets up what the tests need and runs them
    Test {
        /// Also the slow ones, which are marked `#[ignore]`
        #[arg(long)]
        all: bool,
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Formatting, clippy, layering, licences, and whether generated files are fresh
    Lint,
    /// Builds the plugins to components under `target/plugins`
    Plugins,
    /// Measures, in a release build
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Writes the OpenAPI documents and other generated files anew
    Openapi,
    /// Ends what a run of `test` started, also when it was killed
    #[command(hide = true)]
    Sweep {
        /// Folder under which the guests' disks are
        under: std::path::PathBuf,
        /// Network scopes that begin with this
        scope: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> run::Res<()> {
    if let Command::Sweep { under, scope } = &command {
        // The checkout may be gone by then.
        return sweep::tests(under, scope);
    }
    let root = layout::root()?;
    match command {
        Command::Demo => demo::run(&root),
        Command::Down { all } => down::run(&root, all),
        Command::Test { all, filter } => test::run(&root, all, filter.as_deref()),
        Command::Lint => lint::run(&root),
        Command::Plugins => plugins::build(&root),
        Command::Bench(bench) => bench::run(&root, &bench),
        Command::Openapi => generated::write(&root),
        Command::Sweep { .. } => Ok(()),
    }
}
