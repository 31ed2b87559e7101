//! The headers that keep a browser from doing more with an answer than it should. Every answer gets the
//! strict ones; a page says which policy it needs by being a [`Page`].

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::Rng as _;

use super::error::Problem;

/// Random bits of a nonce, in octets.
const NONCE_LENGTH: usize = 16;

/// On every answer. A token page must leave no trace in caches, histories or other sites' logs.
const EVERYWHERE: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What an answer may load that says nothing of it: nothing.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A rendered page with the policy that it needs.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
    pub(super) policy: Policy,
}

/// Content security policies of pages.
pub(super) enum Policy {
    /// Styles with that nonce, pictures and forms of our own origin.
    Nonce(String),
    /// A captured mail in a frame that inherits the policy: mails carry styles in attributes, and a logo.
    Mail,
}

impl Policy {
    fn text(&self) -> String {
        match self {
            Self::Nonce(nonce) => format!(
                "default-src 'none'; style-src 'nonce-{nonce}'; img-src 'self'; base-uri 'none'; \
                 form-action 'self'; frame-ancestors 'none'"
            ),
            Self::Mail => "default-src 'none'; style-src 'unsafe-inline'; img-src https:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'"
                .to_owned(),
        }
    }
}

/// A fresh nonce of a page.
pub(super) fn nonce() -> String {
    let mut bytes = [0; NONCE_LENGTH];
    rand::rng().fill_bytes(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Page {
    /// Makes a page of what a template rendered.
    pub(super) fn new(
        status: StatusCode,
        html: askama::Result<String>,
        policy: Policy,
    ) -> Result<Self, Problem> {
        let html = html.map_err(|error| Problem::internal(&error))?;
        Ok(Self { status, html, policy })
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = (self.status, Html(self.html)).into_response();
        // A nonce is base64url and the rest is constant, so this is always a header.
        if let Ok(policy) = HeaderValue::from_str(&self.policy.text()) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// Puts the headers on whatever the handlers answered.
pub(super) async fn put_on(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in EVERYWHERE {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    response
}
