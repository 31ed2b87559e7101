//! Dispatches, each with every try at it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::paging::{Items, limit};
use crate::domain::catalogue::Catalogue;
use crate::domain::id::{AutomationId, DispatchId, EventId, ProjectId};
use crate::pipeline::full_type;
use crate::pipeline::rearm::{Verdict, Verdicts};
use crate::store::db;
use crate::store::shown::{StoredAttempt, StoredDispatch};
use crate::web::State;
use crate::web::caller::{Caller, EventsWrite, Read};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, Params, PathName};

/// `GET /v1/dispatches/{id}`
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    let id: DispatchId = id.parse().map_err(|_| Problem::NotFound)?;
    let project = caller.project.id.0;
    let mut c = state.store.read().await?;
    let dispatch = db!(c, dispatches::get(project, id.0))?.ok_or(Problem::NotFound)?;
    let later = db!(c, dispatches::attempts_of(project, &[id.0]))?;
    let later = later.into_iter().map(|row| row.attempt).collect();
    Ok(Json(shown(&state.live.current(), &dispatch, later)))
}

const STATES: [&str; 5] = ["pending", "sending", "sent", "dead", "cancelled"];
/// Dispatches that one call may name.
const MOST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<String>,
    after: Option<String>,
    state: Option<String>,
    reason: Option<String>,
}

/// `GET /v1/dispatches`: newest first.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(page): Params<Page>,
) -> Result<Json<Items<Value>>, Problem> {
    let limit = limit(page.limit.as_deref())?;
    if page.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        return Err(Problem::invalid("state", &format!("is none of {}", STATES.join(", "))));
    }
    if page.reason.as_deref().is_some_and(|reason| reason.contains('\0')) {
        return Err(Problem::invalid("reason", "has a NUL character"));
    }
    let like = (page.state.as_deref(), page.reason.as_deref());
    let before = page.after.as_deref().map(str::parse::<DispatchId>).transpose();
    let before = before.map_err(|_| Problem::invalid("after", "is not the `next` of a page"))?;
    let project = caller.project.id.0;
    let mut c = state.store.read().await?;
    let mut rows = db!(c, dispatches::list(project, like, (before.map(|id| id.0), limit + 1)))?;
    let has_more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = if has_more { rows.last().map(|row| DispatchId(row.id).to_string()) } else { None };
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut later: HashMap<Uuid, Vec<StoredAttempt>> = HashMap::new();
    for row in db!(c, dispatches::attempts_of(project, &ids))? {
        later.entry(row.dispatch_id).or_default().push(row.attempt);
    }
    let catalogue = state.live.current();
    let items = rows.into_iter().map(|row| {
        let later = later.remove(&row.id).unwrap_or_default();
        shown(&catalogue, &row, later)
    });
    Ok(Json(Items { items: items.collect(), next }))
}

/// Which dispatches are meant: some by their ids, or all that fit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    ids: Option<Vec<String>>,
    filter: Option<Like>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Like {
    reason: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    since: Option<DateTime<Utc>>,
}

/// `POST /v1/dispatches/retry`: dead ones, as they were planned.
pub(super) async fn retry(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(chosen): JsonBody<Chosen>,
) -> Result<Json<Value>, Problem> {
    act(&state, &caller, chosen, Act::Retry).await
}

/// `POST /v1/dispatches/cancel`: what is not sent yet. One in hand is only asked for.
pub(super) async fn cancel(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(chosen): JsonBody<Chosen>,
) -> Result<Json<Value>, Problem> {
    act(&state, &caller, chosen, Act::Cancel).await
}

#[derive(Clone, Copy)]
enum Act {
    Retry,
    Cancel,
}

impl Act {
    /// The state of those that it can be done with, and what it is called.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Retry => ("dead", "retried", "dispatches.retried"),
            Self::Cancel => ("pending", "cancelled", "dispatches.cancelled"),
        }
    }
}

/// How many it was done with, and with which it was not.
async fn act(
    state: &State,
    caller: &Caller<EventsWrite>,
    chosen: Chosen,
    act: Act,
) -> Result<Json<Value>, Problem> {
    let project = caller.project.id;
    let (from, done, action) = act.words();
    let (ids, mut failed) = wanted(state, project, chosen, from).await?;
    let verdicts = match act {
        Act::Retry => state.rearm.retry(project, &ids).await?,
        Act::Cancel => state.rearm.cancel(project, &ids).await?,
    };
    let (good, bad) = told(verdicts);
    failed.extend(bad);
    let now = state.clock.now();
    let mut c = state.store.write().await?;
    let subject = format!("{good} dispatches");
    db!(c, audit::insert(&caller.audit(now, action, &subject)))?;
    Ok(Json(json!({ done: good, "failed": failed })))
}

