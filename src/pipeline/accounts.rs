//! Step 2, pure: what a batch of events does to the members and tokens that were read under lock. Decides,
//! in the order of the events' times, what is to be written; writes nothing itself.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::absences::Answered;
use super::slots::{Slot, SlotKey, Which};
use crate::domain::address::{EmailAddress, fold};
use crate::domain::change::Profile;
use crate::domain::event::{Reason, Refusal};
use crate::domain::id::ProjectId;
use crate::domain::member::{Member, MemberRef};
use crate::domain::token::Purpose;
use crate::store::rows::StoredToken;

/// Where a member stands in the maps below.
pub type MemberKey = (ProjectId, String);

/// What applying an event came to.
#[derive(Debug, PartialEq)]
pub enum Applied {
    /// The member, as the event found or left it.
    To(MemberKey),
    /// The member has another address than the one named here.
    Moved(MemberKey, String),
    /// The event is kept and changes nothing, for that reason.
    Kept(MemberKey, &'static str),
    /// The event is outdated and changes nothing.
    Stale(MemberKey),
}

/// The members of a batch, and the tokens of those that need one.
#[derive(Default)]
pub struct Accounts {
    pub(super) members: BTreeMap<MemberKey, Entry>,
    /// The live ones, by what they are called.
    names: HashMap<(ProjectId, MemberRef), MemberKey>,
    pub(super) slots: BTreeMap<SlotKey, Slot>,
    /// What is known of the mails that automatic replies of this batch answer.
    pub answered: Answered,
    /// Tokens in the database that end, and dispatches in the database that are no longer wanted.
    pub ended: Vec<Uuid>,
    pub unwanted: Vec<Uuid>,
    /// Events of this batch whose token of that purpose ended before it was issued.
    pub losers: Vec<(usize, Purpose)>,
    /// Members all of whose unsent mail is no longer wanted.
    pub deleted: Vec<MemberKey>,
}

pub(super) struct Entry {
    pub(super) member: Member,
    pub(super) dirty: bool,
}

impl Accounts {
    pub fn new(members: Vec<Member>, tokens: Vec<StoredToken>) -> Self {
        let mut accounts = Self::default();
        for member in members {
            accounts.keep(member, false);
        }
        for token in tokens {
            accounts.keep_slot(token);
        }
        accounts
    }

    fn keep(&mut self, member: Member, dirty: bool) -> MemberKey {
        let key = (member.project_id, member.id.clone());
        self.forget_names(&key);
        if member.is_live() {
            for name in names(&member) {
                self.names.insert((key.0, name), key.clone());
            }
        }
        self.members.insert(key.clone(), Entry { member, dirty });
        key
    }

    fn forget_names(&mut self, key: &MemberKey) {
        let Some(entry) = self.members.get(key) else { return };
        for name in names(&entry.member) {
            if self.names.get(&(key.0, name.clone())) == Some(key) {
                self.names.remove(&(key.0, name));
            }
        }
    }

    pub fn member(&self, key: &MemberKey) -> Option<&Member> {
        self.members.get(key).map(|entry| &entry.member)
    }

    /// The members that changed, in key order.
    pub fn changed(&self) -> Vec<&Member> {
        self.members.values().filter(|entry| entry.dirty).map(|entry| &entry.member).collect()
    }

    /// The live member of that name.
    pub fn find(&self, project: ProjectId, name: &MemberRef) -> Result<MemberKey, Refusal> {
        let found = self.look_up(project, name).filter(|key| self.members[key].member.is_live());
        found.ok_or_else(|| {
            Refusal::new(Reason::UnknownMember, "there is no such member in the project").in_field("member")
        })
    }

    fn look_up(&self, project: ProjectId, name: &MemberRef) -> Option<MemberKey> {
        match name {
            MemberRef::Id(id) => Some((project, id.clone())).filter(|key| self.members.contains_key(key)),
            other => self.names.get(&(project, other.clone())).cloned(),
        }
    }

    /// `account.signed-in` and the like: a sign of life.
    pub fn sign_of_life(&mut self, project: ProjectId, name: &MemberRef) -> Result<MemberKey, Refusal> {
        let key = self.find(project, name)?;
        if let Some(entry) = self.members.get_mut(&key).filter(|entry| entry.member.auto_replies > 0) {
            entry.member.auto_replies = 0;
            entry.dirty = true;
        }
        Ok(key)
    }

