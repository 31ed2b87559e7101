//! Tokens: `base64url(id ‖ mac)`. The id is 128 random bits and is stored; the MAC is made from it with a key
//! that is in no database, so nothing at rest is a token or can be made into one without the key. A retry
//! makes the same token again.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::Rng;
use uuid::Uuid;

use super::keys::Keyring;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What a token is good for. One that was issued for one purpose does nothing for another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Purpose {
    ResetPassword,
    ChangeEmail,
    UndoEmailChange,
    Notifications,
}

impl Purpose {
    pub const ALL: [Self; 4] =
        [Self::ResetPassword, Self::ChangeEmail, Self::UndoEmailChange, Self::Notifications];

    pub fn name(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset-password",
            Self::ChangeEmail => "change-email",
            Self::UndoEmailChange => "undo-email-change",
            Self::Notifications => "notifications",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// The only event type that it has a meaning for.
    pub fn only_event(self) -> Option<&'static str> {
        match self {
            Self::ChangeEmail => Some("account.email-change-requested"),
            Self::UndoEmailChange => Some("account.email-changed"),
            Self::ResetPassword | Self::Notifications => None,
        }
    }

    /// The only one that can go with an event type, whose mails go to an address that nobody has confirmed or to
    /// one that was left: any other would hand the account over.
    pub fn only_of(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.only_event() == Some(event_type))
    }

    /// How long a token lives when nothing else is said: 30 min, 60 min, 7 days, 30 days.
    pub fn default_lifetime(self) -> Duration {
        Duration::from_secs(match self {
            Self::ResetPassword => 30 * MINUTE,
            Self::ChangeEmail => 60 * MINUTE,
            Self::UndoEmailChange => 7 * DAY,
            Self::Notifications => 30 * DAY,
        })
    }

    /// The longest lifetime that may be asked for: 12 h, 24 h, and for the last two 30 days.
    pub fn longest_lifetime(self) -> Duration {
        Duration::from_secs(match self {
            Self::ResetPassword => 12 * HOUR,
            Self::ChangeEmail => 24 * HOUR,
            Self::UndoEmailChange | Self::Notifications => 30 * DAY,
        })
    }
}

/// The stored half of a token: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, sqlx::Type)]
#[sqlx(transparent)]
pub struct TokenId(pub Uuid);

impl TokenId {
    /// A new id out of a cryptographically secure source.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(Uuid::from_bytes(bytes))
    }
}

/// A token as it stands in a mail: a secret, so it has no `Debug`, `Display` or `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Makes the token of an id with the key that the id was issued under.
    pub fn make(keys: &Keyring, key_id: &str, purpose: Purpose, id: TokenId) -> Option<Self> {
        let mac = keys.token_mac(key_id, purpose.name(), id.0.as_bytes())?;
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(id.0.as_bytes());
        bytes[16..].copy_from_slice(&mac);
        Some(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, for the one mail that it goes into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A token that somebody presented, when its MAC is right under one of the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Genuine {
    pub id: TokenId,
    pub purpose: Purpose,
}

impl Genuine {
    /// Checks what was presented. `None` says nothing of why: a forged, mistyped or foreign token.
    pub fn read(keys: &Keyring, presented: &str) -> Option<Self> {
        let bytes: [u8; 32] = BASE64_URL_SAFE_NO_PAD.decode(presented).ok()?.try_into().ok()?;
        let (id, mac) = bytes.split_at(16);
        let purpose = Purpose::ALL.into_iter().find(|purpose| keys.is_token_mac(purpose.name(), id, mac))?;
        Some(Self { id: TokenId(Uuid::from_slice(id).ok()?), purpose })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::SecretKey;

    fn keyring(byte: u8) -> Keyring {
        Keyring::new(&SecretKey::from_bytes([byte; 32]), &[])
    }

    #[test]
    fn a_token_is_made_again_from_its_id_and_read_back() {
        let keys = keyring(1);
        let id = TokenId(Uuid::from_u128(99));
        let token = Token::make(&keys, keys.current_id(), Purpose::ResetPassword, id).unwrap();
        let again = Token::make(&keys, keys.current_id(), Purpose::ResetPassword, id).unwrap();
        assert!(token == again);
        assert_eq!(token.expose().len(), 43);
        let read = Genuine::read(&keys, token.expose()).unwrap();
        assert_eq!(read, Genuine { id, purpose: Purpose::ResetPassword });
    }

    #[test]
    fn an_old_key_still_reads_and_a_foreign_one_does_not() {
        let id = TokenId(Uuid::from_u128(5));
        let old = keyring(1);
        let token = Token::make(&old, old.current_id(), Purpose::ChangeEmail, id).unwrap();
        let rotated = Keyring::new(&SecretKey::from_bytes([2; 32]), &[SecretKey::from_bytes([1; 32])]);
        assert!(Genuine::read(&rotated, token.expose()).is_some());
        assert!(Genuine::read(&keyring(2), token.expose()).is_none());
    }

    #[test]
    fn every_changed_character_makes_it_unknown() {
        let keys = keyring(1);
        let id = TokenId(Uuid::from_u128(u128::MAX / 3));
        let token = Token::make(&keys, keys.current_id(), Purpose::ResetPassword, id).unwrap();
        for place in 0..43 {
            let mut text: Vec<u8> = token.expose().bytes().collect();
            text[place] = if text[place] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(text).unwrap();
            assert!(Genuine::read(&keys, &text).is_none(), "place {place}");
        }
    }
}