/// With how many it was done, and why not with each of the others.
pub(super) fn told(verdicts: Verdicts) -> (usize, Vec<Value>) {
    let (good, bad): (Vec<_>, Vec<_>) =
        verdicts.into_iter().partition(|(_, verdict)| *verdict == Verdict::Done);
    let why = |verdict: Verdict| if verdict == Verdict::Unknown { "not-found" } else { verdict.name() };
    let bad = bad.into_iter().map(|(id, verdict)| json!({ "id": id, "code": why(verdict) }));
    (good.len(), bad.collect())
}

/// The ids that are meant, and those that are none.
async fn wanted(
    state: &State,
    project: ProjectId,
    chosen: Chosen,
    from: &str,
) -> Result<(Vec<DispatchId>, Vec<Value>), Problem> {
    match (chosen.ids, chosen.filter) {
        (Some(texts), None) if texts.len() <= MOST => {
            let read = |text: &String| text.parse::<DispatchId>().map_err(|_| text.clone());
            let (good, bad): (Vec<_>, Vec<_>) = texts.iter().map(read).partition(Result::is_ok);
            let bad = bad.into_iter().filter_map(Result::err);
            let bad = bad.map(|text| json!({ "id": text, "code": "not-found" })).collect();
            Ok((good.into_iter().filter_map(Result::ok).collect(), bad))
        }
        (Some(_), None) => Err(Problem::invalid("ids", &format!("are more than {MOST}"))),
        (None, Some(like)) => {
            let texts = [("filter.reason", &like.reason), ("filter.type", &like.kind)];
            if let Some((field, _)) =
                texts.iter().find(|(_, text)| text.as_ref().is_some_and(|t| t.contains('\0')))
            {
                return Err(Problem::invalid(field, "has a NUL character"));
            }
            let kind = like.kind.as_deref().map(full_type);
            let words = (from, like.reason.as_deref(), kind.as_deref());
            let (limit, mut all) = (i64::try_from(MOST).unwrap_or(i64::MAX), Vec::new());
            let mut c = state.store.read().await?;
            loop {
                let after = all.last().copied();
                let some = db!(c, rearm::like(project.0, words, like.since, (after, limit)))?;
                let is_last = some.len() < MOST;
                all.extend(some);
                if is_last {
                    return Ok((all.into_iter().map(DispatchId).collect(), Vec::new()));
                }
            }
        }
        _ => Err(Problem::invalid("ids", "or `filter` must be there, and not both")),
    }
}

#[derive(Serialize)]
struct ShownAttempt {
    at: chrono::DateTime<chrono::Utc>,
    class: String,
    code: Option<i32>,
    reply: Option<String>,
}

fn shown(catalogue: &Catalogue, row: &StoredDispatch, later: Vec<StoredAttempt>) -> Value {
    let automation = AutomationId(row.automation_id);
    // One that is retired has only its id left.
    let name = catalogue.automations.get(&automation).map(|automation| automation.name.clone());
    let waits = row.state == "pending";
    let attempts = attempts(row, later);
    json!({
        "id": DispatchId(row.id),
        "event_id": EventId(row.event_id),
        "automation": name.unwrap_or_else(|| automation.to_string()),
        "template": row.template,
        "to": row.recipient,
        "state": row.state,
        "reason": row.reason,
        "message_id": row.message_id,
        "next_attempt_at": waits.then_some(row.due_at),
        "sent_at": row.sent_at,
        "bounced_at": row.bounced_at,
        "bounce_status": row.bounce_status,
        "bounce_diagnostic": row.bounce_diagnostic,
        "attempts": attempts,
    })
}

/// The first try stands in the dispatch's own row.
fn attempts(row: &StoredDispatch, later: Vec<StoredAttempt>) -> Vec<ShownAttempt> {
    let first = row.first_at.map(|at| ShownAttempt {
        at,
        class: row.first_class.clone().unwrap_or_default(),
        code: row.first_code,
        reply: row.first_reply.clone(),
    });
    let later = later.into_iter().map(|attempt| ShownAttempt {
        at: attempt.at,
        class: attempt.class,
        code: attempt.code,
        reply: attempt.reply,
    });
    first.into_iter().chain(later).collect()
}
