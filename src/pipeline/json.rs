//! JSON out of untrusted bytes, pure: limits on size and nesting, checked before anything is built, and no NUL.
//! Knows nothing of events.

use serde_json::{Map, Value};

use crate::domain::event::{MAX_ATTRIBUTE, MAX_MESSAGE, Refusal};

/// What is wrong with a text that no database keeps.
pub(super) const NUL: &str = "has a NUL character";

/// Parses JSON that is nested at most `deepest` levels. The depth is known before anything is built.
pub fn parse(body: &[u8], field: &str, deepest: usize) -> Result<Value, Refusal> {
    if body.len() > MAX_MESSAGE {
        return Err(Refusal::invalid("body", "is larger than 256 KiB"));
    }
    let text = std::str::from_utf8(body).map_err(|_| Refusal::invalid(field, "is not UTF-8"))?;
    if is_deeper(text.as_bytes(), deepest) {
        return Err(Refusal::invalid(field, "is nested deeper than 32 levels"));
    }
    serde_json::from_str(text).map_err(|error| {
        let place = format!("is not JSON (line {}, column {})", error.line(), error.column());
        Refusal::invalid(field, &place)
    })
}

/// No database keeps a NUL in a text. Names the field that has one, or `whole` if its name has one itself.
pub(super) fn without_nul(fields: &Map<String, Value>, whole: &str) -> Result<(), Refusal> {
    for (name, value) in fields {
        if name.contains('\0') || (has_nul(value) && name.len() > MAX_ATTRIBUTE) {
            return Err(Refusal::invalid(whole, NUL));
        }
        if has_nul(value) {
            return Err(Refusal::invalid(name, NUL));
        }
    }
    Ok(())
}

pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether brackets outside strings stand deeper than `deepest`. Says nothing about whether it is JSON.
fn is_deeper(text: &[u8], deepest: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > deepest {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
