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

/// The dearest hash of another system that is taken.
const MOST_MEMORY_KIB: u32 = 262_144;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 8;
/// What is checked where there is no hash.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2lnbmFscG9zdC5zYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

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

/// Whether the password is the one that was hashed. Without a hash, or with one that cannot be read, it is not, and
/// that takes as long to find out.
pub fn verify(password: &Password, hash: Option<&str>) -> bool {
    let is_hashed = |hash: &str| {
        let hash = PasswordHash::new(hash).ok()?;
        Some(Argon2::default().verify_password(password.0.as_bytes(), &hash).is_ok())
    };
    hash.and_then(is_hashed).unwrap_or_else(|| {
        // Nobody knows a password of this hash.
        is_hashed(NOBODYS);
        false
    })
}

/// Says why a hash of another system is not taken, as the end of the sentence "`password_hash` …".
pub fn check_hash(text: &str) -> Result<(), &'static str> {
    const WRONG: &str = "is not an Argon2 hash as a PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`";
    let hash = PasswordHash::new(text).map_err(|_| WRONG)?;
    Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| WRONG)?;
    let params = Params::try_from(&hash).map_err(|_| WRONG)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(WRONG);
    }
    // Whoever tries to sign in would make this process do all of it.
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err("takes more than 256 MiB, 10 passes or 8 lanes to check");
    }
    Ok(())
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
        assert!(verify(&Password::new("correct horse".to_owned()), Some(&hash)));
        assert!(!verify(&Password::new("correct horsf".to_owned()), Some(&hash)));
        for nobodys in [None, Some("no hash"), Some(NOBODYS)] {
            assert!(!verify(&Password::new("correct horse".to_owned()), nobodys));
        }
        assert!(PasswordHash::new(NOBODYS).is_ok(), "it is checked, so that it takes as long");
    }

    #[test]
    fn a_hash_of_another_system_is_taken_if_it_is_argon2_and_not_too_dear() {
        let salted =
            |params: &str| format!("${params}$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        for fine in ["argon2id$v=19$m=65536,t=3,p=4", "argon2i$v=19$m=4096,t=3,p=1"] {
            assert_eq!(check_hash(&salted(fine)), Ok(()), "{fine}");
        }
        for dear in ["argon2id$v=19$m=4194304,t=2,p=1", "argon2id$v=19$m=65536,t=99,p=1"] {
            assert!(check_hash(&salted(dear)).is_err(), "{dear}");
        }
        let others = ["", "password", "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"];
        for other in others.map(str::to_owned).into_iter().chain([salted("scrypt$ln=17,r=8,p=1")]) {
            assert!(check_hash(&other).is_err(), "{other}");
        }
        assert!(check_hash("$argon2id$v=19$m=65536,t=3,p=4").is_err(), "without salt and hash");
    }
}
