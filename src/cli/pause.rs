//! `signalpost pause` and `resume`: what is paused waits, and is charged no attempt.

use anyhow::Context as _;
use serde_json::json;

use super::api_key::project;
use super::{Context, open_store, output};
use crate::domain::id::ProjectId;
use crate::store::shown::AuditEntry;
use crate::store::{Tx, db};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Slug of the project
    #[arg(long, value_name = "PROJECT")]
    project: String,
    /// Only what this automation sends
    #[arg(long, value_name = "NAME", conflicts_with = "integration")]
    automation: Option<String>,
    /// Only what goes through this integration
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: Args, pause: bool) -> anyhow::Result<()> {
    let now = context.clock.now();
    let store = open_store(context).await?;
    let id = project(&store, &args.project).await?;
    let mut tx = store.begin().await?;
    db!(tx, catalogue::raise_revision())?;
    let (kind, name) = set(&mut tx, id, &args, pause.then_some(now)).await?;
    let done = if pause { "paused" } else { "resumed" };
    let entry = AuditEntry::of_command(id, now, &format!("{kind}.{done}"), name);
    db!(tx, audit::insert(&entry))?;
    db!(tx, catalogue::notify_due())?;
    tx.commit().await?;
    store.close().await;
    let text = if args.json {
        json!({ "project": args.project, "kind": kind, "name": name, "paused": pause }).to_string()
    } else {
        format!("{kind} {name} of project {} is {done}", args.project)
    };
    Ok(output::line(&text)?)
}

async fn set<'a>(
    tx: &mut Tx,
    project: ProjectId,
    args: &'a Args,
    at: Option<chrono::DateTime<chrono::Utc>>,
) -> anyhow::Result<(&'static str, &'a str)> {
    if let Some(name) = &args.automation {
        let found = db!(tx, pauses::automation_named(project, name))?;
        let found = found.with_context(|| format!("the project has no automation `{name}`"))?;
        db!(tx, pauses::automation(project, found, at))?;
        return Ok(("automation", name));
    }
    if let Some(name) = &args.integration {
        let found = db!(tx, pauses::integration_named(project, name))?;
        let found = found.with_context(|| format!("the project has no integration `{name}`"))?;
        db!(tx, pauses::integration(project, found, at))?;
        return Ok(("integration", name));
    }
    db!(tx, pauses::project(project, at))?;
    Ok(("project", &args.project))
}