    /// `account.created` (which may make a member, or bring back a deleted one) and `account.updated`.
    pub fn put(
        &mut self,
        project: ProjectId,
        profile: &Profile,
        time: DateTime<Utc>,
        create: Option<&str>,
    ) -> Result<Applied, Refusal> {
        let Some(key) = self.located(project, profile) else {
            let Some(new_id) = create else {
                return Err(Refusal::new(Reason::UnknownMember, "there is no such member in the project"));
            };
            return self.create(project, profile, time, new_id).map(Applied::To);
        };
        let member = &self.members[&key].member;
        if time < member.applied_at {
            return Ok(Applied::Stale(key));
        }
        if !member.is_live() {
            let Some(id) = create else { return Ok(Applied::Stale(key)) };
            return self
                .create(project, profile, time, &profile.id.clone().unwrap_or(id.to_owned()))
                .map(Applied::To);
        }
        self.update(key, profile, time)
    }

    /// By id, else by username, else by address: the first that is given decides.
    fn located(&self, project: ProjectId, profile: &Profile) -> Option<MemberKey> {
        if let Some(id) = &profile.id {
            return self.look_up(project, &MemberRef::Id(id.clone()));
        }
        let by_name = profile.username.as_deref().map(|name| MemberRef::Username(fold(name)));
        let by_email = profile.email.as_ref().map(|email| MemberRef::Email(email.key()));
        by_name.and_then(|name| self.look_up(project, &name)).or_else(|| self.look_up(project, &by_email?))
    }

    fn create(
        &mut self,
        project: ProjectId,
        profile: &Profile,
        time: DateTime<Utc>,
        new_id: &str,
    ) -> Result<MemberKey, Refusal> {
        let email = profile.email.as_ref().ok_or_else(|| Refusal::invalid("email", "is missing"))?;
        let key = (project, profile.id.clone().unwrap_or_else(|| new_id.to_owned()));
        let mut member = profile.new_member(&key, email, time);
        // A request from before a deletion issues nothing to the one who came back under the same id.
        member.tokens_ended_at = self.members.get(&key).and_then(|entry| entry.member.tokens_ended_at);
        self.check_unique(&key, &member)?;
        Ok(self.keep(member, true))
    }

    fn update(&mut self, key: MemberKey, profile: &Profile, time: DateTime<Utc>) -> Result<Applied, Refusal> {
        let before = &self.members[&key].member;
        let old = before.email.clone();
        let mut member = before.clone();
        let set = |field: &mut Option<String>, new: &Option<String>| {
            if new.is_some() {
                field.clone_from(new);
            }
        };
        if let Some(username) = &profile.username {
            member.username.clone_from(username);
        }
        if let Some(email) = &profile.email {
            if member.username == before.email {
                // The address stands in for a username that there is not, or nobody else could have it now.
                member.username = email.to_string();
            }
            member.email = email.to_string();
        }
        set(&mut member.first_name, &profile.first_name);
        set(&mut member.last_name, &profile.last_name);
        set(&mut member.locale, &profile.locale);
        member.is_admin = profile.is_admin.unwrap_or(member.is_admin);
        member.applied_at = time;
        let is_same = member.email.eq_ignore_ascii_case(&old);
        self.check_unique(&key, &member)?;
        self.keep(member, true);
        Ok(if is_same { Applied::To(key) } else { self.moved(key, old, time) })
    }

    fn moved(&mut self, key: MemberKey, old: String, time: DateTime<Utc>) -> Applied {
        // Or the old mailbox could still take the account.
        // Those too that were asked for after it happened and before it was known here: they went there.
        self.end_tokens(&key, time, (Which::All, &[Purpose::ResetPassword, Purpose::ChangeEmail]));
        Applied::Moved(key, old)
    }

    /// `account.email-changed`. `done`: the address that the member had before a flow of our own changed it, in
    /// the transaction that this event is planned in.
    pub fn change_email(
        &mut self,
        (project, name): (ProjectId, &MemberRef),
        new_email: &EmailAddress,
        time: DateTime<Utc>,
        done: Option<&EmailAddress>,
    ) -> Result<Applied, Refusal> {
        let key = match self.find(project, name) {
            Ok(key) => key,
            Err(refusal) => return self.look_up(project, name).map(Applied::Stale).ok_or(refusal),
        };
        let before = &self.members[&key].member;
        if time < before.applied_at {
            return Ok(Applied::Stale(key));
        }
        if fold(&before.email) == new_email.key() {
            let done = done.filter(|old| old.key() != new_email.key());
            return Ok(match done {
                Some(old) => self.moved(key, old.to_string(), time),
                None => Applied::Kept(key, "same-address"),
            });
        }
        let profile = Profile { email: Some(new_email.clone()), ..Profile::default() };
        self.update(key, &profile, time).map_err(|refusal| refusal.in_field("new_email"))
    }

