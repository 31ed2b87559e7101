//! `/p/{project}/notifications`: a member comes back from vacation, or says to be away.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::visit::{Opened, Posted};
use super::{NEW_PASSWORD, failed, look, said};
use crate::domain::token::Purpose;
use crate::mail::brand::Look;
use crate::web::State;
use crate::web::api;
use crate::web::error::Problem;
use crate::web::headers::{Page, Policy, nonce};
use crate::web::pages::NotificationsPage;

/// Relative to the page itself, so that it holds behind a proxy that adds a path.
const ACTION: &str = "notifications";

/// GET and HEAD: the choice, or why there is none. Changes nothing.
pub(super) async fn open(From(state): From<Arc<State>>, opened: Opened) -> Result<Response, Problem> {
    let Opened { project, token, wants_json } = opened;
    let inspected = state.flows.inspect_for(project.id, &token, Purpose::Notifications).await;
    let inspected = inspected.map_err(Problem::from);
    if wants_json {
        return inspected.map(|inspected| Json(api::token_shown(&inspected)).into_response());
    }
    let look = look(&state, &project);
    match inspected {
        Ok(inspected) => choice(&look, &token, &inspected.member.username).map(IntoResponse::into_response),
        Err(problem) => failed(&look, problem, NEW_PASSWORD),
    }
}

fn choice(look: &Look<'_>, token: &str, username: &str) -> Result<Page, Problem> {
    let nonce = nonce();
    let html = NotificationsPage { look, nonce: &nonce, action: ACTION, token, username }.render();
    Page::new(StatusCode::OK, html, Policy::Nonce(nonce))
}

/// POST: `on_vacation`, `true` or `false`.
pub(super) async fn choose(From(state): From<Arc<State>>, posted: Posted) -> Result<Response, Problem> {
    let (token, away) = (posted.text("token")?, posted.flag("on_vacation")?);
    let chosen = state.flows.choose_notifications(posted.project.id, token, away, &posted.actor()).await;
    let chosen = chosen.map_err(Problem::from);
    if posted.is_json {
        return chosen.map(|member| Json(json!({ "member": member })).into_response());
    }
    let look = look(&state, &posted.project);
    match chosen {
        Ok(member) => done(&look, member.on_vacation).map(IntoResponse::into_response),
        Err(problem) => failed(&look, problem, NEW_PASSWORD),
    }
}

fn done(look: &Look<'_>, away: bool) -> Result<Page, Problem> {
    let (title, sentence) = if away {
        ("You are on vacation", format!("{} takes you to be away. Have a good time.", look.name))
    } else {
        ("Welcome back", format!("{} sends you notifications.", look.name))
    };
    let used = "The link in the mail has been used and no longer works.".to_owned();
    said(look, StatusCode::OK, title, &[sentence, used])
}
