//! Versions of what is stored: `ETag` on what is shown, `If-Match` on what changes it, so that two people who
//! change one record do not undo each other's work. Must not know what the records are.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Problem;

/// The strong entity tag of a record as it is shown. `hidden` is what changes it without being shown.
pub(super) fn etag(shown: &Value, hidden: &[u8]) -> String {
    let digest = Sha256::new().chain_update(shown.to_string()).chain_update(hidden).finalize();
    let digits = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
    format!("\"{}\"", digits.collect::<String>())
}

/// A record with its tag.
pub(super) struct Tagged {
    pub(super) shown: Value,
    pub(super) etag: String,
}

impl Tagged {
    pub(super) fn new(shown: Value) -> Self {
        Self::with(shown, &[])
    }

    /// `hidden` changes the tag without being shown.
    pub(super) fn with(shown: Value, hidden: &[u8]) -> Self {
        let etag = etag(&shown, hidden);
        Self { shown, etag }
    }
}

impl IntoResponse for Tagged {
    fn into_response(self) -> Response {
        let mut response = Json(self.shown).into_response();
        if let Ok(value) = HeaderValue::from_str(&self.etag) {
            response.headers_mut().insert(header::ETAG, value);
        }
        response
    }
}

/// `If-Match`: without it nothing is changed.
pub(super) struct IfMatch(Vec<String>);

impl IfMatch {
    /// To be asked in the transaction of the change.
    pub(super) fn check(&self, etag: &str) -> Result<(), Problem> {
        let is_it = self.0.iter().any(|wanted| wanted == "*" || wanted == etag);
        if is_it { Ok(()) } else { Err(Problem::PreconditionFailed) }
    }

    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags = texts.flat_map(|text| text.split(',')).map(|tag| tag.trim().to_owned());
        let tags: Vec<String> = tags.filter(|tag| !tag.is_empty()).collect();
        (!tags.is_empty()).then_some(Self(tags))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers).ok_or(Problem::PreconditionRequired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<IfMatch> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, text.parse().unwrap());
        IfMatch::read(&headers)
    }

    #[test]
    fn a_tag_of_the_list_or_a_star_matches_and_a_weak_one_does_not() {
        let tag = etag(&serde_json::json!({"name": "main"}), b"");
        assert!(read(&format!("\"x\", {tag}")).unwrap().check(&tag).is_ok());
        assert!(read("*").unwrap().check(&tag).is_ok());
        assert!(read(&format!("W/{tag}")).unwrap().check(&tag).is_err());
        assert!(read("").is_none());
    }

    #[test]
    fn what_is_hidden_changes_the_tag() {
        let shown = serde_json::json!({"name": "main"});
        assert_ne!(etag(&shown, b"1"), etag(&shown, b"2"));
    }
}
