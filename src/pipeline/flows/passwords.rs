//! Passwords: set by a token, by who knows the one before, or on behalf; asked for anew; proven.

use serde_json::json;

use super::tokens::Used;
use super::{Actor, FlowError, Flows};
use crate::domain::id::{EventId, ProjectId};
use crate::domain::member::{Member, MemberRef};
use crate::domain::password::{self, Owner, Password};
use crate::domain::token::Purpose;
use crate::store::{Tx, db};

/// Why somebody may set a member's password.
pub enum Proof {
    Current(Password),
    /// An administrator says so.
    OnBehalf,
}

impl Flows {
    /// Sets a password by a reset token. The member is told, and every other token of the account ends.
    pub async fn complete_reset(
        &self,
        project: ProjectId,
        token: &str,
        password: Password,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let inspected = self.inspect_for(project, token, Purpose::ResetPassword).await?;
        let judged = Judged::of(&inspected.member);
        let hash = self.hash(password.clone(), judged.clone()).await?;

        let mut tx = self.store.begin().await?;
        let Used { member, .. } = self.use_up(&mut tx, project, (token, Purpose::ResetPassword)).await?;
        judged.still(&member, &password)?;
        self.set_password(tx, &member, (&hash, "reset"), actor).await?;
        Ok(Member { auto_replies: 0, ..member })
    }

    /// Sets the password of a member who knows the present one, or on behalf.
    pub async fn change_password(
        &self,
        project: ProjectId,
        name: &MemberRef,
        (password, proof): (Password, Proof),
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let member = self.member(project, name).await?;
        let (known, by) = match proof {
            Proof::Current(current) => (Some(self.proven(&member, current).await?), "member"),
            Proof::OnBehalf => (None, "admin"),
        };
        let judged = Judged::of(&member);
        let hash = self.hash(password.clone(), judged.clone()).await?;

        let mut tx = self.store.begin().await?;
        let member = self.locked(&mut tx, project, &MemberRef::Id(member.id)).await?;
        judged.still(&member, &password)?;
        if known.is_some() && db!(tx, members::password_hash(project.0, &member.id))? != known {
            // It was changed while this one was hashed.
            return Err(FlowError::WrongPassword);
        }
        self.set_password(tx, &member, (&hash, by), actor).await?;
        Ok(Member { auto_replies: 0, ..member })
    }

    /// Ends the present password, and mails the member how to choose a new one.
    pub async fn force_reset(
        &self,
        project: ProjectId,
        name: &MemberRef,
        actor: &Actor,
    ) -> Result<EventId, FlowError> {
        let mut tx = self.store.begin().await?;
        let member = self.locked(&mut tx, project, name).await?;
        let at = self.moment(&member);
        db!(tx, members::set_password(project.0, &member.id, None))?;
        let data = json!({ "member": member.id, "reason": "forced" });
        let told = self.tell(&mut tx, project, at, &[("account.password-reset-requested", data)]).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "password.reset-forced", &member.id)))?;
        self.commit(tx, told).await
    }

    /// Whether that is the member's password. Wrong ones are slowed down; nobody is locked out.
    pub async fn verify_password(
        &self,
        project: ProjectId,
        name: &MemberRef,
        password: Password,
    ) -> Result<Member, FlowError> {
        let member = self.member(project, name).await?;
        self.proven(&member, password).await?;
        Ok(member)
    }

    async fn set_password(
        &self,
        mut tx: Tx,
        member: &Member,
        (hash, by): (&str, &str),
        actor: &Actor,
    ) -> Result<(), FlowError> {
        let (project, at) = (member.project_id, self.moment(member));
        db!(tx, members::set_password(project.0, &member.id, Some(hash)))?;
        let data = json!({ "member": member.id, "by": by });
        let told = self.tell(&mut tx, project, at, &[("account.password-changed", data)]).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "password.changed", &member.id)))?;
        self.commit(tx, told).await.map(drop)
    }

    /// The stored hash of the password, if it is the member's. One without a password takes as long.
    async fn proven(&self, member: &Member, password: Password) -> Result<String, FlowError> {
        let key = (member.project_id, member.id.clone());
        self.guesses.admit(&key, self.clock.now()).map_err(FlowError::Throttled)?;
        let mut c = self.store.read().await?;
        let stored: Option<String> = db!(c, members::password_hash(member.project_id.0, &member.id))?;
        drop(c);
        let hash = stored.clone();
        let verified = self.hashing(move || Ok(password::verify(&password, hash.as_deref()))).await?;
        if let Some(stored) = stored.filter(|_| verified) {
            Ok(stored)
        } else {
            self.guesses.failed(key, self.clock.now());
            Err(FlowError::WrongPassword)
        }
    }

    /// Checks a password and hashes it.
    async fn hash(&self, password: Password, owner: Judged) -> Result<String, FlowError> {
        let hashed = move || {
            owner.check(&password)?;
            password::hash(&password).map_err(|_| FlowError::Busy)
        };
        self.hashing(hashed).await
    }

    /// Takes long enough to hold up everything else on its thread.
    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, FlowError> + Send + 'static,
    ) -> Result<T, FlowError> {
        let Ok(_hasher) = self.hashers.acquire().await else { return Err(FlowError::Busy) };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(FlowError::Busy))
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

    /// The member, who is locked now, may have become an administrator while the password was hashed.
    fn still(&self, member: &Member, password: &Password) -> Result<(), FlowError> {
        let now = Self::of(member);
        if now == *self { Ok(()) } else { now.check(password) }
    }

    fn check(&self, password: &Password) -> Result<(), FlowError> {
        let owner = Owner { username: &self.username, email: &self.email, is_admin: self.is_admin };
        password::check(password, &owner).map_err(FlowError::WeakPassword)
    }
}
