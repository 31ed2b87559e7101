//! Events that a route publishes for its caller. They go the way of every other, so throttles, automations and
//! their outcomes are the same.

use std::net::IpAddr;

use serde_json::Value;

use super::State;
use super::error::Problem;
use crate::domain::catalogue::Project;
use crate::domain::event::{Incoming, Planned};
use crate::domain::id::EventId;
use crate::pipeline::Payload;
use crate::pipeline::flows::OWN_SOURCE;

/// What a caller wants to be told.
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) data: Value,
    /// Of public routes alone: one address must not cause more than its share of mail.
    pub(super) client: Option<IpAddr>,
}

/// Plans the event; its id, or why it is refused.
pub(super) async fn publish(state: &State, project: &Project, wanted: Wanted) -> Result<EventId, Problem> {
    let now = state.clock.now();
    let incoming = Incoming {
        project: project.slug.clone(),
        source: OWN_SOURCE.to_owned(),
        id: wanted.id,
        kind: wanted.kind.to_owned(),
        time: now,
        received_at: now,
        data: wanted.data,
        traceparent: None,
    };
    match state.intake.submit_for(Payload::Event(incoming), wanted.client).await? {
        Planned::Accepted { event, .. } | Planned::Duplicate { event, .. } => Ok(event),
        Planned::Refused { event, refusal } => Err(Problem::Refused(refusal, Some(event))),
    }
}
