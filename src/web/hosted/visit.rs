//! A request to a hosted page, read: of which project, with which token or fields, and whether it wants a page or
//! JSON. What is wrong is answered in the same way.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::invalid_link;
use crate::domain::catalogue::Project;
use crate::mail::brand::{Brand, Look};
use crate::pipeline::flows::{Actor, TokenProblem};
use crate::web::State;
use crate::web::client::client;
use crate::web::error::Problem;
use crate::web::extract::{Params, PathName, is_json, media_type, parse_json, read_body, wants_json};
use crate::web::pages::Again;

/// The largest form, in bytes: a token and a password have far less.
const FORM_LIMIT: usize = 16 * 1024;

/// A page that is opened. No `Debug`: the token is a secret.
pub(super) struct Opened {
    pub(super) project: Arc<Project>,
    /// Empty if there is none.
    pub(super) token: String,
    pub(super) wants_json: bool,
}

/// What a link carries. A mail program may have added its own parameters.
#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    token: String,
}

impl FromRequestParts<Arc<State>> for Opened {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Response> {
        let project = project(parts, state).await?;
        let link: Result<Params<Link>, Problem> = Params::from_request_parts(parts, state).await;
        // A link that a mail program mangled is a link that nobody mailed.
        let token = link.map(|Params(link)| link.token).unwrap_or_default();
        Ok(Self { project, token, wants_json: wants_json(&parts.headers) })
    }
}

/// A form or a JSON object that is posted. No `Debug`: fields are secrets.
pub(super) struct Posted {
    pub(super) project: Arc<Project>,
    pub(super) is_json: bool,
    pub(super) client: Option<IpAddr>,
    fields: Map<String, Value>,
}

impl FromRequest<Arc<State>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let project = project(&mut parts, state).await?;
        let client = client(&parts.extensions, &parts.headers, &state.trusted_proxies).0;
        let is_json = is_json(&parts.headers);
        let is_form = media_type(&parts.headers).as_deref() == Some("application/x-www-form-urlencoded");
        if !is_json && !is_form {
            return Err(Problem::UnsupportedMediaType("application/json or a form").into_response());
        }
        let body = read_body(body, FORM_LIMIT).await.map_err(IntoResponse::into_response)?;
        let fields =
            if is_json { parse_json(&body).map_err(IntoResponse::into_response)? } else { form(&body) };
        Ok(Self { project, is_json, client, fields })
    }
}

impl Posted {
    /// A field that must be there.
    pub(super) fn text(&self, field: &str) -> Result<&str, Problem> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Problem::invalid(field, "is not a string")),
            None => Err(Problem::invalid(field, "is missing")),
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// `true` or `false`; in a form as a word.
    pub(super) fn flag(&self, field: &str) -> Result<bool, Problem> {
        match self.fields.get(field) {
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(word)) if word == "true" || word == "false" => Ok(word == "true"),
            Some(_) => Err(Problem::invalid(field, "is not true or false")),
            None => Err(Problem::invalid(field, "is missing")),
        }
    }

    /// Whoever has the link.
    pub(super) fn actor(&self) -> Actor {
        Actor::member(self.client)
    }
}

fn form(body: &[u8]) -> Map<String, Value> {
    let pairs = url::form_urlencoded::parse(body);
    pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
}

async fn project(parts: &mut Parts, state: &Arc<State>) -> Result<Arc<Project>, Response> {
    let name = PathName::from_request_parts(parts, state).await;
    let found = name.ok().and_then(|PathName(slug)| state.live.current().projects.get(&slug).cloned());
    found.ok_or_else(|| no_project(&parts.headers))
}

fn no_project(headers: &HeaderMap) -> Response {
    if wants_json(headers) || is_json(headers) {
        return Problem::NotFound.into_response();
    }
    let look = Look::of(&Brand::default());
    invalid_link(&look, StatusCode::NOT_FOUND, (TokenProblem::Unknown, Again::Nothing)).into_response()
}
