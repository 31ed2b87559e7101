//! Members made, changed and deleted, and administrators, over the API: the events that services publish for the
//! same, with what only the API can set.

use serde_json::{Map, Value, json};

use super::{Actor, FlowError, Flows};
use crate::domain::address::EmailAddress;
use crate::domain::id::{self, EventId, ProjectId};
use crate::domain::member::{Member, MemberRef};
use crate::domain::token::Purpose;
use crate::store::rows::MemberKey;
use crate::store::{Tx, db};

/// What is to be changed of a member; absent fields stay.
pub struct Edit {
    /// As in `account.updated`.
    pub profile: Map<String, Value>,
    pub on_vacation: Option<bool>,
}

/// An administrator to be.
pub struct NewAdministrator {
    pub email: EmailAddress,
    pub username: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    /// Whether the mail to choose a password goes out.
    pub send_email: bool,
}

impl Flows {
    /// Makes a member of what `account.created` takes.
    pub async fn create_member(
        &self,
        project: ProjectId,
        mut profile: Map<String, Value>,
        password_hash: Option<&str>,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let id = match profile.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => self.new_id(),
        };
        profile.insert("id".to_owned(), json!(id));
        let key = MemberKey { project: project.0, kind: "id", key: id.clone() };
        let known: Vec<Member> = db!(tx, members::lock(&[key]))?;
        if known.iter().any(Member::is_live) {
            return Err(FlowError::IdInUse);
        }
        // One who comes back under the id of a deleted one.
        let at = known.first().map_or_else(|| self.clock.now(), |member| self.moment(member));
        let told = self.tell(&mut tx, project, at, &[("account.created", Value::Object(profile))]).await?;
        db!(tx, members::set_password(project.0, &id, password_hash))?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "member.created", &id)))?;
        self.commit(tx, told).await?;
        self.member(project, &MemberRef::Id(id)).await
    }

    fn new_id(&self) -> String {
        format!("mem_{}", id::new_at(self.clock.now()).simple())
    }

    /// Changes a member. A new address is handled as every change of one: both are told.
    pub async fn edit_member(
        &self,
        project: ProjectId,
        name: &MemberRef,
        edit: Edit,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let member = self.locked(&mut tx, project, name).await?;
        let mut told = None;
        if !edit.profile.is_empty() {
            let mut profile = edit.profile;
            profile.insert("id".to_owned(), json!(member.id));
            let at = self.moment(&member);
            told =
                Some(self.tell(&mut tx, project, at, &[("account.updated", Value::Object(profile))]).await?);
        }
        if let Some(away) = edit.on_vacation {
            db!(tx, members::set_on_vacation(project.0, &member.id, away))?;
        }
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "member.updated", &member.id)))?;
        match told {
            Some(told) => drop(self.commit(tx, told).await?),
            None => tx.commit().await?,
        }
        self.member(project, &MemberRef::Id(member.id)).await
    }

    /// Sets which notifications the member gets, by the token of a mail about automatic replies.
    pub async fn choose_notifications(
        &self,
        project: ProjectId,
        token: &str,
        on_vacation: bool,
        actor: &Actor,
    ) -> Result<Member, FlowError> {
        let mut tx = self.store.begin().await?;
        let member = self.use_up(&mut tx, project, (token, Purpose::Notifications)).await?.member;
        db!(tx, members::set_on_vacation(project.0, &member.id, on_vacation))?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "notifications.chosen", &member.id)))?;
        tx.commit().await?;
        self.member(project, &MemberRef::Id(member.id)).await
    }

    pub async fn delete_member(
        &self,
        project: ProjectId,
        name: &MemberRef,
        actor: &Actor,
    ) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let member = self.locked(&mut tx, project, name).await?;
        let data = json!({ "member": member.id });
        let told = self.tell(&mut tx, project, self.moment(&member), &[("account.deleted", data)]).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "member.deleted", &member.id)))?;
        self.commit(tx, told).await.map(drop)
    }

    /// Makes an administrator, of a member or anew. The mail to choose a (strong) password ends the one before.
    pub async fn make_administrator(
        &self,
        project: ProjectId,
        wanted: &NewAdministrator,
        actor: &Actor,
    ) -> Result<(Member, EventId), FlowError> {
        let mut tx = self.store.begin().await?;
        let name = MemberRef::Email(wanted.email.key());
        let (id, event, at) = match self.locked(&mut tx, project, &name).await {
            Ok(member) => {
                check_promotion(&member, wanted)?;
                let event = ("account.updated", json!({ "id": member.id, "is_admin": true }));
                let at = self.moment(&member);
                (member.id, event, at)
            }
            Err(FlowError::UnknownMember) => {
                let id = self.new_id();
                let event = ("account.created", created(&id, wanted));
                (id, event, self.clock.now())
            }
            Err(other) => return Err(other),
        };
        let mut events = vec![event];
        if wanted.send_email {
            self.end_password(&mut tx, project, &id).await?;
            events.push(("account.administrator-granted", json!({ "member": id })));
        }
        let told = self.tell(&mut tx, project, at, &events).await?;
        db!(tx, audit::insert(&actor.did(project, self.clock.now(), "administrator.granted", &id)))?;
        let event = self.commit(tx, told).await?;
        Ok((self.member(project, &MemberRef::Id(id)).await?, event))
    }

    async fn end_password(&self, tx: &mut Tx, project: ProjectId, member: &str) -> Result<(), FlowError> {
        Ok(db!(tx, members::set_password(project.0, member, None))?)
    }
}

fn check_promotion(member: &Member, wanted: &NewAdministrator) -> Result<(), FlowError> {
    if member.is_admin {
        return Err(FlowError::AlreadyAdministrator);
    }
    match &wanted.username {
        Some(username) if !username.eq_ignore_ascii_case(&member.username) => {
            Err(FlowError::UsernameMismatch)
        }
        _ => Ok(()),
    }
}

fn created(id: &str, wanted: &NewAdministrator) -> Value {
    json!({
        "id": id,
        "email": wanted.email,
        "username": wanted.username,
        "first_name": wanted.first_name,
        "last_name": wanted.last_name,
        "is_admin": true,
    })
}
