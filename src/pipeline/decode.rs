//! Step 1, pure: bytes and properties become an [`crate::domain::event::Incoming`], or a refusal that names the field.
