//! What machines ask about the process: does it live, is it ready and if not why, and its numbers. Must not
//! find out itself how a part is; whoever runs the part says so here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State as From;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::State;

/// A part that a process needs before it is ready.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Database,
    Broker,
    WorkerLease,
}

/// How the parts of this process are.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<Part, Option<Trouble>>>>);

#[derive(Clone)]
struct Trouble {
    why: String,
    since: DateTime<Utc>,
}

#[derive(Serialize)]
struct Standing {
    part: Part,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<DateTime<Utc>>,
}

impl Readiness {
    /// None of the parts is ready yet.
    pub fn expecting(parts: &[Part], now: DateTime<Utc>) -> Self {
        let readiness = Self::default();
        for part in parts {
            readiness.not_ready(*part, "has not started yet", now);
        }
        readiness
    }

    pub fn ready(&self, part: Part) {
        self.parts().insert(part, None);
    }

    /// Says why a part is not ready, without any secret. The time of the first trouble stays.
    pub fn not_ready(&self, part: Part, why: impl Into<String>, now: DateTime<Utc>) {
        let mut parts = self.parts();
        let since = parts.get(&part).and_then(Option::as_ref).map_or(now, |trouble| trouble.since);
        parts.insert(part, Some(Trouble { why: why.into(), since }));
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Part, Option<Trouble>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |(part, trouble): (&Part, &Option<Trouble>)| Standing {
            part: *part,
            ready: trouble.is_none(),
            why: trouble.as_ref().map(|trouble| trouble.why.clone()),
            since: trouble.as_ref().map(|trouble| trouble.since),
        };
        self.parts().iter().map(standing).collect()
    }
}

/// The routes that move to the administration address if there is one.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// Answers as long as the process lives, whatever it waits for.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(From(state): From<Arc<State>>) -> impl IntoResponse {
    let parts = state.readiness.standings();
    let ready = parts.iter().all(|part| part.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready, "parts": parts })))
}

async fn metrics(From(state): From<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_the_time_of_its_first_trouble() {
        let at = |s| DateTime::from_timestamp(s, 0).unwrap();
        let readiness = Readiness::expecting(&[Part::Broker, Part::Database], at(1));
        readiness.ready(Part::Database);
        readiness.not_ready(Part::Broker, "refused the connection", at(5));
        let standings = readiness.standings();
        assert!(standings[0].ready);
        assert_eq!(standings[1].why.as_deref(), Some("refused the connection"));
        assert_eq!(standings[1].since, Some(at(1)));
        readiness.ready(Part::Broker);
        readiness.not_ready(Part::Broker, "closed the connection", at(9));
        assert_eq!(readiness.standings()[1].since, Some(at(9)));
    }
}
