//! Members: accounts of a project, and the three ways to name one.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::address::fold;
use super::id::ProjectId;

/// The longest member id, username or name, in characters.
pub const MAX_NAME: usize = 128;

/// An account as stored. A deleted one stays as a tombstone, so that a late event does not bring it back.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Member {
    #[serde(skip)]
    pub project_id: ProjectId,
    pub id: String,
    pub username: String,
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub locale: Option<String>,
    pub is_admin: bool,
    pub on_vacation: bool,
    pub auto_replies: i32,
    /// Time of the event that was applied last.
    #[serde(skip)]
    pub applied_at: DateTime<Utc>,
    /// Requests from before this moment issue no token any more.
    #[serde(skip)]
    pub tokens_ended_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub deleted_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub created_at: DateTime<Utc>,
}

impl Member {
    pub fn is_live(&self) -> bool {
        self.deleted_at.is_none()
    }
}

/// How somebody names a member. The form alone decides which key is looked up.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MemberRef {
    /// `mem_…`
    Id(String),
    /// Has an `@`; ASCII case folded.
    Email(String),
    /// Has neither; ASCII case folded.
    Username(String),
}

impl MemberRef {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty");
        }
        if text.chars().count() > 254 {
            return Err("is longer than 254 characters");
        }
        if text.starts_with("mem_") {
            return check_id(text).map(|()| Self::Id(text.to_owned()));
        }
        Ok(if text.contains('@') { Self::Email(fold(text)) } else { Self::Username(fold(text)) })
    }

    /// The kind and the key, as the look-up statement takes them.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Id(key) => ("id", key),
            Self::Email(key) => ("email", key),
            Self::Username(key) => ("username", key),
        }
    }
}

/// A member's id: `mem_` and up to 124 letters, digits, `-` or `_`.
pub fn check_id(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("mem_").ok_or("does not start with `mem_`")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if rest.is_empty() || text.len() > MAX_NAME || !rest.chars().all(plain) {
        return Err("is not `mem_` and up to 124 letters, digits, `-` or `_`");
    }
    Ok(())
}

/// A username: no `@`, no `mem_` prefix (either would be looked up as something else), no control character.
pub fn check_username(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.chars().count() > MAX_NAME {
        return Err("is not 1 to 128 characters long");
    }
    if text.contains('@') || text.starts_with("mem_") {
        return Err("has an `@` or starts with `mem_`, so it would be read as an e-mail address or an id");
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err("has a control character, or white space at an end");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_alone_decides_what_is_looked_up() {
        assert_eq!(MemberRef::parse("mem_7").unwrap(), MemberRef::Id("mem_7".into()));
        assert_eq!(
            MemberRef::parse("Elon@Example.com").unwrap(),
            MemberRef::Email("elon@example.com".into())
        );
        assert_eq!(MemberRef::parse("Elon").unwrap(), MemberRef::Username("elon".into()));
        assert!(MemberRef::parse("mem_<7>").is_err());
        assert!(MemberRef::parse("  ").is_err());
    }
}
