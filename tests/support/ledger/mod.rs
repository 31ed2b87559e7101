//! The ledger: what was published on one side, what became of it on the other, and whether they balance.
//! A campaign of kills and cuts passes only if [`Ledger::check`] finds nothing. It must not know how the
//! program works: it sees what was published, what arrived in mailboxes and the dead queue, and the
//! program's own answers.
//!
//! ```ignore
//! let mut ledger = Ledger::default();
//! ledger.published("run1-7", "user7@example.com", Expect::Mail);
//! ledger.mail(Letter::read("user7@example.com", &raw));
//! ledger.answers(&events, &dispatches)?;
//! let summary = ledger.check(Rules::default())?;
//! ```

mod check;
mod letter;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;

pub use check::{Rules, Summary, Violation};
pub use letter::Letter;

/// What an event must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A mail to each of the recipients, or a final state that says why there is none.
    Mail,
    /// A refusal, and no mail.
    Refusal,
    /// Neither mail nor refusal: a record changes, or nothing does.
    Nothing,
}

/// An event, by the id that its publisher gave it.
#[derive(Debug, Clone)]
struct Published {
    /// Where its mails must go.
    recipients: BTreeSet<String>,
    expect: Expect,
    /// How often it was sent.
    times: usize,
}

/// A dispatch as the program shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    pub id: String,
    /// The publisher's id of the event.
    pub event: String,
    pub template: String,
    pub to: String,
    pub state: String,
    pub message_id: Option<String>,
}

/// What was seen on both sides. Everything can be recorded in any order.
#[derive(Debug, Default)]
pub struct Ledger {
    events: BTreeMap<String, Published>,
    letters: Vec<Letter>,
    dispatches: Vec<Dispatch>,
    /// The outcome that the program shows for an event.
    outcomes: BTreeMap<String, String>,
    /// How many refused messages there are of an event.
    refusals: BTreeMap<String, usize>,
}

impl Ledger {
    /// An event was sent, and its publisher may have been told so. Called again for one sent twice.
    pub fn published(&mut self, id: &str, recipient: &str, expect: Expect) {
        let event = self.events.entry(id.to_owned()).or_insert_with(|| Published {
            recipients: BTreeSet::new(),
            expect,
            times: 0,
        });
        event.recipients.insert(recipient.to_lowercase());
        event.times += 1;
    }

    /// The event owes a mail to one more address.
    pub fn also_to(&mut self, id: &str, recipient: &str) {
        if let Some(event) = self.events.get_mut(id) {
            event.recipients.insert(recipient.to_lowercase());
        }
    }

    /// A mail arrived.
    pub fn mail(&mut self, mut letter: Letter) {
        letter.message_id = bare(&letter.message_id);
        self.letters.push(letter);
    }

    /// A refused message lies in the dead queue, or was answered so over HTTP.
    pub fn refused(&mut self, id: &str) {
        *self.refusals.entry(id.to_owned()).or_default() += 1;
    }

    /// The program shows this outcome for an event.
    pub fn outcome(&mut self, id: &str, outcome: &str) {
        self.outcomes.insert(id.to_owned(), outcome.to_owned());
    }

    /// The program shows this dispatch.
    pub fn dispatch(&mut self, mut dispatch: Dispatch) {
        dispatch.message_id = dispatch.message_id.as_deref().map(bare);
        self.dispatches.push(dispatch);
    }

    /// Records the items of `GET /v1/events` and `GET /v1/dispatches`, all pages of them.
    pub fn answers(&mut self, events: &[Value], dispatches: &[Value]) -> anyhow::Result<()> {
        let mut ids = BTreeMap::new();
        for event in events {
            let source_id = text(event, "source_id")?;
            ids.insert(text(event, "id")?, source_id.clone());
            self.outcome(&source_id, &text(event, "outcome")?);
        }
        for item in dispatches {
            let event_id = text(item, "event_id")?;
            self.dispatch(Dispatch {
                id: text(item, "id")?,
                event: ids.get(&event_id).cloned().unwrap_or(event_id),
                template: item["template"].as_str().unwrap_or_default().to_owned(),
                to: text(item, "to")?,
                state: text(item, "state")?,
                message_id: item["message_id"].as_str().map(str::to_owned),
            });
        }
        Ok(())
    }

    /// Whether both sides balance: what there is, or everything that is wrong.
    pub fn check(&self, rules: Rules) -> Result<Summary, Vec<Violation>> {
        check::check(self, rules)
    }
}

/// A Message-ID without the brackets that one side may show and the other not.
fn bare(message_id: &str) -> String {
    message_id.trim_matches(['<', '>']).to_owned()
}

fn text(item: &Value, field: &str) -> anyhow::Result<String> {
    Ok(item[field].as_str().with_context(|| format!("no text {field:?} in {item}"))?.to_owned())
}
