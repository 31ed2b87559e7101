//! `signalpost publish`: one event of the command line, or a file of CloudEvents, one a line, in their order.

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::destination::Destination;
use super::{Context, WrongUse, output};
use crate::domain::event::{Incoming, MAX_MESSAGE, Planned};
use crate::pipeline::decode;

/// The source of an event that names none.
const SOURCE: &str = "cli";
/// Progress is told every so many lines.
const PROGRESS: usize = 1000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Type of the event; one without a dot is read as account.TYPE
    #[arg(value_name = "TYPE", requires = "data", required_unless_present = "file", conflicts_with = "file")]
    kind: Option<String>,
    /// What it says, as a JSON object
    #[arg(long, value_name = "JSON", requires = "kind", conflicts_with = "file")]
    data: Option<String>,
    /// Slug of the project
    #[arg(long, default_value = "default")]
    project: String,
    /// The event's id; the same id again changes nothing [default: a new UUID, which is printed]
    #[arg(long, conflicts_with = "file")]
    id: Option<String>,
    /// CloudEvents in JSON, one a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Only read the file and tell which lines are wrong
    #[arg(long, requires = "file")]
    dry_run: bool,
    /// One JSON object for each event
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match &args.file {
        Some(file) => publish_file(context, file, &args).await,
        None => publish_one(context, args).await,
    }
}

async fn publish_one(context: &Context, args: Args) -> anyhow::Result<()> {
    let wrong = |what: String| anyhow::Error::new(WrongUse(what));
    let data: Value = serde_json::from_str(args.data.as_deref().unwrap_or_default())
        .map_err(|error| wrong(format!("--data is not JSON: {error}")))?;
    let id = args.id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let event = json!({"specversion": "1.0", "type": args.kind, "source": SOURCE, "id": id, "data": data});
    let incoming = read_event(event, &args.project, context.clock.now()).map_err(wrong)?;
    let destination = Destination::open(context).await?;
    let planned = destination.publish(incoming).await;
    destination.close().await;
    let planned = planned?;
    let told = planned.as_ref().map(told).transpose().map_err(anyhow::Error::msg)?;
    if args.json {
        return Ok(output::line(&shown(&id, planned.as_ref()).to_string())?);
    }
    if let Some(told) = told {
        output::tell(&told);
    }
    if args.id.is_none() {
        output::line(&id)?;
    }
    Ok(())
}

/// What became of an event; a broker says no more than that it has it.
fn shown(id: &str, planned: Option<&Planned>) -> Value {
    let (event, outcome, dispatches, is_known) = match planned {
        Some(Planned::Accepted { event, outcome, dispatches }) => (event, *outcome, dispatches, false),
        Some(Planned::Duplicate { event, outcome, dispatches }) => {
            (event, outcome.as_str(), dispatches, true)
        }
        Some(Planned::Refused { .. }) | None => return json!({ "id": id }),
    };
    json!({ "id": id, "event_id": event, "outcome": outcome, "dispatches": dispatches, "duplicate": is_known })
}

