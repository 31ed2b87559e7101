//! The mails that `capture` integrations kept: a list, and one of them as its recipient would see it. With
//! `Accept: application/json` the list is for scripts.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as From;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::id::DispatchId;
use crate::mail::brand::{Brand, Look};
use crate::mail::capture::CapturedMail;
use crate::store::db;
use crate::store::shown::StoredCapture;
use crate::web::State;
use crate::web::error::Problem;
use crate::web::extract::{PathName, wants_json};
use crate::web::headers::{Page, Policy, nonce};
use crate::web::pages::{MailPage, MailRow, MailboxPage};

/// How many mails the list shows.
const SHOWN: i64 = 200;
/// What stands for the subject of a mail whose key is gone.
const SEALED: &str = "(sealed with a key that is not here)";

#[derive(Serialize)]
struct Item {
    dispatch_id: DispatchId,
    at: DateTime<Utc>,
    #[serde(flatten)]
    mail: CapturedMail,
}

/// `GET /console/mailbox`: newest first.
pub(super) async fn list(From(state): From<Arc<State>>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut c = state.store.read().await?;
    let captures = db!(c, captures::newest(None, SHOWN))?;
    drop(c);
    let opened = captures.iter().map(|capture| (capture, open(&state, capture)));
    if wants_json(&headers) {
        let item = |(capture, mail): (&StoredCapture, Option<CapturedMail>)| {
            Some(Item { dispatch_id: DispatchId(capture.dispatch_id), at: capture.captured_at, mail: mail? })
        };
        let items: Vec<Item> = opened.filter_map(item).collect();
        return Ok(Json(serde_json::json!({ "items": items })).into_response());
    }
    let mails: Vec<MailRow> = opened.map(|(capture, mail)| row(capture, mail)).collect();
    let (look, nonce) = (Look::of(&Brand::default()), nonce());
    let html = MailboxPage { look: &look, nonce: &nonce, mails: &mails, next_url: None }.render();
    Ok(Page::new(StatusCode::OK, html, Policy::Nonce(nonce))?.into_response())
}

fn row(capture: &StoredCapture, mail: Option<CapturedMail>) -> MailRow {
    let (to, subject, template) = match mail {
        Some(mail) => (mail.to, mail.subject, mail.template),
        None => (String::new(), SEALED.to_owned(), String::new()),
    };
    let href = format!("mailbox/{}", DispatchId(capture.dispatch_id));
    MailRow { href, to, subject, template, at: capture.captured_at }
}

/// `GET /console/mailbox/{dispatch}`
pub(super) async fn show(
    From(state): From<Arc<State>>,
    PathName(dispatch): PathName,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id: DispatchId = dispatch.parse().map_err(|_| Problem::NotFound)?;
    let mut c = state.store.read().await?;
    let capture = db!(c, captures::get(id.0))?.ok_or(Problem::NotFound)?;
    drop(c);
    let mail = open(&state, &capture).ok_or(Problem::NotFound)?;
    if wants_json(&headers) {
        return Ok(Json(Item { dispatch_id: id, at: capture.captured_at, mail }).into_response());
    }
    let look = Look::of(&Brand::default());
    let page = MailPage {
        look: &look,
        // The policy of this page lets styles in without one.
        nonce: "",
        mailbox_url: "../mailbox",
        subject: &mail.subject,
        from: &mail.from,
        to: &mail.to,
        template: &mail.template,
        at: capture.captured_at,
        text: &mail.text,
        html: &mail.html,
    };
    Ok(Page::new(StatusCode::OK, page.render(), Policy::Mail)?.into_response())
}

fn open(state: &State, capture: &StoredCapture) -> Option<CapturedMail> {
    CapturedMail::open(&state.keys, DispatchId(capture.dispatch_id), &capture.sealed)
}
