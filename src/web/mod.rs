//! Everything that speaks HTTP: the API, the pages that a mail's link opens, the mailbox, and what machines
//! ask about the process. Knows the pipeline and the store; must not know the broker or how mail is sent.
//!
//! What happens to every request is in this file, outermost first: a span with the matched route (never the
//! URI, which may hold a token), the security headers, a panic caught, 30 s at most.

pub mod api;
mod caller;
mod client;
mod console;
mod cors;
mod error;
mod etag;
mod extract;
mod headers;
pub mod health;
mod hosted;
mod idempotency;
mod jexia;
pub mod openapi;
mod own_event;
pub mod pages;
mod serve;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State as Extract};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

pub use caller::KnownKeys;
pub use idempotency::KEPT as IDEMPOTENCY_KEPT;
pub use serve::serve;

use self::error::Problem;
use self::health::Readiness;
use self::idempotency::Once;
use crate::domain::clock::Clock;
use crate::domain::keys::Keyring;
use crate::mail::network::Cidr;
use crate::pipeline::Intake;
use crate::pipeline::dead_letters::DeadMessages;
use crate::pipeline::flows::Flows;
use crate::pipeline::live::Live;
use crate::pipeline::reach::Reach;
use crate::pipeline::rearm::Rearm;
use crate::store::Store;

/// The longest that a request may take, its body included.
const REQUEST: Duration = Duration::from_secs(30);

/// What the HTTP side works with.
pub struct State {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub intake: Intake,
    pub flows: Flows,
    pub live: Live,
    /// Base of every link; never taken from a request.
    pub public_url: String,
    /// To try integrations out.
    pub reach: Reach,
    /// Whose word is taken for a client's address.
    pub trusted_proxies: Vec<Cidr>,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
    pub surface: Surface,
    /// Starts empty.
    pub known_keys: KnownKeys,
    /// What a request started and does not wait for: a stop does.
    pub tasks: TaskTracker,
    pub rearm: Rearm,
    /// What `/asyncapi.json` answers.
    pub asyncapi: Arc<Value>,
    /// Leads nowhere without a broker.
    pub dead_messages: DeadMessages,
}

/// What an address serves. With an administration address there are two, with different surfaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surface {
    /// The API and the hosted pages.
    pub api: bool,
    /// Readiness and metrics.
    pub admin: bool,
    /// The mailbox, open to whoever is at this machine: for `dev` alone.
    pub dev: bool,
}

/// The router of an address.
pub fn router(state: State) -> Router {
    let state = Arc::new(state);
    let mut router = Router::new().route("/healthz", get(health::healthz));
    if state.surface.admin {
        router = router.merge(health::routes());
    }
    if state.surface.api {
        router = router.route("/asyncapi.json", get(asyncapi));
        let records = api::routes().with_state(state.clone());
        let once = from_fn_with_state(Once { state: state.clone(), records }, idempotency::once);
        router = router
            .merge(api::routes().route_layer(once))
            .merge(hosted::routes(&state))
            .merge(jexia::routes(&state));
        router = router.route("/openapi.json", get(openapi::get));
    }
    if state.surface.dev {
        router = router.merge(console::routes());
    }
    finished(router.with_state(state))
}

async fn asyncapi(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    Json(Value::clone(&state.asyncapi))
}

fn finished(router: Router) -> Router {
    router
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn(limited))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(headers::put_on))
        .layer(from_fn(traced))
}

async fn traced(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("http", method = %request.method(), route);
    async {
        let response = next.run(request).await;
        let status = response.status();
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), "answered");
        } else {
            tracing::debug!(status = status.as_u16(), "answered");
        }
        response
    }
    .instrument(span)
    .await
}

async fn limited(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::Unavailable.into_response())
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let said = cause.downcast_ref::<&str>().copied();
    let said = said.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = said.unwrap_or("without a text"), "a handler panicked");
    Problem::Internal.into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use tower::ServiceExt;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    async fn boom() -> &'static str {
        panic!("at the disco")
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_a_log_line_with_the_route_but_not_the_uri() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let _guard = tracing::subscriber::set_default(subscriber.with_writer(lines.clone()).finish());
        let router = finished(Router::new().route("/p/{project}/boom", get(boom)));
        let request = Request::get("/p/acme/boom?token=hunter2").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("disco"));
        let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(said.contains("at the disco") && said.contains("/p/{project}/boom"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("acme"), "{said}");
    }
}
