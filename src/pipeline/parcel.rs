//! Step 5 to 6: a rendered mail made ready for the wire.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::instrument::{Instrument as _, Instrumented};

use super::render;
use crate::domain::catalogue::{Integration, SmtpServer};
use crate::domain::dispatch::Owed;
use crate::domain::keys::Keyring;
use crate::mail::return_path;
use crate::mail::templates::Rendered;
use crate::mail::wire::{Envelope, Wire};

/// A mail that is ready to go.
pub struct Parcel<'a> {
    pub owed: &'a Owed,
    pub integration: &'a Arc<Integration>,
    pub server: &'a SmtpServer,
    pub envelope: Envelope,
    pub wire: Wire,
}

/// Makes a mail ready for the wire.
pub fn parcel<'a>(
    keys: &Keyring,
    owed: &'a Owed,
    mail: &Rendered,
    (integration, server): (&'a Arc<Integration>, &'a SmtpServer),
    now: DateTime<Utc>,
) -> Result<Parcel<'a>, Box<dyn std::error::Error + Send + Sync>> {
    let octets = render::octets(owed, mail, (integration, keys), now)?;
    let sender: lettre::message::Mailbox = integration.sender.parse()?;
    let return_path = integration.return_path.as_deref().map(|path| return_path::signed(keys, path, owed.id));
    let sender = return_path.as_deref().unwrap_or(sender.email.as_ref());
    let envelope = Envelope::new(sender, &owed.recipient)?;
    Ok(Parcel { owed, integration, server, envelope, wire: Wire::encode(&octets)? })
}

/// The sending in a span of its own, which names the publisher's trace if there is one.
pub fn traced<F: Future>(owed: &Owed, sending: F) -> Instrumented<F> {
    let traceparent = owed.traceparent.as_deref();
    let span = tracing::info_span!("send", dispatch.id = %owed.id, event.id = %owed.event_id, traceparent);
    sending.instrument(span)
}
