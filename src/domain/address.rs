//! E-mail addresses and the keys under which members are looked up. An address is parsed once and trusted
//! from then on; mail always goes to the stored one, never to the one somebody typed.

use std::fmt;

use lettre::Address;
use serde::{Serialize, Serializer};

/// The longest address that fits an SMTP path (RFC 5321 section 4.5.3.1.3), in octets.
const MAX_ADDRESS: usize = 254;

/// One addr-spec (RFC 5321 Mailbox): no display name, no list, no group, no quoted local part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads one address, white space around it dropped.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() > MAX_ADDRESS {
            return Err("is longer than 254 octets");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "\"<>(),;:\\[]".contains(c)) {
            return Err("has a character that no plain e-mail address has");
        }
        text.parse::<Address>().map_err(|_| "is not an e-mail address")?;
        Ok(Self(text.to_owned()))
    }

    /// The address as stored and written into mails.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What look-ups compare.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EmailAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Folds ASCII letters only: Unicode folding makes different addresses equal (`ı`, `ſ`, `K`), and one of them
/// would be another person's.
pub fn fold(text: &str) -> String {
    text.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_groups_and_control_characters_are_refused() {
        for text in [
            "a@x.example,b@y.example",
            "a@x.example\r\nBcc: b@y.example",
            "A <a@x.example>",
            "a",
            "@x",
            "a b@x",
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_ascii_letters_are_folded() {
        assert_eq!(EmailAddress::parse(" Elon@Example.COM ").unwrap().key(), "elon@example.com");
        assert_ne!(fold("\u{212a}im@x.example"), fold("kim@x.example"), "the Kelvin sign is not a k");
    }
}