/// One after the other: events of one member must not overtake each other.
async fn publish_file(context: &Context, file: &str, args: &Args) -> anyhow::Result<()> {
    let lines = open(file)?;
    let destination = if args.dry_run { None } else { Some(Destination::open(context).await?) };
    let (mut taken, mut refused) = (0, 0);
    let done = if args.dry_run { "right" } else { "published" };
    for (number, line) in lines.lines().enumerate() {
        let number = number + 1;
        let line = line.with_context(|| format!("line {number} could not be read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let read = read_line(&line, &args.project, context.clock.now());
        let ending = publish_line(destination.as_ref(), read).await;
        let ending = ending.with_context(|| format!("line {number} was not published"))?;
        let mut told = match ending {
            Ok(told) => {
                taken += 1;
                told
            }
            Err(what) => {
                refused += 1;
                output::tell(&format!("line {number}: {what}"));
                json!({ "refused": what })
            }
        };
        if args.json {
            told["line"] = number.into();
            output::line(&told.to_string())?;
        }
        if (taken + refused) % PROGRESS == 0 {
            output::tell(&format!("{taken} {done}, {refused} refused"));
        }
    }
    if let Some(destination) = destination {
        destination.close().await;
    }
    output::tell(&format!("{taken} {done}, {refused} refused"));
    if refused > 0 {
        bail!("{refused} of {} events were refused", taken + refused);
    }
    Ok(())
}

fn open(file: &str) -> anyhow::Result<Box<dyn BufRead>> {
    if file == "-" {
        return Ok(Box::new(stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("{file} could not be opened"))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// What became of a line, or why it is refused.
async fn publish_line(
    destination: Option<&Destination>,
    read: Result<Incoming, String>,
) -> anyhow::Result<Result<Value, String>> {
    let incoming = match read {
        Ok(incoming) => incoming,
        Err(what) => return Ok(Err(what)),
    };
    let id = incoming.id.clone();
    let Some(destination) = destination else { return Ok(Ok(shown(&id, None))) };
    let planned = destination.publish(incoming).await?;
    let told = planned.as_ref().map(told).transpose();
    Ok(told.map(|_| shown(&id, planned.as_ref())))
}

fn told(planned: &Planned) -> Result<String, String> {
    match planned {
        Planned::Accepted { outcome, dispatches, .. } => {
            Ok(format!("{outcome}, {} dispatches", dispatches.len()))
        }
        Planned::Duplicate { outcome, .. } => Ok(format!("known already: {outcome}")),
        Planned::Refused { refusal, .. } => {
            Err(format!("refused as {}: {}", refusal.reason.name(), refusal.detail))
        }
    }
}

fn read_line(line: &str, project: &str, now: DateTime<Utc>) -> Result<Incoming, String> {
    if line.len() > MAX_MESSAGE {
        return Err(format!("is longer than {MAX_MESSAGE} octets"));
    }
    read_event(serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?, project, now)
}

/// Reads a structured event as over HTTP. One that names its project goes there.
fn read_event(mut event: Value, project: &str, now: DateTime<Utc>) -> Result<Incoming, String> {
    let project = event.get("project").and_then(Value::as_str).unwrap_or(project).to_owned();
    if let Some(fields) = event.as_object_mut() {
        fields.entry("source").or_insert_with(|| SOURCE.into());
    }
    decode::read_structured(event, &project, now).map_err(|wrong| wrong.refusal.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Incoming, String> {
        read_line(text, "acme", DateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_line_is_a_cloud_event() {
        let read =
            line(r#"{"specversion":"1.0","type":"deleted","id":"7","data":{"member":"elon"}}"#).unwrap();
        assert_eq!(
            (read.kind.as_str(), read.project.as_str(), read.source.as_str()),
            ("account.deleted", "acme", "cli")
        );
        let other = r#"{"specversion":"1.0","type":"a.b","id":"7","project":"shop","source":"s","data":{}}"#;
        let other = line(other).unwrap();
        assert_eq!((other.project.as_str(), other.source.as_str()), ("shop", "s"));
    }

    #[test]
    fn a_wrong_line_names_its_field() {
        for (text, field) in [
            ("{", "JSON"),
            (r#"{"specversion":"1.0","id":"7","data":{}}"#, "`type`"),
            (r#"{"specversion":"1.0","type":"a.b","data":{}}"#, "`id`"),
            (r#"{"specversion":"1.0","type":"a.b","id":7,"data":{}}"#, "`id`"),
            (r#"{"specversion":"1.0","type":"a.b","id":"7","time":"now","data":{}}"#, "`time`"),
            (r#"{"specversion":"0.3","type":"a.b","id":"7","data":{}}"#, "`specversion`"),
        ] {
            assert!(line(text).unwrap_err().contains(field), "{text}");
        }
    }
}
