//! Step 5 to 6: a rendered mail made ready for the wire.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::render;
use crate::domain::catalogue::{Integration, SmtpServer};
use crate::domain::dispatch::Owed;
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
    owed: &'a Owed,
    mail: &Rendered,
    (integration, server): (&'a Arc<Integration>, &'a SmtpServer),
    now: DateTime<Utc>,
) -> Result<Parcel<'a>, Box<dyn std::error::Error + Send + Sync>> {
    let octets = render::octets(owed, mail, integration, now)?;
    let sender: lettre::message::Mailbox = integration.sender.parse()?;
    let envelope = Envelope::new(sender.email.as_ref(), &owed.recipient)?;
    Ok(Parcel { owed, integration, server, envelope, wire: Wire::encode(&octets)? })
}

/// In the publisher's trace, if it named one.
pub fn span(owed: &Owed) -> tracing::Span {
    let traceparent = owed.traceparent.as_deref();
    tracing::info_span!("send", dispatch.id = %owed.id, event.id = %owed.event_id, traceparent)
}
