//! Which other origins may call a project's public routes from a browser: those of its setting `origins`. None of
//! the routes knows a session or a cookie, so an origin that may call can do no more than anybody with `curl`.

use std::sync::Arc;

use axum::extract::{Request, State as From};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::State;
use crate::domain::catalogue::Project;

/// What a front end sends, and for how long a browser need not ask again.
const ALLOWED: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, accept"),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];

/// For the hosted pages: the project's origins and nobody else.
pub(super) async fn listed(From(state): From<Arc<State>>, request: Request, next: Next) -> Response {
    answer(&state, request, next, false).await
}

/// For Jexia's calls: everybody, if the project names no origin.
pub(super) async fn listed_or_all(From(state): From<Arc<State>>, request: Request, next: Next) -> Response {
    answer(&state, request, next, true).await
}

/// What a browser asks before it lets a front end call; the layers above say who may.
pub(super) async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn answer(state: &State, request: Request, next: Next, or_all: bool) -> Response {
    // The project is the second part of the path of every public route.
    let slug = request.uri().path().split('/').nth(2).unwrap_or_default();
    let project = state.live.current().projects.get(slug).cloned();
    let allowed = project.and_then(|project| allowed(&project, request.headers(), or_all));
    let asks_first = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if asks_first && allowed.is_some() {
        for (name, value) in ALLOWED {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn allowed(project: &Project, headers: &HeaderMap, or_all: bool) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let origins = &project.settings.origins;
    if or_all && origins.is_empty() {
        return Some(HeaderValue::from_static("*"));
    }
    origins.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}
