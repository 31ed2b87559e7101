//! Password resets: asked for, and completed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::members::find;
use crate::domain::event::{Incoming, Planned};
use crate::domain::password::Password;
use crate::pipeline::Payload;
use crate::pipeline::flows::OWN_SOURCE;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, member_ref};
use crate::web::idempotency::OwnEventId;

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
    let now = state.clock.now();
    let incoming = Incoming {
        project: caller.project.slug.clone(),
        source: OWN_SOURCE.to_owned(),
        id,
        kind: "account.password-reset-requested".to_owned(),
        time: now,
        received_at: now,
        data: json!({ "member": member.id, "reason": wish.reason.name() }),
        traceparent: None,
    };
    match state.intake.submit(Payload::Event(incoming)).await? {
        Planned::Accepted { event, .. } | Planned::Duplicate { event, .. } => {
            Ok((StatusCode::ACCEPTED, Json(json!({ "event_id": event }))))
        }
        Planned::Refused { event, refusal } => Err(Problem::Refused(refusal, Some(event))),
    }
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
    let member = state.flows.complete_reset(caller.project.id, &token, new_password).await?;
    Ok(Json(json!({ "member": member })))
}
