//! The names that conditions and stored templates may say, by the event's type and by place; and their values.
//! Values are cut to what a mail shows, so that no event makes one grow. Must not know the language's grammar.

use std::collections::BTreeMap;

use minijinja::Value;

use super::dispatch::{Addressee, Facts};

/// Before the text of a link and of a token, so that they are known again where they are shown. Taken out of
/// everything that somebody else chose.
pub const LINK_MARK: char = '\u{e002}';
pub const TOKEN_MARK: char = '\u{e003}';
/// First and last of the four characters that mark something.
pub const MARKS: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{e003}';

/// The longest text of an event that is shown, in characters; the longest list; the deepest nesting.
const LONGEST_TEXT: usize = 1_000;
const LONGEST_LIST: usize = 100;
const DEEPEST: usize = 6;

/// Of a member.
pub const MEMBER: [&str; 8] =
    ["id", "username", "email", "first_name", "last_name", "locale", "is_admin", "on_vacation"];
const PROJECT: [&str; 2] = ["name", "slug"];
const PROFILE: [&str; 7] = ["id", "username", "email", "first_name", "last_name", "locale", "is_admin"];
/// Of every event, besides its data.
const ALWAYS: [&str; 2] = ["type", "time"];

/// Where a text stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Condition,
    Subject,
    Body,
}

/// What may be named.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub event_type: &'a str,
    pub place: Place,
    /// Whether a token is issued.
    pub token: bool,
}

/// A name of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placeholder {
    Token,
    Link,
    Other,
}

impl Placeholder {
    #[must_use]
    pub fn is_secret(self) -> bool {
        self != Self::Other
    }
}

/// The fields of an event's data; `None`: any, for the project says what they are.
pub fn event_fields(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "account.created" | "account.updated" => &PROFILE,
        "account.signed-in" | "account.deleted" | "account.administrator-granted" => &["member"],
        "account.password-reset-requested" => &["member", "reason"],
        "account.password-changed" => &["member", "by"],
        "account.email-change-requested" => &["member", "new_email"],
        "account.email-changed" => &["member", "new_email", "old_email"],
        "account.out-of-office-detected" => &["member", "matched", "in_reply_to", "message_id"],
        "account.out-of-office-warned" | "account.on-vacation" => &["member", "count", "limit", "matched"],
        _ => return None,
    })
}

impl Scope<'_> {
    /// What a name is, or why there is none.
    pub fn find(&self, root: &str, path: &[&str]) -> Result<Placeholder, String> {
        let field = path.first().copied();
        match root {
            "member" => known("member", field, &MEMBER, path.len()),
            "project" => known("project", field, &PROJECT, path.len()),
            "event" => self.event(field, path.len()),
            _ if self.place == Place::Condition => {
                Err(format!("`{root}` is no name here; there are event, member, project"))
            }
            "token" | "link" | "expires_in" if !self.token => {
                Err(format!("`{root}` has no value: the automation issues no token"))
            }
            "token" | "link" if self.place == Place::Subject => {
                Err(format!("`{root}` has no place in a subject, which is shown in lists and kept in logs"))
            }
            "token" if field.is_none() => Ok(Placeholder::Token),
            "link" if field.is_none() => Ok(Placeholder::Link),
            "email" | "expires_in" if field.is_none() => Ok(Placeholder::Other),
            "token" | "link" | "email" | "expires_in" => Err(format!("`{root}` has no fields")),
            _ => Err(format!(
                "`{root}` is no placeholder; there are token, email, link, expires_in, member.…, event.…, project.…"
            )),
        }
    }

    fn event(&self, field: Option<&str>, depth: usize) -> Result<Placeholder, String> {
        match (event_fields(self.event_type), field) {
            (Some(fields), _) => {
                let all: Vec<&str> = fields.iter().chain(&ALWAYS).copied().collect();
                known("event", field, &all, depth)
            }
            (None, Some(_)) => Ok(Placeholder::Other),
            (None, None) => Err("`event` is named with a field: `event.type`".to_owned()),
        }
    }
}

fn known(root: &str, field: Option<&str>, all: &[&str], depth: usize) -> Result<Placeholder, String> {
    match field {
        None => Err(format!("`{root}` is named with a field: {}", all.join(", "))),
        Some(field) if !all.contains(&field) => {
            Err(format!("`{root}.{field}` is not known; of {root} there are {}", all.join(", ")))
        }
        Some(field) if depth > 1 => Err(format!("`{root}.{field}` has no fields")),
        Some(_) => Ok(Placeholder::Other),
    }
}

/// `event`: the data, with what is optional filled in. `event_type` is the automation's: an `account.updated` that
/// moves a member is an `account.email-changed` as well.
pub fn event_value(facts: &Facts, event_type: &str) -> Value {
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for field in event_fields(event_type).unwrap_or_default() {
        map.insert((*field).to_owned(), Value::from(()));
    }
    map.insert("type".to_owned(), facts.kind.as_str().into());
    map.insert("time".to_owned(), facts.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into());
    for default in ["reason", "by"] {
        map.entry(default.to_owned()).and_modify(|value| *value = "member".into());
    }
    for (name, value) in facts.data.as_object().into_iter().flatten().take(LONGEST_LIST) {
        map.insert(shown(name), value_of(value, 0));
        if name == "email" && !facts.data.get("member").is_some_and(serde_json::Value::is_string) {
            map.entry("member".to_owned()).and_modify(|member| *member = value_of(value, 0));
        }
    }
    if event_type != facts.kind && !facts.data.get("new_email").is_some_and(serde_json::Value::is_string) {
        let new = facts.data.get("email").map_or_else(|| Value::from(()), |email| value_of(email, 0));
        map.entry("new_email".to_owned()).and_modify(|value| *value = new);
    }
    Value::from_pairs(map)
}

/// `member`
pub fn member_value(member: &Addressee) -> Value {
    let text =
        |text: &Option<String>| text.as_deref().map_or_else(|| Value::from(()), |text| shown(text).into());
    let fields: [(&str, Value); 8] = [
        ("id", shown(&member.id).into()),
        ("username", shown(&member.username).into()),
        ("email", shown(&member.email).into()),
        ("first_name", text(&member.first_name)),
        ("last_name", text(&member.last_name)),
        ("locale", text(&member.locale)),
        ("is_admin", member.is_admin.into()),
        ("on_vacation", member.on_vacation.into()),
    ];
    Value::from_pairs(fields)
}

/// `project`
pub fn project_value(name: &str, slug: &str) -> Value {
    Value::from_pairs([("name", shown(name)), ("slug", slug.to_owned())])
}

/// What somebody chose, without the characters that mark something, and cut.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !MARKS.contains(c)).take(LONGEST_TEXT).collect()
}

fn value_of(value: &serde_json::Value, depth: usize) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::from(()),
        Json::Bool(is) => Value::from(*is),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(broken)) => Value::from(broken),
            (None, None) => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(shown(text)),
        _ if depth >= DEEPEST => Value::from(()),
        Json::Array(items) => items
            .iter()
            .take(LONGEST_LIST)
            .map(|item| value_of(item, depth + 1))
            .collect::<Vec<Value>>()
            .into(),
        Json::Object(fields) => {
            let fields = fields.iter().take(LONGEST_LIST);
            Value::from_pairs(fields.map(|(name, value)| (shown(name), value_of(value, depth + 1))))
        }
    }
}
