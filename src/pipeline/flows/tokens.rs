//! Tokens that somebody presents: read, judged, used up once, or taken back.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::settle::count_end;
use super::{Actor, FlowError, Flows};
use crate::domain::address::fold;
use crate::domain::id::ProjectId;
use crate::domain::member::{Member, MemberRef};
use crate::domain::token::{Genuine, Purpose};
use crate::store::rows::{MemberId, MemberKey, StoredToken};
use crate::store::{Tx, db};

/// Why a dispatch whose token was taken back is cancelled.
const REVOKED: &str = "revoked";

/// What a good token says of itself.
pub struct Inspected {
    pub purpose: Purpose,
    pub expires_at: DateTime<Utc>,
    pub member: Member,
    /// The address that it would give the account.
    pub address: Option<String>,
}

/// Why a token is refused. Anything but `Unknown` is told only if its MAC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenProblem {
    Used,
    Expired,
    Replaced,
    Unknown,
}

/// What the row of a token keeps for the day on which it is used. The address comes from here alone.
#[derive(Deserialize, Default)]
struct Payload {
    new_email: Option<String>,
    old_email: Option<String>,
}

/// A token that was used up in an open transaction, and its member, who is locked.
pub(super) struct Used {
    pub(super) member: Member,
    /// The address that it gives the account.
    pub(super) address: Option<String>,
}

impl Flows {
    /// Reads a token without using it up.
    pub async fn inspect(&self, project: ProjectId, token: &str) -> Result<Inspected, FlowError> {
        let genuine = self.read(token)?;
        let mut c = self.store.read().await?;
        let stored = db!(c, tokens::find(genuine.id.0))?;
        let stored = self.good(project, &genuine, stored)?;
        let name = MemberRef::Id(stored.member_id.clone());
        let member =
            db!(c, members::find(project.0, &name))?.ok_or(FlowError::Token(TokenProblem::Replaced))?;
        let address = address(genuine.purpose, &stored);
        Ok(Inspected { purpose: genuine.purpose, expires_at: stored.expires_at, member, address })
    }

    /// The change of an address whose token did nothing but expire, if it is still in question: by which member, to
    /// which address. Not one that was ended: whoever ended it may have had to, and its mail is in wrong hands.
    pub async fn lapsed_change(
        &self,
        project: ProjectId,
        token: &str,
    ) -> Result<Option<(Member, String)>, FlowError> {
        let Some(genuine) = Genuine::read(&self.keys, token) else { return Ok(None) };
        let mut c = self.store.read().await?;
        let Some(stored) = db!(c, tokens::find(genuine.id.0))? else { return Ok(None) };
        let judged = self.good(project, &genuine, Some(stored.clone()));
        if !matches!(judged, Err(FlowError::Token(TokenProblem::Expired))) {
            return Ok(None);
        }
        let new_email = address(genuine.purpose, &stored).filter(|_| genuine.purpose == Purpose::ChangeEmail);
        let member = db!(c, members::find(project.0, &MemberRef::Id(stored.member_id)))?;
        let change = member.zip(new_email);
        Ok(change.filter(|(member, new_email)| fold(&member.email) != fold(new_email)))
    }

    /// As [`Flows::inspect`], of a token for that purpose.
    pub async fn inspect_for(
        &self,
        project: ProjectId,
        token: &str,
        purpose: Purpose,
    ) -> Result<Inspected, FlowError> {
        let inspected = self.inspect(project, token).await?;
        if inspected.purpose == purpose {
            Ok(inspected)
        } else {
            Err(FlowError::Token(TokenProblem::Unknown))
        }
    }

