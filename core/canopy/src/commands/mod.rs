//! The commands, one file each.

mod agent;
mod audit;
mod backup;
mod client;
mod explain;
mod fsck;
mod keys;
mod openapi;
mod plugin;
mod policy;
mod replay;
mod serve;
mod sim;
mod ssh;

use crate::config::Config;
use canopy_types::Result;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "canopy", version, about = "A cloud in one binary, spoken to in OpenStack's own words")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Whether the process runs until it is told to end.
    pub fn stays(&self) -> bool {
        matches!(self.command, Command::Serve(_) | Command::Agent(_))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Serve the APIs and, unless told otherwise, run this host's agent
    Serve(File),
    /// Run this host's agent against a controller in another process
    Agent(File),
    /// Log in to a server through its network's namespace on this host
    Ssh(ssh::Ssh),
    /// Say why a server is where it is, or nowhere
    Explain(explain::Explain),
    /// Decide again what the journal of placement holds, as it was or with another scheduler
    Replay(replay::Replay),
    /// Check, try, compare and explain policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Write, check, install, try and exchange plugins
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Verify and read the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show and exchange the keys that seal tokens
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Copy the cloud of this machine to a folder while it runs
    Backup(backup::Backup),
    /// Put a backup back into an empty data folder
    Restore(backup::Restore),
    /// Say what is kept twice and does not agree, and put it right
    Fsck(fsck::Fsck),
    /// Work with the configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the OpenAPI documents of all services
    Openapi(openapi::Openapi),
    /// Try a workload on a fleet and a scheduler, without a cloud
    Sim(sim::Sim),
}

#[derive(clap::Args)]
struct File {
    /// Configuration; without one the defaults hold
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

impl File {
    fn load(&self) -> Result<Config> {
        load(self.config.as_deref())
    }
}

fn load(path: Option<&Path>) -> Result<Config> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the file is right, and what is wrong
    Check(File),
}

pub async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Fsck(args) => return fsck::fsck(&args).await,
        Command::Audit(command) => return audit::audit(&command),
        Command::Keys(command) => return keys::keys(&command),
        Command::Plugin(command) => return plugin::plugin(&command).await,
        Command::Policy(command) => return policy::policy(&command).await,
        Command::Serve(file) => serve::serve(&file.load()?).await,
        Command::Agent(file) => agent::agent(&file.load()?).await,
        Command::Ssh(ssh) => ssh::ssh(&ssh).await,
        Command::Explain(explain) => explain::explain(&explain).await,
        Command::Replay(replay) => replay::replay(&replay).await,
        Command::Backup(args) => backup::backup(&args).await,
        Command::Restore(args) => backup::restore(&args).await,
        Command::Openapi(openapi) => openapi::write(&openapi),
        Command::Sim(sim) => sim::sim(&sim),
        Command::Config(ConfigCommand::Check(file)) => {
            let config = file.load()?;
            if let Some(dir) = &config.policies.dir {
                crate::policies::deployed(dir).await?.bundle().await?;
            }
            println!("ok: listens on {}, keeps its data in {}", config.listen, config.data_dir.display());
            Ok(())
        }
    }
    .map(|()| ExitCode::SUCCESS)
}
