//! Where `publish` puts an event: the broker if one is configured, else the database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::time::Instant;

use super::serve::broker_options;
use super::{Context, open_store};
use crate::broker::{OriginKeys, Publisher};
use crate::domain::event::{Incoming, Planned};
use crate::pipeline::Payload;
use crate::pipeline::engine::{Engine, Settings};
use crate::store::{Store, partitions};

/// What a command waits for the pipeline's end. Its event was answered before.
const CLOSING: Duration = Duration::from_secs(5);

/// What was opened.
pub(super) enum Destination {
    Broker(Publisher),
    /// Planned here, sent by whichever worker runs.
    Database(Box<Engine>, Store),
}

impl Destination {
    pub(super) async fn open(context: &Context) -> anyhow::Result<Self> {
        let config = &context.config;
        if let Some(options) = broker_options(config)? {
            // A publisher of events signs no origins.
            return Ok(Self::Broker(Publisher::new(options, OriginKeys::new([0; 32], Vec::new()))));
        }
        let keys = super::dev::keyring(context)?;
        let store = open_store(context).await?;
        partitions::ensure(&store, context.clock.now()).await?;
        let settings = Settings {
            store: store.clone(),
            clock: context.clock.clone(),
            keys: Arc::new(keys),
            public_url: String::new(),
            sender: None,
            is_told: false,
        };
        Ok(Self::Database(Box::new(Engine::start(settings).await?), store))
    }

    /// `Some` tells what became of it; the broker only says that it has it.
    pub(super) async fn publish(&self, incoming: Incoming) -> anyhow::Result<Option<Planned>> {
        match self {
            Self::Broker(publisher) => {
                let event = json!({
                    "specversion": "1.0",
                    "id": incoming.id,
                    "source": incoming.source,
                    "type": incoming.kind,
                    "time": incoming.time,
                    "data": incoming.data,
                });
                let (project, kind) = (&incoming.project, &incoming.kind);
                publisher.publish_event(project, kind, &event).await.context("the broker did not take it")?;
                Ok(None)
            }
            Self::Database(engine, _) => Ok(Some(engine.intake.submit(Payload::Event(incoming)).await?)),
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Broker(publisher) => publisher.close().await,
            Self::Database(engine, store) => {
                engine.stop(Instant::now() + CLOSING).await;
                store.close().await;
            }
        }
    }
}