    /// `account.email-change-requested`: the address must be nobody's, and nothing changes yet.
    pub fn ask_email(
        &self,
        (project, name): (ProjectId, &MemberRef),
        new_email: &EmailAddress,
    ) -> Result<MemberKey, Refusal> {
        let key = self.find(project, name)?;
        match self.names.get(&(project, MemberRef::Email(new_email.key()))) {
            None => Ok(key),
            Some(other) => Err(email_in_use(*other == key).in_field("new_email")),
        }
    }

    /// `account.administrator-granted`.
    pub fn grant(&mut self, project: ProjectId, name: &MemberRef) -> Result<MemberKey, Refusal> {
        let key = self.find(project, name)?;
        if let Some(entry) = self.members.get_mut(&key).filter(|entry| !entry.member.is_admin) {
            entry.member.is_admin = true;
            entry.dirty = true;
        }
        Ok(key)
    }

    fn check_unique(&self, key: &MemberKey, member: &Member) -> Result<(), Refusal> {
        for name in names(member) {
            if self.names.get(&(key.0, name.clone())).is_none_or(|other| other == key) {
                continue;
            }
            return Err(match name {
                MemberRef::Email(_) => email_in_use(false).in_field("email"),
                _ => Refusal::username_in_use(),
            });
        }
        Ok(())
    }

    /// `account.deleted`: the member becomes a tombstone without personal data.
    pub fn delete(
        &mut self,
        project: ProjectId,
        name: &MemberRef,
        time: DateTime<Utc>,
    ) -> Result<Applied, Refusal> {
        let key = match self.find(project, name) {
            Ok(key) => key,
            Err(refusal) => return self.look_up(project, name).map(Applied::Stale).ok_or(refusal),
        };
        let mut member = self.members[&key].member.clone();
        if time < member.applied_at {
            return Ok(Applied::Stale(key));
        }
        self.forget_names(&key);
        member.username.clear();
        member.email.clear();
        (member.first_name, member.last_name, member.locale) = (None, None, None);
        (member.is_admin, member.on_vacation, member.auto_replies) = (false, false, 0);
        member.applied_at = time;
        member.deleted_at = Some(time);
        self.keep(member, true);
        self.deleted.push(key.clone());
        self.end_tokens(&key, time, (Which::All, &Purpose::ALL));
        Ok(Applied::To(key))
    }
}

fn email_in_use(by_himself: bool) -> Refusal {
    let who = if by_himself {
        "the member has this e-mail address already"
    } else {
        "another member has this e-mail address"
    };
    Refusal::new(Reason::EmailInUse, who)
}

fn names(member: &Member) -> [MemberRef; 2] {
    [MemberRef::Email(fold(&member.email)), MemberRef::Username(fold(&member.username))]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::HashMap;

    use super::super::fixture::{ACME, at};
    use super::super::slots::{COARSE, Request};
    use super::*;
    use crate::domain::address::EmailAddress;

    const ADA: &str = "mem_ada";
    const PURPOSE: Purpose = Purpose::ResetPassword;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ask(i64),
        ChangePassword(i64),
        Move(i64),
        Use,
    }

    impl Step {
        fn time(self) -> i64 {
            match self {
                Self::Ask(time) | Self::ChangePassword(time) | Self::Move(time) => time,
                Self::Use => 0,
            }
        }
    }

    /// What the database holds between two batches, and what is known of the past.
    struct World {
        member: Member,
        token: Option<StoredToken>,
        addresses: u32,
        asked: Vec<i64>,
        changed: Vec<i64>,
        /// Ids of tokens that were replaced, ended or used.
        gone: Vec<Uuid>,
        issued: u128,
    }

    fn profile(email: &str) -> Profile {
        Profile {
            id: Some(ADA.to_owned()),
            username: Some("ada".to_owned()),
            email: Some(EmailAddress::parse(email).unwrap()),
            ..Profile::default()
        }
    }

    fn ada() -> (Accounts, MemberKey) {
        let mut accounts = Accounts::default();
        let applied = accounts.put(ACME, &profile("ada@example.com"), at(0), Some("mem_new")).unwrap();
        let key = (ACME, ADA.to_owned());
        assert_eq!(applied, Applied::To(key.clone()));
        (accounts, key)
    }

