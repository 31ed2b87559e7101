//! Where `publish` puts an event: the broker if one is configured, else the database.

use anyhow::{Context as _, bail};

use super::{Context, open_store};
use crate::config::SecretUrl;
use crate::domain::event::{Incoming, Planned};
use crate::domain::keys::Keyring;
use crate::store::Store;

/// What was opened.
pub(super) enum Destination {
    Broker(SecretUrl),
    Database(Store, Box<Keyring>),
}

impl Destination {
    pub(super) async fn open(context: &Context) -> anyhow::Result<Self> {
        if let Some(url) = &context.config.amqp_url {
            return Ok(Self::Broker(url.clone()));
        }
        let keyring = context.config.keyring();
        let keyring = keyring.context("SIGNALPOST_SECRET_KEY is missing")?;
        Ok(Self::Database(open_store(context).await?, Box::new(keyring)))
    }

    /// `Some` tells what became of it; the broker only says that it has it.
    pub(super) async fn publish(&self, incoming: Incoming) -> anyhow::Result<Option<Planned>> {
        match self {
            Self::Broker(url) => publish_to_broker(url, incoming).await.map(|()| None),
            Self::Database(store, keyring) => publish_to_database(store, keyring, incoming).await.map(Some),
        }
    }
}

#[expect(clippy::unused_async, reason = "the signature of what is to stand here")]
async fn publish_to_broker(_url: &SecretUrl, _incoming: Incoming) -> anyhow::Result<()> {
    bail!("publishing to the broker is not there yet")
}

#[expect(clippy::unused_async, reason = "the signature of what is to stand here")]
async fn publish_to_database(
    _store: &Store,
    _keyring: &Keyring,
    _incoming: Incoming,
) -> anyhow::Result<Planned> {
    bail!("publishing into the database is not there yet")
}
