//! The path of an event, in the order of its steps. One path: broker, HTTP and our own flows all enter here.

pub mod absences;
pub mod accounts;
mod attribute;
pub mod carry;
pub mod commit;
pub mod correlate;
pub mod dead_acts;
pub mod dead_letters;
pub mod decode;
pub mod drafts;
pub mod editions;
pub mod engine;
pub mod entries;
pub mod explain;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod flows;
mod identities;
pub mod json;
pub mod lanes;
pub mod lease;
pub mod live;
pub mod matching;
pub mod pace;
pub mod parcel;
pub mod passing;
pub mod plan;
pub mod planner;
pub mod reach;
pub mod rearm;
pub mod refuse;
pub mod render;
mod replay;
pub mod replies;
pub mod sample;
pub mod settle;
mod slots;
pub mod strays;
mod throttle;
mod write;

use std::net::IpAddr;

pub use attribute::full_type;
use tokio::sync::{mpsc, oneshot};

use crate::domain::event::{Incoming, Planned};

/// Where the broker hands over what it received, and everybody else what happened. A full channel holds the
/// sender back.
#[derive(Clone)]
pub struct Intake {
    pub submit: mpsc::Sender<Submission>,
}

/// One message, to be planned.
pub struct Submission {
    pub payload: Payload,
    /// Came back three times or more: planned alone.
    pub suspect: bool,
    /// A refused message that was moved back, proven by the MAC of its origin: a known identity is armed again.
    pub replay: bool,
    /// The address of whoever asked on a public route, for throttles.
    pub client: Option<IpAddr>,
    /// Answered once it is committed. Dropped unanswered, the message is handed over again later.
    pub answer: oneshot::Sender<Planned>,
}

/// What a message turned out to be.
pub enum Payload {
    Event(Incoming),
    /// Answered `Refused` once the refusal's row is written.
    Undecodable(decode::Undecodable),
}

/// The planner has stopped: try again, elsewhere or later.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be taken now; try again")]
pub struct Unavailable;

impl Intake {
    /// Plans one event and tells what became of it once that is committed.
    pub async fn submit(&self, payload: Payload) -> Result<Planned, Unavailable> {
        self.submit_for(payload, None).await
    }

    /// The same for somebody at that address, on a public route.
    pub async fn submit_for(&self, payload: Payload, client: Option<IpAddr>) -> Result<Planned, Unavailable> {
        let (answer, planned) = oneshot::channel();
        let submission = Submission { payload, suspect: false, replay: false, client, answer };
        self.submit.send(submission).await.map_err(|_| Unavailable)?;
        planned.await.map_err(|_| Unavailable)
    }
}
