//! What the tests of stored e-mails have in common: a member, an event, a token, and the hosts that it may go to.

use chrono::DateTime;
use serde_json::json;

use super::*;

pub(super) const RESET: &str = "account.password-reset-requested";
/// A type that a project made: its data may have any field.
pub(super) const OWN: &str = "billing.card-expiring";
pub(super) const TOKEN: &str = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx";
pub(super) const LINK: &str =
    "https://app.acme.example/reset?token=Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx&lang=en";

pub(super) fn hosts() -> Vec<String> {
    vec!["app.acme.example".to_owned()]
}

pub(super) fn text(subject: &str, body: &str) -> Text {
    Text { locale: None, subject: subject.to_owned(), body: body.to_owned() }
}

pub(super) fn member(first_name: &str) -> Addressee {
    Addressee {
        id: "mem_elon".to_owned(),
        username: "elon".to_owned(),
        email: "elon@example.com".to_owned(),
        first_name: Some(first_name.to_owned()),
        ..Addressee::default()
    }
}

pub(super) fn facts(kind: &str, data: serde_json::Value) -> Facts {
    Facts { kind: kind.to_owned(), time: DateTime::from_timestamp(1_795_542_600, 0).unwrap(), data }
}

pub(super) fn rendered(text: &Text, member: &Addressee, event: &Facts) -> Result<Rendered, StoredError> {
    let values = Values {
        project: Brand { name: "Acme", ..Brand::default() },
        slug: "acme",
        member,
        event,
        event_type: &event.kind,
        email: "elon@example.com",
        token: Some(TOKEN),
        link: Some(LINK),
        expires_in: Some(TimeDelta::minutes(30)),
        link_hosts: &hosts(),
    };
    render(text, &values)
}

pub(super) fn mail(subject: &str, body: &str) -> Rendered {
    rendered(&text(subject, body), &member("Elon"), &facts(RESET, json!({ "member": "elon" }))).unwrap()
}

pub(super) fn faults(subject: &str, body: &str) -> Vec<(&'static str, usize, usize)> {
    let hosts = hosts();
    let purposes = Purposes { event_type: RESET, token: true, link_hosts: &hosts };
    let faults = check(&text(subject, body), &purposes);
    faults.into_iter().map(|(field, wrong)| (field, wrong.line, wrong.column)).collect()
}
