//! A person's reply is passed on to whom the integration names in `reply_to`: once, and never in a circle. A row is
//! written before and marked after sending; what fails is taken again by whoever brings the reply again, so that none
//! is lost, and a crash between the two doubles one mail with the same Message-ID at most.

use std::error::Error;

use chrono::TimeDelta;
use lettre::message::Mailbox;

use super::Unavailable;
use super::reach::limits;
use super::replies::{Replies, ReplyError};
use crate::domain::address::fold;
use crate::domain::catalogue::{Integration, IntegrationKind, SmtpServer};
use crate::domain::keys::Keyring;
use crate::domain::token::Genuine;
use crate::inbound::{PASSED_ON, Reply};
use crate::mail::connection::Connection;
use crate::mail::message::{self, BuildError, build};
use crate::mail::templates::Rendered;
use crate::mail::wire::{Envelope, Wire};
use crate::store::{StoreError, db};

/// Longer than sending takes. Who has said nothing for so long has died over it.
const SENDING: TimeDelta = TimeDelta::seconds(60);
/// Stands for a token that a mail program quoted without a mark.
const NO_TOKEN: &str = "[…]";
const NO_TEXT: &str = "(The reply has no text but what it quotes, or none that could be read.)";

/// What became of a person's reply.
pub enum PassedOn {
    /// Now or before.
    Yes,
    /// And why.
    No(&'static str),
}

impl Replies {
    /// Passes a reply on, unless it was passed on before.
    pub(super) async fn pass_on(
        &self,
        integration: &Integration,
        reply: &Reply,
    ) -> Result<PassedOn, ReplyError> {
        let Some(to) = integration.reply_to.as_deref() else {
            return Ok(PassedOn::No("the integration has no `reply_to`"));
        };
        let IntegrationKind::Smtp(server) = &integration.kind else {
            return Ok(PassedOn::No("the integration captures mail and sends none"));
        };
        if reply.writer.as_deref().is_some_and(|writer| fold(writer) == fold(to)) {
            return Ok(PassedOn::No("it comes from the `reply_to` that it would go to"));
        }
        if integration.paused {
            return Err(Unavailable.into());
        }
        let fingerprint = fingerprint(&self.keys, reply);
        if !self.take(integration, &fingerprint).await? {
            return Ok(PassedOn::Yes);
        }
        let parcel = parcel(&self.keys, (integration, to), reply, (&fingerprint, self.clock.now()));
        let sent = match parcel {
            Ok(parcel) => self.send(integration, server, &parcel).await,
            Err(why) => Err(why),
        };
        let (project, mut c) = (integration.project_id.0, self.store.write().await?);
        match sent {
            Ok(()) => {
                db!(c, passed_on::finish((project, &fingerprint), self.clock.now()))?;
                Ok(PassedOn::Yes)
            }
            Err(why) => {
                tracing::warn!(integration.id = %integration.id, error = %why, "a reply could not be passed on yet");
                db!(c, passed_on::release(project, &fingerprint))?;
                Err(Unavailable.into())
            }
        }
    }

    /// `false` when it was passed on before. While somebody else is at it nobody can tell.
    async fn take(&self, integration: &Integration, fingerprint: &[u8]) -> Result<bool, ReplyError> {
        let (project, now) = (integration.project_id.0, self.clock.now());
        let mut c = self.store.write().await?;
        if db!(c, passed_on::take((project, fingerprint), (now - SENDING, now)))? {
            return Ok(true);
        }
        let is_done: Result<bool, StoreError> = db!(c, passed_on::is_done(project, fingerprint));
        if is_done? { Ok(false) } else { Err(Unavailable.into()) }
    }

