//! `signalpost dead-letters`: both kinds of every project, also those whose project does not exist.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Subcommand;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::serve::broker_options;
use super::{Context, WrongUse, open_store, output};
use crate::app::Broker;
use crate::domain::duration;
use crate::domain::id::{DeadMessageId, DispatchId, ProjectId};
use crate::pipeline::dead_acts::{Chosen, Hands, find_dispatch};
use crate::pipeline::dead_letters::{Act, DeadLetter, DeadMessages, Filter, Places, Wanted, Which, newest};
use crate::pipeline::live::Live;
use crate::pipeline::rearm::{self, Rearm};
use crate::store::{Store, db};

/// Dispatches read in one go.
const PAGE: usize = 1000;
/// Letters dealt with between two lines of progress.
const STEP: usize = 500;

#[derive(Subcommand)]
pub(super) enum Args {
    /// List dead letters, newest first
    #[command(after_help = "Example:\n  signalpost dead-letters list --project acme --reason unknown-member")]
    List {
        #[command(flatten)]
        like: Like,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one with its body
    #[command(after_help = "Example:\n  signalpost dead-letters show msg_0198c0ffee0000000000000000000000")]
    Show {
        id: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Accept the event again, or plan the dispatch again
    #[command(
        after_help = "Example:\n  signalpost dead-letters replay --project acme --reason unknown-member --since 2h"
    )]
    Replay(Meant),
    /// Give up
    #[command(
        after_help = "Example:\n  signalpost dead-letters discard --kind message --reason invalid --dry-run"
    )]
    Discard(Meant),
}

#[derive(clap::Args)]
pub(super) struct Meant {
    /// As `list` shows them
    ids: Vec<String>,
    #[command(flatten)]
    like: Like,
    /// Only tell with which it would be done
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What all of them have in common.
#[derive(clap::Args)]
pub(super) struct Like {
    /// `message`: refused, in the broker; `dispatch`: an e-mail that will not be tried again
    #[arg(long, value_parser = which)]
    kind: Option<Which>,
    /// Why, such as `unknown-member` or `rejected`
    #[arg(long)]
    reason: Option<String>,
    /// Type of the event; one without a dot is read as account.TYPE
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Not before this time, or so long ago: 2026-01-31T12:00:00Z, 30m, 2h, 7d
    #[arg(long)]
    since: Option<String>,
    /// Slug of the project
    #[arg(long)]
    project: Option<String>,
}

/// Where letters are.
struct Desk {
    store: Store,
    messages: DeadMessages,
    rearm: Rearm,
    /// Id and slug of each project that is meant.
    projects: Vec<(Uuid, String)>,
    tasks: TaskTracker,
    stop: CancellationToken,
    broker: Option<Broker>,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args {
        Args::List { like, json } => {
            let (desk, filter) = Desk::open(context, &like).await?;
            let letters = desk.list(&like, &filter).await?;
            letters.iter().try_for_each(|letter| say(letter, json))?;
            desk.close().await;
            Ok(())
        }
        Args::Show { id, json } => show(context, &id, json).await,
        Args::Replay(chosen) => act(context, chosen, Act::Replay).await,
        Args::Discard(chosen) => act(context, chosen, Act::Discard).await,
    }
}

async fn show(context: &Context, id: &str, json: bool) -> anyhow::Result<()> {
    let all = Like { kind: None, reason: None, event_type: None, since: None, project: None };
    let (desk, _) = Desk::open(context, &all).await?;
    let letter = desk.find(id).await?;
    desk.close().await;
    let shown = letter.with_context(|| format!("there is no dead letter {id}"))?.shown();
    if json {
        output::line(&shown.to_string())?;
        return Ok(());
    }
    for (name, value) in shown.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        output::line(&format!("{name:<12} {text}"))?;
    }
    Ok(())
}

async fn act(context: &Context, meant: Meant, act: Act) -> anyhow::Result<()> {
    let Meant { ids, like, dry_run, json } = meant;
    if ids.is_empty() && !like.says_something() {
        let what = "name letters, or say which with --kind, --reason, --type, --since or --project";
        return Err(WrongUse(what.to_owned()).into());
    }
    let (desk, filter) = Desk::open(context, &like).await?;
    let letters = match ids.as_slice() {
        [] => desk.list(&like, &filter).await?,
        ids => desk.find_all(ids).await?,
    };
    if dry_run {
        letters.iter().try_for_each(|letter| say(letter, json))?;
        output::tell(&format!("{} dead letters would be {}", letters.len(), past(act)));
        desk.close().await;
        return Ok(());
    }
    let mut done = 0;
    for some in letters.chunks(STEP) {
        done += desk.act(some, act, json).await?;
        output::tell(&format!("{done} of {} {}", letters.len(), past(act)));
    }
    desk.close().await;
    if done < letters.len() {
        bail!("{} of {} dead letters were not {}", letters.len() - done, letters.len(), past(act));
    }
    Ok(())
}

fn past(act: Act) -> &'static str {
    if act == Act::Replay { "replayed" } else { "discarded" }
}

fn say(letter: &DeadLetter, json: bool) -> std::io::Result<()> {
    let shown = letter.shown();
    if json {
        return output::line(&shown.to_string());
    }
    let text = |name: &str| shown[name].as_str().unwrap_or("-").to_owned();
    let [id, kind, at, reason, project] = ["id", "kind", "at", "reason", "project"].map(text);
    let [event_type, source, source_id, detail] = ["type", "source", "source_id", "detail"].map(text);
    output::line(&format!(
        "{id}  {kind}  {at}  {reason}  {project}  {event_type}  {source} {source_id}  {detail}"
    ))
}

