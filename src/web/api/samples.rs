//! Mails that nobody is owed: previewed, sent to try an automation, explained. All carry a sample token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::automation_body::Body;
use super::automations::read_id;
use crate::domain::catalogue::{Automation, BUILT_IN};
use crate::domain::dispatch::{Addressee, Facts};
use crate::domain::event::Refusal;
use crate::domain::id::AutomationId;
use crate::domain::integration;
use crate::domain::names::event_fields;
use crate::mail::templates::Rendered;
use crate::pipeline::decode::read_structured;
use crate::pipeline::explain::{self, ExplainError, Explained, ForWhom, sample_of};
use crate::pipeline::render::Desk;
use crate::pipeline::sample::send;
use crate::store::db;
use crate::web::State;
use crate::web::caller::{AutomationsWrite, Caller, Read};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, member_ref, parse_json};

/// What a sample tells of; what is left out is made up.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct About {
    /// Of the event.
    data: Option<Map<String, Value>>,
    member: Option<Who>,
    locale: Option<String>,
}

/// A member of the project, or one that is made up.
#[derive(Deserialize)]
#[serde(untagged)]
enum Who {
    Named(String),
    MadeUp(MadeUp),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeUp {
    id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    locale: Option<String>,
    is_admin: Option<bool>,
    on_vacation: Option<bool>,
}

/// `POST /v1/automations/preview`: the fields of an automation, and with them `data`, `member` and `locale`.
pub(super) async fn preview(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(mut request): JsonBody<Map<String, Value>>,
) -> Result<Json<Value>, Problem> {
    let mut about = Map::new();
    for field in ["data", "member", "locale"] {
        about.extend(request.remove_entry(field));
    }
    let about: About = read(about)?;
    let mut body: Body = read(request)?;
    body.name.get_or_insert_with(|| "Preview".to_owned());
    body.any_integration = true;
    body.integration = None;
    let id = AutomationId::new_at(state.clock.now());
    let automation = body.checked(&caller.project, &state.public_url, &[], id)?;
    let (mail, to) = made(&state, &caller.project, &automation, about).await?;
    Ok(Json(json!({ "to": to, "subject": mail.subject, "html": mail.html, "text": mail.text })))
}

/// `to`, and what the mail tells of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    to: String,
    data: Option<Map<String, Value>>,
    member: Option<Value>,
    locale: Option<String>,
}

/// `POST /v1/automations/{id}/test`: 200 whatever comes of it, with every step.
pub(super) async fn test(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    crate::web::extract::PathName(id): crate::web::extract::PathName,
    JsonBody(trial): JsonBody<Trial>,
) -> Result<Json<Value>, Problem> {
    let to = integration::address(&trial.to).map_err(|what| Problem::invalid("to", what))?;
    let (project, now) = (caller.project.id, state.clock.now());
    let mut c = state.store.read().await?;
    let automation = db!(c, automations::get(project, read_id(&id)?))?.ok_or(Problem::NotFound)?;
    let through = db!(c, integrations::get(project, automation.integration_id))?;
    drop(c);
    let through = through.ok_or(Problem::NotFound)?;
    let member = trial.member.map(|member| read(Map::from_iter([("member".to_owned(), member)])));
    let member: Option<About> = member.transpose()?;
    let member = member.and_then(|about| about.member);
    let about = About { data: trial.data, member, locale: trial.locale };
    let (mail, _) = made(&state, &caller.project, &automation, about).await?;
    let steps = send(&state.store, &state.reach, &through, (&to, &automation.template, mail), now).await?;
    let subject = format!("{} ({})", automation.id, automation.name);
    let mut c = state.store.write().await?;
    db!(c, audit::insert(&caller.audit(now, "automation.tested", &subject)))?;
    Ok(Json(json!({ "ok": steps.iter().all(|step| step.ok), "steps": steps })))
}

