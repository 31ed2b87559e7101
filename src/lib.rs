//! Signalpost: account events become single-use tokens and e-mails.

pub mod broker;
pub mod config;
pub mod domain;
pub mod mail;
pub mod pipeline;
pub mod store;
pub mod web;
