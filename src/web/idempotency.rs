//! `Idempotency-Key`: a call that is made again with the same key and body is not done again. What it has done
//! is kept for a day as two keyed fingerprints, a status and which record; the answer is made from the record,
//! so no body is kept. A call that failed lets its key go. Must not know what the calls do.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State as From};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::State;
use super::caller::{self, Vouched};
use super::error::Problem;
use super::extract::{BODY_LIMIT, read_body};
use crate::domain::id::ProjectId;
use crate::store::shown::StoredOnce;
use crate::store::{Conn, db};

/// How long a key is remembered.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// A call that has not ended by then died with its process; a request takes 30 s at most.
const STALE: TimeDelta = TimeDelta::seconds(60);
/// Stands for the status of an event's call: its own identity keeps it from being taken twice and answers it, so
/// only the body is compared.
const NATURAL: i32 = 0;
const LONGEST_KEY: usize = 255;
/// The largest answer that is looked into for the record it tells of, in bytes.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
const NAME: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the middleware works with.
#[derive(Clone)]
pub(super) struct Once {
    pub(super) state: Arc<State>,
    /// Shows a record again.
    pub(super) records: Router,
}

/// The id of an event that a call publishes: of one call made twice it is the same, even if the process died
/// in between, so that no mail goes out twice.
pub(super) struct OwnEventId(pub(super) String);

#[derive(Clone, Copy)]
struct CallId(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for OwnEventId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let id = parts.extensions.get::<CallId>().map_or_else(Uuid::new_v4, |id| id.0);
        Ok(Self(id.to_string()))
    }
}

/// Runs a call at most once for each key. A call without the header, or without a right to be made, goes on.
pub(super) async fn once(From(once): From<Once>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.method() != Method::POST || !request.headers().contains_key(NAME) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let Ok(holder) = caller::holder(&once.state, &parts.headers).await else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let key = key(&parts)?;
    let body = read_body(body, BODY_LIMIT).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes();
    let keys = &once.state.keys;
    let call = Call {
        project: holder.project,
        fingerprint: keys.fingerprint(&[b"key", holder.key.0.as_bytes(), target, key.as_bytes()]),
        request: keys.fingerprint(&[b"body", &body]),
        now: once.state.clock.now(),
    };
    let taken_at = match call.take(&once.state).await? {
        Taken::New(at) => at,
        Taken::Done(status, answer) => return replay(&once, &parts, status, answer.as_deref()).await,
    };
    let id = keys.fingerprint(&[b"event", &call.fingerprint, &taken_at.timestamp_micros().to_be_bytes()]);
    parts.extensions.insert(CallId(call_id(id)));
    let is_natural = parts.extensions.get::<MatchedPath>().is_some_and(|path| path.as_str() == "/v1/events");
    let state = once.state.clone();
    // To its end, even if the client goes away: or nobody would write down what became of it.
    let done = once.state.tasks.spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        call.settle(&state, response, is_natural).await
    });
    done.await.map_err(|_| Problem::Internal)?
}

fn key(parts: &Parts) -> Result<String, Problem> {
    let wrong = || Problem::invalid("Idempotency-Key", "is not 1 to 255 visible characters, once");
    let mut all = parts.headers.get_all(NAME).iter();
    let key = all.next().and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    let is_right = (1..=LONGEST_KEY).contains(&key.len()) && all.next().is_none();
    if is_right { Ok(key.to_owned()) } else { Err(wrong()) }
}

