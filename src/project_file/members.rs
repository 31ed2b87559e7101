//! Members of a file: read by the rules of `account.created`, and laid over what is stored.

use serde_json::Value;

use super::fields::Fields;
use super::plan::Planning;
use super::read::put_text;
use crate::domain::address::{EmailAddress, fold};
use crate::domain::change::{Change, Profile};
use crate::domain::id;
use crate::domain::member::Member;

const FIELDS: [&str; 6] = ["username", "email", "first_name", "last_name", "locale", "is_admin"];

/// What the file says of one.
pub(super) struct MemberEntry {
    pub(super) place: String,
    pub(super) profile: Profile,
}

impl MemberEntry {
    /// `None`: it is wrong, or has no name under which it could be found.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let taken = fields.rest(&FIELDS);
        let place = fields.place.clone();
        if !taken.contains_key("username") && !taken.contains_key("email") {
            fields.wrong("username", "is missing");
        }
        let profile = match Change::read("account.created", &Value::Object(taken)) {
            Ok(Change::Created(profile)) => Some(profile),
            Ok(_) => None,
            Err(refusal) => {
                let field = refusal.field.unwrap_or_default();
                let detail = refusal.detail.strip_prefix(&format!("`{field}` ")).map(str::to_owned);
                fields.wrong(&field, detail.unwrap_or(refusal.detail));
                None
            }
        };
        fields.end();
        let profile = profile.filter(|one| one.username.is_some() || one.email.is_some())?;
        Some(Self { place, profile })
    }

    /// What it is found by: without a username the address stands for it, as it does in an event.
    pub(super) fn key(&self) -> String {
        fold(&self.username())
    }

    fn username(&self) -> String {
        let address = || self.profile.email.as_ref().map(ToString::to_string);
        self.profile.username.clone().or_else(address).unwrap_or_default()
    }

    /// The member as it shall be.
    pub(super) fn over(&self, planning: &Planning<'_>, all: &[Member]) -> Option<Member> {
        let key = self.key();
        let is_live = |member: &&Member| member.is_live();
        let stored = all.iter().filter(is_live).find(|member| fold(&member.username) == key);
        let address = self.profile.email.as_ref();
        let taken = address.and_then(|address| {
            all.iter().filter(is_live).find(|member| fold(&member.email) == address.key())
        });
        if taken.is_some_and(|taken| stored.is_none_or(|stored| stored.id != taken.id)) {
            planning.wrong(&self.place, "email", "is the address of another member");
            return None;
        }
        match (stored, address) {
            (None, None) => {
                planning.wrong(&self.place, "email", "is required");
                None
            }
            (stored, _) => Some(self.written(planning, stored)),
        }
    }

    /// The address that the member is to get. It is not written with the rest: a change of it ends tokens, cancels
    /// mail and tells both addresses, and an event does that.
    pub(super) fn new_email(&self, stored: &Member) -> Option<EmailAddress> {
        self.profile.email.clone().filter(|address| fold(&stored.email) != address.key())
    }

    fn written(&self, planning: &Planning<'_>, stored: Option<&Member>) -> Member {
        let now = planning.applying.now;
        let profile = &self.profile;
        let mut member = stored.cloned().unwrap_or_else(|| Member {
            project_id: planning.project,
            id: format!("mem_{}", id::new_at(now).simple()),
            username: self.username(),
            email: profile.email.as_ref().map(ToString::to_string).unwrap_or_default(),
            first_name: None,
            last_name: None,
            locale: None,
            is_admin: false,
            on_vacation: false,
            auto_replies: 0,
            applied_at: now,
            tokens_ended_at: None,
            deleted_at: None,
            created_at: now,
        });
        put_text(&mut member.first_name, profile.first_name.as_ref());
        put_text(&mut member.last_name, profile.last_name.as_ref());
        put_text(&mut member.locale, profile.locale.as_ref());
        member.is_admin = profile.is_admin.unwrap_or(member.is_admin);
        member
    }
}

/// What differs, by the names of the file.
pub(super) fn changed(old: &Member, new: &Member) -> Vec<&'static str> {
    let pairs = [
        ("first_name", old.first_name != new.first_name),
        ("last_name", old.last_name != new.last_name),
        ("locale", old.locale != new.locale),
        ("is_admin", old.is_admin != new.is_admin),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}
