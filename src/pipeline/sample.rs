//! A mail with a sample token, sent to try an automation: through its integration, captured where that captures,
//! and at once, since somebody waits for the answer. It is no dispatch: nobody is owed it.

use chrono::{DateTime, Utc};

use super::reach::{Reach, Step};
use crate::domain::catalogue::{Integration, IntegrationKind};
use crate::domain::id::DispatchId;
use crate::mail::capture::CapturedMail;
use crate::mail::templates::Rendered;
use crate::store::shown::StoredCapture;
use crate::store::{Store, StoreError, db};

/// Sends a mail to an address, and tells every step.
pub async fn send(
    store: &Store,
    reach: &Reach,
    through: &Integration,
    (to, template, mail): (&str, &str, Rendered),
    now: DateTime<Utc>,
) -> Result<Vec<Step>, StoreError> {
    if through.kind != IntegrationKind::Capture {
        return Ok(reach.try_out(through, Some((to, mail)), now).await);
    }
    let id = DispatchId::new_at(now);
    let mail = CapturedMail {
        project_id: through.project_id,
        template: template.to_owned(),
        from: through.sender.clone(),
        to: to.to_owned(),
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
    };
    let Ok(sealed) = mail.seal(&reach.keys, id, &mut rand::rng()) else {
        return Ok(vec![Step {
            step: "capture",
            ok: false,
            detail: "the mail could not be sealed".to_owned(),
        }]);
    };
    let capture = StoredCapture { dispatch_id: id.0, captured_at: now, sealed };
    let mut c = store.write().await?;
    db!(c, captures::insert(through.project_id.0, &capture))?;
    Ok(vec![Step { step: "capture", ok: true, detail: "the mail is in the mailbox".to_owned() }])
}
