use canopy::commands::{Cli, run};
use canopy_types::Error;
use clap::Parser;
use std::process::ExitCode;

/// What a shell says of a program that wrote to a pipe which nobody reads any more.
const BROKEN_PIPE: i32 = 128 + 13;

fn main() -> ExitCode {
    end_with_the_reader();
    let cli = Cli::parse();
    if cli.stays() {
        canopy::memory::hold_little();
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(canopy_authz::DECISION_STACK).build();
    let done = runtime.map(|runtime| runtime.block_on(run(cli)));
    match done.unwrap_or_else(|e| Err(Error::internal("process.runtime", e))) {
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
