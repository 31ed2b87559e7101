//! What needs a real PostgreSQL, RabbitMQ, Postfix or publisher: started by `tests/all`, left out of a plain
//! `cargo test`. Run with `--test-threads=1`, since some tests restart a service under everybody.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "a test stands outside: it connects to the broker by itself")]

mod support;

#[path = "services/crashes.rs"]
mod crashes;
#[path = "services/delivery.rs"]
mod delivery;
#[path = "services/harness.rs"]
mod harness;
#[path = "services/outages.rs"]
mod outages;
#[path = "services/refusals.rs"]
mod refusals;
#[path = "services/scene.rs"]
mod scene;
#[path = "services/secrets.rs"]
mod secrets;
#[path = "services/stops.rs"]
mod stops;
