//! Password resets: asked for, forced, and completed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::members::find;
use crate::domain::password::Password;
use crate::pipeline::flows::Proof;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, member_ref};
use crate::web::idempotency::OwnEventId;
use crate::web::own_event::{Wanted, publish};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    member: String,
    #[serde(default)]
    reason: Why,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Why {
    #[default]
    Member,
    Admin,
    Forced,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Forced => "forced",
        }
    }
}

/// `POST /v1/password-resets`
pub(super) async fn request(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    OwnEventId(id): OwnEventId,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = member_ref("member", &wish.member)?;
    let member = find(&state, caller.project.id, &name).await?;
    let data = json!({ "member": member.id, "reason": wish.reason.name() });
    let wanted = Wanted { id, kind: "account.password-reset-requested", data, client: None };
    let event = publish(&state, &caller.project, wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "event_id": event }))))
}

/// No `Debug`: a password is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Force {
    member: String,
    new_password: Option<Password>,
}

/// `POST /v1/password-resets/force`: by the mail with reason `forced`, or at once.
pub(super) async fn force(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(force): JsonBody<Force>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = member_ref("member", &force.member)?;
    let (project, actor) = (caller.project.id, caller.actor());
    let Some(password) = force.new_password else {
        let event = state.flows.force_reset(project, &name, &actor).await?;
        return Ok((StatusCode::ACCEPTED, Json(json!({ "event_id": event }))));
    };
    let member = state.flows.change_password(project, &name, (password, Proof::OnBehalf), &actor).await?;
    Ok((StatusCode::OK, Json(json!({ "member": member }))))
}

/// A token and the password that it is to set. No `Debug`: both are secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Completion {
    token: String,
    new_password: Password,
}

/// `POST /v1/password-resets/complete`
pub(super) async fn complete(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(completion): JsonBody<Completion>,
) -> Result<Json<Value>, Problem> {
    let Completion { token, new_password } = completion;
    let member = state.flows.complete_reset(caller.project.id, &token, new_password, &caller.actor()).await?;
    Ok(Json(json!({ "member": member })))
}
