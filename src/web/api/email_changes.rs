//! Changes of a member's e-mail address: asked for, confirmed, undone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::members::find;
use super::passwords::By;
use super::tokens::Presented;
use crate::domain::address::EmailAddress;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, PathName, member_ref};
use crate::web::idempotency::OwnEventId;
use crate::web::own_event::{Wanted, publish};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    new_email: String,
    #[serde(default)]
    by: By,
}

/// `POST /v1/members/{member}/email`: nothing changes before the new address confirms it; by an administrator at
/// once.
pub(super) async fn request(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    OwnEventId(id): OwnEventId,
    PathName(name): PathName,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = member_ref("member", &name)?;
    let new_email =
        EmailAddress::parse(&wish.new_email).map_err(|what| Problem::invalid("new_email", what))?;
    let project = &caller.project;
    let event = if wish.by == By::Admin {
        state.flows.change_email(project.id, &name, &new_email, &caller.actor()).await?
    } else {
        let member = find(&state, project.id, &name).await?;
        let data = json!({ "member": member.id, "new_email": new_email });
        let wanted = Wanted { id, kind: "account.email-change-requested", data, client: None };
        publish(&state, project, wanted).await?
    };
    Ok((StatusCode::ACCEPTED, Json(json!({ "event_id": event }))))
}

/// `POST /v1/email-changes/confirm`
pub(super) async fn confirm(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(presented): JsonBody<Presented>,
) -> Result<Json<Value>, Problem> {
    let member = state.flows.confirm_email(caller.project.id, &presented.token, &caller.actor()).await?;
    Ok(Json(json!({ "member": member })))
}

/// `POST /v1/email-changes/undo`
pub(super) async fn undo(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(presented): JsonBody<Presented>,
) -> Result<Json<Value>, Problem> {
    let member = state.flows.undo_email_change(caller.project.id, &presented.token, &caller.actor()).await?;
    Ok(Json(json!({ "member": member })))
}
