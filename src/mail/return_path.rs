//! Addresses that name the dispatch they were made for: `bounces+ID.MAC@acme.example`, the id in hexadecimal and the
//! MAC in base32, both in lower case, since mail servers may change the case of an address. Only who has the key can
//! make one, so a reply to one can be trusted to answer that dispatch. Must not know what is replied.

use uuid::Uuid;

use crate::domain::id::DispatchId;
use crate::domain::keys::{Keyring, PATH_MAC_LENGTH};

/// Longest local part of an address (RFC 5321 section 4.5.3.1.1), in octets.
const LONGEST_LOCAL_PART: usize = 64;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The address with the dispatch in it. An address whose local part has no room for it stays as it is.
#[must_use]
pub fn signed(keys: &Keyring, address: &str, dispatch: DispatchId) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
    let id = dispatch.0;
    let local = format!("{local}+{}.{}", id.simple(), base32(&keys.path_mac(id.as_bytes())));
    if local.len() > LONGEST_LOCAL_PART { address.to_owned() } else { format!("{local}@{domain}") }
}

/// The dispatch that an address names, if its MAC is right.
#[must_use]
pub fn read(keys: &Keyring, address: &str) -> Option<DispatchId> {
    let (local, _) = address.rsplit_once('@')?;
    let (_, tag) = local.rsplit_once('+')?;
    let (id, mac) = tag.split_once('.')?;
    let id = Some(id).filter(|id| id.len() == 32).and_then(|id| Uuid::try_parse(id).ok())?;
    keys.is_path_mac(id.as_bytes(), &unbase32(mac)?).then_some(DispatchId(id))
}

/// The address that a signed one was made from.
#[must_use]
pub fn unsigned(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let (local, _) = local.rsplit_once('+')?;
    Some(format!("{local}@{domain}"))
}

/// Ten octets as sixteen letters.
fn base32(octets: &[u8; PATH_MAC_LENGTH]) -> String {
    let bits = octets.iter().fold(0_u128, |bits, octet| bits << 8 | u128::from(*octet));
    (0..16).rev().map(|place| char::from(LETTERS[(bits >> (5 * place) & 31) as usize])).collect()
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    if text.len() != 16 {
        return None;
    }
    let mut bits = 0_u128;
    for letter in text.bytes() {
        let place = LETTERS.iter().position(|other| *other == letter.to_ascii_lowercase())?;
        bits = bits << 5 | place as u128;
    }
    Some(bits.to_be_bytes()[16 - PATH_MAC_LENGTH..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::LONGEST_PATH;
    use crate::domain::keys::SecretKey;

    const ID: DispatchId = DispatchId(Uuid::from_u128(0x0190_8000_0000_7000_8000_0000_0000_00ff));

    fn keys(byte: u8) -> Keyring {
        Keyring::new(&SecretKey::from_bytes([byte; 32]), &[])
    }

    #[test]
    fn a_path_names_its_dispatch_in_any_case() {
        let path = signed(&keys(1), "bounces@acme.example", ID);
        assert!(path.starts_with("bounces+0190800000007000800000000000 00ff.".replace(' ', "").as_str()));
        assert_eq!(path, path.to_lowercase());
        assert!(path.split_once('@').unwrap().0.len() <= LONGEST_LOCAL_PART);
        assert_eq!(read(&keys(1), &path), Some(ID));
        assert_eq!(read(&keys(1), &path.to_uppercase()), Some(ID));
        let rotated = Keyring::new(&SecretKey::from_bytes([2; 32]), &[SecretKey::from_bytes([1; 32])]);
        assert_eq!(read(&rotated, &path), Some(ID));
        assert_eq!(unsigned(&path).as_deref(), Some("bounces@acme.example"));
    }

    #[test]
    fn a_forged_or_altered_path_names_none() {
        let path = signed(&keys(1), "bounces@acme.example", ID);
        assert_eq!(read(&keys(2), &path), None);
        for place in 8..path.find('@').unwrap() {
            let mut altered = path.clone().into_bytes();
            altered[place] = if altered[place] == b'2' { b'3' } else { b'2' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(read(&keys(1), &altered), None, "{altered}");
        }
        for none in ["bounces@acme.example", "bounces+x.y@acme.example", "+.@x", "", "é+é.é@x"] {
            assert_eq!(read(&keys(1), none), None);
        }
    }

    #[test]
    fn an_address_without_room_stays_as_it_is() {
        let long = format!("{}@acme.example", "b".repeat(LONGEST_PATH + 1));
        assert_eq!(signed(&keys(1), &long, ID), long);
        let fits = format!("{}@acme.example", "b".repeat(LONGEST_PATH));
        assert_ne!(signed(&keys(1), &fits, ID), fits);
    }
}
