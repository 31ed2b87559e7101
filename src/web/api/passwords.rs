//! A member's password: changed with the present one or on behalf, and proven.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::password::Password;
use crate::pipeline::flows::{FlowError, Proof};
use crate::web::State;
use crate::web::caller::{AccountsWrite, Caller};
use crate::web::error::Problem;
use crate::web::extract::{JsonBody, PathName, member_ref};

/// Who wants a change of the account.
#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    #[default]
    Member,
    Admin,
}

/// No `Debug`: both passwords are secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    current_password: Option<Password>,
    new_password: Password,
    #[serde(default)]
    by: By,
}

/// `PUT /v1/members/{member}/password`
pub(super) async fn change(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<Json<Value>, Problem> {
    let name = member_ref("member", &name)?;
    let proof = match (wish.by, wish.current_password) {
        (By::Admin, None) => Proof::OnBehalf,
        (_, Some(current)) => Proof::Current(current),
        (By::Member, None) => {
            return Err(Problem::invalid("current_password", "is missing, and `by` is not `admin`"));
        }
    };
    let wish = (wish.new_password, proof);
    let member = state.flows.change_password(caller.project.id, &name, wish, &caller.actor()).await?;
    Ok(Json(json!({ "member": member })))
}

/// No `Debug`: a password is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    password: Password,
}

/// `POST /v1/members/{member}/verify-password`
pub(super) async fn verify(
    caller: Caller<AccountsWrite>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
    JsonBody(claim): JsonBody<Claim>,
) -> Result<Json<Value>, Problem> {
    let name = member_ref("member", &name)?;
    let verified = state.flows.verify_password(caller.project.id, &name, claim.password).await;
    let member = verified.map_err(|error| match error {
        FlowError::WrongPassword => Problem::WrongPassword(StatusCode::UNAUTHORIZED),
        other => other.into(),
    })?;
    Ok(Json(json!({ "member": member })))
}
