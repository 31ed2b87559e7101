//! Members: listed, shown, made, changed, deleted. What a service tells by events can be told here too, and goes
//! the same way.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::paging::{Items, limit};
use crate::domain::address::fold;
use crate::domain::id::ProjectId;
use crate::domain::member::{Member, MemberRef, check_id};
use crate::domain::password::check_hash;
use crate::pipeline::flows::Edit;
use crate::store::db;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller, Read};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, Params, PathName, member_ref};

/// The longest text that is searched for, in characters.
const LONGEST_SEARCH: usize = 254;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<String>,
    after: Option<String>,
    search: Option<String>,
}

/// `GET /v1/members?search=`: by parts of the username, the address or the name.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(page): Params<Page>,
) -> Result<Json<Items<Member>>, Problem> {
    let limit = limit(page.limit.as_deref())?;
    let after = page.after.as_deref();
    if after.is_some_and(|after| check_id(after).is_err()) {
        return Err(Problem::invalid("after", "is not the `next` of a page"));
    }
    let like = page.search.as_deref().map(pattern).transpose()?;
    let mut c = state.store.read().await?;
    let rows = db!(c, members::list(caller.project.id.0, (after, like.as_deref()), limit + 1))?;
    Ok(Json(Items::page(rows, limit, |member| member.id.clone(), |member| member)))
}

/// `like` pattern of a text: what has a meaning there is taken as it stands.
fn pattern(text: &str) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_SEARCH || text.chars().any(char::is_control) {
        return Err(Problem::invalid("search", "is longer than 254 characters, or has a control character"));
    }
    let plain = fold(text.trim()).replace('!', "!!").replace('%', "!%").replace('_', "!_");
    Ok(format!("%{plain}%"))
}

/// `GET /v1/members/{member}`: by id, username or e-mail address.
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
) -> Result<Json<Member>, Problem> {
    let name = member_ref("member", &name)?;
    find(&state, caller.project.id, &name).await.map(Json)
}

/// The live member of that name, or `unknown-member`.
pub(in crate::web) async fn find(
    state: &State,
    project: ProjectId,
    name: &MemberRef,
) -> Result<Member, Problem> {
    let mut c = state.store.read().await?;
    db!(c, members::find(project.0, name))?.ok_or(Problem::UnknownMember)
}

/// What both making and changing take. No `Debug`: the hash is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    locale: Option<String>,
    is_admin: Option<bool>,
    on_vacation: Option<bool>,
    password_hash: Option<String>,
}

impl Fields {
    /// As the data of an event: they are checked as every event is.
    fn profile(self) -> Map<String, Value> {
        let texts = [
            ("id", self.id),
            ("username", self.username),
            ("email", self.email),
            ("first_name", self.first_name),
            ("last_name", self.last_name),
            ("locale", self.locale),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))));
        let is_admin = self.is_admin.map(|flag| ("is_admin".to_owned(), Value::from(flag)));
        texts.chain(is_admin).collect()
    }
}

/// `POST /v1/members`
pub(super) async fn create(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(mut fields): JsonBody<Fields>,
) -> Result<(StatusCode, Json<Member>), Problem> {
    let hash = fields.password_hash.take();
    if let Some(hash) = &hash {
        check_hash(hash).map_err(|what| Problem::invalid("password_hash", what))?;
    }
    if fields.on_vacation.is_some() {
        return Err(Problem::invalid("on_vacation", "is not a field of this request"));
    }
    let (project, actor) = (caller.project.id, caller.actor());
    let member = state.flows.create_member(project, fields.profile(), hash.as_deref(), &actor).await?;
    Ok((StatusCode::CREATED, Json(member)))
}

/// `PATCH /v1/members/{member}`: fields that are absent stay.
pub(super) async fn edit(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
    JsonBody(fields): JsonBody<Fields>,
) -> Result<Json<Member>, Problem> {
    let name = member_ref("member", &name)?;
    for (field, is_there) in [("id", fields.id.is_some()), ("password_hash", fields.password_hash.is_some())]
    {
        if is_there {
            return Err(Problem::invalid(field, "cannot be changed here"));
        }
    }
    let edit = Edit { on_vacation: fields.on_vacation, profile: fields.profile() };
    let member = state.flows.edit_member(caller.project.id, &name, edit, &caller.actor()).await?;
    Ok(Json(member))
}

/// `DELETE /v1/members/{member}`
pub(super) async fn delete(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
) -> Result<StatusCode, Problem> {
    let name = member_ref("member", &name)?;
    state.flows.delete_member(caller.project.id, &name, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
