//! Dead letters of both kinds as one list: refused messages, which lie in the broker's dead queue alone, and dead
//! dispatches, which lie in their table. Whoever has a broker answers the requests of [`DeadMessages`]; without one
//! there are no messages. Does not know how a queue is looked into.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::attribute::full_type;
use crate::domain::event::Incoming;
use crate::domain::id::{DeadMessageId, DispatchId, EventId};
use crate::store::shown::{DeadDispatch, DeadLike};
use crate::store::{Store, StoreError, db};

/// Requests that wait for the one that is being answered.
const WAITING: usize = 64;

/// A letter of the dead queue: a message that was refused, or the copy of a dead dispatch's event.
#[derive(Clone, Debug)]
pub struct DeadMessage {
    /// Sorts by the time of the refusal.
    pub id: DeadMessageId,
    /// As far as it could be told; the project may not exist.
    pub project: String,
    pub source: String,
    pub source_id: String,
    pub kind: String,
    pub reason: String,
    pub detail: Option<String>,
    pub field: Option<String>,
    pub at: DateTime<Utc>,
    pub routing_key: String,
    pub content_type: Option<String>,
    /// Of a copy.
    pub dispatch: Option<DispatchId>,
    /// Only where it was asked for.
    pub body: Option<Vec<u8>>,
}

/// A dead dispatch, of whose event a copy is to be put into the dead queue.
pub struct DeadCopy {
    pub dispatch: DispatchId,
    pub event: Incoming,
    pub reason: String,
    pub detail: Option<String>,
}

/// Which letters of the dead queue are meant.
#[derive(Clone, Default)]
pub struct Wanted {
    /// `None`: of every project, also of those that do not exist.
    pub project: Option<String>,
    pub ids: Option<HashSet<DeadMessageId>>,
    pub reason: Option<String>,
    /// The full type.
    pub kind: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub copies: Copies,
}

/// Whether refused messages or copies are meant.
#[derive(Clone, Default, PartialEq)]
pub enum Copies {
    /// Refused messages alone.
    #[default]
    No,
    All,
    Of(HashSet<DispatchId>),
}

/// What is done with the letters that are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// With the bodies or without.
    Look {
        bodies: bool,
    },
    /// As `Look`, but what was seen lately will do unless the number of letters changed.
    Glance,
    /// Back to where it came from, as a replay.
    Replay,
    Discard,
}

/// One request to whoever can look into the dead queue.
pub struct Request {
    pub wanted: Wanted,
    pub act: Act,
    /// The letters that it was done with.
    pub answer: oneshot::Sender<Result<Vec<DeadMessage>, Unreachable>>,
}

/// Why the dead queue could not be looked into, without any secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the broker's dead letters cannot be reached: {0}")]
pub struct Unreachable(pub String);

/// The way to the dead queue. Clones lead to the same.
#[derive(Clone, Default)]
pub struct DeadMessages(Option<mpsc::Sender<Request>>);

impl DeadMessages {
    /// The way, and where its requests come out.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(WAITING);
        (Self(Some(requests)), receiver)
    }

    /// Does it; without a broker with no letter.
    pub async fn ask(&self, wanted: Wanted, act: Act) -> Result<Vec<DeadMessage>, Unreachable> {
        let Some(requests) = &self.0 else { return Ok(Vec::new()) };
        let gone = || Unreachable("the connection is being closed".to_owned());
        let (answer, answered) = oneshot::channel();
        requests.send(Request { wanted, act, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Wanted {
    pub fn fits(&self, letter: &DeadMessage) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        let copies = match (&self.copies, letter.dispatch) {
            (Copies::No, copy) => copy.is_none(),
            (Copies::All, copy) => copy.is_some(),
            (Copies::Of(ids), copy) => copy.is_some_and(|id| ids.contains(&id)),
        };
        copies
            && is(&self.project, &letter.project)
            && is(&self.reason, &letter.reason)
            && is(&self.kind, &letter.kind)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
            && self.since.is_none_or(|since| letter.at >= since)
    }
}

/// The two kinds of dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Message,
    Dispatch,
}

impl Which {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "dispatch" => Some(Self::Dispatch),
            _ => None,
        }
    }
}

