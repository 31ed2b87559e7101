//! The path of an event, in the order of its steps. One path: broker, HTTP and our own flows all enter here.

mod attribute;
pub mod decode;
pub mod json;

use tokio::sync::{mpsc, oneshot};

use crate::domain::event::{Incoming, Planned};

/// Where the broker hands over what it received. A full channel holds the broker back.
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
    /// Answered once it is committed. Dropped unanswered, the message is handed over again later.
    pub answer: oneshot::Sender<Planned>,
}

/// What a message turned out to be.
pub enum Payload {
    Event(Incoming),
    /// Answered `Refused` once the refusal's row is written.
    Undecodable(decode::Undecodable),
}
