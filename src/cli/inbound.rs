//! `signalpost inbound`: one message from a mail server's pipe. Prints one JSON line.

use std::io::{self, Read as _, stdin};

use anyhow::Context as _;
use serde_json::json;

use super::{Context, output};
use crate::inbound::{Letter, MAX_MESSAGE, judge};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Say what the message is and do nothing; needs no database
    #[arg(long, required = true)]
    dry_run: bool,
}

#[expect(clippy::unused_async, reason = "every command is run so")]
pub(super) async fn run(_context: &Context, _args: Args) -> anyhow::Result<()> {
    let message = read_message().context("the message could not be read")?;
    let judged = judge(&Letter::read(&message), &[]);
    output::line(&json!({"verdict": judged.verdict, "because": judged.because}).to_string())?;
    Ok(())
}

/// As much of standard input as is looked at. The rest is read too: a mail server minds a closed pipe.
fn read_message() -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut input = stdin().lock();
    input.by_ref().take(MAX_MESSAGE as u64 + 1).read_to_end(&mut message)?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(message)
}
