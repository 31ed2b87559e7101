//! The program: arguments, configuration, telemetry, run, exit code; nothing else.

use std::process::ExitCode;

use signalpost::cli::{self, Invocation, WrongConfiguration, WrongUse, output};
use signalpost::{config, telemetry};

fn main() -> ExitCode {
    let invocation = match Invocation::read(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => return shown(&error),
    };
    let environment = config::environment();
    let config = match invocation.configuration(&environment) {
        Ok(config) => config,
        Err(problems) => {
            output::tell("error: the configuration is wrong:");
            for problem in &problems {
                output::tell(&format!("  {problem}"));
            }
            return cli::WRONG_CONFIGURATION.into();
        }
    };
    let done = telemetry::start(&config.log)
        .and_then(|()| Ok(tokio::runtime::Runtime::new()?))
        .and_then(|runtime| runtime.block_on(invocation.run(config, environment)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            match () {
                () if error.is::<WrongUse>() => cli::WRONG_USE,
                () if error.is::<WrongConfiguration>() => cli::WRONG_CONFIGURATION,
                () => cli::FAILED,
            }
            .into()
        }
    }
}

/// Help and version are asked for, and end well; anything else is wrong use.
fn shown(error: &clap::Error) -> ExitCode {
    // It cannot be told where it cannot be written.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(cli::WRONG_USE).into()
}
