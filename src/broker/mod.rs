//! Everything AMQP, and nothing else. From the outside in:
//!
//! - [`Worker`] (`supervisor`) keeps a session alive through every fault; `consumer` is one session, `message` one
//!   delivery in it, `acks` which of them may be acknowledged.
//! - [`Publisher`] is the only one that publishes; `letter` is what a refused message looks like in the dead queue,
//!   `origin` proves where it came from.
//! - [`DeadQueue`] looks into the dead queue, and takes letters out of it; `dead_letter` is one of them.
//! - `description` tells other programs of all this.
//! - `topology` alone names exchanges and queues, `connection` alone sees the password.
//! - `transport` is what lapin reads from: `screen` and `properties` take out of each message what would end lapin,
//!   and mark the message, which is then refused like any other.

mod acks;
mod connection;
mod consumer;
mod dead_letter;
mod dead_queue;
mod description;
mod letter;
mod message;
mod origin;
mod properties;
mod publisher;
mod screen;
mod supervisor;
pub mod topology;
mod transport;

pub use connection::{BrokerUrl, ConnectError, InvalidUrl, Options};
pub use dead_queue::DeadQueue;
pub use description::describe;
pub use letter::Letter;
pub use origin::{Identity, Origin, OriginKeys};
pub use publisher::{PublishError, Publisher};
pub use supervisor::{BrokerHealth, Ended, Worker};

/// How each part of the topology is, for `signalpost check`. Changes nothing.
pub async fn check(options: &Options) -> Result<Vec<topology::Inspected>, ConnectError> {
    let connection = connection::connect(options).await?;
    let parts = topology::inspect(&connection).await?;
    let _ = connection.close(200, "done".into()).await;
    Ok(parts)
}
