//! Signalpost: account events become single-use tokens and e-mails.

pub mod mail;
pub mod web;
