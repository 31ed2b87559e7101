//! What an event says happened, read out of its type and `data`. Scalars only where a scalar is meant: an
//! address given as a list is refused, not joined. Fields that a type does not have are not looked at, so an
//! event can name neither a recipient nor a link.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use uuid::Uuid;

use super::address::EmailAddress;
use super::event::{MAX_ATTRIBUTE, Reason, Refusal};
use super::id::{DispatchId, ProjectId};
use super::member::{MAX_NAME, Member, MemberRef, check_id, check_username};

/// One account event, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    SignedIn(MemberRef),
    /// `account.created`: may bring back a deleted member.
    Created(Profile),
    Updated(Profile),
    Deleted(MemberRef),
    ResetRequested(MemberRef, ResetReason),
    PasswordChanged(MemberRef, ChangedBy),
    /// Nothing changes until it is confirmed.
    EmailChangeRequested(MemberRef, EmailAddress),
    EmailChanged {
        member: MemberRef,
        new_email: EmailAddress,
        old_email: Option<EmailAddress>,
    },
    AdministratorGranted(MemberRef),
    OutOfOffice(MemberRef, Absence),
    /// The last two only mail: what they tell of was done where they came from.
    OutOfOfficeWarned(MemberRef),
    OnVacation(MemberRef),
    /// An event of a type that the project registered: only mails.
    Registered(MemberRef),
}

/// An automatic reply.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Absence {
    /// The words that gave it away.
    pub matched: Option<String>,
    /// What it answers; counted once for each. `None`: nobody knows, so it counts for itself.
    pub answered: Option<String>,
    /// The dispatch that it answers.
    pub dispatch: Option<DispatchId>,
}

/// What a service knows of a member. Fields that are absent stay as they are.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Profile {
    pub id: Option<String>,
    pub username: Option<String>,
    pub email: Option<EmailAddress>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub locale: Option<String>,
    pub is_admin: Option<bool>,
}

/// Who asked for a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResetReason {
    #[default]
    Member,
    Admin,
    Forced,
}

/// Who changed a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChangedBy {
    #[default]
    Member,
    Admin,
    Reset,
}

impl Change {
    /// Reads the change of a known type.
    pub fn read(kind: &str, data: &Value) -> Result<Self, Refusal> {
        let fields =
            Fields(data.as_object().ok_or_else(|| Refusal::invalid("data", "is not a JSON object"))?);
        match kind {
            "account.signed-in" => fields.member().map(Self::SignedIn),
            "account.created" => Ok(Self::Created(fields.profile()?)),
            "account.updated" => Ok(Self::Updated(fields.profile()?)),
            "account.deleted" => fields.member().map(Self::Deleted),
            "account.password-reset-requested" => {
                let reason = fields.one_of("reason", &ResetReason::NAMES)?.unwrap_or_default();
                Ok(Self::ResetRequested(fields.member()?, reason))
            }
            "account.password-changed" => {
                let by = fields.one_of("by", &ChangedBy::NAMES)?.unwrap_or_default();
                Ok(Self::PasswordChanged(fields.member()?, by))
            }
            "account.email-change-requested" => {
                Ok(Self::EmailChangeRequested(fields.member()?, fields.new_email()?))
            }
            "account.email-changed" => Ok(Self::EmailChanged {
                member: fields.member()?,
                new_email: fields.new_email()?,
                old_email: fields.email("old_email")?,
            }),
            "account.administrator-granted" => fields.member().map(Self::AdministratorGranted),
            "account.out-of-office-detected" => Ok(Self::OutOfOffice(fields.member()?, fields.absence()?)),
            "account.out-of-office-warned" => fields.counted().map(Self::OutOfOfficeWarned),
            "account.on-vacation" => fields.counted().map(Self::OnVacation),
            _ => Err(Refusal::new(Reason::UnknownType, format!("there is no event type `{kind}`"))
                .in_field("type")),
        }
    }

    /// Reads the change of a registered type, whose data fit its schema.
    pub fn read_registered(data: &Value) -> Result<Self, Refusal> {
        let fields =
            Fields(data.as_object().ok_or_else(|| Refusal::invalid("data", "is not a JSON object"))?);
        fields.member().map(Self::Registered)
    }

    /// Every way in which the change names a member: what must be read before it can be planned.
    pub fn names(&self) -> Vec<MemberRef> {
        match self {
            Self::SignedIn(member)
            | Self::Deleted(member)
            | Self::ResetRequested(member, _)
            | Self::PasswordChanged(member, _)
            | Self::AdministratorGranted(member)
            | Self::OutOfOffice(member, _)
            | Self::OutOfOfficeWarned(member)
            | Self::OnVacation(member)
            | Self::Registered(member) => vec![member.clone()],
            // Whoever has the new address is read too: it must be nobody's.
            Self::EmailChangeRequested(member, new_email) | Self::EmailChanged { member, new_email, .. } => {
                vec![member.clone(), MemberRef::Email(new_email.key())]
            }
            Self::Created(profile) | Self::Updated(profile) => profile.names(),
        }
    }
}

