//! The HTTP side over real connections: the router on a port of its own, SQLite in a directory of its own, and
//! a planner that answers what the event's id asks for.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[path = "api/app.rs"]
mod app;
#[path = "support/mod.rs"]
mod support;

#[path = "api/automations.rs"]
mod automations;
#[path = "api/events.rs"]
mod events;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/integrations.rs"]
mod integrations;
#[path = "api/keys.rs"]
mod keys;
#[path = "api/matrix.rs"]
mod matrix;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/pages.rs"]
mod pages;
#[path = "api/records.rs"]
mod records;
#[path = "api/settings.rs"]
mod settings;
#[path = "api/surface.rs"]
mod surface;