fn call_id(digest: [u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// One call under a key.
struct Call {
    project: ProjectId,
    fingerprint: [u8; 32],
    request: [u8; 32],
    now: DateTime<Utc>,
}

enum Taken {
    /// When the key was taken first.
    New(DateTime<Utc>),
    Done(StatusCode, Option<String>),
}

impl Call {
    async fn take(&self, state: &State) -> Result<Taken, Problem> {
        let mut c = state.store.write().await?;
        // Twice: what is found may have gone when it is looked at.
        for _ in 0..2 {
            if db!(c, idempotency::take(self.project, (&self.fingerprint, &self.request), self.now))? {
                return Ok(Taken::New(self.now));
            }
            let Some(found) = db!(c, idempotency::find(&self.fingerprint))? else { continue };
            if found.created_at <= self.now - KEPT {
                db!(c, idempotency::release(&self.fingerprint))?;
                continue;
            }
            if found.request != self.request {
                return Err(Problem::IdempotencyKeyReused);
            }
            return match found.status {
                Some(NATURAL) => Ok(Taken::New(found.created_at)),
                Some(status) => Ok(Taken::Done(status_code(status), found.answer)),
                None => self.take_over(&mut c, &found).await,
            };
        }
        Err(Problem::IdempotencyKeyInUse)
    }

    async fn take_over(&self, c: &mut Conn, found: &StoredOnce) -> Result<Taken, Problem> {
        if db!(c, idempotency::take_over(&self.fingerprint, (self.now - STALE, self.now)))? {
            return Ok(Taken::New(found.created_at));
        }
        Err(Problem::IdempotencyKeyInUse)
    }

    /// Writes down what the call came to. What failed may be tried again with the same key.
    async fn settle(&self, state: &State, response: Response, is_natural: bool) -> Result<Response, Problem> {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, ANSWER_LIMIT).await.map_err(|_| Problem::Internal)?;
        let mut c = state.store.write().await?;
        if parts.status.is_success() {
            let answer = if is_natural { None } else { told_of(&body) };
            let status = if is_natural { NATURAL } else { i32::from(parts.status.as_u16()) };
            db!(c, idempotency::finish(&self.fingerprint, status, answer.as_deref()))?;
        } else {
            db!(c, idempotency::release(&self.fingerprint))?;
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

fn status_code(stored: i32) -> StatusCode {
    u16::try_from(stored).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK)
}

/// The record of an answer, as it is kept: `/v1/integrations/int_…`, `member mem_…` or `event_id evt_…`.
fn told_of(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    if let Some(path) = answer["id"].as_str().and_then(record) {
        return Some(path);
    }
    if let Some(member) = answer["member"]["id"].as_str() {
        return Some(format!("member {member}"));
    }
    answer["event_id"].as_str().map(|event| format!("event_id {event}"))
}

/// Where a record is shown.
fn record(id: &str) -> Option<String> {
    let list = match id.split_once('_')?.0 {
        "aut" => "automations",
        "int" => "integrations",
        "mem" => "members",
        _ => return None,
    };
    Some(format!("/v1/{list}/{id}"))
}

/// The answer of the first call, made from the record as it is now.
async fn replay(
    once: &Once,
    parts: &Parts,
    status: StatusCode,
    answer: Option<&str>,
) -> Result<Response, Problem> {
    let body = match answer.map(|answer| answer.split_once(' ').unwrap_or((answer, ""))) {
        None => json!({}),
        Some(("event_id", id)) => json!({ "event_id": id }),
        Some(("member", id)) => json!({ "member": show(once, parts, &format!("/v1/members/{id}")).await? }),
        Some((path, _)) => show(once, parts, path).await?,
    };
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// A record as its own route shows it; one that is gone by now has its id left.
async fn show(once: &Once, parts: &Parts, path: &str) -> Result<Value, Problem> {
    let mut request = Request::get(path).body(Body::empty()).map_err(|_| Problem::Internal)?;
    let authorization = parts.headers.get(header::AUTHORIZATION).cloned();
    request.headers_mut().extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    request.extensions_mut().insert(Vouched);
    let Ok(response) = once.records.clone().oneshot(request).await;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(json!({ "id": path.rsplit('/').next() }));
    }
    let body = to_bytes(response.into_body(), ANSWER_LIMIT).await.map_err(|_| Problem::Internal)?;
    serde_json::from_slice(&body).map_err(|error| Problem::internal(&error))
}
