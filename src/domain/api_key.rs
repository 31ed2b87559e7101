//! API keys: `sp_` and 256 random bits. Only a SHA-256 is stored, since nobody guesses 256 bits.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};

const PREFIX: &str = "sp_";
/// Characters of base64url that 32 bytes make.
const LENGTH: usize = 43;

/// A key as it is shown once and then presented: a secret, so it has no `Debug`, `Display` or `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A new key out of a cryptographically secure source.
    pub fn generate(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads what has the form of a key.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (rest.len() == LENGTH && rest.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The text, for the one who is given the key.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored and looked up.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Scope {
    EventsWrite,
    AccountsWrite,
    AutomationsWrite,
    IntegrationsWrite,
    Read,
}

impl Scope {
    pub const ALL: [Self; 5] =
        [Self::EventsWrite, Self::AccountsWrite, Self::AutomationsWrite, Self::IntegrationsWrite, Self::Read];

    pub fn name(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::AccountsWrite => "accounts:write",
            Self::AutomationsWrite => "automations:write",
            Self::IntegrationsWrite => "integrations:write",
            Self::Read => "read",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_only_whole() {
        let key = ApiKey::generate(&mut rand::rng());
        assert!(ApiKey::parse(key.expose()).unwrap() == key);
        for wrong in [&key.expose()[..45], &key.expose()[3..], "sp_", &key.expose().replace("sp_", "sk_")] {
            assert!(ApiKey::parse(wrong).is_none());
        }
    }

    #[test]
    fn every_scope_has_its_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
        }
        assert_eq!(Scope::from_name("events:read"), None);
    }
}