/// `POST /v1/explain`: an event in its structured form; `id` and `source` may be left out.
pub(super) async fn explain_event(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    JsonBody(event): JsonBody<Value>,
) -> Result<Json<Explained>, Problem> {
    let now = state.clock.now();
    let incoming = read_structured(explain::with_identity(event), &caller.project.slug, now);
    let incoming = incoming.map_err(|wrong| refused(wrong.refusal))?;
    let catalogue = state.live.current();
    let desk = Desk { catalogue: &catalogue, keys: &state.keys, public_url: &state.public_url, now };
    let explained = async {
        let event = explain::prepared(&caller.project, incoming)?;
        explain::explain(&state.store, &desk, &event).await
    };
    explained.await.map(Json).map_err(|error| match error {
        ExplainError::Refused(refusal) => refused(refusal),
        ExplainError::Store(error) => error.into(),
    })
}

fn refused(refusal: Refusal) -> Problem {
    Problem::Refused(refusal, None)
}

/// `GET /v1/templates`: the built-in e-mails, each with its events and the names that a text of one may show.
pub(super) async fn templates(_: Caller<Read>) -> Json<Value> {
    let mut names: Vec<&str> = BUILT_IN.iter().map(|one| one.template).collect();
    names.dedup();
    let shown = names.iter().map(|name| {
        let of: Vec<_> = BUILT_IN.iter().filter(|one| one.template == *name).collect();
        let purpose = of.first().and_then(|one| one.purpose);
        let events: Vec<&str> = of.iter().map(|one| one.event_type).collect();
        json!({ "name": name, "events": events, "token": purpose.map(crate::domain::token::Purpose::name),
                "placeholders": placeholders(&events, purpose.is_some()) })
    });
    Json(json!({ "items": shown.collect::<Vec<_>>(), "next": null }))
}

fn placeholders(events: &[&str], token: bool) -> Vec<String> {
    let mut all: Vec<String> =
        ["email", "project.name", "project.slug", "event.type", "event.time"].map(str::to_owned).into();
    if token {
        all.extend(["token", "link", "expires_in"].map(str::to_owned));
    }
    all.extend(crate::domain::names::MEMBER.iter().map(|field| format!("member.{field}")));
    for kind in events {
        let fields = event_fields(kind).unwrap_or_default();
        all.extend(fields.iter().map(|field| format!("event.{field}")));
    }
    all.sort();
    all.dedup();
    all
}

fn read<T: serde::de::DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Problem> {
    parse_json(Value::Object(fields).to_string().as_bytes())
}

/// The mail of an automation with a sample token, and whom it would go to.
async fn made(
    state: &State,
    project: &crate::domain::catalogue::Project,
    automation: &Automation,
    about: About,
) -> Result<(Rendered, String), Problem> {
    let now = state.clock.now();
    let (mut member, mut event) = sample_of(&automation.event_type, now);
    match about.member {
        Some(Who::Named(name)) => {
            let name = member_ref("member", &name)?;
            let mut c = state.store.read().await?;
            let found = db!(c, members::find(project.id.0, &name))?.ok_or(Problem::UnknownMember)?;
            member = Addressee::of(&found);
        }
        Some(Who::MadeUp(given)) => given.over(&mut member),
        None => {}
    }
    member.locale = about.locale.or(member.locale);
    merge(&mut event, about.data);
    let catalogue = state.live.current();
    let desk = Desk { catalogue: &catalogue, keys: &state.keys, public_url: &state.public_url, now };
    let to = member.email.clone();
    let for_whom = ForWhom { member, to: to.clone(), event, token: automation.token };
    let mail = explain::rendered(&desk, project, automation, for_whom);
    mail.map(|mail| (mail, to)).map_err(|why| Problem::invalid("body", &format!("makes no mail: {why}")))
}

fn merge(event: &mut Facts, data: Option<Map<String, Value>>) {
    if let Some(fields) = event.data.as_object_mut() {
        fields.extend(data.unwrap_or_default());
    }
}

impl MadeUp {
    fn over(self, member: &mut Addressee) {
        let put =
            |place: &mut String, given: Option<String>| given.into_iter().for_each(|given| *place = given);
        put(&mut member.id, self.id);
        put(&mut member.username, self.username);
        put(&mut member.email, self.email);
        member.first_name = self.first_name;
        member.last_name = self.last_name;
        member.locale = self.locale;
        member.is_admin = self.is_admin.unwrap_or_default();
        member.on_vacation = self.on_vacation.unwrap_or_default();
    }
}
