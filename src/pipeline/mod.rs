//! The path of an event, in the order of its steps. One path: broker, HTTP and our own flows all enter here.

pub mod accounts;
pub mod carry;
pub mod decode;
pub mod drafts;
pub mod entries;
pub mod fetch;
pub mod flows;
pub mod lanes;
pub mod lease;
pub mod live;
pub mod parcel;
pub mod plan;
pub mod render;
pub mod settle;

use tokio::sync::{mpsc, oneshot};

use crate::domain::event::{Incoming, Planned};

/// An event on its way into the planner.
pub struct Submission {
    pub incoming: Incoming,
    /// It was redelivered often: to be planned alone.
    pub suspect: bool,
    pub answer: oneshot::Sender<Planned>,
}

/// The way into the planner.
#[derive(Clone)]
pub struct Planner {
    submissions: mpsc::Sender<Submission>,
}

/// The planner has stopped, or could not reach the database in time: try again.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be taken now; try again")]
pub struct Unavailable;

impl Planner {
    pub fn new(submissions: mpsc::Sender<Submission>) -> Self {
        Self { submissions }
    }

    /// Plans one event and tells what became of it once that is committed.
    pub async fn submit(&self, incoming: Incoming) -> Result<Planned, Unavailable> {
        let (answer, planned) = oneshot::channel();
        let submission = Submission { incoming, suspect: false, answer };
        self.submissions.send(submission).await.map_err(|_| Unavailable)?;
        planned.await.map_err(|_| Unavailable)
    }
}
