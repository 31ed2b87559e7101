//! Step 5 to 6: a rendered mail made ready for one server, and that server with its password opened.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_rustls::rustls::ClientConfig;

use super::carry::Post;
use super::render;
use crate::domain::catalogue::{Integration, SmtpServer};
use crate::domain::dispatch::Owed;
use crate::domain::keys::Keyring;
use crate::mail::network::{Cidr, Network};
use crate::mail::server::{Credentials, DEFAULT_HELLO, Limits, Server, Tls};
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

/// What a mail server is connected to with.
pub struct Dial<'a> {
    pub keys: &'a Keyring,
    /// Networks beyond the public ones that integrations made over the API may reach.
    pub allow: &'a [Cidr],
    pub tls: &'a Arc<ClientConfig>,
    pub limits: Limits,
    pub public_url: &'a str,
}

impl Dial<'_> {
    /// The server of an integration, its password opened for this connection only.
    pub fn server(&self, integration: &Integration, server: &SmtpServer) -> Option<Server> {
        let credentials = match (&server.username, &server.sealed_password) {
            (Some(user), Some(sealed)) => {
                let place = server.seal_place(integration.id, integration.project_id);
                let password = String::from_utf8(self.keys.open(&place, sealed)?).ok()?;
                Some(Credentials::new(user.clone(), password)?)
            }
            _ => None,
        };
        let tls = match server.tls.as_str() {
            "none" => Tls::None,
            "implicit" => Tls::Implicit,
            _ => Tls::Required,
        };
        let also = self.allow.to_vec();
        let network = if server.unrestricted { Network::Any } else { Network::Public { also } };
        let hello = url::Url::parse(self.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Some(Server {
            host: server.host.clone(),
            port: server.port,
            tls,
            credentials,
            hello: hello.unwrap_or_else(|| DEFAULT_HELLO.to_owned()),
            limits: self.limits,
            network,
            tls_config: self.tls.clone(),
        })
    }
}

impl Post {
    pub fn server(&self, integration: &Integration, server: &SmtpServer) -> Option<Server> {
        let dial = Dial {
            keys: &self.keys,
            allow: &self.allow,
            tls: &self.tls,
            limits: self.limits,
            public_url: &self.public_url,
        };
        dial.server(integration, server)
    }
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
