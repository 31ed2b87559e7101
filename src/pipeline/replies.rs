//! A reply to one of our mails: what it is, which dispatch it answers, and what follows. An absence goes the way of
//! every event; a bounce is noted at its dispatch; a person's reply is a sign of life and is passed on. Nobody is
//! answered. What comes from another mailbox than the member's says nothing of the member,
//! and what names no dispatch of the project has no effect.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::correlate::{Correlated, Reading, integration};
use super::live::Live;
use super::notices::Notices;
use super::passing::PassedOn;
use super::reach::Reach;
use super::{Intake, Payload, Unavailable};
use crate::domain::catalogue::Project;
use crate::domain::clock::Clock;
use crate::domain::event::{Incoming, Planned, Reason};
use crate::domain::id::{DispatchId, EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::inbound::{Failure, Judgement, Verdict};
use crate::store::shown::{AnsweredDispatch, StoredBounce};
use crate::store::{Store, StoreError, db};

/// The source of events that replies become. Their ids are those of the dispatches, so that each counts once.
const SOURCE: &str = "signalpost/inbound";
const DETECTED: &str = "account.out-of-office-detected";
/// Characters of a phrase that an event repeats.
const MATCHED: usize = 200;

const ELSEWHERE: &str = "the mail went to an address that is not the member's now, so it does not count";

/// What replies work with.
#[derive(Clone)]
pub struct Replies {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub live: Live,
    pub intake: Intake,
    /// To pass people's replies on.
    pub reach: Reach,
}

/// What a reply came to.
pub struct Received {
    pub judgement: Judgement,
    pub dispatch: Option<DispatchId>,
    pub member: Option<String>,
    pub event: Option<EventId>,
    /// Of a person's reply.
    pub passed_on: Option<bool>,
    /// Why something did not follow.
    pub detail: Option<&'static str>,
}

impl Received {
    pub fn new(judgement: Judgement) -> Self {
        Self { judgement, dispatch: None, member: None, event: None, passed_on: None, detail: None }
    }

    /// As the API and the command line say it.
    pub fn shown(&self) -> Value {
        let mut shown = json!({ "verdict": self.judgement.verdict, "because": self.judgement.because });
        let known = [
            ("dispatch_id", self.dispatch.map(|id| id.to_string())),
            ("member", self.member.clone()),
            ("event_id", self.event.map(|id| id.to_string())),
            ("detail", self.detail.map(str::to_owned)),
        ];
        if let Some(fields) = shown.as_object_mut() {
            let known = known.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
            fields.extend(known);
            fields.extend(self.passed_on.map(|passed_on| ("passed_on".to_owned(), passed_on.into())));
        }
        shown
    }
}

/// The reply must be brought again.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Replies {
    /// Reads a message that is brought for a project, on a thread that nobody else waits for.
    pub async fn read(
        &self,
        project: ProjectId,
        octets: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Reading, ReplyError> {
        let phrases = self.phrases(project);
        let reading = tokio::task::spawn_blocking(move || Reading::of(octets.as_ref(), &phrases)).await;
        Ok(reading.map_err(|_| Unavailable)?)
    }

    /// Takes a reply that is brought for a project.
    pub async fn receive(
        &self,
        project: ProjectId,
        recipient: Option<&str>,
        reading: Reading,
    ) -> Result<Received, ReplyError> {
        let answered = self.answered(Some(project), recipient, &reading).await?;
        self.follow(Some(project), answered, reading).await
    }

    /// Takes a reply to whichever project.
    pub async fn receive_any(&self, recipient: Option<&str>, octets: &[u8]) -> Result<Received, ReplyError> {
        let mut reading = Reading::of(octets, &[]);
        let answered = self.answered(None, recipient, &reading).await?;
        let of = answered.dispatch.as_ref().map(|row| self.phrases(ProjectId(row.project_id)));
        if let Some(phrases) = of.filter(|phrases| !phrases.is_empty()) {
            reading = Reading::of(octets, &phrases);
        }
        self.follow(None, answered, reading).await
    }

    fn phrases(&self, project: ProjectId) -> Vec<String> {
        let catalogue = self.live.current();
        let project = catalogue.project(project);
        project.map(|project| project.settings.out_of_office.phrases.clone()).unwrap_or_default()
    }

    /// What follows from a reply.
    async fn follow(
        &self,
        project: Option<ProjectId>,
        answered: Correlated,
        Reading { judgement, failure, reply, .. }: Reading,
    ) -> Result<Received, ReplyError> {
        let mut received = Received::new(judgement);
        let (catalogue, dispatch) = (self.live.current(), answered.dispatch.as_ref());
        received.dispatch = dispatch.map(|row| DispatchId(row.id));
        received.member = dispatch.map(|row| row.member_id.clone());
        match (received.judgement.verdict, dispatch) {
            (Verdict::Ooo, Some(row)) if row.went_to_member() => {
                let matched = received.judgement.matched.as_deref();
                if let Some(of) = catalogue.project(ProjectId(row.project_id)) {
                    received.event = self.detected(of, row, matched).await?;
                }
            }
            (Verdict::Ooo, Some(_)) => received.detail = Some(ELSEWHERE),
            (Verdict::Bounce, Some(row)) => self.bounced(row, failure).await?,
            (Verdict::Human, row) => {
                if let Some(row) = row.filter(|row| row.went_to_member()) {
                    let mut c = self.store.write().await?;
                    db!(c, members::sign_of_life(row.project_id, &row.member_id))?;
                }
                let passed_on = match integration(&catalogue, project, &answered) {
                    Ok(integration) => self.pass_on(integration, &reply).await?,
                    Err(why) => PassedOn::No(why),
                };
                (received.passed_on, received.detail) = match passed_on {
                    PassedOn::Yes => (Some(true), None),
                    PassedOn::No(why) => (Some(false), Some(why)),
                };
            }
            _ => {}
        }
        Ok(received)
    }

    /// Notes that the mail came back, and tells so the first time.
    async fn bounced(&self, answered: &AnsweredDispatch, failure: Option<Failure>) -> Result<(), StoreError> {
        let Some(Failure { status, diagnostic }) = failure else { return Ok(()) };
        let bounce = StoredBounce { at: self.clock.now(), status, diagnostic };
        let catalogue = self.live.current();
        let mut notices = Notices::new(&catalogue, bounce.at);
        let mut tx = self.store.begin().await?;
        if db!(tx, dispatches::bounced(answered.project_id, answered.id, &bounce))? {
            notices.bounced(&mut tx, answered.id, bounce.status.as_deref()).await?;
            notices.write(&mut tx).await?;
        }
        tx.commit().await
    }

    /// Tells of the absence, once for each dispatch.
    async fn detected(
        &self,
        project: &Arc<Project>,
        answered: &AnsweredDispatch,
        matched: Option<&str>,
    ) -> Result<Option<EventId>, ReplyError> {
        let dispatch = DispatchId(answered.id).to_string();
        let incoming = detected(project, answered, matched, self.clock.now());
        match self.intake.submit(Payload::Event(incoming)).await? {
            Planned::Accepted { event, .. } | Planned::Duplicate { event, .. } => Ok(Some(event)),
            // The same absence in other words.
            Planned::Refused { refusal, .. } if refusal.reason == Reason::IdReused => {
                let mut c = self.store.read().await?;
                let of = (answered.project_id, project.slug.as_str());
                let known = db!(c, events::by_identity(of, SOURCE, &dispatch))?;
                Ok(known.first().map(|event| EventId(event.id)))
            }
            // The member is gone.
            Planned::Refused { .. } => Ok(None),
        }
    }
}

fn detected(
    project: &Project,
    answered: &AnsweredDispatch,
    matched: Option<&str>,
    now: DateTime<Utc>,
) -> Incoming {
    let matched: Option<String> = matched.map(|text| text.chars().take(MATCHED).collect());
    let mut data = json!({ "member": answered.member_id, "in_reply_to": answered.message_id });
    if let (Some(matched), Some(fields)) = (matched, data.as_object_mut()) {
        fields.insert("matched".to_owned(), matched.into());
    }
    Incoming {
        project: project.slug.clone(),
        source: SOURCE.to_owned(),
        id: DispatchId(answered.id).to_string(),
        kind: DETECTED.to_owned(),
        time: now,
        received_at: now,
        data,
        traceparent: None,
    }
}
