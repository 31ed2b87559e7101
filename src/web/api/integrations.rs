//! Integrations: made, changed, tried. A password comes in and never goes out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::changing::begin;
use super::paging::{Items, Paging};
use crate::domain::catalogue::{Integration, Rate};
use crate::domain::id::IntegrationId;
use crate::domain::integration::{self, CONNECTIONS, Kind, MOST_CONNECTIONS, Maker, Making, Wish};
use crate::domain::project::{check_name, or_none};
use crate::domain::smtp_url::{self, SmtpUrl};
use crate::pipeline::reach::test_mail;
use crate::store::{Tx, db};
use crate::web::State;
use crate::web::caller::{Caller, IntegrationsWrite, Read};
use crate::web::error::Problem;
use crate::web::etag::{IfMatch, Tagged};
use crate::web::extract::{JsonBody, OptionalJson, Params, PathName};

/// `GET /v1/integrations`
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let (limit, after) = (paging.limit()?, paging.after()?);
    let mut c = state.store.read().await?;
    let rows = db!(c, integrations::list(caller.project.id, after, limit + 1))?;
    Ok(Json(Items::page(rows, limit, |row| row.id.to_string(), |row| shown(&row))))
}

/// `GET /v1/integrations/{id}`
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Tagged, Problem> {
    let mut c = state.store.read().await?;
    let found = db!(c, integrations::get(caller.project.id, read_id(&id)?))?;
    found.map(|found| tagged(&found)).ok_or(Problem::NotFound)
}

/// What a body says of one: all of it, what is left out has its default. No `Debug`: the URL may hold the password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    name: String,
    kind: Option<String>,
    url: Option<String>,
    from: String,
    reply_to: Option<String>,
    connections: Option<u16>,
    rate: Option<String>,
    auto_submitted: Option<bool>,
    return_path: Option<String>,
    reply_path: Option<String>,
    /// What is shown and cannot be changed is taken back, so that what was read can be sent.
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "paused")]
    _paused: Option<Value>,
    #[serde(rename = "password_set")]
    _password_set: Option<Value>,
}

