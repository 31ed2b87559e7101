//! Administrators: made of members, or anew.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::address::EmailAddress;
use crate::pipeline::flows::NewAdministrator;
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::JsonBody;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    email: String,
    username: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    send_email: Option<bool>,
}

/// `POST /v1/administrators`
pub(super) async fn create(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = NewAdministrator {
        email: EmailAddress::parse(&wish.email).map_err(|what| Problem::invalid("email", what))?,
        username: wish.username,
        first_name: wish.first_name,
        last_name: wish.last_name,
        send_email: wish.send_email.unwrap_or(true),
    };
    let (member, event) = state.flows.make_administrator(caller.project.id, &wanted, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "member": member, "event_id": event }))))
}
