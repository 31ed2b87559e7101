//! The program: arguments, configuration, telemetry, run, exit code; nothing else.

use std::ffi::OsString;
use std::process::ExitCode;

use signalpost::cli::{self, Invocation, WrongConfiguration, WrongUse, output};
use signalpost::{config, telemetry};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if !cli::is_piped(&arguments) {
        return run(arguments);
    }
    // A mail server bounces the message at anything but these two, a panic's code too.
    let ended = std::panic::catch_unwind(|| run(arguments));
    if ended.is_ok_and(|code| code == ExitCode::SUCCESS) { ExitCode::SUCCESS } else { cli::TRY_AGAIN.into() }
}

fn run(arguments: Vec<OsString>) -> ExitCode {
    let invocation = match Invocation::read(arguments) {
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
