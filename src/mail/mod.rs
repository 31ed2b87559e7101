//! Everything between a planned dispatch and the mail server: templates, MIME, the SMTP client.

pub mod brand;
pub mod capture;
pub mod message;
pub mod templates;
mod wording;
