//! Event types that a project registers beyond the built-in ones, each with a JSON Schema for `data`. A schema
//! comes from people and runs in every worker, so it is bounded: no reference leaves it or leads back to itself,
//! and its patterns are of the kind that cannot run away. Must not know where it is stored.

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::event::{MAX_ATTRIBUTE, Refusal};

/// The largest schema, in octets of JSON.
pub const LARGEST: usize = 32 * 1024;
/// The parts of a schema once its references are followed.
const MOST_PARTS: usize = 2_000;
/// The deepest nesting of a schema once its references are followed.
const DEEPEST: usize = 48;
/// What one compiled pattern may take, in bytes.
const PATTERN_SIZE: usize = 256 * 1024;
/// What starts every built-in type.
const RESERVED: [&str; 3] = ["account.", "event.", "dispatch."];
/// The one draft that schemas are written in, which is also what is meant where none is named.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords that would take a reference out of the schema, or make its target depend on the way to it.
const NOT_TAKEN: [&str; 6] =
    ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"];

/// A registered type.
#[derive(Clone)]
pub struct EventType {
    pub kind: String,
    pub schema: Value,
    validator: Arc<Validator>,
}

impl EventType {
    /// Checks name and schema, and compiles it; a field and what is wrong with it.
    pub fn new(kind: &str, schema: Value) -> Result<Self, (&'static str, String)> {
        check_kind(kind).map_err(|what| ("type", what))?;
        check(&schema).map_err(|what| ("schema", what))?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE);
        let options = jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns);
        let compiled = options.build(&schema);
        let validator =
            compiled.map_err(|error| ("schema", format!("is no JSON Schema: {}", error.masked())))?;
        Ok(Self { kind: kind.to_owned(), schema, validator: Arc::new(validator) })
    }

    /// Checks an event's `data`. The refusal names the field and repeats no value.
    pub fn check(&self, data: &Value) -> Result<(), Refusal> {
        let Some(error) = self.validator.iter_errors(data).next() else { return Ok(()) };
        let path: String = error.instance_path().to_string().replace('/', ".");
        let field: String = format!("data{path}").chars().take(MAX_ATTRIBUTE).collect();
        let said: String = error.masked().to_string().chars().take(300).collect();
        Err(Refusal::invalid(&field, &format!("does not fit the schema of `{}`: {said}", self.kind)))
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.schema == other.schema
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// Checks the name of a type that may be registered.
pub fn check_kind(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_word = |word: &str| !word.is_empty() && word.chars().all(plain);
    if text.len() > MAX_ATTRIBUTE || !text.contains('.') || !text.split('.').all(is_word) {
        return Err("is not two or more words of a-z, 0-9 and `-` with dots between them".to_owned());
    }
    match RESERVED.iter().find(|reserved| text.starts_with(**reserved)) {
        Some(reserved) => Err(format!("starts with `{reserved}`, which is Signalpost's own")),
        None => Ok(()),
    }
}

fn check(schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err("is not a JSON object".to_owned());
    }
    if schema.to_string().len() > LARGEST {
        return Err(format!("is larger than {LARGEST} octets"));
    }
    let mut parts = MOST_PARTS;
    follow(schema, schema, DEEPEST, &mut parts)
}

fn is_known(draft: &Value) -> bool {
    draft.as_str().is_some_and(|draft| draft.strip_suffix('#').unwrap_or(draft) == DRAFT)
}

