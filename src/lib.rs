//! Signalpost: account events become single-use tokens and e-mails.

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod mail;
pub mod pipeline;
pub mod project_file;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod web;