    /// Uses a token up with no other effect, for services that keep passwords themselves.
    pub async fn redeem(
        &self,
        project: ProjectId,
        token: &str,
        purpose: Purpose,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let Used { member, .. } = self.use_up(&mut tx, project, (token, purpose)).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "token.redeemed", &member.id)))?;
        tx.commit().await?;
        Ok(member)
    }

    /// The tokens of a member that are still good.
    pub async fn tokens(&self, project: ProjectId, name: &MemberRef) -> Result<Vec<StoredToken>, FlowError> {
        let member = self.member(project, name).await?;
        let mut c = self.store.read().await?;
        let id = MemberId { project: project.0, member: member.id };
        let now = self.clock.now();
        let mut tokens = db!(c, tokens::of_members(&[id]))?;
        tokens.retain(|token| is_live(token) && token.expires_at > now);
        Ok(tokens)
    }

    /// Ends the member's tokens, of one purpose or of all, and cancels unsent mail that carries one.
    pub async fn revoke_tokens(
        &self,
        project: ProjectId,
        name: &MemberRef,
        purpose: Option<Purpose>,
        actor: &Actor,
    ) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let member = self.locked(&mut tx, project, name).await?;
        self.end_tokens(&mut tx, &member, |token| purpose.is_none_or(|one| one.name() == token.purpose))
            .await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "tokens.revoked", &member.id)))?;
        Ok(tx.commit().await?)
    }

    /// Ends those of a locked member's tokens that are meant, and cancels unsent mail that carries one.
    pub(super) async fn end_tokens(
        &self,
        tx: &mut Tx,
        member: &Member,
        is_meant: impl Fn(&StoredToken) -> bool,
    ) -> Result<(), FlowError> {
        let id = MemberId { project: member.project_id.0, member: member.id.clone() };
        let mut tokens = db!(tx, tokens::of_members(&[id]))?;
        tokens.retain(|token| is_live(token) && is_meant(token));
        let dispatches = tokens
            .iter()
            .flat_map(|token| serde_json::from_str::<Vec<uuid::Uuid>>(&token.dispatches).unwrap_or_default());
        let mut dispatches: Vec<_> = dispatches.collect();
        dispatches.sort_unstable();
        // Dispatches before tokens, as senders lock them.
        if !dispatches.is_empty() {
            for template in db!(tx, dispatches::cancel(&dispatches, REVOKED))? {
                count_end(&template, "cancelled");
            }
        }
        let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
        if !ids.is_empty() {
            db!(tx, tokens::end(&ids, self.clock.now()))?;
        }
        Ok(())
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

    /// Locks the member first, as planning does, and whoever has the address that the token gives, in one
    /// statement; then uses the token up in one conditional statement.
    pub(super) async fn use_up(
        &self,
        tx: &mut Tx,
        project: ProjectId,
        (token, purpose): (&str, Purpose),
    ) -> Result<Used, FlowError> {
        let genuine = self.read(token)?;
        if genuine.purpose != purpose {
            return Err(FlowError::Token(TokenProblem::Unknown));
        }
        let found = db!(tx, tokens::find(genuine.id.0))?;
        let stored = self.good(project, &genuine, found)?;
        let address = address(purpose, &stored);
        let key = |kind, key: &str| MemberKey { project: project.0, kind, key: key.to_owned() };
        let mut keys = vec![key("id", &stored.member_id)];
        keys.extend(address.as_deref().map(|address| key("email", &fold(address))));
        let members = db!(tx, members::lock(&keys))?;
        let member = members.into_iter().find(|one| one.is_live() && one.id == stored.member_id);
        let member = member.ok_or(FlowError::Token(TokenProblem::Replaced))?;
        let now = self.clock.now();
        let used: Option<StoredToken> =
            db!(tx, tokens::use_up(project.0, genuine.id.0, purpose.name(), now))?;
        if used.is_none() {
            let found = db!(tx, tokens::find(genuine.id.0))?;
            self.good(project, &genuine, found)?;
            return Err(FlowError::Token(TokenProblem::Used));
        }
        db!(tx, members::sign_of_life(project.0, &member.id))?;
        let used = [("purpose", purpose.name()), ("event", "used")];
        metrics::counter!("signalpost_tokens_total", &used).increment(1);
        Ok(Used { member, address })
    }
}

fn is_live(token: &StoredToken) -> bool {
    token.used_at.is_none() && token.ended_at.is_none()
}

fn address(purpose: Purpose, stored: &StoredToken) -> Option<String> {
    let payload: Payload = serde_json::from_str(&stored.payload).unwrap_or_default();
    match purpose {
        Purpose::ChangeEmail => payload.new_email,
        Purpose::UndoEmailChange => payload.old_email,
        Purpose::ResetPassword | Purpose::Notifications => None,
    }
}
