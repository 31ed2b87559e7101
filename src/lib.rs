//! Signalpost: account events become single-use tokens and e-mails.
//!
//! # Words
//! One word, one thing, here, in the tables, on the wire and on every page.
//!
//! - A **project** is a tenant; everything below belongs to exactly one. A **member** is an account of it.
//! - An **event** is something that happened to an account, told by a service ([`domain::event`]).
//! - An **automation** is a stored rule: on this event issue this token and send this e-mail through this
//!   **integration**, which is an SMTP server or `capture` ([`domain::catalogue`]).
//! - A **dispatch** is one e-mail owed to one recipient; an **attempt** is one try at it ([`domain::dispatch`]).
//! - A **token** is a single-use, expiring secret for one purpose and one member ([`domain::token`]).
//! - A **dead letter** is a message that was refused, or a dispatch that will not be tried again.
//!
//! # The path of an event
//! ```text
//! RabbitMQ ─┐           ┌──────────── plan ─────────────┐
//! HTTP     ─┼─> decode ─>  read members · match · write  ─> render ─> carry ─> settle
//! flows    ─┘   (pure)  │  ONE transaction for a batch   │  (pure)    SMTP    many tries in
//!                       └─ commit, then acknowledge ─────┘                    ONE statement
//! ```
//! 1. `broker` or `web` reads bytes and properties into an event, or refuses them ([`pipeline::decode`]).
//! 2. [`pipeline::planner`] takes what has arrived while the last batch was committing. In one transaction
//!    ([`pipeline::plan`]) it sets known identities aside, locks the members in key order, lets pure code decide
//!    ([`pipeline::accounts`]: members and tokens; [`pipeline::drafts`]: mails) and writes. A batch that a row spoils
//!    is split until the culprit stands alone.
//! 3. After the commit the event is answered (a message acknowledged), and the dispatches that this worker holds go
//!    into its [`pipeline::lanes`], one for each integration and bounded. What finds no place has no holder and is
//!    fetched later, fairly over integrations ([`pipeline::fetch`]).
//! 4. A carrier ([`pipeline::carry`]) renders each dispatch, makes its token from the key, and takes it to the mail
//!    server on a connection of [`mail::connection`]. [`mail::classify`] alone says what a failure means.
//! 5. [`pipeline::settle`] writes what many tries came to in one statement, and gives receipts; the next body on a
//!    connection goes only after the receipt of the one before it.
//!
//! The worker is leased, not the row ([`pipeline::lease`]): whoever is silent for 30 s is declared dead and its
//! dispatches go to others; what it settles afterwards matches nothing. Any crash between two lines repeats a step,
//! and the second time is harmless by a key: the event's identity, the dispatch's holder, the mail's Message-ID.
//!
//! # Invariants
//! 1. Only `config` reads the environment, only the [`domain::clock`] reads the time, only [`broker::topology`] names a
//!    queue, only the broker's publisher publishes, only [`store`] holds SQL. (`tests/architecture.rs`)
//! 2. No network call inside an open transaction; no acknowledgement before the commit. (`tests/broker.rs`)
//! 3. Every accepted event ends in one outcome; every dispatch ends `sent`, `dead` or `cancelled`.
//! 4. No input kills a consumer: it is refused with its reason. (`tests/broker.rs`, [`pipeline::planner`])
//! 5. GET and HEAD never use a token up. (`tests/api/pages.rs`)
//! 6. Every query names its project; what workers do over all projects is in the store's `work` and `dead` files alone.
//! 7. No secret in a log, a metric, a problem or a dead letter; secret types have no `Debug`, `Display` or `Serialize`.
//!
//! # Map
//! Who may know whom is one direction, checked by `tests/architecture.rs`:
//! `domain ← store, mail, inbound ← pipeline ← broker, web ← app ← cli ← main`.
//!
//! | part | holds |
//! |---|---|
//! | [`domain`] | values and pure rules, no I/O |
//! | [`store`] | all SQL, one text compiled for PostgreSQL and for SQLite |
//! | [`mail`] | compiled e-mails, stored texts, MIME, the SMTP client, the circuit |
//! | [`inbound`] | what a reply is: absence, person, bounce, other automatic mail |
//! | [`pipeline`] | the steps above, the flows of the API, the engine that runs them |
//! | [`broker`] | everything AMQP |
//! | [`web`] | the API, hosted pages, the mailbox, readiness and metrics |
//! | [`project_file`] | a project as a TOML file |
//! | [`app`], [`upkeep`] | the running application, and what it does by the clock |
//! | [`cli`], [`config`], [`telemetry`] | commands, configuration, logs and metrics |

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod inbound;
pub mod mail;
pub mod pipeline;
pub mod project_file;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod web;