    impl World {
        fn new() -> Self {
            let (accounts, key) = ada();
            let member = accounts.member(&key).unwrap().clone();
            let (asked, changed, gone) = (Vec::new(), Vec::new(), Vec::new());
            Self { member, token: None, addresses: 0, asked, changed, gone, issued: 0 }
        }

        /// As planning does: in the order of the times, then all written at once.
        fn batch(&mut self, mut steps: Vec<Step>) {
            steps.sort_by_key(|step| step.time());
            let key = (ACME, ADA.to_owned());
            let mut accounts = Accounts::new(vec![self.member.clone()], self.token.iter().cloned().collect());
            let mut issued = HashMap::new();
            for (place, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Ask(time) => {
                        self.asked.push(time);
                        if accounts.request_token((&key, PURPOSE, ""), at(time), place) == Request::Issued {
                            issued.insert(place, time);
                        }
                    }
                    Step::ChangePassword(time) => {
                        self.changed.push(time);
                        accounts.end_tokens(&key, at(time), (Which::Earlier, &[PURPOSE]));
                    }
                    Step::Move(time) => {
                        self.addresses += 1;
                        let to = profile(&format!("ada{}@example.com", self.addresses));
                        if matches!(accounts.put(ACME, &to, at(time), None).unwrap(), Applied::Moved(..)) {
                            self.changed.push(time);
                        }
                    }
                    Step::Use => {}
                }
                for (loser, _) in std::mem::take(&mut accounts.losers) {
                    issued.remove(&loser);
                }
            }
            assert!(issued.len() <= 1, "one batch issues one token of a purpose");
            self.write(&accounts, &key, issued.into_values().next());
        }

        fn write(&mut self, accounts: &Accounts, key: &MemberKey, issued: Option<i64>) {
            self.member = accounts.member(key).unwrap().clone();
            if let Some(token) = self.token.as_mut().filter(|token| accounts.ended.contains(&token.id)) {
                token.ended_at = Some(at(0));
                self.gone.push(token.id);
            }
            let Some(time) = issued else { return };
            self.gone.extend(self.token.take().map(|token| token.id));
            self.issued += 1;
            self.token = Some(StoredToken {
                project_id: ACME.0,
                member_id: ADA.to_owned(),
                purpose: PURPOSE.name().to_owned(),
                id: Uuid::from_u128(self.issued),
                scope: String::new(),
                payload: "{}".to_owned(),
                event_id: Uuid::nil(),
                dispatches: "[]".to_owned(),
                requested_at: at(time),
                expires_at: at(1_000_000),
                used_at: None,
                ended_at: None,
            });
        }

        fn use_token(&mut self) {
            if let Some(token) = self.token.as_mut().filter(|token| token.ended_at.is_none()) {
                token.used_at = Some(at(0));
                self.gone.push(token.id);
            }
        }

