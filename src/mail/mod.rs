//! Everything between a planned dispatch and the mail server: templates, MIME, the SMTP client.

pub mod network;
pub mod reply;
pub mod wire;
