//! Values and pure rules of the product: no I/O, no async, no SQL, no HTTP. Everything else may know this.

pub mod account_types;
pub mod address;
pub mod api_key;
pub mod catalogue;
pub mod change;
pub mod clock;
pub mod condition;
pub mod dispatch;
pub mod duration;
pub mod event;
pub mod event_type;
mod grammar;
pub mod id;
pub mod integration;
pub mod keys;
pub mod language;
pub mod link;
pub mod member;
pub mod names;
pub mod password;
pub mod project;
pub mod settings;
pub mod smtp_url;
pub mod token;
