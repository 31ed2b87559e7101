//! `signalpost apply`: says what became of each record of the file.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{Context, input, open_store, output};
use crate::domain::keys::Keyring;
use crate::domain::member::MemberRef;
use crate::pipeline::flows::{Actor, Flows};
use crate::pipeline::live::Live;
use crate::project_file::{self, ApplyError, Applying, Change, Options, Verdict};
use crate::store::Store;

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
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let text = input::read(&args.file).with_context(|| format!("{} could not be read", args.file))?;
    let keys = Arc::new(super::dev::keyring(context)?);
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
    let moved = match &applied {
        Ok(changes) if !args.dry_run => readdress(context, (&store, &keys), changes).await,
        _ => Ok(()),
    };
    store.close().await;
    match applied {
        Ok(changes) => {
            changes.iter().try_for_each(|change| output::line(&told(change, args.json)))?;
            moved
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

/// Changes addresses as events do: tokens end, and both addresses are told.
async fn readdress(
    context: &Context,
    (store, keys): (&Store, &Arc<Keyring>),
    changes: &[Change],
) -> anyhow::Result<()> {
    let moves: Vec<_> = changes
        .iter()
        .filter_map(|change| match &change.verdict {
            Verdict::Readdressed { project, member, email, .. } => Some((*project, member, email)),
            _ => None,
        })
        .collect();
    if moves.is_empty() {
        return Ok(());
    }
    let live = Live::load(store.clone()).await.context("the catalogue could not be read")?;
    let flows = Flows::new(store.clone(), context.clock.clone(), keys.clone(), live, None);
    let actor = Actor { name: "apply".to_owned(), client: None };
    for (project, member, email) in moves {
        let done = flows.change_email(project, &MemberRef::Id(member.clone()), email, &actor).await;
        done.with_context(|| format!("the address of {member} was not changed, all else was"))?;
    }
    Ok(())
}

fn told(change: &Change, as_json: bool) -> String {
    if !as_json {
        return change.to_string();
    }
    json!({ "kind": change.kind, "name": change.name, "verdict": change.word(), "fields": change.fields() })
        .to_string()
}
