//! Who calls the API: a key, its project, and whether it may. The scope a route needs stands in the type of
//! its first argument, so a route cannot forget to ask.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use chrono::{DateTime, TimeDelta, Utc};

use super::State;
use super::error::Problem;
use crate::domain::api_key::{ApiKey, KeyHash, Scope};
use crate::domain::catalogue::Project;
use crate::domain::id::ProjectId;
use crate::store::db;

/// How long a key is taken as it was read: a revocation is seen within this.
const REMEMBERED: TimeDelta = TimeDelta::seconds(1);
/// How many keys are remembered; all are forgotten when there are more.
const MOST_REMEMBERED: usize = 1024;

/// The caller of a route that needs a scope.
pub(super) struct Caller<S> {
    pub(super) project: Arc<Project>,
    scope: PhantomData<S>,
}

/// A scope as a type.
pub(super) trait Needs: Send + Sync {
    const SCOPE: Scope;
}

/// `events:write`
pub(super) struct EventsWrite;
/// `accounts:write`
pub(super) struct AccountsWrite;
/// `read`
pub(super) struct Read;

impl Needs for EventsWrite {
    const SCOPE: Scope = Scope::EventsWrite;
}

impl Needs for AccountsWrite {
    const SCOPE: Scope = Scope::AccountsWrite;
}

impl Needs for Read {
    const SCOPE: Scope = Scope::Read;
}

impl<S: Needs> FromRequestParts<Arc<State>> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let key = presented(parts).ok_or(Problem::Unauthorized)?;
        let holder = state.known_keys.holder(state, key.hash()).await?.ok_or(Problem::Unauthorized)?;
        if !holder.scopes.contains(&S::SCOPE) {
            return Err(Problem::MissingScope(S::SCOPE));
        }
        let project = project_of(state, holder.project).await?;
        Ok(Self { project, scope: PhantomData })
    }
}

fn presented(parts: &Parts) -> Option<ApiKey> {
    let mut all = parts.headers.get_all(header::AUTHORIZATION).iter();
    let text = all.next()?.to_str().ok()?;
    // Two of them: which one a proxy looked at cannot be told.
    if all.next().is_some() {
        return None;
    }
    let (scheme, key) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| ApiKey::parse(key.trim())).flatten()
}

/// The key's project. One that was made a moment ago may not be in the snapshot yet.
async fn project_of(state: &State, id: ProjectId) -> Result<Arc<Project>, Problem> {
    if let Some(project) = state.live.current().project(id) {
        return Ok(project.clone());
    }
    state.live.refresh().await?;
    state.live.current().project(id).cloned().ok_or(Problem::Unauthorized)
}

/// Keys read a moment ago, so that posting events does not ask the database for each.
#[derive(Default)]
pub struct KnownKeys(Mutex<HashMap<KeyHash, (DateTime<Utc>, Holder)>>);

#[derive(Clone)]
struct Holder {
    project: ProjectId,
    scopes: Arc<[Scope]>,
}

impl KnownKeys {
    async fn holder(&self, state: &State, hash: KeyHash) -> Result<Option<Holder>, Problem> {
        let now = state.clock.now();
        if let Some(holder) = self.recall(&hash, now) {
            return Ok(Some(holder));
        }
        let mut c = state.store.read().await?;
        let Some(row) = db!(c, keys::find(&hash))? else { return Ok(None) };
        let holder =
            Holder { project: ProjectId(row.project_id), scopes: Scope::list_from_json(&row.scopes).into() };
        self.remember(hash, now, holder.clone());
        Ok(Some(holder))
    }

    fn recall(&self, hash: &KeyHash, now: DateTime<Utc>) -> Option<Holder> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, holder) = known.get(hash)?;
        // A clock that was set back must not keep a revoked key alive.
        (*at <= now && now < *at + REMEMBERED).then(|| holder.clone())
    }

    fn remember(&self, hash: KeyHash, at: DateTime<Utc>, holder: Holder) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(hash, (at, holder));
    }
}
