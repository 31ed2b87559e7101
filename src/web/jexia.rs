//! Jexia's public calls for password resets, for front ends that were written for it. Off unless a project turns
//! them on. Its clients send JSON as `text/plain` and read errors as `[{"message", "request_id"}]`; an unknown
//! address is an error, as it was there, so whoever turns them on lets addresses be tried.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State as From};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::State;
use super::api;
use super::client::ClientAddress;
use super::cors;
use super::error::Problem;
use super::extract::{parse_json, read_body};
use super::own_event::{Wanted, publish};
use crate::domain::address::EmailAddress;
use crate::domain::catalogue::Project;
use crate::domain::member::MemberRef;
use crate::domain::password::Password;
use crate::pipeline::flows::Actor;

/// The largest body, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

pub(super) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    Router::new()
        .route("/jexia/{project}/ums/resetpassword", post(request).options(cors::preflight))
        .route("/jexia/{project}/ums/resetpassword/", post(request).options(cors::preflight))
        .route("/jexia/{project}/ums/resetpassword/{token}", post(complete).options(cors::preflight))
        .route("/jexia/{project}/ums/resetpassword/{token}/", post(complete).options(cors::preflight))
        .route_layer(from_fn_with_state(state.clone(), cors::listed_or_all))
}

/// A refusal in the shape that Jexia's clients read.
struct Refused(Problem);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = self.0.body();
        let mut response = self.0.into_response();
        let told = Json(json!([{ "message": body["detail"], "request_id": Uuid::new_v4() }]));
        let (parts, body) = (told.into_response()).into_parts();
        response.headers_mut().extend(parts.headers);
        *response.body_mut() = body;
        response
    }
}

impl<E: Into<Problem>> std::convert::From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[derive(Deserialize)]
struct Wish {
    email: String,
}

/// No `Debug`: a password is a secret.
#[derive(Deserialize)]
struct Completion {
    new_password: Password,
}

/// `POST …/ums/resetpassword`
async fn request(
    From(state): From<Arc<State>>,
    ClientAddress(client): ClientAddress,
    Path(slug): Path<String>,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let project = project(&state, &slug)?;
    let Wish { email } = parse_json(&read_body(body, BODY_LIMIT).await?)?;
    let email = EmailAddress::parse(&email).map_err(|what| Problem::invalid("email", what))?;
    let member = api::find_member(&state, project.id, &MemberRef::Email(email.key())).await?;
    let data = json!({ "member": member.id, "reason": "member" });
    let id = Uuid::new_v4().to_string();
    let wanted = Wanted { id, kind: "account.password-reset-requested", data, client };
    publish(&state, &project, wanted).await?;
    Ok(Json(json!({})))
}

/// `POST …/ums/resetpassword/{token}`
async fn complete(
    From(state): From<Arc<State>>,
    ClientAddress(client): ClientAddress,
    Path((slug, token)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let project = project(&state, &slug)?;
    let Completion { new_password } = parse_json(&read_body(body, BODY_LIMIT).await?)?;
    let member = state.flows.complete_reset(project.id, &token, new_password, &Actor::member(client)).await?;
    Ok(Json(json!({ "id": member.id, "email": member.email })))
}

/// The project, if it has turned the calls on.
fn project(state: &State, slug: &str) -> Result<Arc<Project>, Problem> {
    let project = state.live.current().projects.get(slug).cloned();
    project.filter(|project| project.settings.jexia_calls).ok_or(Problem::NotFound)
}
