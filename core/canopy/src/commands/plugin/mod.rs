//! `canopy plugin`: from writing one to having it decide. `new`, `build` and `check` need no cloud; the rest asks the API.

mod build;
mod check;
mod life;
mod new;

use super::client::{Body, Client};
use canopy_types::Result;
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Plugin {
    /// Write a project that builds, tests and passes `check` as it stands
    New(new::New),
    /// Build a project in Rust or C to a folder that can be installed, `dist` in it
    Build(build::Build),
    /// Say what a plugin is, whether the host takes it, and whether it keeps the rules
    Check(check::Check),
    /// Install a plugin, without putting it in force
    Install {
        /// Folder with plugin.toml and the component
        folder: PathBuf,
        #[command(flatten)]
        how: How,
        /// Only find out whether it would be installed
        #[arg(long)]
        dry_run: bool,
    },
    /// Installed plugins, and what serves each kind
    List(How),
    /// One installed plugin, or what serves a kind
    Show {
        /// Its id, the beginning of it, its name; or scheduler, quota, network
        what: String,
        #[command(flatten)]
        how: How,
    },
    /// Calls, times, faults and memory of what serves a kind, in the controller that answers
    Stats {
        /// scheduler, quota or network; all of them otherwise
        kind: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Who did what with plugins, and their faults
    Logs {
        /// Only of this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only of this plugin
        #[arg(long)]
        plugin: Option<String>,
        /// At most 1000 lines, newest first
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        how: How,
    },
    /// Settings of an installed plugin; in force at once where it is
    Configure {
        plugin: String,
        /// A JSON object
        #[arg(long)]
        config: String,
        #[command(flatten)]
        how: How,
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask a plugin beside the one in force and compare; without one, show where it would have answered otherwise
    Shadow {
        kind: String,
        plugin: Option<String>,
        /// Ask none any more
        #[arg(long, conflicts_with = "plugin")]
        off: bool,
        #[command(flatten)]
        how: How,
    },
    /// Put a plugin in force
    Activate {
        kind: String,
        /// Its id or name; start for the configuration file's; built-in, but for networks
        plugin: String,
        #[command(flatten)]
        how: How,
        #[arg(long)]
        dry_run: bool,
    },
    /// Put back in force what was before
    Rollback {
        kind: String,
        #[command(flatten)]
        how: How,
    },
    /// After how many faults within which time a plugin is taken out of force
    Demotion {
        kind: String,
        /// 0 is never
        #[arg(long)]
        faults: u32,
        /// Seconds
        #[arg(long, default_value_t = 60)]
        window: u32,
        #[command(flatten)]
        how: How,
    },
    /// Remove an installed plugin that serves nothing
    Remove {
        plugin: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(clap::Args, Clone)]
pub struct How {
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Whose admin asks when OS_AUTH_URL is not set
    #[arg(long, env = "CANOPY_CONFIG")]
    config_file: Option<PathBuf>,
}

impl How {
    async fn client(&self) -> Result<Client> {
        Client::from_environment(self.config_file.as_deref()).await
    }
}

pub async fn plugin(command: &Plugin) -> Result<ExitCode> {
    match command {
        Plugin::New(new) => new::new(new).map(|()| ExitCode::SUCCESS),
        Plugin::Build(build) => build::build(build).await.map(|()| ExitCode::SUCCESS),
        Plugin::Check(check) => check::check(check).await,
        command => life::run(command).await.map(|()| ExitCode::SUCCESS),
    }
}

/// JSON as it is, for programs.
fn print_json(value: &Value) {
    println!("{value:#}");
}
