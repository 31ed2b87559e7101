//! Tokens, for services that keep the passwords themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::token::Purpose;
use crate::pipeline::flows::Inspected;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::JsonBody;

/// No `Debug`: a token is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Presented {
    token: String,
}

/// `POST /v1/tokens/inspect`: does not use it up.
pub(super) async fn inspect(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(presented): JsonBody<Presented>,
) -> Result<Json<Value>, Problem> {
    let inspected = state.flows.inspect(caller.project.id, &presented.token).await?;
    Ok(Json(shown(&inspected)))
}

/// What a good token says, to whoever has it.
pub(in crate::web) fn shown(inspected: &Inspected) -> Value {
    let member = &inspected.member;
    json!({
        "purpose": inspected.purpose.name(),
        "expires_at": inspected.expires_at,
        "member": { "id": member.id, "username": member.username, "is_admin": member.is_admin },
    })
}

/// No `Debug`: a token is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redemption {
    token: String,
    purpose: String,
}

/// `POST /v1/tokens/redeem`: uses it up with no other effect.
pub(super) async fn redeem(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(redemption): JsonBody<Redemption>,
) -> Result<Json<Value>, Problem> {
    let purpose = Purpose::from_name(&redemption.purpose)
        .ok_or_else(|| Problem::invalid("purpose", "is not a purpose of tokens"))?;
    let member = state.flows.redeem(caller.project.id, &redemption.token, purpose).await?;
    Ok(Json(json!({ "member": member })))
}
