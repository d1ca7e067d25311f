use canopy::commands::{Cli, run};
use clap::Parser;
use std::process::ExitCode;

/// What a shell says of a program that wrote to a pipe which nobody reads any more.
const BROKEN_PIPE: i32 = 128 + 13;

#[tokio::main]
async fn main() -> ExitCode {
    end_with_the_reader();
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("canopy: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// `canopy … | head` ends quietly, where printing would panic.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text
            .is_some_and(|text| text.starts_with("failed printing to stdout") && text.contains("Broken pipe"))
        {
            std::process::exit(BROKEN_PIPE);
        }
        usual(panic);
    }));
}