/// What a caller wants of the dead letters of a project.
#[derive(Clone, Default)]
pub struct Filter {
    pub which: Option<Which>,
    pub reason: Option<String>,
    /// A type, short or full.
    pub kind: Option<String>,
    pub since: Option<DateTime<Utc>>,
}

/// A dead letter of either kind.
#[derive(Clone)]
pub enum DeadLetter {
    Message(DeadMessage),
    Dispatch(DeadDispatch, String),
}

/// A list that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Where dead letters are looked for.
pub struct Places<'a> {
    pub store: &'a Store,
    pub messages: &'a DeadMessages,
}

impl Filter {
    fn wants(&self, which: Which) -> bool {
        self.which.is_none_or(|wanted| wanted == which)
    }

    /// The refused messages that fit, of a project or of all.
    pub fn messages(&self, project: Option<&str>) -> Wanted {
        Wanted {
            project: project.map(str::to_owned),
            reason: self.reason.clone(),
            kind: self.kind.as_deref().map(full_type),
            since: self.since,
            ..Wanted::default()
        }
    }
}

impl Places<'_> {
    /// The newest dead letters of a project before an id, of both kinds.
    pub async fn list(
        &self,
        project: (Uuid, &str),
        filter: &Filter,
        page: (Option<Uuid>, usize),
    ) -> Result<Vec<DeadLetter>, ListError> {
        let mut letters = self.dispatches(project, filter, page).await?;
        if filter.wants(Which::Message) {
            letters.extend(self.messages(Some(project.1), filter).await?);
        }
        Ok(newest(letters, page))
    }

    /// The refused messages that fit, of a project or of all.
    pub async fn messages(
        &self,
        project: Option<&str>,
        filter: &Filter,
    ) -> Result<Vec<DeadLetter>, Unreachable> {
        let found = self.messages.ask(filter.messages(project), Act::Look { bodies: false }).await?;
        Ok(found.into_iter().map(DeadLetter::Message).collect())
    }

    /// One dead dispatch of a project.
    pub async fn dispatch(
        &self,
        project: (Uuid, &str),
        id: DispatchId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let mut c = self.store.read().await?;
        let found = db!(c, dead::get(project.0, id.0))?;
        Ok(found.map(|one| DeadLetter::Dispatch(one, project.1.to_owned())))
    }

    /// The newest dead dispatches of a project before an id.
    pub async fn dispatches(
        &self,
        project: (Uuid, &str),
        filter: &Filter,
        (before, limit): (Option<Uuid>, usize),
    ) -> Result<Vec<DeadLetter>, StoreError> {
        if !filter.wants(Which::Dispatch) {
            return Ok(Vec::new());
        }
        let kind = filter.kind.as_deref().map(full_type);
        let like = DeadLike { reason: filter.reason.as_deref(), kind: kind.as_deref(), since: filter.since };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut c = self.store.read().await?;
        let found = db!(c, dead::list(project.0, like, (before, limit)))?;
        Ok(found.into_iter().map(|one| DeadLetter::Dispatch(one, project.1.to_owned())).collect())
    }
}

/// Both kinds in one order, newest first.
pub fn newest(mut letters: Vec<DeadLetter>, (before, limit): (Option<Uuid>, usize)) -> Vec<DeadLetter> {
    letters.retain(|letter| before.is_none_or(|before| letter.key() < before));
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.key()));
    letters.truncate(limit);
    letters
}

impl DeadLetter {
    /// Sorts both kinds by time.
    pub fn key(&self) -> Uuid {
        match self {
            Self::Message(message) => message.id.0,
            Self::Dispatch(dispatch, _) => dispatch.id,
        }
    }

