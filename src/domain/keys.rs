//! Keys: one secret, one sub-key a use (HKDF-SHA256, RFC 5869), so that no use can stand in for another.
//! Older secrets stay valid for reading. No type here has `Debug` or `Serialize`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The half of an HMAC-SHA256 that a token carries, in octets.
const MAC_LENGTH: usize = 16;
/// The part of an HMAC-SHA256 that a return path carries, in octets: 16 letters, and more guesses than a mail
/// server takes.
pub const PATH_MAC_LENGTH: usize = 10;
/// The key id in front of what is sealed, in octets of text.
const KEY_ID_LENGTH: usize = 8;
/// The random nonce of XChaCha20-Poly1305, in octets.
const NONCE_LENGTH: usize = 24;

/// `SIGNALPOST_SECRET_KEY`: 32 bytes.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Reads base64 of 32 bytes.
    pub fn from_base64(text: &str) -> Option<Self> {
        BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// For the file in which `dev` keeps the one it made.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

/// The current key, which makes, and the older ones, which only read.
pub struct Keyring {
    current: SubKeys,
    old: Vec<SubKeys>,
}

struct SubKeys {
    id: String,
    tokens: [u8; 32],
    sealing: [u8; 32],
    origins: [u8; 32],
    paths: [u8; 32],
    fingerprints: [u8; 32],
}

impl SubKeys {
    fn derive(secret: &SecretKey) -> Self {
        let source = Hkdf::<Sha256>::new(None, &secret.0);
        let expand = |purpose: &str| {
            let mut key = [0; 32];
            // 32 octets are within HKDF-SHA256's limit of 8160, so this cannot fail.
            let expanded = source.expand(format!("signalpost/v1/{purpose}").as_bytes(), &mut key);
            debug_assert!(expanded.is_ok());
            key
        };
        let id = u32::from_be_bytes([0, 1, 2, 3].map(|place| expand("key-id")[place]));
        Self {
            id: format!("{id:08x}"),
            tokens: expand("tokens"),
            sealing: expand("sealing"),
            origins: expand("origins"),
            paths: expand("return-paths"),
            fingerprints: expand("fingerprints"),
        }
    }

    fn path_mac(&self, id: &[u8]) -> [u8; PATH_MAC_LENGTH] {
        let mut mac = hmac(&self.paths);
        mac.update(id);
        let mut short = [0; PATH_MAC_LENGTH];
        short.copy_from_slice(&mac.finalize().into_bytes()[..PATH_MAC_LENGTH]);
        short
    }

    fn token_mac(&self, purpose: &str, id: &[u8]) -> [u8; MAC_LENGTH] {
        let mut short = [0; MAC_LENGTH];
        short.copy_from_slice(&mac_of(&self.tokens, &[purpose.as_bytes(), id])[..MAC_LENGTH]);
        short
    }
}

/// The MAC of texts, each with its length, so that no two lists run into each other.
fn mac_of(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = hmac(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("a key of any length")
}

impl Keyring {
    pub fn new(current: &SecretKey, old: &[SecretKey]) -> Self {
        Self { current: SubKeys::derive(current), old: old.iter().map(SubKeys::derive).collect() }
    }

    /// The id under which new tokens are stored.
    pub fn current_id(&self) -> &str {
        &self.current.id
    }

    fn all(&self) -> impl Iterator<Item = &SubKeys> {
        std::iter::once(&self.current).chain(&self.old)
    }

    /// The MAC of a token id under the key of that id, if the key is still here.
    pub fn token_mac(&self, key_id: &str, purpose: &str, id: &[u8]) -> Option<[u8; MAC_LENGTH]> {
        self.all().find(|keys| keys.id == key_id).map(|keys| keys.token_mac(purpose, id))
    }

    /// Whether a presented MAC is right under any key, compared in constant time.
    pub fn is_token_mac(&self, purpose: &str, id: &[u8], mac: &[u8]) -> bool {
        self.all().any(|keys| keys.token_mac(purpose, id).ct_eq(mac).into())
    }

    /// What stands for texts that must not be stored, such as a body with a password in it.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac_of(&self.current.fingerprints, parts)
    }

    /// The MAC of the id in a return path, under the current key.
    pub fn path_mac(&self, id: &[u8]) -> [u8; PATH_MAC_LENGTH] {
        self.current.path_mac(id)
    }

    /// Whether the MAC in a return path is right under any key, compared in constant time.
    pub fn is_path_mac(&self, id: &[u8], mac: &[u8]) -> bool {
        self.all().any(|keys| keys.path_mac(id).ct_eq(mac).into())
    }

    /// The keys that prove where a message in the dead queue came from: the one that signs, then older ones.
    pub fn origin_keys(&self) -> ([u8; 32], Vec<[u8; 32]>) {
        (self.current.origins, self.old.iter().map(|keys| keys.origins).collect())
    }

    /// Seals a secret for the database. What is opened later must name the same `place`.
    pub fn seal(&self, place: &str, secret: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let mut nonce = [0; NONCE_LENGTH];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        // Only a text of more than 256 GiB fails, which no mail or password is.
        let text = cipher(&self.current).encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [self.current.id.as_bytes(), &nonce, &text].concat()
    }

    /// Seals anew with the current key what an older one sealed.
    pub fn reseal(&self, place: &str, sealed: &[u8], rng: &mut impl Rng) -> Resealed {
        if sealed.starts_with(self.current.id.as_bytes()) {
            return Resealed::Current;
        }
        let opened = self.open(place, sealed);
        opened.map_or(Resealed::Unreadable, |secret| Resealed::Anew(self.seal(place, &secret, rng)))
    }

    /// Opens what [`Keyring::seal`] made for the same `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = sealed.split_at_checked(KEY_ID_LENGTH)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LENGTH)?;
        let keys = self.all().find(|keys| keys.id.as_bytes() == id)?;
        let nonce: [u8; NONCE_LENGTH] = nonce.try_into().ok()?;
        cipher(keys).decrypt(&XNonce::from(nonce), Payload { msg: text, aad: place.as_bytes() }).ok()
    }
}

