//! `signalpost apply`: says what became of each record of the file.

use std::io::{self, Read as _};

use anyhow::{Context as _, bail};

use super::{Context, open_store, output};
use crate::project_file::{self, ApplyError, Applying, Options};

#[derive(clap::Args)]
pub(super) struct Args {
    /// TOML file with the project; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// Take away what the file omits: integrations, automations, event types; never members
    #[arg(long)]
    prune: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let text = read(&args.file).with_context(|| format!("{} could not be read", args.file))?;
    let keys = super::dev::keyring(context)?;
    let public_url = context.config.public_url.as_ref().context("SIGNALPOST_PUBLIC_URL is missing")?;
    let store = open_store(context).await?;
    let applying = Applying {
        store: &store,
        keys: &keys,
        now: context.clock.now(),
        public_host: public_url.host(),
        environment: &context.environment,
    };
    let options = Options { dry_run: args.dry_run, prune: args.prune };
    let applied = project_file::apply(&applying, &text, options).await;
    store.close().await;
    match applied {
        Ok(changes) => {
            changes.iter().try_for_each(|change| output::line(&change.to_string()))?;
            Ok(())
        }
        Err(ApplyError::Wrong(problems)) => {
            for problem in &problems {
                output::tell(&problem.to_string());
            }
            bail!("{} was not applied: {} wrong", args.file, problems.len())
        }
        Err(error) => Err(error).with_context(|| format!("{} was not applied", args.file)),
    }
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