impl Change {
    /// Whether it changes no record by itself: without an automation nothing comes of it.
    pub fn only_mails(&self) -> bool {
        matches!(
            self,
            Self::ResetRequested(..)
                | Self::PasswordChanged(..)
                | Self::EmailChangeRequested(..)
                | Self::OutOfOfficeWarned(_)
                | Self::OnVacation(_)
                | Self::Registered(_)
        )
    }
}

impl Profile {
    fn names(&self) -> Vec<MemberRef> {
        let id = self.id.clone().map(MemberRef::Id);
        let username = self.username.as_deref().map(|name| MemberRef::Username(super::address::fold(name)));
        let email = self.email.as_ref().map(|email| MemberRef::Email(email.key()));
        [id, username, email].into_iter().flatten().collect()
    }
}

impl Profile {
    /// The member that this makes, under that id of that project.
    pub fn new_member(&self, key: &(ProjectId, String), email: &EmailAddress, time: DateTime<Utc>) -> Member {
        Member {
            project_id: key.0,
            id: key.1.clone(),
            // Without a username the address names the member, with an `@` that no username has.
            username: self.username.clone().unwrap_or_else(|| email.to_string()),
            email: email.to_string(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            locale: self.locale.clone(),
            is_admin: self.is_admin.unwrap_or_default(),
            on_vacation: false,
            auto_replies: 0,
            applied_at: time,
            tokens_ended_at: None,
            deleted_at: None,
            created_at: time,
        }
    }
}

impl ResetReason {
    const NAMES: [(&'static str, Self); 3] =
        [("member", Self::Member), ("admin", Self::Admin), ("forced", Self::Forced)];
}

impl ChangedBy {
    const NAMES: [(&'static str, Self); 3] =
        [("member", Self::Member), ("admin", Self::Admin), ("reset", Self::Reset)];
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// The member that `member` names; a bare `{"email": …}` is taken as `member`.
    fn member(&self) -> Result<MemberRef, Refusal> {
        let field = if self.0.contains_key("member") { "member" } else { "email" };
        let text = self.text(field)?.ok_or_else(|| Refusal::invalid("member", "is missing"))?;
        MemberRef::parse(text).map_err(|what| Refusal::invalid(field, what))
    }

    fn new_email(&self) -> Result<EmailAddress, Refusal> {
        self.email("new_email")?.ok_or_else(|| Refusal::invalid("new_email", "is missing"))
    }

    fn absence(&self) -> Result<Absence, Refusal> {
        let matched = self.checked("matched", check_line)?;
        let in_reply_to = self.checked("in_reply_to", check_line)?;
        let message_id = self.checked("message_id", check_line)?;
        let dispatch = in_reply_to.as_deref().and_then(answered_dispatch);
        let answered = match dispatch {
            Some(dispatch) => Some(dispatch.to_string()),
            None => in_reply_to.or(message_id),
        };
        Ok(Absence { matched, answered, dispatch })
    }

    /// The member of an event that tells of counted replies.
    fn counted(&self) -> Result<MemberRef, Refusal> {
        let member = self.member()?;
        for field in ["count", "limit"] {
            match self.0.get(field) {
                None | Some(Value::Null) => {}
                Some(number) if number.as_u64().is_some_and(|number| u32::try_from(number).is_ok()) => {}
                Some(_) => return Err(Refusal::invalid(field, "is not a number from 0 to 4294967295")),
            }
        }
        self.checked("matched", check_line)?;
        Ok(member)
    }

    fn profile(&self) -> Result<Profile, Refusal> {
        let profile = Profile {
            id: self.checked("id", check_id)?,
            username: self.checked("username", check_username)?,
            email: self.email("email")?,
            first_name: self.checked("first_name", check_name)?,
            last_name: self.checked("last_name", check_name)?,
            locale: self.checked("locale", check_locale)?,
            is_admin: self.flag("is_admin")?,
        };
        if profile.names().is_empty() {
            return Err(Refusal::invalid("member", "cannot be told: give `id`, `username` or `email`"));
        }
        Ok(profile)
    }

    fn text(&self, field: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(field, "is not a string")),
        }
    }

    fn checked(
        &self,
        field: &str,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Result<Option<String>, Refusal> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        check(text).map_err(|what| Refusal::invalid(field, what))?;
        Ok(Some(text.to_owned()))
    }

    fn email(&self, field: &str) -> Result<Option<EmailAddress>, Refusal> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        EmailAddress::parse(text).map(Some).map_err(|what| Refusal::invalid(field, what))
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, Refusal> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Refusal::invalid(field, "is not true or false")),
        }
    }