impl Like {
    fn says_something(&self) -> bool {
        let texts = [&self.reason, &self.event_type, &self.since, &self.project];
        self.kind.is_some() || texts.iter().any(|text| text.is_some())
    }

    fn filter(&self, now: DateTime<Utc>) -> anyhow::Result<Filter> {
        let since = self.since.as_deref().map(|text| since(text, now)).transpose()?;
        let (reason, kind) = (self.reason.clone(), self.event_type.clone());
        Ok(Filter { which: self.kind, reason, kind, since })
    }
}

fn which(text: &str) -> Result<Which, &'static str> {
    Which::from_name(text).ok_or("is neither message nor dispatch")
}

fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, WrongUse> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    let ago =
        duration::parse(text).and_then(|ago| now.checked_sub_signed(chrono::TimeDelta::from_std(ago).ok()?));
    ago.ok_or_else(|| {
        WrongUse("--since is neither a time such as 2026-01-31T12:00:00Z nor so long ago: 2h".to_owned())
    })
}

impl Desk {
    async fn open(context: &Context, like: &Like) -> anyhow::Result<(Self, Filter)> {
        let filter = like.filter(context.clock.now())?;
        let keys = super::dev::keyring(context)?;
        let store = open_store(context).await?;
        let mut c = store.read().await?;
        let rows = db!(c, catalogue::projects())?;
        drop(c);
        let mut projects: Vec<_> = rows.into_iter().map(|row| (row.id.0, row.slug)).collect();
        projects.retain(|(_, slug)| like.project.as_ref().is_none_or(|wanted| wanted == slug));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let broker =
            broker_options(&context.config)?.map(|options| Broker::new(options, &context.clock, &keys));
        let messages = broker.as_ref().map(|broker| broker.dead_messages(&tasks, &stop)).unwrap_or_default();
        let catalogue = Live::load(store.clone()).await?;
        let (keys, clock) = (Arc::new(keys), context.clock.clone());
        let rearm = Rearm::new(rearm::Desk { store: store.clone(), live: catalogue, keys, clock }, None);
        Ok((Self { store, messages, rearm, projects, tasks, stop, broker }, filter))
    }

    fn places(&self) -> Places<'_> {
        Places { store: &self.store, messages: &self.messages }
    }

    /// All that fit, newest first.
    async fn list(&self, like: &Like, filter: &Filter) -> anyhow::Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        if filter.which != Some(Which::Dispatch) {
            letters.extend(self.places().messages(like.project.as_deref(), filter).await?);
        }
        for (id, slug) in &self.projects {
            let mut before = None;
            loop {
                let page = self.places().dispatches((*id, slug), filter, (before, PAGE)).await?;
                let is_last = page.len() < PAGE;
                before = page.last().map(DeadLetter::key);
                letters.extend(page);
                if is_last {
                    break;
                }
            }
        }
        Ok(newest(letters, (None, usize::MAX)))
    }

    async fn find(&self, id: &str) -> anyhow::Result<Option<DeadLetter>> {
        if let Ok(id) = id.parse::<DispatchId>() {
            return Ok(find_dispatch(&self.places(), &self.projects, id).await?);
        }
        let id: DeadMessageId =
            id.parse().map_err(|_| WrongUse(format!("{id} is no id of a dead letter")))?;
        let wanted = Wanted { ids: Some([id].into()), ..Wanted::default() };
        let found = self.messages.ask(wanted, Act::Look { bodies: true }).await?;
        Ok(found.into_iter().next().map(DeadLetter::Message))
    }

    async fn find_all(&self, ids: &[String]) -> anyhow::Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        for id in ids {
            letters.push(self.find(id).await?.with_context(|| format!("there is no dead letter {id}"))?);
        }
        Ok(letters)
    }

    /// Does it with some, says with which; with how many.
    async fn act(&self, letters: &[DeadLetter], act: Act, json: bool) -> anyhow::Result<usize> {
        let mut done = HashSet::new();
        for (id, slug) in &self.projects {
            let of_project = letters.iter().filter(|letter| letter.project() == slug);
            let ids: Vec<String> = of_project.map(DeadLetter::id).collect();
            if ids.is_empty() {
                continue;
            }
            let hands = Hands { places: self.places(), rearm: &self.rearm };
            let dealt = hands.deal((ProjectId(*id), slug), Chosen::Ids(ids), act).await?;
            for (id, code) in &dealt.failed {
                output::tell(&format!("{id}: {code}"));
            }
            done.extend(dealt.done);
        }
        let is_strange =
            |letter: &&DeadLetter| !self.projects.iter().any(|(_, slug)| slug == letter.project());
        let strange = letters.iter().filter(is_strange).filter_map(|letter| letter.id().parse().ok());
        let ids: HashSet<DeadMessageId> = strange.collect();
        if !ids.is_empty() {
            let dealt = self.messages.ask(Wanted { ids: Some(ids), ..Wanted::default() }, act).await?;
            done.extend(dealt.iter().map(|letter| letter.id.to_string()));
        }
        if json {
            let with = letters.iter().filter(|letter| done.contains(&letter.id()));
            with.into_iter().try_for_each(|letter| say(letter, true))?;
        }
        Ok(done.len())
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(broker) = self.broker {
            broker.close().await;
        }
        self.store.close().await;
    }
}
