//! `signalpost inbound`: one message from a mail server's pipe. Prints one JSON line.

use std::io::{self, Read as _, stdin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use super::{Context, open_store, output};
use crate::inbound::{Letter, MAX_MESSAGE, judge};
use crate::mail::server::tls_config;
use crate::pipeline::engine::{Engine, Settings};
use crate::pipeline::reach::Reach;
use crate::pipeline::replies::{Received, Replies};
use crate::store::partitions;

/// What is waited for the pipeline's end. The event was answered before.
const CLOSING: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The envelope's recipient, to which the message was sent [default: as the message says]
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Say what the message is and do nothing; needs no database
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let message = read_message().context("the message could not be read")?;
    let received = if args.dry_run {
        Received::new(judge(&Letter::read(&message), &[]))
    } else {
        receive(context, args.recipient.as_deref(), &message).await?
    };
    output::line(&received.shown().to_string())?;
    Ok(())
}

async fn receive(context: &Context, recipient: Option<&str>, message: &[u8]) -> anyhow::Result<Received> {
    let keys = Arc::new(super::dev::keyring(context)?);
    let (store, clock) = (open_store(context).await?, context.clock.clone());
    partitions::ensure(&store, clock.now()).await?;
    let config = &context.config;
    let public_url = config.public_url.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default();
    let tls = tls_config(None).context("the system's certificate authorities could not be read")?;
    let reach = Reach { keys: keys.clone(), allow: config.smtp_allow.clone(), tls, public_url };
    let settings = Settings {
        store: store.clone(),
        clock: clock.clone(),
        keys: keys.clone(),
        public_url: String::new(),
        sender: None,
        is_told: super::serve::broker_options(&context.config)?.is_some(),
    };
    let engine = Engine::start(settings).await?;
    let (live, intake) = (engine.live.clone(), engine.intake.clone());
    let replies = Replies { store: store.clone(), clock, keys, live, intake, reach };
    let received = replies.receive_any(recipient, message).await;
    engine.stop(Instant::now() + CLOSING).await;
    store.close().await;
    Ok(received?)
}

/// As much of standard input as is looked at. The rest is read too: a mail server minds a closed pipe.
fn read_message() -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut input = stdin().lock();
    input.by_ref().take(MAX_MESSAGE as u64 + 1).read_to_end(&mut message)?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(message)
}