    async fn send(
        &self,
        integration: &Integration,
        server: &SmtpServer,
        (envelope, wire): &(Envelope, Wire),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let server = self.reach.server(integration, server, limits());
        let server = server.ok_or("the stored password does not open with the secret keys")?;
        let mut connection = Connection::open(&server).await?;
        connection.envelope(envelope, wire).await?;
        connection.body(wire).await?;
        connection.quit().await;
        Ok(())
    }
}

/// The same reply brought again has the same one; another with the same Message-ID has not.
fn fingerprint(keys: &Keyring, reply: &Reply) -> [u8; 32] {
    let writer = reply.writer.as_deref().unwrap_or_default();
    let id = reply.message_id.as_deref().unwrap_or_default();
    let parts = [b"passed-on" as &[u8], id.as_bytes(), writer.as_bytes(), reply.text.as_bytes()];
    keys.fingerprint(&parts)
}

/// The mail: from the integration, so that its domain's rules fit, to be answered to the writer.
fn parcel(
    keys: &Keyring,
    (integration, to): (&Integration, &str),
    reply: &Reply,
    (fingerprint, now): (&[u8; 32], chrono::DateTime<chrono::Utc>),
) -> Result<(Envelope, Wire), Box<dyn Error + Send + Sync>> {
    let from: Mailbox = integration.sender.parse()?;
    let domain = message::domain_of(from.email.as_ref()).unwrap_or_default();
    let id =
        uuid::Uuid::from_u128(fingerprint.iter().take(16).fold(0, |id, octet| id << 8 | u128::from(*octet)));
    let message_id = format!("reply.{}@{domain}", id.simple());
    let envelope = message::Envelope {
        from: &from,
        reply_to: reply.writer.as_deref(),
        to,
        message_id: &message_id,
        date: now,
        // So that no responder answers it.
        auto_submitted: true,
    };
    let octets = match build(&mail(keys, reply, None), &envelope) {
        // An address that cannot stand in the header stands in the text.
        Err(BuildError::Address { field: "reply_to" } | BuildError::Control { field: "reply_to" }) => build(
            &mail(keys, reply, reply.writer.as_deref()),
            &message::Envelope { reply_to: None, ..envelope },
        ),
        built => built,
    }?;
    let marked = [format!("{PASSED_ON}: yes\r\n").as_bytes(), &octets].concat();
    Ok((Envelope::new(from.email.as_ref(), to)?, Wire::encode(&marked)?))
}

fn mail(keys: &Keyring, reply: &Reply, writer: Option<&str>) -> Rendered {
    let said = if reply.text.is_empty() { NO_TEXT } else { &reply.text };
    let writer = writer.map(|writer| format!("{writer}:\n\n")).unwrap_or_default();
    let text = writer + &without_tokens(keys, said) + "\n";
    let html = text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;");
    let html = format!("<div style=\"white-space: pre-wrap\">{html}</div>");
    Rendered { subject: without_tokens(keys, &reply.subject), html, text }
}

/// A token is for the member alone, also when it stands in what the member sends back.
fn without_tokens(keys: &Keyring, text: &str) -> String {
    let is_apart = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_apart) {
        let word = piece.trim_end_matches(is_apart);
        let is_token = Genuine::read(keys, word).is_some();
        kept.push_str(if is_token { NO_TOKEN } else { word });
        kept.push_str(&piece[word.len()..]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{IntegrationId, ProjectId};
    use crate::domain::keys::SecretKey;
    use crate::domain::token::{Purpose, Token, TokenId};

    fn integration() -> Integration {
        Integration {
            id: IntegrationId(uuid::Uuid::nil()),
            project_id: ProjectId(uuid::Uuid::nil()),
            name: "main".to_owned(),
            kind: IntegrationKind::Capture,
            sender: "Acme <no-reply@acme.example>".to_owned(),
            reply_to: Some("help@acme.example".to_owned()),
            connections: 1,
            rate: None,
            auto_submitted: false,
            return_path: None,
            reply_path: Some("replies@acme.example".to_owned()),
            paused: false,
            retired: false,
        }
    }

    #[test]
    fn an_address_that_no_header_takes_stands_in_the_text() {
        let keys = Keyring::new(&SecretKey::from_bytes([1; 32]), &[]);
        let reply = Reply {
            writer: Some("zoë@exämple.com".to_owned()),
            subject: "Re: x".to_owned(),
            text: String::new(),
            message_id: None,
        };
        let now = "2026-07-01T12:00:00Z".parse().unwrap();
        let to = "help@acme.example";
        assert!(parcel(&keys, (&integration(), to), &reply, (&fingerprint(&keys, &reply), now)).is_ok());
        let shown = mail(&keys, &reply, reply.writer.as_deref());
        assert!(shown.text.starts_with("zoë@exämple.com:\n\n(The reply has no text"), "{}", shown.text);
    }

    #[test]
    fn another_reply_with_the_same_message_id_is_another() {
        let keys = Keyring::new(&SecretKey::from_bytes([1; 32]), &[]);
        let reply = |text: &str| Reply {
            writer: Some("ada@example.com".to_owned()),
            subject: String::new(),
            text: text.to_owned(),
            message_id: Some("<1@example.com>".to_owned()),
        };
        assert_eq!(fingerprint(&keys, &reply("a")), fingerprint(&keys, &reply("a")));
        assert_ne!(fingerprint(&keys, &reply("a")), fingerprint(&keys, &reply("b")));
    }

    #[test]
    fn a_token_of_ours_is_passed_on_to_nobody() {
        let keys = Keyring::new(&SecretKey::from_bytes([1; 32]), &[]);
        let id = TokenId(uuid::Uuid::from_u128(7));
        let token = Token::make(&keys, keys.current_id(), Purpose::ResetPassword, id).unwrap();
        let said = format!("See https://acme.example/reset?token={}, please: é", token.expose());
        assert_eq!(without_tokens(&keys, &said), "See https://acme.example/reset?token=[…], please: é");
        assert_eq!(without_tokens(&keys, "No-token at all."), "No-token at all.");
        assert_eq!(without_tokens(&keys, token.expose()), NO_TOKEN);
    }
}
