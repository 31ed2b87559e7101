//! `/p/{project}/reset-password`: the form behind the link of a reset mail.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::visit::{Opened, Posted};
use super::{FORGOT_PASSWORD, failed, look};
use crate::domain::catalogue::Project;
use crate::domain::password::Password;
use crate::domain::token::Purpose;
use crate::mail::brand::Look;
use crate::pipeline::flows::Inspected;
use crate::web::State;
use crate::web::api;
use crate::web::error::Problem;
use crate::web::headers::{Page, Policy, nonce};
use crate::web::pages::{Again, ResetPasswordDonePage, ResetPasswordPage};

/// Relative to the page itself, so that it holds behind a proxy that adds a path.
const ACTION: &str = "reset-password";
const AGAIN: Again<'static> = Again::Page { url: FORGOT_PASSWORD, label: "Ask for a new mail" };

/// GET and HEAD: the form, or why there is none. Changes nothing.
pub(super) async fn open(From(state): From<Arc<State>>, opened: Opened) -> Result<Response, Problem> {
    let Opened { project, token, wants_json } = opened;
    let inspected = inspect(&state, &project, &token).await;
    if wants_json {
        return inspected.map(|inspected| Json(api::token_shown(&inspected)).into_response());
    }
    let look = look(&state, &project);
    match inspected {
        Ok(inspected) => form(&look, &token, &inspected, &[]).map(IntoResponse::into_response),
        Err(problem) => failed(&look, problem, AGAIN),
    }
}

/// POST: sets the password. From a form it answers with a page, from JSON with JSON. The form also sends `username`,
/// for password managers alone.
pub(super) async fn complete(From(state): From<Arc<State>>, posted: Posted) -> Result<Response, Problem> {
    let token = posted.text("token")?;
    let password = Password::new(posted.text("new_password")?.to_owned());
    let project = &posted.project;
    let done = state.flows.complete_reset(project.id, token, password, &posted.actor()).await;
    let done = done.map_err(Problem::from);
    if posted.is_json {
        return done.map(|member| Json(json!({ "member": member })).into_response());
    }
    let look = look(&state, project);
    match done {
        Ok(member) => done_page(&look, &member.username).map(IntoResponse::into_response),
        Err(Problem::WeakPassword(what)) => {
            // The token stays good, so the form can be shown again.
            let error = format!("The password {what}.");
            match inspect(&state, project, token).await {
                Ok(inspected) => form(&look, token, &inspected, &[error]).map(IntoResponse::into_response),
                Err(problem) => failed(&look, problem, AGAIN),
            }
        }
        Err(problem) => failed(&look, problem, AGAIN),
    }
}

/// Reads a token that is good for a reset.
async fn inspect(state: &State, project: &Project, token: &str) -> Result<Inspected, Problem> {
    Ok(state.flows.inspect_for(project.id, token, Purpose::ResetPassword).await?)
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
