//! The account flows that the API and the hosted pages start. Each effect, the event that tells of it and its row
//! of the audit are one transaction; the mail goes the way of every other.

mod addresses;
mod guesses;
mod members;
mod passwords;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::guesses::Guesses;
pub use self::members::{Edit, NewAdministrator};
pub use self::passwords::Proof;
pub use self::tokens::{Inspected, TokenProblem};
use super::commit::Uncommitted;
pub use super::drafts::OWN_SOURCE;
use super::drafts::Prepared;
use super::lanes::Lanes;
use super::live::Live;
use super::plan::{Desk, PlanError};
use crate::domain::catalogue::Project;
use crate::domain::clock::Clock;
use crate::domain::event::{Planned, Refusal};
use crate::domain::id::{self, EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::domain::member::{Member, MemberRef};
use crate::store::rows::MemberKey;
use crate::store::shown::AuditEntry;
use crate::store::{Store, StoreError, Tx, db};

/// Passwords hashed at once in one process: each takes 19 MiB and a core for about 30 ms.
const HASHERS: usize = 2;

/// What the flows work with.
#[derive(Clone)]
pub struct Flows {
    store: Store,
    clock: Clock,
    keys: Arc<Keyring>,
    live: Live,
    lanes: Option<Lanes>,
    hashers: Arc<Semaphore>,
    guesses: Arc<Guesses>,
}

/// Who starts a flow, and from where: what the audit keeps.
pub struct Actor {
    pub name: String,
    pub client: Option<IpAddr>,
}

/// A flow that did not reach its end: nothing of it happened, and a token that was shown stays good.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("the token is not valid")]
    Token(TokenProblem),
    #[error("there is no such member")]
    UnknownMember,
    /// Ends the sentence "The password …".
    #[error("the password {0}")]
    WeakPassword(&'static str),
    #[error("that is not the password")]
    WrongPassword,
    /// For so many seconds.
    #[error("too many wrong passwords were tried")]
    Throttled(u32),
    #[error("the member is an administrator already")]
    AlreadyAdministrator,
    /// The address is a member's of another username.
    #[error("the address is another username's")]
    UsernameMismatch,
    #[error("another member has this id")]
    IdInUse,
    /// The event that tells of the effect is refused.
    #[error("the event is refused: {}", .0.detail)]
    Refused(Refusal),
    #[error("this cannot be done now")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PlanError> for FlowError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Store(error) => Self::Store(error),
            PlanError::Raced => Self::Busy,
        }
    }
}

impl Actor {
    /// Whoever has the link of a mail.
    pub fn member(client: Option<IpAddr>) -> Self {
        Self { name: "member".to_owned(), client }
    }

    fn did(&self, project: ProjectId, at: DateTime<Utc>, action: &str, member: &str) -> AuditEntry {
        AuditEntry {
            id: id::new_at(at),
            project_id: project.0,
            at,
            actor: self.name.clone(),
            action: action.to_owned(),
            subject: member.to_owned(),
            client: self.client.map(|ip| ip.to_string()),
        }
    }
}

impl Flows {
    pub fn new(store: Store, clock: Clock, keys: Arc<Keyring>, live: Live, lanes: Option<Lanes>) -> Self {
        let (hashers, guesses) = (Arc::new(Semaphore::new(HASHERS)), Arc::default());
        Self { store, clock, keys, live, lanes, hashers, guesses }
    }

    /// The live member of that name.
    pub async fn member(&self, project: ProjectId, name: &MemberRef) -> Result<Member, FlowError> {
        let mut c = self.store.read().await?;
        db!(c, members::find(project.0, name))?.ok_or(FlowError::UnknownMember)
    }

    /// Locks the member, as planning does.
    async fn locked(&self, tx: &mut Tx, project: ProjectId, name: &MemberRef) -> Result<Member, FlowError> {
        let (kind, key) = name.parts();
        let key = MemberKey { project: project.0, kind, key: key.to_owned() };
        let members = db!(tx, members::lock(&[key]))?;
        members.into_iter().find(Member::is_live).ok_or(FlowError::UnknownMember)
    }

    /// The moment of a change to a member: not before the event that was applied last, whose publisher's clock may
    /// be ahead of ours.
    fn moment(&self, member: &Member) -> DateTime<Utc> {
        self.clock.now().max(member.applied_at)
    }

    fn project(&self, id: ProjectId) -> Result<Arc<Project>, FlowError> {
        self.live.current().project(id).cloned().ok_or(FlowError::Busy)
    }

    /// Plans events of our own in the transaction of their effect. If one is refused, so is the effect.
    async fn tell(
        &self,
        tx: &mut Tx,
        project: ProjectId,
        at: DateTime<Utc>,
        events: &[(&str, Value)],
    ) -> Result<Uncommitted, FlowError> {
        let project = self.project(project)?;
        let own = events.iter().map(|(kind, data)| Prepared::own(&project, (*kind, data.clone()), at, None));
        let batch: Vec<Prepared> = own.collect::<Result<_, _>>().map_err(FlowError::Refused)?;
        let catalogue = self.live.current();
        let desk = Desk { catalogue: &catalogue, keys: &self.keys, now: self.clock.now() };
        let uncommitted = Uncommitted::plan(tx, &desk, &batch, self.lanes.as_ref()).await?;
        for planned in uncommitted.planned() {
            if let Planned::Refused { refusal, .. } = planned {
                return Err(FlowError::Refused(refusal.clone()));
            }
        }
        Ok(uncommitted)
    }

    /// Commits what was told, and hands the mails over; the id of the first event.
    async fn commit(&self, tx: Tx, told: Uncommitted) -> Result<EventId, FlowError> {
        let planned = told.commit(tx, self.lanes.as_ref()).await?;
        let first = planned.into_iter().next().ok_or(FlowError::Busy)?;
        let (Planned::Accepted { event, .. }
        | Planned::Duplicate { event, .. }
        | Planned::Refused { event, .. }) = first;
        Ok(event)
    }
}
