//! The only place that names exchanges, queues and their arguments. Declares them, or only looks; says of what
//! differs what to do about it.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

/// Where publishers put events.
pub const EVENTS_EXCHANGE: &str = "signalpost.events";
/// Where workers take them from.
pub const EVENTS_QUEUE: &str = "signalpost.events";
/// Where refused messages go.
pub const DEAD_EXCHANGE: &str = "signalpost.dead";
/// Where they stay until somebody replays or discards them.
pub const DEAD_QUEUE: &str = "signalpost.dead";
/// What Signalpost itself did.
pub const NOTICES_EXCHANGE: &str = "signalpost.notices";

/// Every key.
const ALL_KEYS: &str = "#";
/// How often the broker redelivers. A low limit would dead-letter innocent messages when workers are killed;
/// none would let one message come back for ever.
const DELIVERY_LIMIT: i32 = 10_000;

/// Why the topology is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error(
        "the {what} `{name}` exists and is not as it must be: {said}. Arguments cannot be changed: move its \
         messages to another queue, delete it and let the worker declare it again (or set \
         SIGNALPOST_AMQP_DECLARE=false to take it as it is)"
    )]
    Differs { what: &'static str, name: &'static str, said: String },
    #[error(
        "the {what} `{name}` does not exist: declare it, or set SIGNALPOST_AMQP_DECLARE=true to have the worker \
         declare it"
    )]
    Missing { what: &'static str, name: &'static str },
    #[error(
        "the broker's user may not use the {what} `{name}`: {said}. Grant it configure (or set \
         SIGNALPOST_AMQP_DECLARE=false), write and read on `signalpost\\..*`"
    )]
    Forbidden { what: &'static str, name: &'static str, said: String },
    #[error("the broker failed: {0}")]
    Broker(#[from] lapin::Error),
}

/// Makes sure that all is there: declares what is missing, or only looks. Idempotent. An error of the topology
/// has closed the channel.
pub async fn ensure(channel: &Channel, declare: bool) -> Result<(), TopologyError> {
    for part in PARTS {
        if declare {
            part.declare(channel).await?;
        } else {
            part.look(channel).await?;
        }
    }
    Ok(())
}

/// One part of the topology, and how it is.
#[derive(Debug)]
pub struct Inspected {
    /// `exchange` or `queue`.
    pub what: &'static str,
    pub name: &'static str,
    pub found: Result<Standing, TopologyError>,
}

/// A part that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    AsItMustBe,
    /// Comparing is declaring, which this user may not.
    NotCompared,
}

/// Looks at every part; changes nothing. What a queue is bound to cannot be asked over AMQP.
pub async fn inspect(connection: &Connection) -> Result<Vec<Inspected>, lapin::Error> {
    let mut parts = Vec::new();
    for part in PARTS {
        // A channel each: what is found closes it.
        let channel = connection.create_channel().await?;
        let found = match part.look(&channel).await {
            // It exists, so declaring only compares.
            Ok(()) => match part.declare_alone(&channel).await {
                Ok(()) => Ok(Standing::AsItMustBe),
                Err(TopologyError::Forbidden { .. }) => Ok(Standing::NotCompared),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(TopologyError::Broker(error)) = found {
            return Err(error);
        }
        let (what, name) = part.what();
        parts.push(Inspected { what, name, found });
    }
    Ok(parts)
}

/// In the order of declaration: a queue is bound to an exchange that is there.
const PARTS: [Part; 5] = [
    Part::Exchange(NOTICES_EXCHANGE),
    Part::Exchange(DEAD_EXCHANGE),
    Part::Queue { name: DEAD_QUEUE, exchange: DEAD_EXCHANGE, dead_letters_to: None },
    Part::Exchange(EVENTS_EXCHANGE),
    Part::Queue { name: EVENTS_QUEUE, exchange: EVENTS_EXCHANGE, dead_letters_to: Some(DEAD_EXCHANGE) },
];

enum Part {
    /// Durable, topic, without arguments: a publisher may declare it first.
    Exchange(&'static str),
    /// Durable, quorum, bound to an exchange with every key.
    Queue { name: &'static str, exchange: &'static str, dead_letters_to: Option<&'static str> },
}

impl Part {
    fn what(&self) -> (&'static str, &'static str) {
        match self {
            Self::Exchange(name) => ("exchange", name),
            Self::Queue { name, .. } => ("queue", name),
        }
    }

    async fn declare(&self, channel: &Channel) -> Result<(), TopologyError> {
        self.declare_alone(channel).await?;
        if let Self::Queue { name, exchange, .. } = *self {
            let options = QueueBindOptions::default();
            let bound = channel.queue_bind(
                name.into(),
                exchange.into(),
                ALL_KEYS.into(),
                options,
                FieldTable::default(),
            );
            bound.await.map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    async fn declare_alone(&self, channel: &Channel) -> Result<(), TopologyError> {
        self.ask(channel, false).await
    }

    async fn look(&self, channel: &Channel) -> Result<(), TopologyError> {
        self.ask(channel, true).await
    }

    async fn ask(&self, channel: &Channel, passive: bool) -> Result<(), TopologyError> {
        let asked = match *self {
            Self::Exchange(name) => {
                let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
                let kind = ExchangeKind::Topic;
                channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
            }
            Self::Queue { name, dead_letters_to, .. } => {
                let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
                channel.queue_declare(name.into(), options, arguments(dead_letters_to)).await.map(drop)
            }
        };
        asked.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: lapin::Error) -> TopologyError {
        let (what, name) = self.what();
        let ErrorKind::ProtocolError(protocol) = error.kind() else { return error.into() };
        let said = protocol.get_message().to_string();
        match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                TopologyError::Differs { what, name, said }
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => TopologyError::Missing { what, name },
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                TopologyError::Forbidden { what, name, said }
            }
            _ => error.into(),
        }
    }
}

fn arguments(dead_letters_to: Option<&str>) -> FieldTable {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    if let Some(exchange) = dead_letters_to {
        arguments.insert("x-dead-letter-exchange".into(), text(exchange));
        // At least once works only where a full queue refuses what is published.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    arguments
}