        fn check(&self) {
            let Some(token) = &self.token else { return };
            if token.used_at.is_some() || token.ended_at.is_some() {
                return;
            }
            assert!(!self.gone.contains(&token.id), "nothing comes back");
            // One that a change ended in its own batch left no trace but the change.
            let is_ended = |asked: &i64| self.changed.iter().any(|changed| changed >= asked);
            let newest = self.asked.iter().copied().filter(|asked| !is_ended(asked)).map(at).max();
            assert!(
                newest.is_none_or(|newest| token.requested_at >= newest),
                "the newest request has the live token"
            );
            let is_before = |changed: &i64| at(*changed) > token.requested_at + COARSE;
            assert!(!self.changed.iter().any(is_before), "it is of a time before a change of the account");
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        // Whole and half seconds, so that equal times and those within a second come up often.
        let time = (0_i64..16).prop_map(|half| half * 500);
        prop_oneof![
            4 => time.clone().prop_map(Step::Ask),
            1 => time.clone().prop_map(Step::ChangePassword),
            1 => time.prop_map(Step::Move),
            1 => Just(Step::Use),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn one_token_lives_the_newest_and_none_from_before_a_change(
            batches in proptest::collection::vec(proptest::collection::vec(step(), 1..5), 1..8)
        ) {
            let mut world = World::new();
            for batch in batches {
                if batch.iter().any(|step| matches!(step, Step::Use)) {
                    world.use_token();
                }
                world.batch(batch);
                world.check();
            }
        }
    }

    #[test]
    fn a_request_told_in_whole_seconds_is_not_taken_to_be_from_before_a_change_in_that_second() {
        let (mut accounts, ada) = ada();
        accounts.end_tokens(&ada, at(2_900), (Which::Earlier, &[PURPOSE]));
        assert_eq!(accounts.request_token((&ada, PURPOSE, ""), at(2_000), 0), Request::Issued);
        assert_eq!(accounts.request_token((&ada, PURPOSE, ""), at(1_800), 1), Request::Superseded);
    }

    #[test]
    fn an_address_in_another_case_is_no_change_of_address() {
        let (mut accounts, ada) = ada();
        accounts.request_token((&ada, PURPOSE, ""), at(1), 0);
        accounts.put(ACME, &profile("Ada@Example.com"), at(2), None).unwrap();
        assert!(accounts.losers.is_empty());
        accounts.put(ACME, &profile("ada@new.example"), at(3), None).unwrap();
        assert_eq!(accounts.losers, [(0, PURPOSE)]);
    }

    #[test]
    fn a_deleted_member_has_no_name_and_is_found_by_id_only_to_be_stale() {
        let (mut accounts, ada) = ada();
        accounts.delete(ACME, &MemberRef::Username("ada".to_owned()), at(5)).unwrap();
        assert!(accounts.find(ACME, &MemberRef::Email("ada@example.com".to_owned())).is_err());
        assert!(accounts.member(&ada).unwrap().email.is_empty());
        let again = accounts.delete(ACME, &MemberRef::Id(ADA.to_owned()), at(6)).unwrap();
        assert_eq!(again, Applied::Stale(ada));
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    #[test]
    fn a_change_of_address_keeps_the_way_back_to_each_address_before() {
        let (mut accounts, ada) = ada();
        let by_id = MemberRef::Id(ADA.to_owned());
        let mut old = "ada@example.com".to_owned();
        for (place, new) in ["thief@evil.example", "thief2@evil.example"].into_iter().enumerate() {
            let time = at(i64::try_from(place).unwrap() + 1);
            let applied = accounts.change_email((ACME, &by_id), &address(new), time, None).unwrap();
            assert_eq!(applied, Applied::Moved(ada.clone(), old.clone()));
            let undo = (&ada, Purpose::UndoEmailChange, old.as_str());
            assert_eq!(accounts.request_token(undo, time, place), Request::Issued);
            new.clone_into(&mut old);
        }
        accounts.end_tokens(&ada, at(9), (Which::Earlier, &[PURPOSE]));
        assert!(
            accounts.losers.is_empty(),
            "neither the second change nor a new password ends the first undo"
        );
        accounts.delete(ACME, &by_id, at(10)).unwrap();
        assert_eq!(accounts.losers.len(), 2, "a deletion ends both");
    }

    #[test]
    fn an_address_is_changed_by_the_newest_event_to_one_that_is_free() {
        let (mut accounts, ada) = ada();
        let eve = Profile {
            id: Some("mem_eve".to_owned()),
            email: Some(address("eve@example.com")),
            ..Profile::default()
        };
        accounts.put(ACME, &eve, at(0), Some("mem_new")).unwrap();
        let by_id = MemberRef::Id(ADA.to_owned());
        let mut change = |to: &str, time, done: Option<&str>| {
            let done = done.map(address);
            match accounts.change_email((ACME, &by_id), &address(to), at(time), done.as_ref()) {
                Ok(Applied::Moved(_, old)) => old,
                Ok(Applied::Kept(_, why)) => why.to_owned(),
                Ok(Applied::Stale(_)) => "stale".to_owned(),
                Ok(Applied::To(_)) => "to".to_owned(),
                Err(refusal) => format!("{} {}", refusal.reason.name(), refusal.field.unwrap()),
            }
        };
        assert_eq!(change("Eve@example.com", 5, None), "email-in-use new_email");
        assert_eq!(change("ADA@example.com", 5, None), "same-address");
        assert_eq!(change("ada@example.com", 5, Some("before@example.com")), "before@example.com");
        assert_eq!(change("ada@new.example", 7, None), "ada@example.com");
        assert_eq!(change("ada@late.example", 6, None), "stale");
        assert_eq!(accounts.member(&ada).unwrap().email, "ada@new.example");
        for taken in ["eve@example.com", "ada@new.example"] {
            let refusal = accounts.ask_email((ACME, &by_id), &address(taken)).unwrap_err();
            assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::EmailInUse, Some("new_email")));
        }
        assert_eq!(accounts.ask_email((ACME, &by_id), &address("ada@example.com")).unwrap(), ada);
    }
}
