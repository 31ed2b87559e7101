//! The account event types as a table, for descriptions and lists: what the data of each may say. Reading it is
//! [`super::change`]'s; a test holds the two against each other.

/// A type of account events.
pub struct AccountType {
    pub name: &'static str,
    pub about: &'static str,
    pub fields: &'static [Field],
    /// Names of which one at least must be there.
    pub one_of: &'static [&'static str],
}

/// A field of the data.
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub kind: Kind,
    pub about: &'static str,
}

/// What stands in a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Email,
    /// Id, e-mail address or username.
    Member,
    Flag,
    Number,
    OneOf(&'static [&'static str]),
}

const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, required: true, kind, about }
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, required: false, kind, about }
}

const MEMBER: Field = field("member", Kind::Member, "Id (`mem_…`), e-mail address or username");
const NEW_EMAIL: Field = field("new_email", Kind::Email, "The address that is wanted");
const MATCHED: Field = optional("matched", Kind::Text, "The phrase by which the reply was known");
const ABSENCE: &[Field] = &[
    MEMBER,
    field("count", Kind::Number, "Automatic replies in a row"),
    field("limit", Kind::Number, "Replies at which the member is on vacation"),
    MATCHED,
];
const PROFILE: &[Field] = &[
    optional("id", Kind::Text, "`mem_…`; made if it is left out"),
    optional("username", Kind::Text, "Without an @"),
    optional("email", Kind::Email, "The address that mail goes to"),
    optional("first_name", Kind::Text, "Given name"),
    optional("last_name", Kind::Text, "Family name"),
    optional("locale", Kind::Text, "Language tag, such as `pt-BR`"),
    optional("is_admin", Kind::Flag, "Whether the member is an administrator"),
];
const NAMES: &[&str] = &["id", "username", "email"];

/// Every type of account events.
pub const ACCOUNT_TYPES: &[AccountType] = &[
    of_member("account.signed-in", "The member was here", &[MEMBER]),
    AccountType { name: "account.created", about: "A member is new", fields: PROFILE, one_of: NAMES },
    AccountType {
        name: "account.updated",
        about: "A member's record changed",
        fields: PROFILE,
        one_of: NAMES,
    },
    of_member("account.deleted", "The member is gone", &[MEMBER]),
    of_member(
        "account.password-reset-requested",
        "Somebody wants a new password",
        &[
            MEMBER,
            optional(
                "reason",
                Kind::OneOf(&["member", "admin", "forced"]),
                "Who wants it; `member` if left out",
            ),
        ],
    ),
    of_member(
        "account.password-changed",
        "There is a new password",
        &[
            MEMBER,
            optional(
                "by",
                Kind::OneOf(&["member", "admin", "reset"]),
                "Who changed it; `member` if left out",
            ),
        ],
    ),
    of_member("account.email-change-requested", "Another address is wanted", &[MEMBER, NEW_EMAIL]),
    of_member(
        "account.email-changed",
        "The address is another one",
        &[MEMBER, NEW_EMAIL, optional("old_email", Kind::Email, "The address until now")],
    ),
    of_member("account.administrator-granted", "The member is an administrator now", &[MEMBER]),
    of_member(
        "account.out-of-office-detected",
        "An automatic reply came; it is counted",
        &[
            MEMBER,
            MATCHED,
            optional("in_reply_to", Kind::Text, "Message-ID that it answers"),
            optional("message_id", Kind::Text, "Its own"),
        ],
    ),
    of_member("account.out-of-office-warned", "Below the limit", ABSENCE),
    of_member("account.on-vacation", "At the limit", ABSENCE),
];

const fn of_member(name: &'static str, about: &'static str, fields: &'static [Field]) -> AccountType {
    AccountType { name, about, fields, one_of: &[] }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::domain::change::Change;

    fn example(field: &Field) -> Value {
        match field.kind {
            Kind::Text if field.name == "locale" => json!("pt-BR"),
            Kind::Text if field.name == "username" => json!("elon"),
            Kind::Text => json!("mem_1"),
            Kind::Email => json!("elon@example.com"),
            Kind::Member => json!("elon"),
            Kind::Flag => json!(true),
            Kind::Number => json!(1),
            Kind::OneOf(names) => json!(names[0]),
        }
    }

    #[test]
    fn every_type_of_the_table_can_be_read_with_all_and_with_its_required_fields_and_not_without_one() {
        for of in ACCOUNT_TYPES {
            let all: Map<String, Value> =
                of.fields.iter().map(|field| (field.name.to_owned(), example(field))).collect();
            assert!(Change::read(of.name, &json!(all)).is_ok(), "{} {all:?}", of.name);
            for field in of.fields.iter().filter(|field| field.required && field.kind != Kind::Number) {
                let mut less = all.clone();
                less.remove(field.name);
                let refusal = Change::read(of.name, &json!(less)).unwrap_err();
                assert_eq!(refusal.field.as_deref(), Some(field.name), "{}", of.name);
            }
            for field in of.fields {
                if let Kind::OneOf(names) = field.kind {
                    for name in names {
                        let mut other = all.clone();
                        other.insert(field.name.to_owned(), json!(name));
                        assert!(Change::read(of.name, &json!(other)).is_ok(), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_type_that_can_be_read_is_in_the_table() {
        let source = include_str!("change.rs").split("#[cfg(test)]").next().unwrap();
        let named =
            source.lines().filter_map(|line| line.trim().strip_prefix("\"account.")?.split('"').next());
        let mut named: Vec<String> = named.map(|name| format!("account.{name}")).collect();
        let mut told: Vec<String> = ACCOUNT_TYPES.iter().map(|of| of.name.to_owned()).collect();
        named.sort();
        told.sort();
        assert_eq!(named, told);
    }
}
