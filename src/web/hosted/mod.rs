//! The pages that a mail's link opens. They need no key: the token in the link is the proof. GET and HEAD
//! change nothing, since scanners of mail follow links; a button posts. Each also takes and answers JSON.

mod reset_password;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::Url;

use super::State;
use super::error::Problem;
use super::headers::{Page, Policy, nonce};
use super::pages::{InvalidLinkPage, LinkProblem, TryAgainPage};
use crate::domain::catalogue::Project;
use crate::mail::brand::{Brand, Look};
use crate::pipeline::flows::TokenProblem;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/p/{project}/reset-password", get(reset_password::open).post(reset_password::complete))
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

/// The page of a failed step: what a person reads instead of a problem.
fn failed(look: &Look<'_>, problem: Problem) -> Result<Response, Problem> {
    let nonce = nonce();
    if let Problem::TokenInvalid(why) = problem {
        return invalid_link(look, StatusCode::GONE, why).map(IntoResponse::into_response);
    }
    let status = problem.status();
    let html = askama::Template::render(&TryAgainPage { look, nonce: &nonce });
    let mut response = Page::new(status, html, Policy::Nonce(nonce))?.into_response();
    if let Some(after) = problem.into_response().headers_mut().remove(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    Ok(response)
}

fn invalid_link(look: &Look<'_>, status: StatusCode, why: TokenProblem) -> Result<Page, Problem> {
    let why = match why {
        TokenProblem::Used => LinkProblem::Used,
        TokenProblem::Expired => LinkProblem::Expired,
        TokenProblem::Replaced => LinkProblem::Replaced,
        TokenProblem::Unknown => LinkProblem::Unknown,
    };
    let nonce = nonce();
    let html = askama::Template::render(&InvalidLinkPage { look, nonce: &nonce, why, again_url: None });
    Page::new(status, html, Policy::Nonce(nonce))
}
