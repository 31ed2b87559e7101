//! The pages that a mail's link opens, and the one that asks for such a mail. They need no key: the token in the
//! link is the proof. GET and HEAD change nothing, since scanners of mail follow links; a button posts. Each also
//! takes and answers JSON.
//!
//! Posts carry no token against forged requests, and need none: there is no session or cookie that another site
//! could ride on, so it can post only what it knows itself.

mod addresses;
mod forgot_password;
mod notifications;
mod reset_password;
mod visit;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use url::Url;

use super::State;
use super::cors;
use super::error::Problem;
use super::headers::{Page, Policy, nonce};
use super::pages::{Again, InvalidLinkPage, LinkProblem, SaidPage, TryAgainPage};
use crate::domain::catalogue::Project;
use crate::domain::event::Reason;
use crate::mail::brand::{Brand, Look};
use crate::pipeline::flows::TokenProblem;

/// Relative to every page of the project, so that it holds behind a proxy that adds a path.
const FORGOT_PASSWORD: &str = "forgot-password";
/// Where a mail of another kind cannot be asked for again: whoever cannot sign in to ask for it there starts here.
const NEW_PASSWORD: Again<'static> = Again::Page { url: FORGOT_PASSWORD, label: "Choose a new password" };

pub(super) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let pages = [
        (FORGOT_PASSWORD, get(forgot_password::open).post(forgot_password::ask)),
        ("reset-password", get(reset_password::open).post(reset_password::complete)),
        ("confirm-email", get(addresses::open_confirm).post(addresses::confirm)),
        ("undo-email-change", get(addresses::open_undo).post(addresses::undo)),
        ("notifications", get(notifications::open).post(notifications::choose)),
    ];
    let route = |router: Router<Arc<State>>, (page, methods): (&str, MethodRouter<Arc<State>>)| {
        router.route(&format!("/p/{{project}}/{page}"), methods.options(cors::preflight))
    };
    pages.into_iter().fold(Router::new(), route).route_layer(from_fn_with_state(state.clone(), cors::listed))
}

/// How the project's pages look.
fn look<'a>(state: &State, project: &'a Project) -> Look<'a> {
    let brand = &project.settings.brand;
    let mut look = Look::of(&Brand {
        name: &project.name,
        color: brand.color.as_deref().unwrap_or_default(),
        logo_url: brand.logo_url.as_deref(),
        footer: brand.footer.as_deref(),
    });
    // From elsewhere it would tell a third party of the visit, and the policy would not load it.
    look.logo_url = look.logo_url.filter(|url| is_ours(&state.public_url, url));
    look
}

fn is_ours(public_url: &str, url: &str) -> bool {
    let origin = |text: &str| Url::parse(text).map(|url| url.origin());
    matches!((origin(public_url), origin(url)), (Ok(ours), Ok(theirs)) if ours == theirs)
}

/// A page that says what became of a step.
fn said(look: &Look<'_>, status: StatusCode, title: &str, paragraphs: &[String]) -> Result<Page, Problem> {
    let nonce = nonce();
    let html = SaidPage { look, nonce: &nonce, title, paragraphs }.render();
    Page::new(status, html, Policy::Nonce(nonce))
}

/// The page of a failed step: what a person reads instead of a problem.
fn failed(look: &Look<'_>, problem: Problem, again: Again<'_>) -> Result<Response, Problem> {
    match problem {
        Problem::TokenInvalid(why) => Ok(invalid_link(look, StatusCode::GONE, (why, again))?.into_response()),
        Problem::Refused(refusal, _) if refusal.reason == Reason::EmailInUse => {
            let sentence = format!(
                "Another account at {} has it now. Nothing was changed, and your link stays good for as long as it \
                 is valid.",
                look.name
            );
            Ok(said(look, StatusCode::CONFLICT, "This address is in use", &[sentence])?.into_response())
        }
        problem @ Problem::Invalid { .. } => Err(problem),
        problem => try_again(look, problem),
    }
}

fn try_again(look: &Look<'_>, problem: Problem) -> Result<Response, Problem> {
    let nonce = nonce();
    let status = problem.status();
    let html = TryAgainPage { look, nonce: &nonce }.render();
    let mut response = Page::new(status, html, Policy::Nonce(nonce))?.into_response();
    if let Some(after) = problem.into_response().headers_mut().remove(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    Ok(response)
}

fn invalid_link(
    look: &Look<'_>,
    status: StatusCode,
    (why, again): (TokenProblem, Again<'_>),
) -> Result<Page, Problem> {
    let why = match why {
        TokenProblem::Used => LinkProblem::Used,
        TokenProblem::Expired => LinkProblem::Expired,
        TokenProblem::Replaced => LinkProblem::Replaced,
        TokenProblem::Unknown => LinkProblem::Unknown,
    };
    let nonce = nonce();
    let html = InvalidLinkPage { look, nonce: &nonce, why, again }.render();
    Page::new(status, html, Policy::Nonce(nonce))
}
