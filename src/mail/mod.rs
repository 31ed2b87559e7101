//! Everything between a planned dispatch and the mail server: templates, MIME, the SMTP client.

pub mod brand;
pub mod capture;
pub mod circuit;
pub mod classify;
pub mod connection;
pub mod handshake;
mod link;
pub mod message;
pub mod network;
mod parts;
pub mod reply;
pub mod return_path;
pub mod server;
pub mod stored;
pub mod templates;
pub mod wire;
pub mod wish;
mod wording;