/// What came of sealing anew.
pub enum Resealed {
    /// The current key had sealed it.
    Current,
    Anew(Vec<u8>),
    /// No key at hand opens it.
    Unreadable,
}

fn cipher(keys: &SubKeys) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&keys.sealing.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place() {
        let keys = Keyring::new(&SecretKey::from_bytes([3; 32]), &[]);
        let sealed = keys.seal("integration/main", b"hunter2", &mut rand::rng());
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(keys.open("integration/main", &sealed).unwrap(), b"hunter2");
        assert!(keys.open("integration/other", &sealed).is_none());
        assert!(keys.open("integration/main", &sealed[..20]).is_none());
    }

    #[test]
    fn an_older_key_opens_what_it_sealed() {
        let old = SecretKey::from_bytes([3; 32]);
        let sealed = Keyring::new(&old, &[]).seal("p", b"secret", &mut rand::rng());
        let rotated = Keyring::new(&SecretKey::from_bytes([4; 32]), &[old]);
        assert_eq!(rotated.open("p", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn what_was_sealed_anew_needs_the_old_key_no_more() {
        let (old, new) = (SecretKey::from_bytes([3; 32]), SecretKey::from_bytes([4; 32]));
        let sealed = Keyring::new(&old, &[]).seal("p", b"secret", &mut rand::rng());
        let alone = Keyring::new(&new, &[]);
        assert!(matches!(alone.reseal("p", &sealed, &mut rand::rng()), Resealed::Unreadable));
        let both = Keyring::new(&new, &[old]);
        let Resealed::Anew(anew) = both.reseal("p", &sealed, &mut rand::rng()) else {
            panic!("not sealed anew")
        };
        assert_eq!(alone.open("p", &anew).unwrap(), b"secret");
        assert!(matches!(both.reseal("p", &anew, &mut rand::rng()), Resealed::Current));
    }

    #[test]
    fn a_secret_key_is_base64_of_32_bytes() {
        let key = SecretKey::from_bytes([9; 32]);
        assert!(SecretKey::from_base64(&key.to_base64()).is_some());
        assert!(SecretKey::from_base64("c2hvcnQ=").is_none());
    }
}
