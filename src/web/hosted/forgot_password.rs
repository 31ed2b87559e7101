//! `/p/{project}/forgot-password`: where a member asks for a reset mail. Who has an account cannot be told from the
//! answer or from its time: it is the same text for every name, given after the same while, and what is done for a
//! member is done beside it.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::visit::{Opened, Posted};
use super::{FORGOT_PASSWORD, look, said};
use crate::domain::catalogue::Project;
use crate::domain::member::MemberRef;
use crate::mail::brand::Look;
use crate::web::State;
use crate::web::api;
use crate::web::error::Problem;
use crate::web::extract::member_ref;
use crate::web::headers::{Page, Policy, nonce};
use crate::web::own_event::{Wanted, publish};
use crate::web::pages::ForgotPasswordPage;

/// When the answer is given: longer than looking up a member and planning his mail usually take.
const ANSWERED_AFTER: Duration = Duration::from_millis(200);

/// GET and HEAD: the form.
pub(super) async fn open(From(state): From<Arc<State>>, opened: Opened) -> Result<Response, Problem> {
    if opened.wants_json {
        return Ok(Json(json!({ "fields": ["member"] })).into_response());
    }
    form(&look(&state, &opened.project), &[]).map(IntoResponse::into_response)
}

/// POST: asks for the mail. `email` is taken as `member`.
pub(super) async fn ask(From(state): From<Arc<State>>, posted: Posted) -> Result<Response, Problem> {
    let field = if posted.has("member") { "member" } else { "email" };
    let name = match posted.text(field).and_then(|text| member_ref(field, text)) {
        Ok(name) => name,
        Err(problem) if posted.is_json => return Err(problem),
        Err(_) => {
            let error = "Give the e-mail address or the username of your account.".to_owned();
            return form(&look(&state, &posted.project), &[error]).map(IntoResponse::into_response);
        }
    };
    let (asked_of, project, client) = (state.clone(), posted.project.clone(), posted.client);
    state.tasks.spawn(async move {
        if let Err(problem) = mail(&asked_of, &project, &name, client).await {
            tracing::warn!(
                code = problem.code(),
                "a reset mail that was asked for on the page was not planned"
            );
        }
    });
    tokio::time::sleep(ANSWERED_AFTER).await;
    if posted.is_json {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "status": "accepted" }))).into_response());
    }
    asked(&look(&state, &posted.project)).map(IntoResponse::into_response)
}

/// Asks for the mail if there is such a member.
async fn mail(
    state: &State,
    project: &Project,
    name: &MemberRef,
    client: Option<std::net::IpAddr>,
) -> Result<(), Problem> {
    let member = match api::find_member(state, project.id, name).await {
        Ok(member) => member,
        Err(Problem::UnknownMember) => return Ok(()),
        Err(problem) => return Err(problem),
    };
    let data = json!({ "member": member.id, "reason": "member" });
    let id = Uuid::new_v4().to_string();
    let wanted = Wanted { id, kind: "account.password-reset-requested", data, client };
    publish(state, project, wanted).await.map(drop)
}

fn form(look: &Look<'_>, errors: &[String]) -> Result<Page, Problem> {
    let nonce = nonce();
    let html = ForgotPasswordPage { look, nonce: &nonce, action: FORGOT_PASSWORD, errors }.render();
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Page::new(status, html, Policy::Nonce(nonce))
}

fn asked(look: &Look<'_>) -> Result<Page, Problem> {
    let paragraphs = [
        format!("If there is such an account at {}, a message with a link is on its way to its address.", look.name),
        "It comes within a few minutes. Look into the folder for unwanted mail too; if nothing comes, the account may \
         have another address."
            .to_owned(),
    ];
    said(look, StatusCode::ACCEPTED, "Look into your mailbox", &paragraphs)
}
