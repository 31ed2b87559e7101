//! Passwords: what is good enough, and Argon2id. Hashing takes about 30 ms and 19 MiB: callers run it on a
//! blocking thread behind a bound.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use super::address::fold;

/// Shortest and longest password, in characters.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;
/// What zxcvbn (0 to 4) must say of a member's password: "fair".
const MEMBER_SCORE: u8 = 2;
/// And of an administrator's: "strong".
const ADMINISTRATOR_SCORE: u8 = 3;

/// Memory in KiB, passes and lanes of Argon2id, as OWASP advises.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that somebody wants to set or proves to know. Has no `Debug` and no `Serialize`.
#[derive(Clone, serde::Deserialize)]
pub struct Password(String);

impl Password {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whose password it is to be.
pub struct Owner<'a> {
    pub username: &'a str,
    pub email: &'a str,
    pub is_admin: bool,
}

/// Says why a password is refused, as the end of the sentence "The password …".
pub fn check(password: &Password, owner: &Owner<'_>) -> Result<(), &'static str> {
    let text = &password.0;
    if !LENGTHS.contains(&text.chars().count()) {
        return Err("must be 8 to 128 characters long");
    }
    if text.chars().any(|c| c == '\0') {
        return Err("must not have a NUL character");
    }
    let (folded, email) = (fold(text), fold(owner.email));
    let local = email.split('@').next().unwrap_or_default();
    if folded == fold(owner.username) || folded == email || folded == local {
        return Err("must not be the username or the e-mail address");
    }
    let score = u8::from(zxcvbn::zxcvbn(text, &[owner.username, owner.email]).score());
    match (owner.is_admin, score) {
        (true, score) if score < ADMINISTRATOR_SCORE => {
            Err("is too easy to guess for an administrator: use a longer one, or several unrelated words")
        }
        (false, score) if score < MEMBER_SCORE => {
            Err("is too easy to guess: use a longer one, or several unrelated words")
        }
        _ => Ok(()),
    }
}

/// Hashes for storage, as a PHC string with a salt of its own.
pub fn hash(password: &Password) -> Result<String, argon2::password_hash::Error> {
    Ok(hasher()?.hash_password(password.0.as_bytes())?.to_string())
}

/// Whether the password is the one that was hashed. A hash that cannot be read is nobody's.
pub fn verify(password: &Password, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.0.as_bytes(), &hash).is_ok())
}

fn hasher() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, is_admin: bool) -> bool {
        let owner = Owner { username: "elon.example", email: "elon.musk@example.com", is_admin };
        check(&Password::new(text.to_owned()), &owner).is_err()
    }

    #[test]
    fn weak_passwords_are_refused_and_administrators_need_better_ones() {
        for text in ["short", "password", "12345678", "elon.example", "ELON.MUSK", &"x".repeat(129)] {
            assert!(refused(text, false), "{text}");
        }
        assert!(!refused("correct horse battery staple", true));
        let fair = "gravelpiano";
        assert!(!refused(fair, false));
        assert!(refused(fair, true));
    }

    #[test]
    fn only_the_same_password_verifies() {
        let hash = hash(&Password::new("correct horse".to_owned())).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(&Password::new("correct horse".to_owned()), &hash));
        assert!(!verify(&Password::new("correct horsf".to_owned()), &hash));
        assert!(!verify(&Password::new("correct horse".to_owned()), "no hash"));
    }
}
