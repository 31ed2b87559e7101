//! Everything between a planned dispatch and the mail server: templates, MIME, the SMTP client.
