use canopy::commands::{Cli, run};
use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("canopy: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}
