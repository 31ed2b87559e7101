//! `/p/{project}/confirm-email` and `/p/{project}/undo-email-change`: one button each, behind the links of the mails
//! about a new address. The address is the token's, never one of the request.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as From;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::visit::{Opened, Posted};
use super::{NEW_PASSWORD, failed, look, said};
use crate::domain::catalogue::Project;
use crate::domain::member::Member;
use crate::domain::token::Purpose;
use crate::mail::brand::Look;
use crate::pipeline::flows::{FlowError, Inspected, TokenProblem};
use crate::web::State;
use crate::web::api;
use crate::web::error::Problem;
use crate::web::headers::{Page, Policy, nonce};
use crate::web::own_event::{Wanted, publish};
use crate::web::pages::{Again, ButtonPage};

/// What a page says before the button is pressed.
struct Step {
    /// Relative to the page itself.
    action: &'static str,
    purpose: Purpose,
    title: &'static str,
    button: &'static str,
    says: fn(&Look<'_>, &Inspected) -> [String; 2],
}

const CONFIRM: Step = Step {
    action: "confirm-email",
    purpose: Purpose::ChangeEmail,
    title: "Confirm your e-mail address",
    button: "Confirm this address",
    says: |look, inspected| {
        let (name, username) = (&look.name, &inspected.member.username);
        let address = inspected.address.as_deref().unwrap_or("this address");
        [
            format!("Once you confirm, messages of {name} for the account {username} go to {address}."),
            "The address that the account has now is told of the change.".to_owned(),
        ]
    },
};

const UNDO: Step = Step {
    action: "undo-email-change",
    purpose: Purpose::UndoEmailChange,
    title: "Undo the change of your address",
    button: "Undo the change",
    says: |look, inspected| {
        let (name, username) = (&look.name, &inspected.member.username);
        let address = inspected.address.as_deref().unwrap_or("its former address");
        [
            format!("The account {username} at {name} gets {address} back."),
            "Its password ends, and so does every link that was mailed. A message to choose a new password comes to \
             that address."
                .to_owned(),
        ]
    },
};

pub(super) async fn open_confirm(From(state): From<Arc<State>>, opened: Opened) -> Result<Response, Problem> {
    open(&state, opened, &CONFIRM).await
}

pub(super) async fn open_undo(From(state): From<Arc<State>>, opened: Opened) -> Result<Response, Problem> {
    open(&state, opened, &UNDO).await
}

/// GET and HEAD: what the button will do, or why there is none. Changes nothing.
async fn open(state: &State, opened: Opened, step: &Step) -> Result<Response, Problem> {
    let Opened { project, token, wants_json } = opened;
    let inspected = state.flows.inspect_for(project.id, &token, step.purpose).await.map_err(Problem::from);
    if wants_json {
        return inspected.map(|inspected| Json(api::token_shown(&inspected)).into_response());
    }
    let look = look(state, &project);
    match inspected {
        Ok(inspected) => button(&look, &token, step, &inspected).map(IntoResponse::into_response),
        Err(problem) => fail(state, &project, (&look, step.purpose), (&token, problem)).await,
    }
}

/// A mail to confirm an address that came too late can be sent again.
async fn fail(
    state: &State,
    project: &Project,
    (look, purpose): (&Look<'_>, Purpose),
    (token, problem): (&str, Problem),
) -> Result<Response, Problem> {
    let is_late = matches!(problem, Problem::TokenInvalid(TokenProblem::Expired));
    if !is_late || purpose != Purpose::ChangeEmail {
        return failed(look, problem, NEW_PASSWORD);
    }
    match state.flows.lapsed_change(project.id, token).await? {
        Some((_, address)) => {
            failed(look, problem, Again::Mail { action: CONFIRM.action, token, address: &address })
        }
        None => failed(look, problem, NEW_PASSWORD),
    }
}

fn button(look: &Look<'_>, token: &str, step: &Step, inspected: &Inspected) -> Result<Page, Problem> {
    let nonce = nonce();
    let paragraphs = (step.says)(look, inspected);
    let Step { action, title, button, .. } = step;
    let page = ButtonPage { look, nonce: &nonce, action, token, title, paragraphs: &paragraphs, button };
    let html = page.render();
    Page::new(StatusCode::OK, html, Policy::Nonce(nonce))
}

pub(super) async fn confirm(From(state): From<Arc<State>>, posted: Posted) -> Result<Response, Problem> {
    if posted.has("again") && posted.flag("again")? {
        return mail_again(&state, &posted).await;
    }
    let confirmed =
        state.flows.confirm_email(posted.project.id, posted.text("token")?, &posted.actor()).await;
    answer(&state, &posted, (Purpose::ChangeEmail, confirmed), |look, member| {
        said(
            look,
            StatusCode::OK,
            "Your address is confirmed",
            &[
                format!("Messages of {} go to {} from now on.", look.name, member.email),
                "You can close this page. The link in the mail has been used and no longer works.".to_owned(),
            ],
        )
    })
    .await
}

/// Asks for the change again, which is throttled as every request for one is.
async fn mail_again(state: &State, posted: &Posted) -> Result<Response, Problem> {
    let (project, token) = (&posted.project, posted.text("token")?);
    let Some((member, new_email)) = state.flows.lapsed_change(project.id, token).await? else {
        // Good still, or not to be had again: the page of the link says which.
        let (project, token, wants_json) = (project.clone(), token.to_owned(), posted.is_json);
        return open(state, Opened { project, token, wants_json }, &CONFIRM).await;
    };
    let data = json!({ "member": member.id, "new_email": new_email });
    let id = Uuid::new_v4().to_string();
    let wanted = Wanted { id, kind: "account.email-change-requested", data, client: posted.client };
    let published = publish(state, project, wanted).await;
    if posted.is_json {
        return published
            .map(|_| (StatusCode::ACCEPTED, Json(json!({ "status": "accepted" }))).into_response());
    }
    let look = look(state, project);
    if let Err(problem) = published {
        return failed(&look, problem, NEW_PASSWORD);
    }
    let paragraphs = [
        format!(
            "A message with a new link is on its way to {new_email}, unless many were asked for just now."
        ),
        "It comes within a few minutes. Look into the folder for unwanted mail too.".to_owned(),
    ];
    said(&look, StatusCode::ACCEPTED, "Look into your mailbox", &paragraphs).map(IntoResponse::into_response)
}

pub(super) async fn undo(From(state): From<Arc<State>>, posted: Posted) -> Result<Response, Problem> {
    let undone =
        state.flows.undo_email_change(posted.project.id, posted.text("token")?, &posted.actor()).await;
    answer(&state, &posted, (Purpose::UndoEmailChange, undone), |look, member| {
        said(
            look,
            StatusCode::OK,
            "The change is undone",
            &[
                format!("Your account at {} has the address {} again.", look.name, member.email),
                "A message with a link to choose a new password is on its way to it. Do that before you sign in \
                 again."
                    .to_owned(),
            ],
        )
    })
    .await
}

async fn answer(
    state: &State,
    posted: &Posted,
    (purpose, done): (Purpose, Result<Member, FlowError>),
    page: impl Fn(&Look<'_>, &Member) -> Result<Page, Problem>,
) -> Result<Response, Problem> {
    let done = done.map_err(Problem::from);
    if posted.is_json {
        return done.map(|member| Json(json!({ "member": member })).into_response());
    }
    let look = look(state, &posted.project);
    match done {
        Ok(member) => page(&look, &member).map(IntoResponse::into_response),
        Err(problem) => {
            fail(state, &posted.project, (&look, purpose), (posted.text("token")?, problem)).await
        }
    }
}