/// `POST /v1/integrations`
pub(super) async fn create(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(body): JsonBody<Body>,
) -> Result<impl IntoResponse, Problem> {
    let wish = body.wish()?;
    let mut tx = begin(&state).await?;
    let made = wish.over(&making(&caller, &state), None).map_err(wrong)?;
    write(&mut tx, &made).await?;
    let entry = caller.audit(state.clock.now(), "integration.created", &subject(&made, &[]));
    db!(tx, audit::insert(&entry))?;
    tx.commit().await?;
    state.live.refresh().await?;
    let location = format!("/v1/integrations/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged(&made)))
}

/// `PUT /v1/integrations/{id}`
pub(super) async fn replace(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
    if_match: IfMatch,
    JsonBody(body): JsonBody<Body>,
) -> Result<Tagged, Problem> {
    let (id, wish) = (read_id(&id)?, body.wish()?);
    let mut tx = begin(&state).await?;
    let old = db!(tx, integrations::get(caller.project.id, id))?.ok_or(Problem::NotFound)?;
    if_match.check(&tagged(&old).etag)?;
    let new = wish.over(&making(&caller, &state), Some(&old)).map_err(wrong)?;
    let changed = integration::changed(&old, &new);
    if changed.is_empty() {
        tx.rollback().await?;
        return Ok(tagged(&old));
    }
    write(&mut tx, &new).await?;
    let entry = caller.audit(state.clock.now(), "integration.changed", &subject(&new, &changed));
    db!(tx, audit::insert(&entry))?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(tagged(&new))
}

/// `DELETE /v1/integrations/{id}`: refused while an automation sends through it.
pub(super) async fn retire(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<StatusCode, Problem> {
    let (project, id, now) = (caller.project.id, read_id(&id)?, state.clock.now());
    let mut tx = begin(&state).await?;
    let old = db!(tx, integrations::get(project, id))?.ok_or(Problem::NotFound)?;
    let users = db!(tx, integrations::used_by(project, id))?;
    if !users.is_empty() {
        let detail = format!("These automations send through it: {}.", users.join(", "));
        return Err(Problem::Conflict { code: "in-use", field: None, detail });
    }
    db!(tx, integrations::retire(project, id, now))?;
    db!(tx, audit::insert(&caller.audit(now, "integration.retired", &subject(&old, &[]))))?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Trial {
    /// Who gets a mail.
    to: Option<String>,
}

/// `POST /v1/integrations/{id}/test`: 200 whatever comes of it, with every step.
pub(super) async fn test(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
    OptionalJson(trial): OptionalJson<Trial>,
) -> Result<Json<Value>, Problem> {
    let to = trial.to.as_deref().map(integration::address).transpose();
    let to = to.map_err(|what| Problem::invalid("to", what))?;
    let mut c = state.store.read().await?;
    let found = db!(c, integrations::get(caller.project.id, read_id(&id)?))?.ok_or(Problem::NotFound)?;
    drop(c);
    let now = state.clock.now();
    let steps = state.reach.try_out(&found, to.as_deref().map(|to| (to, test_mail(&found))), now).await;
    let mut c = state.store.write().await?;
    db!(c, audit::insert(&caller.audit(now, "integration.tested", &subject(&found, &[]))))?;
    Ok(Json(json!({ "ok": steps.iter().all(|step| step.ok), "steps": steps })))
}

impl Body {
    /// All of an integration: what is left out is as if it had never been said.
    fn wish(self) -> Result<Wish, Problem> {
        let reply_to = or_none(integration::address)(&self.reply_to.unwrap_or_default());
        let path = |field: &str, text: Option<String>| {
            let text = or_none(integration::path)(&text.unwrap_or_default());
            text.map(Some).map_err(|what| Problem::invalid(field, &what))
        };
        let kind = self.kind.as_deref().map(Kind::from_name).transpose();
        let url = self.url.as_deref().map(SmtpUrl::parse).transpose();
        let rate = self.rate.as_deref().filter(|text| !text.is_empty()).map(str::parse::<Rate>).transpose();
        let connections = self.connections.unwrap_or(CONNECTIONS);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            let what = format!("is not a whole number from 1 to {MOST_CONNECTIONS}");
            return Err(Problem::invalid("connections", &what));
        }
        Ok(Wish {
            name: check_name(&self.name).map_err(|what| Problem::invalid("name", &what))?,
            kind: kind.map_err(|what| Problem::invalid("kind", what))?,
            url: url.map_err(|what| Problem::invalid("url", &what))?,
            from: Some(integration::mailbox(&self.from).map_err(|what| Problem::invalid("from", what))?),
            reply_to: Some(reply_to.map_err(|what| Problem::invalid("reply_to", &what))?),
            connections: Some(connections),
            rate: Some(rate.map_err(|what| Problem::invalid("rate", what))?),
            auto_submitted: Some(self.auto_submitted.unwrap_or(true)),
            return_path: path("return_path", self.return_path)?,
            reply_path: path("reply_path", self.reply_path)?,
        })
    }
}

async fn write(tx: &mut Tx, integration: &Integration) -> Result<(), Problem> {
    db!(tx, integrations::put(integration)).map_err(|error| {
        if error.is_unique_violation() { Problem::name_in_use("integration") } else { error.into() }
    })
}

fn making<'a, S>(caller: &Caller<S>, state: &'a State) -> Making<'a> {
    Making {
        keys: &state.keys,
        project: caller.project.id,
        id: IntegrationId::new_at(state.clock.now()),
        maker: Maker::Project { networks: !state.reach.allow.is_empty() },
    }
}

fn wrong(wrong: Vec<integration::Wrong>) -> Problem {
    let first = wrong.into_iter().next();
    first.map_or(Problem::Internal, |(field, what)| Problem::invalid(field, &what))
}

fn subject(integration: &Integration, changed: &[&str]) -> String {
    let changed = if changed.is_empty() { String::new() } else { format!(": {}", changed.join(", ")) };
    format!("{} ({}){changed}", integration.id, integration.name)
}

fn read_id(text: &str) -> Result<IntegrationId, Problem> {
    text.parse().map_err(|_| Problem::NotFound)
}

fn tagged(integration: &Integration) -> Tagged {
    let sealed = integration::server(integration).and_then(|server| server.sealed_password.as_deref());
    Tagged::with(shown(integration), sealed.unwrap_or_default())
}

fn shown(one: &Integration) -> Value {
    let server = integration::server(one);
    let url = server.map(|s| smtp_url::shown(&s.host, s.port, &s.tls, s.username.as_deref()));
    json!({
        "id": one.id,
        "name": one.name,
        "kind": if server.is_some() { "smtp" } else { "capture" },
        "url": url,
        "password_set": server.is_some_and(|server| server.sealed_password.is_some()),
        "from": one.sender,
        "reply_to": one.reply_to,
        "connections": one.connections,
        "rate": one.rate,
        "auto_submitted": one.auto_submitted,
        "return_path": one.return_path,
        "reply_path": one.reply_path,
        "paused": one.paused,
    })
}
