//! `/p/{project}/reset-password`: the form behind the link of a reset mail.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Request, State as From};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{failed, invalid_link, look};
use crate::domain::catalogue::Project;
use crate::domain::password::Password;
use crate::domain::token::Purpose;
use crate::mail::brand::{Brand, Look};
use crate::pipeline::flows::{Actor, Inspected, TokenProblem};
use crate::web::State;
use crate::web::api;
use crate::web::client::client;
use crate::web::error::Problem;
use crate::web::extract::{Params, PathName, is_json, media_type, parse_json, read_body, wants_json};
use crate::web::headers::{Page, Policy, nonce};
use crate::web::pages::{ResetPasswordDonePage, ResetPasswordPage};

/// The largest form, in bytes: a token and a password have far less.
const FORM_LIMIT: usize = 16 * 1024;
/// Relative to the page itself, so that it holds behind a proxy that adds a path.
const ACTION: &str = "reset-password";

/// What the link carries. A mail program may have added its own parameters.
#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

/// GET and HEAD: the form, or why there is none. Changes nothing.
pub(super) async fn open(
    From(state): From<Arc<State>>,
    PathName(slug): PathName,
    link: Result<Params<Link>, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(project) = state.live.current().projects.get(&slug).cloned() else {
        return no_project(&headers);
    };
    // A link that a mail program mangled is a link that nobody mailed.
    let token = link.map(|Params(link)| link.token).unwrap_or_default();
    let inspected = inspect(&state, &project, &token).await;
    if wants_json(&headers) {
        return inspected.map(|inspected| Json(api::token_shown(&inspected)).into_response());
    }
    let look = look(&state, &project);
    match inspected {
        Ok(inspected) => form(&look, &token, &inspected, &[]).map(IntoResponse::into_response),
        Err(problem) => failed(&look, problem),
    }
}

/// No `Debug`: both are secrets. The form also sends `username`, for password managers alone.
#[derive(Deserialize)]
struct Completion {
    token: String,
    new_password: Password,
}

/// POST: sets the password. From a form it answers with a page, from JSON with JSON.
pub(super) async fn complete(
    From(state): From<Arc<State>>,
    PathName(slug): PathName,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Some(project) = state.live.current().projects.get(&slug).cloned() else {
        return no_project(&parts.headers);
    };
    let from_json = is_json(&parts.headers);
    let from_form = media_type(&parts.headers).as_deref() == Some("application/x-www-form-urlencoded");
    if !from_json && !from_form {
        return Err(Problem::UnsupportedMediaType("application/json or a form"));
    }
    let actor = Actor::member(client(&parts.extensions, &parts.headers, &state.trusted_proxies).0);
    let body = read_body(body, FORM_LIMIT).await?;
    let Completion { token, new_password } = if from_json { parse_json(&body)? } else { parse_form(&body)? };
    let done =
        state.flows.complete_reset(project.id, &token, new_password, &actor).await.map_err(Problem::from);
    if from_json {
        return done.map(|member| Json(json!({ "member": member })).into_response());
    }
    let look = look(&state, &project);
    match done {
        Ok(member) => done_page(&look, &member.username).map(IntoResponse::into_response),
        Err(Problem::WeakPassword(what)) => {
            // The token stays good, so the form can be shown again.
            let error = format!("The password {what}.");
            match inspect(&state, &project, &token).await {
                Ok(inspected) => form(&look, &token, &inspected, &[error]).map(IntoResponse::into_response),
                Err(problem) => failed(&look, problem),
            }
        }
        Err(problem) => failed(&look, problem),
    }
}

/// Reads a token that is good for a reset.
async fn inspect(state: &State, project: &Project, token: &str) -> Result<Inspected, Problem> {
    let inspected = state.flows.inspect(project.id, token).await?;
    if inspected.purpose != Purpose::ResetPassword {
        return Err(Problem::TokenInvalid(TokenProblem::Unknown));
    }
    Ok(inspected)
}

fn parse_form(body: &[u8]) -> Result<Completion, Problem> {
    let mut token = None;
    let mut password = None;
    for (name, value) in url::form_urlencoded::parse(body) {
        match &*name {
            "token" => token = Some(value.into_owned()),
            "new_password" => password = Some(value.into_owned()),
            _ => {}
        }
    }
    let token = token.ok_or_else(|| Problem::invalid("token", "is missing"))?;
    let password = password.ok_or_else(|| Problem::invalid("new_password", "is missing"))?;
    Ok(Completion { token, new_password: Password::new(password) })
}

fn form(look: &Look<'_>, token: &str, inspected: &Inspected, errors: &[String]) -> Result<Page, Problem> {
    let nonce = nonce();
    let page = ResetPasswordPage {
        look,
        nonce: &nonce,
        action: ACTION,
        token,
        username: &inspected.member.username,
        strong: inspected.member.is_admin,
        errors,
    };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let html = page.render();
    Page::new(status, html, Policy::Nonce(nonce))
}

fn done_page(look: &Look<'_>, username: &str) -> Result<Page, Problem> {
    let nonce = nonce();
    let html = ResetPasswordDonePage { look, nonce: &nonce, username, sign_in_url: None }.render();
    Page::new(StatusCode::OK, html, Policy::Nonce(nonce))
}

fn no_project(headers: &HeaderMap) -> Result<Response, Problem> {
    if wants_json(headers) || is_json(headers) {
        return Err(Problem::NotFound);
    }
    let look = Look::of(&Brand::default());
    let page = invalid_link(&look, StatusCode::NOT_FOUND, TokenProblem::Unknown)?;
    Ok(page.into_response())
}
