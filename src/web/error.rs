//! Every refusal of the HTTP side, as an RFC 9457 problem with a stable `code`. Handlers return [`Problem`];
//! what is our own fault is logged here, once, with its chain, and told to nobody. Must not hold a secret:
//! texts name the field, never its value.

use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::domain::api_key::Scope;
use crate::domain::event::{Reason, Refusal};
use crate::domain::id::EventId;
use crate::pipeline::Unavailable;
use crate::pipeline::flows::{FlowError, TokenProblem};
use crate::store::{Fault, StoreError};

/// After how many seconds a caller may try again what could not be done now.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Why a request is not answered as wished.
pub(super) enum Problem {
    Unauthorized,
    /// The key has not this scope.
    MissingScope(Scope),
    Forbidden(&'static str),
    NotFound,
    MethodNotAllowed,
    UnknownMember,
    Invalid {
        field: Option<String>,
        detail: String,
    },
    /// A text with a language of its own is wrong, at a line and a column.
    InText {
        field: String,
        what: String,
        at: (usize, usize),
    },
    /// Something else stands in the way.
    Conflict {
        code: &'static str,
        field: Option<&'static str>,
        detail: String,
    },
    PreconditionRequired,
    PreconditionFailed,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    /// An event that was refused, and under which id that is kept.
    Refused(Refusal, Option<EventId>),
    TokenInvalid(TokenProblem),
    /// Ends the sentence "The password …".
    WeakPassword(&'static str),
    /// 401 where it is to prove who somebody is, 403 where it is to allow a change.
    WrongPassword(StatusCode),
    /// For so many seconds.
    Throttled(u32),
    TooLarge(usize),
    /// What is taken instead.
    UnsupportedMediaType(&'static str),
    Unavailable,
    Internal,
}

impl Problem {
    /// `invalid`: the detail reads "`field` is …".
    pub(super) fn invalid(field: &str, what: &str) -> Self {
        Self::Invalid { field: Some(field.to_owned()), detail: format!("`{field}` {what}") }
    }

    fn conflict(code: &'static str, field: &'static str, detail: &str) -> Self {
        Self::Conflict { code, field: Some(field), detail: detail.to_owned() }
    }

    /// Another record of the project has the name.
    pub(super) fn name_in_use(what: &str) -> Self {
        let detail = format!("Another {what} of the project has this name.");
        Self::Conflict { code: "name-in-use", field: Some("name"), detail }
    }

    /// Our own fault: logged with its chain, answered without it.
    pub(super) fn internal(error: &dyn Error) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        Self::Internal
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::MissingScope(_) | Self::Forbidden(_) => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::UnknownMember => Reason::UnknownMember.name(),
            Self::Invalid { .. } | Self::InText { .. } => Reason::Invalid.name(),
            Self::Conflict { code, .. } => code,
            Self::PreconditionRequired => "precondition-required",
            Self::PreconditionFailed => "precondition-failed",
            Self::IdempotencyKeyInUse => "idempotency-key-in-use",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::Refused(refusal, _) => refusal.reason.name(),
            Self::TokenInvalid(_) => "token-invalid",
            Self::WeakPassword(_) => "weak-password",
            Self::WrongPassword(_) => "wrong-password",
            Self::Throttled(_) => "throttled",
            Self::TooLarge(_) => "too-large",
            Self::UnsupportedMediaType(_) => "unsupported-media-type",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MissingScope(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownMember => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid { .. } | Self::InText { .. } => StatusCode::BAD_REQUEST,
            Self::Conflict { .. } | Self::IdempotencyKeyInUse => StatusCode::CONFLICT,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Refused(refusal, _) => refusal_status(refusal.reason),
            Self::TokenInvalid(_) => StatusCode::GONE,
            Self::IdempotencyKeyReused | Self::WeakPassword(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::WrongPassword(status) => *status,
            Self::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The problem as JSON, alone or as one answer of a batch.
    pub(super) fn body(&self) -> Value {
        let code = self.code();
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:signalpost:problem:{code}")));
        body.insert("title".into(), json!(self.title()));
        body.insert("status".into(), json!(self.status().as_u16()));
        body.insert("code".into(), json!(code));
        body.insert("detail".into(), json!(self.detail()));
        let place = |which: fn(&(usize, usize)) -> usize| match self {
            Self::InText { at, .. } => Some(json!(which(at))),
            _ => None,
        };
        let more: [(&str, Option<Value>); 6] = [
            ("line", place(|at| at.0)),
            ("column", place(|at| at.1)),
            ("field", self.field().map(Value::from)),
            ("reason", self.reason().map(Value::from)),
            ("scope", if let Self::MissingScope(scope) = self { Some(json!(scope.name())) } else { None }),
            ("event_id", if let Self::Refused(_, Some(event)) = self { Some(json!(event)) } else { None }),
        ];
        body.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Value::Object(body)
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Unauthorized => "The API key is missing or not valid",
            Self::MissingScope(_) | Self::Forbidden(_) => "This is not allowed",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "This method is not known here",
            Self::UnknownMember => "There is no such member",
            Self::Invalid { .. } | Self::InText { .. } => "The request is not valid",
            Self::Conflict { .. } => "Something stands in the way",
            Self::PreconditionRequired => "Say which version you change",
            Self::PreconditionFailed => "It was changed meanwhile",
            Self::IdempotencyKeyInUse => "The same call is being made",
            Self::IdempotencyKeyReused => "The Idempotency-Key stands for another call",
            Self::Refused(..) => "This is refused",
            Self::TokenInvalid(_) => "The token is not valid",
            Self::WeakPassword(_) => "The password is not good enough",
            Self::WrongPassword(_) => "That is not the password",
            Self::Throttled(_) => "That is too often",
            Self::TooLarge(_) => "The request is too large",
            Self::UnsupportedMediaType(_) => "The content type is not known here",
            Self::Unavailable => "This cannot be done now",
            Self::Internal => "Something went wrong here",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Unauthorized => "Send a key as `Authorization: Bearer sp_…`.".to_owned(),
            Self::MissingScope(scope) => format!("The key has not the scope `{}`.", scope.name()),
            Self::Forbidden(why) => (*why).to_owned(),
            Self::NotFound => "The project of the key has nothing of that name.".to_owned(),
            Self::MethodNotAllowed => "The header `Allow` says which methods are.".to_owned(),
            Self::UnknownMember => "The project of the key has no such member.".to_owned(),
            Self::Invalid { detail, .. } | Self::Conflict { detail, .. } => detail.clone(),
            Self::InText { field, what, at: (line, column) } => {
                format!("`{field}` is wrong in line {line}, column {column}: {what}")
            }
            Self::PreconditionRequired => "Send the `ETag` of what you have read as `If-Match`.".to_owned(),
            Self::PreconditionFailed => "Read it again: its `ETag` is not the one of `If-Match`.".to_owned(),
            Self::IdempotencyKeyInUse => "A call with this `Idempotency-Key` has not ended yet.".to_owned(),
            Self::IdempotencyKeyReused => "It came with another body before; use a fresh one.".to_owned(),
            Self::Refused(refusal, _) => refusal.detail.clone(),
            Self::TokenInvalid(why) => token_detail(*why).to_owned(),
            Self::WeakPassword(what) => format!("The password {what}."),
            Self::WrongPassword(_) => "The member has another password, or none.".to_owned(),
            Self::Throttled(seconds) => format!("Too many were wrong; try again in {seconds} seconds."),
            Self::TooLarge(limit) => format!("At most {limit} bytes are taken."),
            Self::UnsupportedMediaType(taken) => format!("Send {taken}."),
            Self::Unavailable => "It may not have been done; try again.".to_owned(),
            Self::Internal => "The operator's log says more.".to_owned(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => field.as_deref(),
            Self::InText { field, .. } => Some(field),
            Self::Conflict { field, .. } => *field,
            Self::PreconditionRequired | Self::PreconditionFailed => Some("If-Match"),
            Self::IdempotencyKeyInUse | Self::IdempotencyKeyReused => Some("Idempotency-Key"),
            Self::Refused(refusal, _) => refusal.field.as_deref(),
            Self::WeakPassword(_) => Some("new_password"),
            Self::UnknownMember => Some("member"),
            Self::TokenInvalid(_) => Some("token"),
            _ => None,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::TokenInvalid(why) => Some(token_reason(*why)),
            _ => None,
        }
    }
}

fn refusal_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::Invalid => StatusCode::BAD_REQUEST,
        Reason::UnknownType | Reason::Poison => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::UnknownProject | Reason::UnknownMember => StatusCode::NOT_FOUND,
        Reason::EmailInUse | Reason::IdReused => StatusCode::CONFLICT,
    }
}

fn token_reason(why: TokenProblem) -> &'static str {
    match why {
        TokenProblem::Used => "used",
        TokenProblem::Expired => "expired",
        TokenProblem::Replaced => "replaced",
        TokenProblem::Unknown => "unknown",
    }
}

fn token_detail(why: TokenProblem) -> &'static str {
    match why {
        TokenProblem::Used => "The token has been used already.",
        TokenProblem::Expired => "The token has expired.",
        TokenProblem::Replaced => "A later mail, or a change of the account, ended the token.",
        TokenProblem::Unknown => "This is not a token of the project for this purpose.",
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unavailable | Self::IdempotencyKeyInUse => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error.fault() {
            Fault::Again => {
                tracing::warn!(error = %chain(&error), "the database did not serve a request");
                Self::Unavailable
            }
            Fault::Data => Self::internal(&error),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<FlowError> for Problem {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Token(why) => Self::TokenInvalid(why),
            FlowError::WeakPassword(what) => Self::WeakPassword(what),
            FlowError::WrongPassword => Self::WrongPassword(StatusCode::FORBIDDEN),
            FlowError::Throttled(seconds) => Self::Throttled(seconds),
            FlowError::UnknownMember => Self::UnknownMember,
            FlowError::AlreadyAdministrator => Self::conflict(
                "already-administrator",
                "email",
                "The member with this address is an administrator already.",
            ),
            FlowError::UsernameMismatch => Self::conflict(
                "username-mismatch",
                "username",
                "The member with this address has another username.",
            ),
            FlowError::IdInUse => Self::conflict("id-in-use", "id", "Another member has this id."),
            FlowError::Refused(refusal) => Self::Refused(refusal, None),
            FlowError::Busy => Self::Unavailable,
            FlowError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_code_its_field_and_its_reason() {
        let body = Problem::TokenInvalid(TokenProblem::Replaced).body();
        assert_eq!(body["type"], "urn:signalpost:problem:token-invalid");
        assert_eq!((&body["status"], &body["code"]), (&json!(410), &json!("token-invalid")));
        assert_eq!((&body["field"], &body["reason"]), (&json!("token"), &json!("replaced")));
        let body = Problem::MissingScope(Scope::Read).body();
        assert_eq!((&body["code"], &body["scope"]), (&json!("forbidden"), &json!("read")));
    }

    #[test]
    fn a_failed_statement_is_told_to_nobody() {
        let problem = Problem::from(StoreError::Unreadable("settings of a project"));
        assert_eq!(problem.code(), "internal");
        assert!(!problem.body().to_string().contains("settings"));
        let problem = Problem::from(StoreError::Sql(sqlx::Error::PoolTimedOut));
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "2");
    }
}
