//! How a sink misbehaves: faults at steps of the conversation, taken in order from a script or chosen by a
//! closure. It must not know sockets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where in the conversation a fault strikes: in place of, or along with, the usual answer to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A new connection.
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The 354 was said and the message has not arrived.
    Body,
    /// The final dot has arrived.
    Dot,
    /// The answer to a final dot was sent: what is said now, nobody asked for.
    Idle,
    Rset,
    Quit,
}

/// What happens instead of the usual answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This reply. After a 421 the connection is closed, as RFC 5321 says.
    Reply(String),
    ReplyAndClose(String),
    /// The connection is closed without a word; at [`At::Dot`] the mail is not taken.
    Close,
    /// At [`At::Dot`]: the mail is taken, and the connection closed without a word.
    TakeAndClose,
    /// At [`At::Body`]: the connection is closed once this many octets of the message have arrived.
    CutAfter(usize),
    /// Nothing is said any more, and the connection stays open.
    Silence,
    /// The usual answer comes after this time.
    Delay(Duration),
    /// The usual answer comes octet by octet, one after each such time.
    Trickle(Duration),
    /// The usual answer is followed by this, which nobody asked for.
    Surplus(String),
}

/// A fault that waits for its place in the conversation.
#[derive(Debug, Clone)]
pub struct Step {
    at: At,
    fault: Fault,
    recipient: Option<String>,
    /// How often it is still to strike, `None` for always.
    left: Option<usize>,
}

/// Chooses a fault from the place and, from RCPT on, the recipient.
pub type Chooser = Box<dyn Fn(At, &str) -> Option<Fault> + Send + Sync>;

/// The faults still to come.
#[derive(Default)]
pub(super) struct Script {
    /// Spares a sink without faults the lock.
    is_empty: AtomicBool,
    steps: Mutex<Vec<Step>>,
    chooser: Option<Chooser>,
}

impl Step {
    /// The fault strikes once, at the first chance.
    pub fn new(at: At, fault: Fault) -> Self {
        Self { at, fault, recipient: None, left: Some(1) }
    }

    /// `Step::reply_at(At::Rcpt, "451 4.7.1 later")`.
    pub fn reply_at(at: At, reply: &str) -> Self {
        Self::new(at, Fault::Reply(reply.to_owned()))
    }

    pub fn close_at(at: At) -> Self {
        Self::new(at, Fault::Close)
    }

    pub fn silence_at(at: At) -> Self {
        Self::new(at, Fault::Silence)
    }

    /// Strikes only for this recipient; has a meaning from RCPT on.
    #[must_use]
    pub fn to(mut self, recipient: &str) -> Self {
        self.recipient = Some(recipient.to_owned());
        self
    }

    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    #[must_use]
    pub fn always(mut self) -> Self {
        self.left = None;
        self
    }
}

impl Script {
    pub(super) fn new(steps: Vec<Step>, chooser: Option<Chooser>) -> Self {
        let is_empty = AtomicBool::new(steps.is_empty() && chooser.is_none());
        Self { is_empty, steps: Mutex::new(steps), chooser }
    }

    pub(super) fn add(&self, steps: impl IntoIterator<Item = Step>) {
        self.steps.lock().unwrap().extend(steps);
        self.is_empty.store(false, Ordering::Release);
    }

    /// The fault that strikes here: the first fitting step of the script, else what the closure says.
    pub(super) fn take(&self, at: At, recipient: &str) -> Option<Fault> {
        if self.is_empty.load(Ordering::Acquire) {
            return None;
        }
        let mut steps = self.steps.lock().unwrap();
        let fits =
            |step: &Step| step.at == at && step.recipient.as_deref().is_none_or(|only| only == recipient);
        let Some(index) = steps.iter().position(fits) else {
            drop(steps);
            return self.chooser.as_ref().and_then(|choose| choose(at, recipient));
        };
        let step = &mut steps[index];
        let fault = step.fault.clone();
        step.left = step.left.map(|left| left.saturating_sub(1));
        if step.left == Some(0) {
            steps.remove(index);
        }
        Some(fault)
    }
}