    fn one_of<T: Copy>(&self, field: &str, names: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        let all = || names.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| Refusal::invalid(field, &format!("is none of {}", all())))
    }
}

/// The dispatch whose Message-ID, or id, this is.
fn answered_dispatch(text: &str) -> Option<DispatchId> {
    let text = text.trim().trim_start_matches('<');
    if let Ok(id) = text.parse() {
        return Some(id);
    }
    let digits = text.split(['.', '@']).next().filter(|digits| digits.len() == 32)?;
    Uuid::try_parse(digits).ok().map(DispatchId)
}

fn check_line(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_ATTRIBUTE {
        return Err("is longer than 255 octets");
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character");
    }
    Ok(())
}

fn check_name(text: &str) -> Result<(), &'static str> {
    if text.chars().count() > MAX_NAME {
        return Err("is longer than 128 characters");
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character");
    }
    Ok(())
}

/// A language tag by its looks (RFC 5646): letters, digits and hyphens.
fn check_locale(text: &str) -> Result<(), &'static str> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if text.is_empty() || text.len() > 35 || !plain {
        return Err("is not a language tag such as `en` or `pt-BR`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: &str, data: &Value) -> Result<Change, Refusal> {
        Change::read(&format!("account.{kind}"), data)
    }

    #[test]
    fn a_bare_email_is_taken_as_the_member() {
        let change = read("password-reset-requested", &json!({"email": "Elon@tesla.example"})).unwrap();
        assert_eq!(
            change,
            Change::ResetRequested(MemberRef::Email("elon@tesla.example".into()), ResetReason::Member)
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (kind, data, field) in [
            ("password-reset-requested", json!({"member": ["a@x.example", "b@y.example"]}), "member"),
            ("password-reset-requested", json!({}), "member"),
            ("password-reset-requested", json!({"member": "elon", "reason": "because"}), "reason"),
            ("password-changed", json!({"member": "elon", "by": 7}), "by"),
            ("created", json!({"username": "elon", "email": "elon@"}), "email"),
            ("created", json!({"username": "a@b"}), "username"),
            ("created", json!({"username": "elon", "is_admin": "yes"}), "is_admin"),
            ("created", json!({"username": "elon", "first_name": "E\nlon"}), "first_name"),
            ("created", json!({"id": "7", "username": "elon"}), "id"),
            ("created", json!({"first_name": "Elon"}), "member"),
            ("deleted", json!([]), "data"),
            ("email-change-requested", json!({"member": "elon"}), "new_email"),
            (
                "email-change-requested",
                json!({"member": "elon", "new_email": "a@b.example, c@d.example"}),
                "new_email",
            ),
            ("email-changed", json!({"new_email": "a@b.example"}), "member"),
            (
                "email-changed",
                json!({"member": "elon", "new_email": "a@b.example", "old_email": 1}),
                "old_email",
            ),
            ("administrator-granted", json!({"member": {}}), "member"),
            ("out-of-office-detected", json!({"member": "elon", "in_reply_to": ["<1@x>"]}), "in_reply_to"),
            ("out-of-office-detected", json!({"member": "elon", "matched": "a\r\nb"}), "matched"),
            ("out-of-office-warned", json!({"member": "elon", "count": "2"}), "count"),
            ("on-vacation", json!({"member": "elon", "limit": -1}), "limit"),
        ] {
            let refusal = read(kind, &data).unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.field.as_deref()),
                (Reason::Invalid, Some(field)),
                "{kind} {data}"
            );
        }
        assert_eq!(read("exploded", &json!({})).unwrap_err().reason, Reason::UnknownType);
    }

    #[test]
    fn what_an_absence_answers_is_told_by_the_id_or_the_message_id_of_the_dispatch() {
        let id = DispatchId(Uuid::from_u128(7));
        let digits = id.0.simple();
        for (in_reply_to, dispatch, answered) in [
            (format!("<{digits}.0@acme.example>"), Some(id), id.to_string()),
            (format!("{digits}.3@acme.example"), Some(id), id.to_string()),
            (id.to_string(), Some(id), id.to_string()),
            ("<else@where.example>".to_owned(), None, "<else@where.example>".to_owned()),
        ] {
            let data = json!({ "member": "elon", "in_reply_to": in_reply_to, "message_id": "<1@x.example>" });
            let Change::OutOfOffice(_, absence) = read("out-of-office-detected", &data).unwrap() else {
                panic!()
            };
            assert_eq!((absence.dispatch, absence.answered), (dispatch, Some(answered)));
        }
    }
}
