//! Event types of a file: a name, and the JSON Schema as a table or, since TOML has no `null`, as JSON in a text.

use serde_json::Value;

use super::fields::Fields;
use crate::domain::event_type::{EventType, check_kind};

/// What the file says of one.
pub(super) struct EventTypeEntry {
    pub(super) place: String,
    pub(super) name: String,
    /// `None`: it is wrong.
    pub(super) checked: Option<EventType>,
}

impl EventTypeEntry {
    /// `None`: it has no name under which it could be stored.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let name = fields.checked("type", |text| check_kind(text).map(|()| text.to_owned()));
        if name.is_none() {
            fields.wrong("type", "is missing");
        }
        let schema = fields.rest(&["schema"]).remove("schema");
        if schema.is_none() {
            fields.wrong("schema", "is missing");
        }
        let schema = match schema {
            Some(Value::String(text)) => serde_json::from_str(&text)
                .map_err(|_| fields.wrong("schema", "is a text that is not JSON"))
                .ok(),
            other => other,
        };
        let checked = name.as_deref().zip(schema).and_then(|(name, schema)| {
            EventType::new(name, schema).map_err(|(field, what)| fields.wrong(field, what)).ok()
        });
        let place = fields.place.clone();
        fields.end();
        name.map(|name| Self { place, name, checked })
    }
}