/// Goes through the schema as a validator would, references and all.
fn follow(part: &Value, whole: &Value, depth: usize, parts: &mut usize) -> Result<(), String> {
    if depth == 0 || *parts == 0 {
        return Err("is too deep or too large, or has a reference that leads back to itself".to_owned());
    }
    *parts -= 1;
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| follow(item, whole, depth - 1, parts)),
        Value::Object(members) => {
            if let Some(name) = NOT_TAKEN.iter().find(|name| members.contains_key(**name)) {
                return Err(format!("has `{name}`, which is not taken"));
            }
            // Another draft has other keywords, such as `id` for `$id`.
            if members.get("$schema").is_some_and(|draft| !is_known(draft)) {
                return Err(format!("has a `$schema` other than `{DRAFT}`"));
            }
            if matches!(members.get("id"), Some(Value::String(_))) {
                return Err("has an `id` that is a text, which is not taken".to_owned());
            }
            if let Some(Value::String(reference)) = members.get("$ref") {
                // A validator reads `%23` and the like as the character, a pointer does not.
                let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
                let target = pointer.and_then(|pointer| whole.pointer(pointer));
                let target =
                    target.ok_or("has a `$ref` that does not lead to a part of itself, `#/$defs/…`")?;
                follow(target, whole, depth - 1, parts)?;
            }
            members.values().try_for_each(|member| follow(member, whole, depth - 1, parts))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn card(schema: Value) -> EventType {
        EventType::new("billing.card-expiring", schema)
            .unwrap_or_else(|(field, what)| panic!("{field} {what}"))
    }

    #[test]
    fn data_that_does_not_fit_names_the_field_and_repeats_no_value() {
        let kind = card(json!({"type": "object", "required": ["member", "last4"],
            "properties": {"last4": {"$ref": "#/$defs/digits"}}, "$defs": {"digits": {"pattern": "^[0-9]{4}$"}}}));
        assert!(kind.check(&json!({"member": "elon", "last4": "1234"})).is_ok());
        let refusal = kind.check(&json!({"member": "elon", "last4": "hunter2"})).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("data.last4"));
        assert!(!refusal.detail.contains("hunter2"), "{}", refusal.detail);
        let refusal = kind.check(&json!({"member": "elon"})).unwrap_err();
        assert!(refusal.detail.contains("last4"), "{}", refusal.detail);
    }

    #[test]
    fn what_leads_out_of_the_schema_or_back_into_itself_is_refused() {
        for schema in [
            json!([]),
            json!(true),
            json!({"$ref": "https://evil.example/schema.json"}),
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}),
            json!({"$id": "https://evil.example/"}),
            json!({"$schema": "https://evil.example/draft"}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"$schema": "https://json-schema.org/draft/2019-09/schema"}),
            json!({"properties": {"x": {"$schema": "http://json-schema.org/draft-07/schema#"}}}),
            json!({"$schema": 5}),
            json!({"id": "https://evil.example/"}),
            json!({"properties": {"x": {"id": "#y"}}}),
            json!({"$ref": "#/%24defs/a", "$defs": {"a": {}}, "%24defs": {"a": {}}}),
            json!({"$ref": "#/$defs/a%25", "$defs": {"a%": {}, "a%25": {}}}),
            json!({"$dynamicRef": "#x"}),
            json!({"type": "nonsense"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=a)b"}),
            json!({"properties": "x"}),
            json!({"description": "x".repeat(LARGEST)}),
        ] {
            assert!(EventType::new("a.b", schema.clone()).is_err(), "{schema}");
        }
        let mut nested = json!({"type": "string"});
        for _ in 0..40 {
            nested = json!({"not": nested});
        }
        assert!(EventType::new("a.b", nested.clone()).is_ok());
        for _ in 0..20 {
            nested = json!({"not": nested});
        }
        assert!(EventType::new("a.b", nested).is_err());
    }

    #[test]
    fn the_draft_may_be_named_and_a_property_may_be_called_id() {
        for draft in [DRAFT.to_owned(), format!("{DRAFT}#")] {
            let kind = card(json!({"$schema": draft, "properties": {"id": {"type": "string"}}}));
            assert!(kind.check(&json!({"id": 5})).is_err() && kind.check(&json!({"id": "5"})).is_ok());
        }
    }

    #[test]
    fn references_that_multiply_are_refused() {
        let mut defs = serde_json::Map::new();
        for n in 0..20 {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            defs.insert(format!("d{n}"), json!({"anyOf": [next, next]}));
        }
        defs.insert("d20".to_owned(), json!({"type": "string"}));
        assert!(EventType::new("a.b", json!({"$ref": "#/$defs/d0", "$defs": defs})).is_err());
    }

    #[test]
    fn a_pattern_that_runs_away_elsewhere_is_quick_here() {
        let kind = card(json!({"properties": {"x": {"pattern": "^(a+)+$"}}}));
        assert!(kind.check(&json!({"x": format!("{}b", "a".repeat(100_000))})).is_err());
    }

    #[test]
    fn a_name_has_words_and_is_not_our_own() {
        for name in ["", "card", "Billing.card", "billing.", "a..b", "account.mine", "event.x", "a b.c"] {
            assert!(check_kind(name).is_err(), "{name}");
        }
        assert!(check_kind("billing.card-expiring").is_ok());
    }
}
