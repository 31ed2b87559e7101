//! What a handler takes out of a request: who calls, a JSON body, the query, the path. Everything that is
//! wrong becomes a [`Problem`] that names the field and never repeats a value, which may be a secret.

use std::fmt;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::error::Problem;
use crate::domain::member::MemberRef;

/// The largest body of any route but the one that takes events, in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// The longest name of a field that is repeated to the caller, in characters.
const LONGEST_NAME: usize = 64;

/// A JSON body. Fields that the request does not have are refused, so that a mistyped one is not ignored.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::UnsupportedMediaType("application/json"));
        }
        let body = read_body(request.into_body(), BODY_LIMIT).await?;
        parse_json(&body).map(Self)
    }
}

/// A JSON body that may be left out: then it is as an empty one.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = read_body(request.into_body(), BODY_LIMIT).await?;
        match (body.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse_json(&body).map(Self),
            (false, false) => Err(Problem::UnsupportedMediaType("application/json")),
        }
    }
}

/// The query string.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(explained("", &rejection)),
        }
    }
}

/// One part of the path.
pub(super) struct PathName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|_| Problem::NotFound)
    }
}

/// Whether the body says that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers).unwrap_or_default();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The content type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether the caller wants JSON rather than a page.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("json") && !accept.contains("text/html")
}

/// Reads a body to its end, or refuses it when it is longer.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<axum::body::Bytes, Problem> {
    to_bytes(body, limit).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|cause| cause.to_string().contains("length limit exceeded"));
        if too_large {
            Problem::TooLarge(limit)
        } else {
            Problem::Invalid { field: None, detail: "The body did not arrive whole.".to_owned() }
        }
    })
}

/// Reads JSON, and says of wrong JSON which field is wrong.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let cause = error.inner();
        if cause.is_data() {
            return explained(&error.path().to_string(), cause);
        }
        let detail = format!("The body is not JSON: line {}, column {}.", cause.line(), cause.column());
        Problem::Invalid { field: None, detail }
    })?;
    reader.end().map_err(|_| Problem::Invalid {
        field: None,
        detail: "The body goes on after its JSON value.".to_owned(),
    })?;
    Ok(value)
}

/// The member that a field or the path names.
pub(super) fn member_ref(field: &str, text: &str) -> Result<MemberRef, Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "has a control character"));
    }
    MemberRef::parse(text).map_err(|what| Problem::invalid(field, what))
}

/// Serde's sentence, cut down to what repeats no value.
fn explained(path: &str, cause: &dyn fmt::Display) -> Problem {
    let text = cause.to_string();
    let quoted = |start: &str| {
        let name = text.split(start).nth(1)?.split('`').next()?;
        Some(name.chars().take(LONGEST_NAME).collect::<String>())
    };
    if let Some(name) = quoted("unknown field `") {
        return Problem::invalid(&name, "is not a field of this request");
    }
    if let Some(name) = quoted("missing field `") {
        return Problem::invalid(&name, "is missing");
    }
    if let Some(name) = quoted("duplicate field `") {
        return Problem::invalid(&name, "is there twice");
    }
    let wanted = text.rsplit_once("expected ").map_or("something else", |(_, wanted)| wanted);
    let wanted = wanted.split(" at line ").next().unwrap_or_default();
    match path {
        "" | "." => {
            Problem::Invalid { field: None, detail: format!("The request is not valid: expected {wanted}.") }
        }
        path => {
            let name: String = path.chars().take(LONGEST_NAME).collect();
            Problem::invalid(&name, &format!("is wrong: expected {wanted}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[expect(dead_code, reason = "only read")]
        member: String,
        #[expect(dead_code, reason = "only read")]
        tries: Option<u8>,
    }

    fn refused(body: &str) -> (Option<String>, String) {
        match parse_json::<Wanted>(body.as_bytes()) {
            Err(Problem::Invalid { field, detail }) => (field, detail),
            _ => panic!("{body} was taken"),
        }
    }

    #[test]
    fn a_wrong_body_names_the_field_and_repeats_no_value() {
        let (field, detail) = refused(r#"{"member":"m","tries":"hunter2"}"#);
        assert_eq!(field.as_deref(), Some("tries"));
        assert_eq!(detail, "`tries` is wrong: expected u8");
        assert_eq!(refused(r#"{"tries":1}"#).1, "`member` is missing");
        assert_eq!(refused(r#"{"member":"m","mebmer":"x"}"#).0.as_deref(), Some("mebmer"));
        assert_eq!(refused(r#"{"member":"m","member":"n"}"#).0.as_deref(), Some("member"));
        assert_eq!(refused("{").1, "The body is not JSON: line 1, column 1.");
        assert_eq!(refused(r#"{"member":"m"} {}"#).1, "The body goes on after its JSON value.");
        assert!(refused("[]").1.contains("expected"));
    }

    #[test]
    fn a_member_with_a_control_character_is_refused() {
        assert!(member_ref("member", "elon\0").is_err());
        assert!(member_ref("member", "elon").is_ok());
    }
}
