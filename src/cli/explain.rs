//! `signalpost explain`: what would become of an event. Sends nothing, stores nothing.

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{Context, input, open_store, output};
use crate::domain::catalogue::Catalogue;
use crate::domain::keys::{Keyring, SecretKey};
use crate::pipeline::decode::read_structured;
use crate::pipeline::explain::{ExplainError, Explained, explain, prepared, with_identity};
use crate::pipeline::live::Live;
use crate::pipeline::render::Desk;

#[derive(clap::Args)]
pub(super) struct Args {
    /// JSON file with one event in its structured form; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Project, if the event names none
    #[arg(long, value_name = "SLUG")]
    project: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let text = input::read(&args.file).with_context(|| format!("{} could not be read", args.file))?;
    let event: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", args.file))?;
    let public_url = context.config.public_url.as_ref().context("SIGNALPOST_PUBLIC_URL is missing")?;
    let store = open_store(context).await?;
    let catalogue = Live::load(store.clone()).await.context("the catalogue could not be read")?.current();
    let slug = project(&catalogue, args.project.as_deref().or(event["project"].as_str()))?;
    let now = context.clock.now();
    let incoming = read_structured(with_identity(event), &slug, now).map_err(|wrong| {
        let field = wrong.refusal.field.map(|field| format!(" ({field})")).unwrap_or_default();
        anyhow::anyhow!(
            "the event is refused as {}: {}{field}",
            wrong.refusal.reason.name(),
            wrong.refusal.detail
        )
    })?;
    let project = catalogue.projects.get(&slug).with_context(|| format!("there is no project `{slug}`"))?;
    // A sample token is made with no key.
    let keys = Keyring::new(&SecretKey::from_bytes([0; 32]), &[]);
    let desk = Desk { catalogue: &catalogue, keys: &keys, public_url: public_url.as_str(), now };
    let explained = async { explain(&store, &desk, &prepared(project, incoming)?).await };
    let explained = explained.await;
    store.close().await;
    match explained {
        Ok(explained) if args.json => output::line(&serde_json::to_string(&explained)?).map_err(Into::into),
        Ok(explained) => told(&explained).map_err(Into::into),
        Err(ExplainError::Refused(refusal)) => {
            bail!("the event is refused as {}: {}", refusal.reason.name(), refusal.detail)
        }
        Err(ExplainError::Store(error)) => Err(error).context("the event could not be explained"),
    }
}

/// The named project, or the only one, or `default`.
fn project(catalogue: &Catalogue, named: Option<&str>) -> anyhow::Result<String> {
    let mut slugs = catalogue.projects.keys();
    match (named, slugs.len()) {
        (Some(named), _) => Ok(named.to_owned()),
        (None, 1) => Ok(slugs.next().cloned().unwrap_or_default()),
        (None, _) if catalogue.projects.contains_key("default") => Ok("default".to_owned()),
        (None, _) => bail!("the event names no project: say which with --project"),
    }
}

fn told(explained: &Explained) -> std::io::Result<()> {
    let reason = explained.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    output::line(&format!("{}: {}{reason}", explained.kind, explained.outcome))?;
    if explained.automations.is_empty() {
        output::line("no automation of this type")?;
    }
    for one in &explained.automations {
        let why = one.why.map_or_else(|| "matches".to_owned(), |why| format!("does not match: {why}"));
        output::line(&format!("automation \"{}\": {why}", one.name))?;
    }
    for mail in &explained.mails {
        output::line("")?;
        output::line(&format!("mail to {} by \"{}\" ({})", mail.to, mail.automation, mail.template))?;
        match (&mail.subject, &mail.text, &mail.problem) {
            (Some(subject), Some(text), _) => {
                output::line(&format!("Subject: {subject}\n\n{}", text.trim_end()))?;
            }
            (.., problem) => output::line(&format!("no mail: {}", problem.as_deref().unwrap_or_default()))?,
        }
    }
    Ok(())
}
