//! A reply to one of our mails: what it is, which dispatch it answers, and what follows. An absence goes the way of
//! every event; a bounce is noted at its dispatch; a person's reply is a sign of life. Nobody is answered.
//!
//! Which dispatch: a signed return or reply path first, since nobody else can make one; then the Message-IDs that the
//! message names. What names no dispatch of the project has no effect.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::live::Live;
use super::notices::Notices;
use super::{Intake, Payload, Unavailable};
use crate::domain::catalogue::Project;
use crate::domain::clock::Clock;
use crate::domain::event::{Incoming, Planned, Reason};
use crate::domain::id::{DispatchId, EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::inbound::{Judgement, Letter, Verdict, judge};
use crate::mail::return_path;
use crate::store::shown::{AnsweredDispatch, StoredBounce};
use crate::store::{Store, StoreError, db};

/// The source of events that replies become. Their ids are those of the dispatches, so that each counts once.
const SOURCE: &str = "signalpost/inbound";
const DETECTED: &str = "account.out-of-office-detected";
/// Characters of a phrase that an event repeats.
const MATCHED: usize = 200;

/// What replies work with.
#[derive(Clone)]
pub struct Replies {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub live: Live,
    pub intake: Intake,
}

/// What a reply came to.
pub struct Received {
    pub judgement: Judgement,
    pub dispatch: Option<DispatchId>,
    pub member: Option<String>,
    pub event: Option<EventId>,
}

impl Received {
    /// As the API and the command line say it.
    pub fn shown(&self) -> Value {
        let mut shown = json!({ "verdict": self.judgement.verdict, "because": self.judgement.because });
        let known = [
            ("dispatch_id", self.dispatch.map(|id| id.to_string())),
            ("member", self.member.clone()),
            ("event_id", self.event.map(|id| id.to_string())),
        ];
        if let Some(fields) = shown.as_object_mut() {
            let known = known.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
            fields.extend(known);
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
    /// Takes a reply. `project` is the one whose replies the caller may bring, or any.
    pub async fn receive(
        &self,
        project: Option<ProjectId>,
        recipient: Option<&str>,
        octets: &[u8],
    ) -> Result<Received, ReplyError> {
        let letter = Letter::read(octets);
        let answered = self.answered(project, recipient, &letter).await?;
        let catalogue = self.live.current();
        let of = answered.as_ref().map(|row| ProjectId(row.project_id)).or(project);
        let of = of.and_then(|id| catalogue.project(id));
        let phrases = of.map(|project| project.settings.out_of_office.phrases.as_slice()).unwrap_or_default();
        let judgement = judge(&letter, phrases);
        let event = match (&answered, of) {
            (Some(answered), Some(project)) => self.effect(project, answered, (&judgement, &letter)).await?,
            _ => None,
        };
        Ok(Received {
            judgement,
            dispatch: answered.as_ref().map(|row| DispatchId(row.id)),
            member: answered.map(|row| row.member_id),
            event,
        })
    }

    async fn effect(
        &self,
        project: &Arc<Project>,
        answered: &AnsweredDispatch,
        (judgement, letter): (&Judgement, &Letter<'_>),
    ) -> Result<Option<EventId>, ReplyError> {
        let now = self.clock.now();
        match judgement.verdict {
            Verdict::Ooo => self.detected(project, answered, judgement.matched.as_deref()).await,
            Verdict::Bounce => {
                if let Some(failure) = letter.failure() {
                    let bounce =
                        StoredBounce { at: now, status: failure.status, diagnostic: failure.diagnostic };
                    self.bounced(answered, &bounce).await?;
                }
                Ok(None)
            }
            Verdict::Human => {
                let mut c = self.store.write().await?;
                db!(c, members::sign_of_life(answered.project_id, &answered.member_id))?;
                Ok(None)
            }
            Verdict::AutoOther => Ok(None),
        }
    }

    /// Notes that the mail came back, and tells so the first time.
    async fn bounced(&self, answered: &AnsweredDispatch, bounce: &StoredBounce) -> Result<(), StoreError> {
        let catalogue = self.live.current();
        let mut notices = Notices::new(&catalogue, bounce.at);
        let mut tx = self.store.begin().await?;
        if db!(tx, dispatches::bounced(answered.project_id, answered.id, bounce))? {
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

    async fn answered(
        &self,
        project: Option<ProjectId>,
        recipient: Option<&str>,
        letter: &Letter<'_>,
    ) -> Result<Option<AnsweredDispatch>, ReplyError> {
        let written = || letter.recipients();
        let recipients = recipient.map_or_else(written, |recipient| vec![recipient.to_owned()]);
        let signed = recipients.iter().find_map(|address| return_path::read(&self.keys, address));
        let is_ours = |row: &AnsweredDispatch| project.is_none_or(|project| project.0 == row.project_id);
        if let Some(dispatch) = signed {
            return Ok(self.find(dispatch.0).await?.filter(is_ours));
        }
        for id in letter.answered_ids() {
            let Some(dispatch) = dispatch_in(&id) else { continue };
            let row = self.find(dispatch).await?.filter(is_ours);
            if let Some(row) = row.filter(|row| row.message_id.trim_matches(['<', '>']) == id) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    async fn find(&self, dispatch: Uuid) -> Result<Option<AnsweredDispatch>, StoreError> {
        let mut c = self.store.read().await?;
        db!(c, work::answered(dispatch))
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

/// The dispatch in a Message-ID of ours.
fn dispatch_in(message_id: &str) -> Option<Uuid> {
    let (id, _) = message_id.split_once('.')?;
    Some(id).filter(|id| id.len() == 32).and_then(|id| Uuid::try_parse(id).ok())
}
