//! Tokens: inspected and redeemed for services that keep the passwords themselves, listed and taken back. A listed
//! one shows neither the token nor its id.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{Items, Paging};
use crate::domain::id::EventId;
use crate::domain::token::Purpose;
use crate::pipeline::flows::Inspected;
use crate::store::rows::StoredToken;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller, Read};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, Params, PathName, member_ref};

/// No `Debug`: a token is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Presented {
    pub(super) token: String,
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
    let purpose = purpose(&redemption.purpose)?;
    let member = state.flows.redeem(caller.project.id, &redemption.token, purpose, &caller.actor()).await?;
    Ok(Json(json!({ "member": member })))
}

/// `GET /v1/members/{member}/tokens`: those that are still good.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let (name, limit) = (member_ref("member", &name)?, paging.limit()?);
    let key = |token: &StoredToken| format!("{}.{}", EventId(token.event_id), token.purpose);
    let mut tokens = state.flows.tokens(caller.project.id, &name).await?;
    tokens.sort_by_cached_key(|token| Reverse(key(token)));
    tokens.retain(|token| paging.after.as_ref().is_none_or(|after| key(token) < *after));
    let shown = |token: StoredToken| {
        json!({
            "purpose": token.purpose,
            "requested_at": token.requested_at,
            "expires_at": token.expires_at,
        })
    };
    Ok(Json(Items::page(tokens, limit, key, shown)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    purpose: Option<String>,
}

/// `DELETE /v1/members/{member}/tokens?purpose=`: of one purpose, or all.
pub(super) async fn revoke(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
    Params(which): Params<Which>,
) -> Result<StatusCode, Problem> {
    let name = member_ref("member", &name)?;
    let purpose = which.purpose.as_deref().map(purpose).transpose()?;
    state.flows.revoke_tokens(caller.project.id, &name, purpose, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn purpose(text: &str) -> Result<Purpose, Problem> {
    Purpose::from_name(text).ok_or_else(|| Problem::invalid("purpose", "is not a purpose of tokens"))
}