    pub fn project(&self) -> &str {
        match self {
            Self::Message(message) => &message.project,
            Self::Dispatch(_, project) => project,
        }
    }

    pub fn id(&self) -> String {
        match self {
            Self::Message(message) => message.id.to_string(),
            Self::Dispatch(dispatch, _) => DispatchId(dispatch.id).to_string(),
        }
    }

    /// As the API and the command line show it.
    pub fn shown(&self) -> Value {
        match self {
            Self::Message(letter) => {
                let mut shown = json!({
                    "id": letter.id, "kind": "message", "project": letter.project, "type": letter.kind,
                    "source": letter.source, "source_id": letter.source_id, "reason": letter.reason,
                    "detail": letter.detail, "field": letter.field, "at": letter.at,
                    "routing_key": letter.routing_key, "content_type": letter.content_type,
                });
                match letter.body.as_deref().map(|body| (body, std::str::from_utf8(body))) {
                    Some((_, Ok(text))) => shown["body"] = text.into(),
                    Some((body, Err(_))) => shown["body_base64"] = BASE64_STANDARD.encode(body).into(),
                    None => {}
                }
                shown
            }
            Self::Dispatch(letter, project) => json!({
                "id": DispatchId(letter.id), "kind": "dispatch", "project": project, "type": letter.kind,
                "source": letter.source, "source_id": letter.source_id, "reason": letter.reason,
                "detail": letter.detail, "field": null, "at": letter.at,
                "event_id": EventId(letter.event_id), "template": letter.template, "to": letter.recipient,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(project: &str, at: i64) -> DeadMessage {
        DeadMessage {
            id: DeadMessageId::new_at(DateTime::from_timestamp(at, 0).unwrap()),
            project: project.to_owned(),
            source: "shop".to_owned(),
            source_id: "1".to_owned(),
            kind: "account.created".to_owned(),
            reason: "invalid".to_owned(),
            detail: None,
            field: None,
            at: DateTime::from_timestamp(at, 0).unwrap(),
            routing_key: format!("{project}.account.created"),
            content_type: None,
            dispatch: None,
            body: None,
        }
    }

    #[test]
    fn a_filter_fits_what_it_says_and_a_copy_is_no_message() {
        let filter = Filter {
            kind: Some("created".to_owned()),
            reason: Some("invalid".to_owned()),
            since: DateTime::from_timestamp(5, 0),
            ..Filter::default()
        };
        let wanted = filter.messages(Some("acme"));
        assert!(wanted.fits(&letter("acme", 5)));
        assert!(!wanted.fits(&letter("acme", 4)) && !wanted.fits(&letter("other", 5)));
        let id = DispatchId(Uuid::from_u128(1));
        let copy = DeadMessage { dispatch: Some(id), ..letter("acme", 5) };
        assert!(!wanted.fits(&copy));
        assert!(Wanted { copies: Copies::Of([id].into()), ..Wanted::default() }.fits(&copy));
        assert!(!Wanted { copies: Copies::All, ..Wanted::default() }.fits(&letter("acme", 5)));
        let ids = Some([letter("acme", 5).id].into());
        assert!(!Wanted { ids, ..Wanted::default() }.fits(&letter("acme", 9)));
    }

    #[test]
    fn a_page_goes_on_after_the_last_of_the_one_before() {
        let all: Vec<_> = [3, 1, 2].map(|at| DeadLetter::Message(letter("acme", at))).into();
        let first = newest(all.clone(), (None, 2));
        let rest = newest(all, (Some(first[1].key()), 2));
        let at =
            |letters: &[DeadLetter]| letters.iter().map(|one| one.shown()["at"].clone()).collect::<Vec<_>>();
        assert_eq!((at(&first).len(), at(&rest)), (2, vec![json!("1970-01-01T00:00:01Z")]));
    }

    #[tokio::test]
    async fn without_a_broker_there_are_no_messages() {
        let all = DeadMessages::default().ask(Wanted::default(), Act::Discard).await;
        assert!(all.unwrap().is_empty());
    }
}
