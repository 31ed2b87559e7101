//! What needs a real PostgreSQL, RabbitMQ, Postfix or publisher: started by `tests/all`, left out of a plain
//! `cargo test`. Run with `--test-threads=1`, since some tests restart a service under everybody.

mod support;

#[path = "services/harness.rs"]
mod harness;
