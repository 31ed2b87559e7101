//! A mail that was kept instead of sent: what is kept of it, and how it is sealed. Must not know where sealed
//! mails are stored or how they are shown.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::domain::id::{DispatchId, ProjectId};
use crate::domain::keys::Keyring;

/// A captured mail. It may hold a live token, so it has no `Debug` and is stored only sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedMail {
    pub project_id: ProjectId,
    pub template: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl CapturedMail {
    /// Seals the mail of a dispatch for the database.
    pub fn seal(
        &self,
        keys: &Keyring,
        dispatch: DispatchId,
        rng: &mut impl Rng,
    ) -> Result<Vec<u8>, serde_json::Error> {
        Ok(keys.seal(&place(dispatch), &serde_json::to_vec(self)?, rng))
    }

    /// Opens what was sealed for the same dispatch, if its key is still here.
    pub fn open(keys: &Keyring, dispatch: DispatchId, sealed: &[u8]) -> Option<Self> {
        serde_json::from_slice(&keys.open(&place(dispatch), sealed)?).ok()
    }
}

pub fn place(dispatch: DispatchId) -> String {
    format!("capture/{dispatch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::SecretKey;
    use uuid::Uuid;

    #[test]
    fn a_mail_opens_only_as_the_one_of_its_dispatch() {
        let keys = Keyring::new(&SecretKey::from_bytes([7; 32]), &[]);
        let mail = CapturedMail {
            project_id: ProjectId(Uuid::from_u128(1)),
            template: "change-password".to_owned(),
            from: "Acme <no-reply@acme.example>".to_owned(),
            to: "elon@example.com".to_owned(),
            subject: "Hello".to_owned(),
            text: "text".to_owned(),
            html: "<p>html</p>".to_owned(),
        };
        let (one, two) = (DispatchId(Uuid::from_u128(2)), DispatchId(Uuid::from_u128(3)));
        let sealed = mail.seal(&keys, one, &mut rand::rng()).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("elon"));
        assert!(CapturedMail::open(&keys, one, &sealed).unwrap() == mail);
        assert!(CapturedMail::open(&keys, two, &sealed).is_none());
    }
}
