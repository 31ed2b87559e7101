//! The application as a whole, driven over HTTP, with a mail server that misbehaves as told: on SQLite, or on
//! PostgreSQL with `SIGNALPOST_TEST_STORE=postgres` and `SIGNALPOST_TEST_POSTGRES`.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[path = "../support/node.rs"]
mod node;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;

mod account_events;
mod acts;
mod automations;
mod batches;
mod campaign;
mod flows;
mod holding_back;
mod hosted;
mod mail_faults;
mod messages;
mod one_use;
mod rearming;
mod records;
mod replies;
mod superseding;
mod tokens;
mod workers;
