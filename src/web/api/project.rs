//! The project itself: what it may set, as one record.

use std::sync::Arc;

use axum::extract::State as From;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::changing::begin;
use crate::domain::link;
use crate::domain::project::{
    self, MOST_REPLIES, SettingsWish, check_color, check_line, check_logo, check_name, check_notice,
    check_origin, or_none,
};
use crate::domain::settings::Settings;
use crate::mail::stored::{self, Purposes};
use crate::store::shown::ProjectRow;
use crate::store::{StoreError, Tx, db};
use crate::web::State;
use crate::web::caller::{Caller, IntegrationsWrite, Read};
use crate::web::error::Problem;
use crate::web::etag::{IfMatch, Tagged};
use crate::web::extract::JsonBody;

/// `GET /v1/project`
pub(super) async fn get(caller: Caller<Read>, From(state): From<Arc<State>>) -> Result<Tagged, Problem> {
    let mut c = state.store.read().await?;
    let row = db!(c, catalogue::project(caller.project.id))?.ok_or(Problem::NotFound)?;
    Ok(Tagged::new(shown(&row, &settings(&row)?)))
}

/// What a body changes; the rest stays. `null` takes an optional text away.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Patch {
    name: Option<String>,
    link_hosts: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    jexia_calls: Option<bool>,
    out_of_office: OutOfOffice,
    throttle: Throttle,
    notices: Option<Vec<String>>,
    brand: Brand,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OutOfOffice {
    limit: Option<u16>,
    phrases: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Throttle {
    recipient: Option<String>,
    client: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::option_option, reason = "not said, taken away, and given are three things")]
struct Brand {
    #[serde(deserialize_with = "given")]
    color: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    logo_url: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    footer: Option<Option<String>>,
}

/// Tells `null` from a field that is not there.
#[expect(clippy::option_option, reason = "not said, taken away, and given are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PATCH /v1/project`
pub(super) async fn patch(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    if_match: IfMatch,
    JsonBody(patch): JsonBody<Patch>,
) -> Result<Tagged, Problem> {
    let name = patch.name.as_deref().map(check_name).transpose();
    let name = name.map_err(|what| Problem::invalid("name", &what))?;
    let wish = patch.wish()?;
    let mut tx = begin(&state).await?;
    let old = db!(tx, catalogue::project(caller.project.id))?.ok_or(Problem::NotFound)?;
    let old_settings = settings(&old)?;
    if_match.check(&Tagged::new(shown(&old, &old_settings)).etag)?;
    let new_settings = wish.over(&old_settings);
    let mut changed = project::changed(&old_settings, &new_settings);
    let name = name.unwrap_or_else(|| old.name.clone());
    changed.extend((name != old.name).then_some("name"));
    if changed.contains(&"link_hosts") {
        check_links(&mut tx, &old, &state.hosts_of(&new_settings)).await?;
    }
    // Only a map with keys that are no texts fails to serialize, and there is none in it.
    let text = serde_json::to_string(&new_settings).unwrap_or_default();
    let new = ProjectRow { name, settings: text, ..old };
    let answer = Tagged::new(shown(&new, &new_settings));
    if changed.is_empty() {
        tx.rollback().await?;
        return Ok(answer);
    }
    let now = state.clock.now();
    db!(tx, catalogue::put_project(&new, now))?;
    let subject = format!("{}: {}", new.slug, changed.join(", "));
    db!(tx, audit::insert(&caller.audit(now, "project.changed", &subject)))?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(answer)
}

/// No stored link or text may lose its host.
async fn check_links(tx: &mut Tx, project: &ProjectRow, hosts: &[String]) -> Result<(), Problem> {
    for (name, stored) in db!(tx, catalogue::links(project.id))? {
        link::check(&stored, hosts).map_err(|what| {
            Problem::invalid("link_hosts", &format!("would not do: the stored link of \"{name}\" {what}"))
        })?;
    }
    for one in db!(tx, automations::list(project.id, None, i64::MAX))? {
        let purposes =
            Purposes { event_type: &one.event_type, token: one.token.is_some(), link_hosts: hosts };
        let mut faults = one.texts.iter().flat_map(|text| stored::check(text, &purposes));
        if let Some((field, wrong)) = faults.next() {
            let what = format!("would not do: the stored {field} of \"{}\" {}", one.name, wrong.what);
            return Err(Problem::invalid("link_hosts", &what));
        }
    }
    Ok(())
}

impl State {
    /// Hosts that links may go to under these settings.
    fn hosts_of(&self, settings: &Settings) -> Vec<String> {
        let ours =
            || url::Url::parse(&self.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        match settings.link_hosts.as_slice() {
            [] => ours().into_iter().collect(),
            hosts => hosts.to_vec(),
        }
    }
}

impl Patch {
    fn wish(self) -> Result<SettingsWish, Problem> {
        let limit = self.out_of_office.limit;
        if limit.is_some_and(|limit| !(1..=MOST_REPLIES).contains(&limit)) {
            let what = format!("is not a whole number from 1 to {MOST_REPLIES}");
            return Err(Problem::invalid("out_of_office.limit", &what));
        }
        Ok(SettingsWish {
            link_hosts: texts("link_hosts", self.link_hosts, link::check_host)?,
            origins: texts("origins", self.origins, check_origin)?,
            jexia_calls: self.jexia_calls,
            notices: texts("notices", self.notices, check_notice)?,
            builtin_automations: None,
            limit,
            phrases: texts("out_of_office.phrases", self.out_of_office.phrases, |text| {
                check_line(text).map(drop)
            })?,
            recipient: rate("throttle.recipient", self.throttle.recipient.as_deref())?,
            client: rate("throttle.client", self.throttle.client.as_deref())?,
            color: text("brand.color", self.brand.color, or_none(check_color))?,
            logo_url: text("brand.logo_url", self.brand.logo_url, or_none(check_logo))?,
            footer: text("brand.footer", self.brand.footer, or_none(check_line))?,
        })
    }
}

fn texts(
    field: &str,
    given: Option<Vec<String>>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<Vec<String>>, Problem> {
    for (number, text) in given.iter().flatten().enumerate() {
        check(text).map_err(|what| Problem::invalid(&format!("{field}[{number}]"), &what))?;
    }
    Ok(given)
}

#[expect(clippy::option_option, reason = "not said, taken away, and given are three things")]
fn text(
    field: &str,
    given: Option<Option<String>>,
    check: impl Fn(&str) -> Result<String, String>,
) -> Result<Option<String>, Problem> {
    let checked = given.map(|text| check(&text.unwrap_or_default())).transpose();
    checked.map_err(|what| Problem::invalid(field, &what))
}

fn rate<T: std::str::FromStr<Err = &'static str>>(
    field: &str,
    given: Option<&str>,
) -> Result<Option<T>, Problem> {
    given.map(str::parse).transpose().map_err(|what| Problem::invalid(field, what))
}

fn settings(row: &ProjectRow) -> Result<Settings, StoreError> {
    serde_json::from_str(&row.settings).map_err(|_| StoreError::Unreadable("settings of a project"))
}

fn shown(row: &ProjectRow, settings: &Settings) -> Value {
    let brand = &settings.brand;
    json!({
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "link_hosts": settings.link_hosts,
        "origins": settings.origins,
        "jexia_calls": settings.jexia_calls,
        "out_of_office": settings.out_of_office,
        "throttle": settings.throttle,
        "notices": settings.notices,
        "brand": { "color": brand.color, "logo_url": brand.logo_url, "footer": brand.footer },
        "paused": row.paused,
    })
}
