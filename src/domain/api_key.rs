//! API keys: the secret that a service sends with each call, and what it may do. Must not know how a key is
//! carried or where its hash is kept.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};

/// What every key starts with, so that a scanner finds one that was left in a repository.
const PREFIX: &str = "sp_";
/// The random bits of a key, in octets.
const SECRET_LENGTH: usize = 32;

/// A key as its holder has it: `sp_` and 43 characters. A secret, so it has no `Debug`, `Display` or
/// `Serialize`.
#[derive(Clone)]
pub struct ApiKey(String);

/// What is stored of a key. The key is 256 random bits, so a plain hash of it cannot be turned back.
pub type KeyHash = [u8; 32];

impl ApiKey {
    pub fn generate(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; SECRET_LENGTH];
        rng.fill_bytes(&mut bytes);
        Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a presented key; `None` when its form is not that of any key.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(digits).ok()?;
        (bytes.len() == SECRET_LENGTH).then(|| Self(text.to_owned()))
    }

    /// The text, for the one time that it is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> KeyHash {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// What a key may do. The names are part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

    /// Scopes as a JSON list of their names, as they are stored.
    pub fn list_to_json(scopes: &[Self]) -> String {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        serde_json::Value::from(names).to_string()
    }

    /// Reads a stored list. What this binary does not know gives no right.
    pub fn list_from_json(text: &str) -> Vec<Self> {
        let names: Vec<String> = serde_json::from_str(text).unwrap_or_default();
        names.iter().filter_map(|name| Self::from_name(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_46_characters_and_reads_back() {
        let key = ApiKey::generate(&mut rand::rng());
        assert_eq!(key.expose().len(), 46);
        assert_eq!(ApiKey::parse(key.expose()).unwrap().hash(), key.hash());
        assert_ne!(ApiKey::generate(&mut rand::rng()).hash(), key.hash());
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_none() {
        let key = ApiKey::generate(&mut rand::rng());
        let text = key.expose();
        for wrong in ["", "sp_", &text[3..], &text[..45], &format!("{text}A"), &text.replace("sp_", "SP_")] {
            assert!(ApiKey::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn scopes_are_stored_by_name_and_unknown_ones_give_nothing() {
        let json = Scope::list_to_json(&Scope::ALL);
        assert_eq!(Scope::list_from_json(&json), Scope::ALL);
        assert_eq!(Scope::list_from_json(r#"["read","root"]"#), [Scope::Read]);
        assert_eq!(Scope::list_from_json("read"), []);
    }
}
