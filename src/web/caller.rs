//! Who calls the API: a key, its project, and whether it may. The scope a route needs stands in the type of
//! its first argument, so a route cannot forget to ask.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, TimeDelta, Utc};

use super::State;
use super::client::{ClientAddress, client};
use super::error::Problem;
use crate::domain::api_key::{ApiKey, KeyHash, Scope};
use crate::domain::catalogue::Project;
use crate::domain::id::{self, ApiKeyId, ProjectId};
use crate::pipeline::flows::Actor;
use crate::store::db;
use crate::store::shown::{AuditEntry, StoredKey};

/// How long a key is taken as it was read: a revocation is seen within this.
const REMEMBERED: TimeDelta = TimeDelta::seconds(1);
/// How many keys are remembered; all are forgotten when there are more.
const MOST_REMEMBERED: usize = 1024;

/// The caller of a route that needs a scope.
pub(super) struct Caller<S> {
    pub(super) project: Arc<Project>,
    holder: Holder,
    client: ClientAddress,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// Who starts a flow by this call.
    pub(super) fn actor(&self) -> Actor {
        Actor { name: self.holder.name.clone(), client: self.client.0 }
    }

    /// The row that tells of a change by this caller; to be written in the transaction of the change.
    pub(super) fn audit(&self, now: DateTime<Utc>, action: &str, subject: &str) -> AuditEntry {
        AuditEntry {
            id: id::new_at(now),
            project_id: self.project.id.0,
            at: now,
            actor: self.holder.name.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            client: self.client.0.map(|ip| ip.to_string()),
        }
    }
}

/// Put into a request by this program itself: the right to see the answer was there when it was given first.
#[derive(Clone, Copy)]
pub(super) struct Vouched;

/// A scope as a type.
pub(super) trait Needs: Send + Sync {
    const SCOPE: Scope;
}

/// `events:write`
pub(super) struct EventsWrite;
/// `accounts:write`
pub(super) struct AccountsWrite;
/// `automations:write`
pub(super) struct AutomationsWrite;
/// `integrations:write`
pub(super) struct IntegrationsWrite;
/// `read`
pub(super) struct Read;

impl Needs for AutomationsWrite {
    const SCOPE: Scope = Scope::AutomationsWrite;
}

impl Needs for IntegrationsWrite {
    const SCOPE: Scope = Scope::IntegrationsWrite;
}

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
        let holder = holder(state, &parts.headers).await?;
        if !holder.scopes.contains(&S::SCOPE) && parts.extensions.get::<Vouched>().is_none() {
            return Err(Problem::MissingScope(S::SCOPE));
        }
        let project = project_of(state, holder.project).await?;
        let client = client(&parts.extensions, &parts.headers, &state.trusted_proxies);
        Ok(Self { project, holder, client, scope: PhantomData })
    }
}

/// The holder of the key that a request presents.
pub(super) async fn holder(state: &State, headers: &HeaderMap) -> Result<Holder, Problem> {
    let key = presented(headers).ok_or(Problem::Unauthorized)?;
    state.known_keys.holder(state, key.hash()).await?.ok_or(Problem::Unauthorized)
}

fn presented(headers: &HeaderMap) -> Option<ApiKey> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
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

/// Who holds a key.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) key: ApiKeyId,
    pub(super) project: ProjectId,
    /// As the audit names it: `key_… (shop)`.
    name: String,
    scopes: Arc<[Scope]>,
}

impl Holder {
    fn of(row: &StoredKey) -> Self {
        let key = ApiKeyId(row.id);
        let name = if row.name.is_empty() { key.to_string() } else { format!("{key} ({})", row.name) };
        let scopes = Scope::list_from_json(&row.scopes).into();
        Self { key, project: ProjectId(row.project_id), name, scopes }
    }
}

impl KnownKeys {
    async fn holder(&self, state: &State, hash: KeyHash) -> Result<Option<Holder>, Problem> {
        let now = state.clock.now();
        if let Some(holder) = self.recall(&hash, now) {
            return Ok(Some(holder));
        }
        let mut c = state.store.read().await?;
        let Some(row) = db!(c, keys::find(&hash))? else { return Ok(None) };
        let holder = Holder::of(&row);
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
