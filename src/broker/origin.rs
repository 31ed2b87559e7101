//! Where a refused message came from, proven. The header `x-signalpost-origin` carries exchange, routing key and a
//! MAC over them, the identity and the body: moved back by any tool, even through the default exchange, the
//! message is known as a replay and cannot speak for another project. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Tells this use of a key from any other.
const PURPOSE: &[u8] = b"signalpost/v1/origin";

/// The current key, which signs, and older ones, which only verify. Has no `Debug`.
#[derive(Clone)]
pub struct OriginKeys {
    current: [u8; 32],
    old: Vec<[u8; 32]>,
}

/// Where a message came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin<'a> {
    pub exchange: Cow<'a, str>,
    pub routing_key: Cow<'a, str>,
    /// The property `user_id`, which nobody else can set again: it may be the event's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Cow<'a, str>>,
}

/// Which event a message is. What could not be told is empty.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub project: &'a str,
    pub source: &'a str,
    pub id: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Signed<'a> {
    #[serde(flatten, borrow)]
    origin: Origin<'a>,
    mac: Cow<'a, str>,
}

impl OriginKeys {
    pub fn new(current: [u8; 32], old: Vec<[u8; 32]>) -> Self {
        Self { current, old }
    }

    /// The text of the header.
    pub fn sign(&self, origin: &Origin<'_>, identity: Identity<'_>, body: &[u8]) -> String {
        let mac = mac(&self.current, origin, identity, body).finalize().into_bytes();
        let mac = BASE64_URL_SAFE_NO_PAD.encode(mac).into();
        serde_json::to_string(&Signed { origin: origin.clone(), mac }).unwrap_or_default()
    }

    /// Reads a header. The caller decodes the message as of that origin and asks [`Self::is_genuine`] about it.
    pub fn read(header: &str) -> Option<(Origin<'static>, Vec<u8>)> {
        let Signed { origin, mac } = serde_json::from_str(header).ok()?;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let origin = Origin {
            exchange: owned(origin.exchange),
            routing_key: owned(origin.routing_key),
            user_id: origin.user_id.map(owned),
        };
        Some((origin, BASE64_URL_SAFE_NO_PAD.decode(mac.as_bytes()).ok()?))
    }

    /// Whether we signed it, for this event and this body. Compared in constant time.
    pub fn is_genuine(&self, read: &(Origin<'_>, Vec<u8>), identity: Identity<'_>, body: &[u8]) -> bool {
        let mut keys = std::iter::once(&self.current).chain(&self.old);
        keys.any(|key| mac(key, &read.0, identity, body).verify_slice(&read.1).is_ok())
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac(key: &[u8; 32], origin: &Origin<'_>, identity: Identity<'_>, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    let user_id = origin.user_id.as_deref().unwrap_or_default();
    let Identity { project, source, id } = identity;
    let texts = [&origin.exchange, &origin.routing_key, user_id, project, source, id].map(str::as_bytes);
    for part in [PURPOSE].into_iter().chain(texts).chain([body]) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity<'_> = Identity { project: "acme", source: "shop", id: "1" };

    fn origin() -> Origin<'static> {
        Origin {
            exchange: "signalpost.events".into(),
            routing_key: "acme.account.created".into(),
            user_id: Some("alice".into()),
        }
    }

    #[test]
    fn only_what_was_signed_is_genuine() {
        let keys = OriginKeys::new([1; 32], vec![]);
        let header = keys.sign(&origin(), IDENTITY, b"body");
        let read = OriginKeys::read(&header).unwrap();
        assert_eq!(read.0, origin());
        assert!(keys.is_genuine(&read, IDENTITY, b"body"));
        assert!(!keys.is_genuine(&read, IDENTITY, b"bodz"));
        assert!(!keys.is_genuine(&read, Identity { id: "2", ..IDENTITY }, b"body"));
        assert!(!keys.is_genuine(&read, Identity { project: "acmesho", source: "p", ..IDENTITY }, b"body"));
        for other in [
            header.replace("acme.", "other."),
            header.replace("alice", "mallory"),
            header.replace("signalpost.events", ""),
        ] {
            let read = OriginKeys::read(&other).unwrap();
            assert!(!keys.is_genuine(&read, IDENTITY, b"body"), "{other}");
        }
        assert!(!OriginKeys::new([2; 32], vec![]).is_genuine(&read, IDENTITY, b"body"));
        assert!(OriginKeys::new([2; 32], vec![[1; 32]]).is_genuine(&read, IDENTITY, b"body"));
    }

    #[test]
    fn a_header_of_another_form_is_none() {
        for header in ["", "{}", "null", r#"{"exchange":"","routing_key":"","mac":"*"}"#, r#"{"mac":"AA"}"#] {
            assert!(OriginKeys::read(header).is_none(), "{header}");
        }
    }
}
