//! The account flows that the API and the hosted pages start. Each effect and the event that tells of it are
//! one transaction; the mail goes the way of every other.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Semaphore;

use super::commit::plan_and_commit;
pub use super::drafts::OWN_SOURCE;
use super::drafts::Prepared;
use super::lanes::Lanes;
use super::live::Live;
use super::plan::{Desk, PlanError};
use crate::domain::clock::Clock;
use crate::domain::id::ProjectId;
use crate::domain::keys::Keyring;
use crate::domain::member::{Member, MemberRef};
use crate::domain::password::{self, Owner, Password};
use crate::domain::token::{Genuine, Purpose};
use crate::store::rows::{MemberKey, StoredToken};
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
}

/// What a good token says of itself.
pub struct Inspected {
    pub purpose: Purpose,
    pub expires_at: DateTime<Utc>,
    pub member: Member,
}

/// Why a token is refused. Anything but `Unknown` is told only if its MAC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenProblem {
    Used,
    Expired,
    Replaced,
    Unknown,
}

/// A flow that did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("the token is not valid")]
    Token(TokenProblem),
    /// Ends the sentence "The password …". The token stays good.
    #[error("the password {0}")]
    WeakPassword(&'static str),
    #[error("too many passwords are being hashed at once")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    pub fn new(store: Store, clock: Clock, keys: Arc<Keyring>, live: Live, lanes: Option<Lanes>) -> Self {
        Self { store, clock, keys, live, lanes, hashers: Arc::new(Semaphore::new(HASHERS)) }
    }

    /// Reads a token without using it up.
    pub async fn inspect(&self, project: ProjectId, token: &str) -> Result<Inspected, FlowError> {
        let genuine = self.read(token)?;
        let mut c = self.store.read().await?;
        let stored = db!(c, tokens::find(genuine.id.0))?;
        let stored = self.good(project, &genuine, stored)?;
        let name = MemberRef::Id(stored.member_id);
        let member =
            db!(c, members::find(project.0, &name))?.ok_or(FlowError::Token(TokenProblem::Replaced))?;
        Ok(Inspected { purpose: genuine.purpose, expires_at: stored.expires_at, member })
    }

    /// Uses a token up with no other effect, for services that keep passwords themselves.
    pub async fn redeem(
        &self,
        project: ProjectId,
        token: &str,
        purpose: Purpose,
    ) -> Result<Member, FlowError> {
        let genuine = self.read(token)?;
        if genuine.purpose != purpose {
            return Err(FlowError::Token(TokenProblem::Unknown));
        }
        let mut tx = self.store.begin().await?;
        let member = self.use_up(&mut tx, project, &genuine).await?;
        tx.commit().await?;
        Ok(member)
    }

    /// Sets a password by a reset token. The member is told, and every other token of the account ends.
    pub async fn complete_reset(
        &self,
        project: ProjectId,
        token: &str,
        password: Password,
    ) -> Result<Member, FlowError> {
        let inspected = self.inspect(project, token).await?;
        if inspected.purpose != Purpose::ResetPassword {
            return Err(FlowError::Token(TokenProblem::Unknown));
        }
        let judged = Judged::of(&inspected.member);
        let hash = self.hash(password.clone(), judged.clone()).await?;

        let genuine = self.read(token)?;
        let mut tx = self.store.begin().await?;
        let member = self.use_up(&mut tx, project, &genuine).await?;
        if Judged::of(&member) != judged {
            // He may have become an administrator meanwhile.
            Judged::of(&member).check(&password)?;
        }
        db!(tx, members::set_password(project.0, &member.id, &hash))?;
        let data = json!({ "member": member.id, "by": "reset" });
        self.tell(tx, project, "account.password-changed", data).await?;
        Ok(member)
    }

    /// Plans an event of our own in the transaction of its effect, commits, and hands the mail over.
    async fn tell(
        &self,
        tx: Tx,
        project: ProjectId,
        kind: &str,
        data: serde_json::Value,
    ) -> Result<(), FlowError> {
        let now = self.clock.now();
        let catalogue = self.live.current();
        let project = catalogue.project(project).ok_or(FlowError::Token(TokenProblem::Unknown))?.clone();
        // An event of our own making reads.
        let own = Prepared::own(&project, (kind, data), now, None).map_err(|_| FlowError::Busy)?;
        let desk = Desk { catalogue: &catalogue, keys: &self.keys, now };
        let batch = [own];
        let planned = plan_and_commit(tx, &desk, &batch, self.lanes.as_ref()).await;
        planned.map(drop).map_err(|error| match error {
            PlanError::Store(error) => FlowError::Store(error),
            PlanError::Raced => FlowError::Busy,
        })
    }

    fn read(&self, token: &str) -> Result<Genuine, FlowError> {
        Genuine::read(&self.keys, token).ok_or(FlowError::Token(TokenProblem::Unknown))
    }

    /// The stored token if it is still good; else why it is not, since its MAC is right.
    fn good(
        &self,
        project: ProjectId,
        genuine: &Genuine,
        stored: Option<StoredToken>,
    ) -> Result<StoredToken, FlowError> {
        // Issuing replaces the row, so an id that is gone was replaced.
        let stored = stored.ok_or(FlowError::Token(TokenProblem::Replaced))?;
        let problem = if stored.project_id != project.0 || stored.purpose != genuine.purpose.name() {
            TokenProblem::Unknown
        } else if stored.used_at.is_some() {
            TokenProblem::Used
        } else if stored.ended_at.is_some() {
            TokenProblem::Replaced
        } else if stored.expires_at <= self.clock.now() {
            TokenProblem::Expired
        } else {
            return Ok(stored);
        };
        Err(FlowError::Token(problem))
    }

    /// Locks the member first, as planning does, then uses the token up in one conditional statement.
    async fn use_up(&self, tx: &mut Tx, project: ProjectId, genuine: &Genuine) -> Result<Member, FlowError> {
        let found = db!(tx, tokens::find(genuine.id.0))?;
        let stored = self.good(project, genuine, found)?;
        let key = MemberKey { project: project.0, kind: "id", key: stored.member_id };
        let members = db!(tx, members::lock(&[key]))?;
        let member = members.into_iter().find(Member::is_live);
        let member = member.ok_or(FlowError::Token(TokenProblem::Replaced))?;
        let (purpose, now) = (genuine.purpose.name(), self.clock.now());
        let used: Option<StoredToken> = db!(tx, tokens::use_up(project.0, genuine.id.0, purpose, now))?;
        if used.is_none() {
            let found = db!(tx, tokens::find(genuine.id.0))?;
            self.good(project, genuine, found)?;
            return Err(FlowError::Token(TokenProblem::Used));
        }
        db!(tx, members::sign_of_life(project.0, &member.id))?;
        let used = [("purpose", purpose), ("event", "used")];
        metrics::counter!("signalpost_tokens_total", &used).increment(1);
        Ok(member)
    }

    /// Checks a password and hashes it: both take long enough to hold up everything else on their thread.
    async fn hash(&self, password: Password, owner: Judged) -> Result<String, FlowError> {
        let Ok(_hasher) = self.hashers.acquire().await else { return Err(FlowError::Busy) };
        let hashed = tokio::task::spawn_blocking(move || {
            owner.check(&password)?;
            password::hash(&password).map_err(|_| FlowError::Busy)
        });
        hashed.await.unwrap_or(Err(FlowError::Busy))
    }
}

/// What a member's password is checked against.
#[derive(Clone, PartialEq)]
struct Judged {
    username: String,
    email: String,
    is_admin: bool,
}

impl Judged {
    fn of(member: &Member) -> Self {
        Self { username: member.username.clone(), email: member.email.clone(), is_admin: member.is_admin }
    }

    fn check(&self, password: &Password) -> Result<(), FlowError> {
        let owner = Owner { username: &self.username, email: &self.email, is_admin: self.is_admin };
        password::check(password, &owner).map_err(FlowError::WeakPassword)
    }
}
