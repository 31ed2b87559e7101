//! A member's e-mail address: changed by the link that was mailed to the new one, by an administrator at once, or
//! back again by the link that was mailed to the old one. The address is the one of the token's row, never one of
//! the request; whether it is free is decided again under lock.

use serde_json::json;

use super::super::drafts::BY_UNDO;
use super::tokens::{TokenProblem, Used};
use super::{Actor, FlowError, Flows};
use crate::domain::address::EmailAddress;
use crate::domain::id::{EventId, ProjectId};
use crate::domain::member::{Member, MemberRef};
use crate::domain::token::Purpose;
use crate::store::db;

const CHANGED: &str = "account.email-changed";

impl Flows {
    /// Changes the address at once; both are told.
    pub async fn change_email(
        &self,
        project: ProjectId,
        name: &MemberRef,
        new_email: &EmailAddress,
        actor: &Actor,
    ) -> Result<EventId, FlowError> {
        let member = self.member(project, name).await?;
        let mut tx = self.store.begin().await?;
        let data = json!({ "member": member.id, "new_email": new_email });
        let told = self.tell(&mut tx, project, self.moment(&member), &[(CHANGED, data)]).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "email.changed", &member.id)))?;
        self.commit(tx, told).await
    }

    /// Changes the address by the token that was mailed to the new one.
    pub async fn confirm_email(
        &self,
        project: ProjectId,
        token: &str,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let Used { member, address } = self.use_up(&mut tx, project, (token, Purpose::ChangeEmail)).await?;
        let address = address.ok_or(FlowError::Token(TokenProblem::Unknown))?;
        let data = json!({ "member": member.id, "new_email": address });
        let told = self.tell(&mut tx, project, self.moment(&member), &[(CHANGED, data)]).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "email.changed", &member.id)))?;
        self.commit(tx, told).await?;
        self.member(project, &MemberRef::Id(member.id)).await
    }

    /// Gives the account its old address back, by the token that was mailed to it. Whoever changed it may know the
    /// password and have links: all of that ends, and a mail to choose a new password goes to the old address.
    pub async fn undo_email_change(
        &self,
        project: ProjectId,
        token: &str,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let Used { member, address } =
            self.use_up(&mut tx, project, (token, Purpose::UndoEmailChange)).await?;
        let address = address.ok_or(FlowError::Token(TokenProblem::Unknown))?;
        db!(tx, members::set_password(project.0, &member.id, None))?;
        let changed = json!({ "member": member.id, "new_email": address, "by": BY_UNDO });
        let forced = json!({ "member": member.id, "reason": "forced" });
        let events = [(CHANGED, changed), ("account.password-reset-requested", forced)];
        let told = self.tell(&mut tx, project, self.moment(&member), &events).await?;
        self.end_tokens(&mut tx, &member, |token| token.purpose != Purpose::ResetPassword.name()).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "email.change-undone", &member.id)))?;
        self.commit(tx, told).await?;
        self.member(project, &MemberRef::Id(member.id)).await
    }
}
