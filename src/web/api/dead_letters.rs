//! Dead letters of the key's project: refused messages and dead dispatches, listed, shown, replayed, discarded.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::paging::{Items, limit};
use crate::domain::id::{DeadMessageId, DispatchId};
use crate::pipeline::dead_acts::{self, Dealt, Hands};
use crate::pipeline::dead_letters::{
    Act, DeadLetter, Filter, ListError, Places, Unreachable, Wanted as WantedMessages, Which,
};
use crate::web::State;
use crate::web::caller::{Caller, EventsWrite, Read};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, Params, PathName};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<String>,
    after: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    since: Option<String>,
}

/// What a filter says in the body of a request.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Like {
    kind: Option<String>,
    reason: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    since: Option<String>,
}

/// Which letters are meant: some by their ids, or all that fit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    ids: Option<Vec<String>>,
    filter: Option<Like>,
}

/// `GET /v1/dead-letters`: newest first.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(page): Params<Page>,
) -> Result<Json<Items<Value>>, Problem> {
    let limit = usize::try_from(limit(page.limit.as_deref())?).unwrap_or_default();
    let before = page.after.as_deref().map(key).transpose();
    let before = before.map_err(|()| Problem::invalid("after", "is not the `next` of a page"))?;
    let Page { kind, reason, event_type, since, .. } = page;
    let filter = Like { kind, reason, event_type, since }.read()?;
    let project = (caller.project.id.0, caller.project.slug.as_str());
    let mut letters = places(&state).list(project, &filter, (before, limit + 1)).await?;
    let has_more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| has_more).map(DeadLetter::id);
    Ok(Json(Items { items: letters.iter().map(DeadLetter::shown).collect(), next }))
}

/// `GET /v1/dead-letters/{id}`: a refused message with its body.
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    let project = &caller.project;
    if let Ok(id) = id.parse::<DispatchId>() {
        let found = places(&state).dispatch((project.id.0, &project.slug), id).await?;
        return Ok(Json(found.ok_or(Problem::NotFound)?.shown()));
    }
    let id: DeadMessageId = id.parse().map_err(|_| Problem::NotFound)?;
    let wanted = messages(&project.slug, [id].into());
    let found = state.dead_messages.ask(wanted, Act::Look { bodies: true }).await?;
    let letter = found.into_iter().next().ok_or(Problem::NotFound)?;
    Ok(Json(DeadLetter::Message(letter).shown()))
}

/// `POST /v1/dead-letters/replay`
pub(super) async fn replay(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(chosen): JsonBody<Chosen>,
) -> Result<Json<Value>, Problem> {
    act(&state, &caller, chosen, Act::Replay).await.map(|dealt| answer("replayed", &dealt))
}

/// `POST /v1/dead-letters/discard`
pub(super) async fn discard(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(chosen): JsonBody<Chosen>,
) -> Result<Json<Value>, Problem> {
    act(&state, &caller, chosen, Act::Discard).await.map(|dealt| answer("discarded", &dealt))
}

async fn act(
    state: &State,
    caller: &Caller<EventsWrite>,
    chosen: Chosen,
    act: Act,
) -> Result<Dealt, Problem> {
    let chosen = match (chosen.ids, chosen.filter) {
        (Some(ids), None) => dead_acts::Chosen::Ids(ids),
        (None, Some(like)) => dead_acts::Chosen::Like(like.read()?),
        _ => return Err(Problem::invalid("ids", "or `filter` must be there, and not both")),
    };
    let hands = Hands { places: places(state), rearm: &state.rearm };
    Ok(hands.deal((caller.project.id, &caller.project.slug), chosen, act).await?)
}

fn answer(what: &str, dealt: &Dealt) -> Json<Value> {
    let failed = dealt.failed.iter().map(|(id, code)| json!({ "id": id, "code": code }));
    Json(json!({ what: dealt.done.len(), "failed": failed.collect::<Vec<_>>() }))
}

impl Like {
    fn read(self) -> Result<Filter, Problem> {
        for (field, text) in [("reason", &self.reason), ("type", &self.event_type)] {
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(Problem::invalid(field, "has a NUL character"));
            }
        }
        let which = self.kind.as_deref().map(|kind| {
            Which::from_name(kind)
                .ok_or_else(|| Problem::invalid("kind", "is neither `message` nor `dispatch`"))
        });
        let since = self.since.as_deref().map(|since| {
            let time = DateTime::parse_from_rfc3339(since).map(|time| time.with_timezone(&Utc));
            time.map_err(|_| Problem::invalid("since", "is not a time of RFC 3339"))
        });
        let (which, since) = (which.transpose()?, since.transpose()?);
        Ok(Filter { which, reason: self.reason, kind: self.event_type, since })
    }
}

fn messages(project: &str, ids: HashSet<DeadMessageId>) -> WantedMessages {
    WantedMessages { project: Some(project.to_owned()), ids: Some(ids), ..WantedMessages::default() }
}

fn places(state: &State) -> Places<'_> {
    Places { store: &state.store, messages: &state.dead_messages }
}

/// The place in the list of an id of either kind.
fn key(id: &str) -> Result<Uuid, ()> {
    let of_message = id.parse::<DeadMessageId>().map(|id| id.0);
    of_message.or_else(|_| id.parse::<DispatchId>().map(|id| id.0)).map_err(drop)
}

impl std::convert::From<Unreachable> for Problem {
    fn from(error: Unreachable) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "dead letters were asked for");
        Self::Unavailable
    }
}

impl std::convert::From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => error.into(),
            ListError::Unreachable(error) => error.into(),
        }
    }
}
