//! Wrong files, each with the place it names.

use super::fixture::{ACME, Place};
use super::*;

/// What is put in the place of what, and the place that is named.
const WRONG: [(&str, &str, &str); 63] = [
    ("[project]", "[project", "line 2"),
    ("slug = \"acme\"", "", "project.slug"),
    ("slug = \"acme\"", "slug = \"Acme\"", "project.slug"),
    ("slug = \"acme\"", "slug = 7", "project.slug"),
    ("slug = \"acme\"", "slug = \"acme\"\ncolour = 1", "project.colour"),
    ("name = \"Acme\"", "name = \"\"", "project.name"),
    (
        "link_hosts = [\"app.acme.example\"]",
        "link_hosts = [\"https://app.acme.example\"]",
        "project.link_hosts[0]",
    ),
    ("link_hosts = [\"app.acme.example\"]", "link_hosts = \"app.acme.example\"", "project.link_hosts"),
    (
        "origins = [\"https://app.acme.example\"]",
        "origins = [\"https://app.acme.example/\"]",
        "project.origins[0]",
    ),
    ("origins = [\"https://app.acme.example\"]", "origins = [\"*\"]", "project.origins[0]"),
    ("jexia_calls = false", "jexia_calls = \"no\"", "project.jexia_calls"),
    ("limit = 2", "limit = 0", "project.out_of_office.limit"),
    ("limit = 2", "limits = 2", "project.out_of_office.limits"),
    ("\"out of office\"", "\"\"", "project.out_of_office.phrases[0]"),
    ("recipient = \"5/h\"", "recipient = \"5\"", "project.throttle.recipient"),
    ("client = \"20/h\"", "client = 20", "project.throttle.client"),
    ("\"account.*\"", "\"member.*\"", "project.notices[0]"),
    ("\"event.refused\"", "\"event.refuse\"", "project.notices[1]"),
    ("#0b5fff", "blue", "project.brand.color"),
    ("https://app.acme.example/logo.png", "http://app.acme.example/logo.png", "project.brand.logo_url"),
    ("name = \"main\"", "", "integrations[0].name"),
    ("kind = \"smtp\"", "kind = \"pigeon\"", "integrations[0].kind"),
    ("kind = \"smtp\"", "kind = \"capture\"", "integrations[0].url"),
    ("${SMTP_PASSWORD}", "${GONE}", "integrations[0].url"),
    (":${SMTP_PASSWORD}", "", "integrations[0].url"),
    ("smtp://", "http://", "integrations[0].url"),
    ("?tls=required", "?tls=maybe", "integrations[0].url"),
    ("from = \"Acme <no-reply@acme.example>\"", "", "integrations[0].from"),
    ("Acme <no-reply@acme.example>", "Acme", "integrations[0].from"),
    ("help@acme.example", "help", "integrations[0].reply_to"),
    ("connections = 10", "connections = 0", "integrations[0].connections"),
    ("connections = 10", "connections = 1001", "integrations[0].connections"),
    ("connections = 10", "rate = \"fast\"", "integrations[0].rate"),
    ("connections = 10", "return_path = \"nobody\"", "integrations[0].return_path"),
    ("connections = 10", "reply_path = \"nobody\"", "integrations[0].reply_path"),
    ("connections = 10", "return_path = \"account-bounces@acme.example\"", "integrations[0].return_path"),
    ("connections = 10", "reply_path = \"account-replies@acme.example\"", "integrations[0].reply_path"),
    ("event = \"account.password-reset-requested\"", "event = \"account.exploded\"", "automations[0].event"),
    ("event = \"account.password-reset-requested\"", "", "automations[0].event"),
    ("integration = \"main\"", "integration = \"other\"", "automations[0].integration"),
    ("template = \"reset-password-confirm\"", "template = \"welcome\"", "automations[0].template"),
    (
        "template = \"reset-password-confirm\"",
        "template = \"change-password\"\ncondition = \"member.nobody\"",
        "automations[0].condition",
    ),
    (
        "template = \"reset-password-confirm\"",
        "subject = \"x\"\nbody = \"{{ tokn }}\"",
        "automations[0].body",
    ),
    (
        "template = \"reset-password-confirm\"",
        "subject = \"{{ token }}\"\nbody = \"{{ token }}\"",
        "automations[0].subject",
    ),
    ("template = \"reset-password-confirm\"", "subject = \"x\"", "automations[0].body"),
    (
        "template = \"reset-password-confirm\"",
        "texts = [{ subject = \"x\", body = \"{{ token }}\" }, { locale = \"d\", subject = \"x\", body = \"x\" }]",
        "automations[0].texts[1].locale",
    ),
    (
        "template = \"reset-password-confirm\"",
        "template = \"reset-password-confirm\"\nsubject = \"x\"\nbody = \"{{ token }}\"",
        "automations[0].template",
    ),
    ("https://app.acme.example/reset", "http://app.acme.example/reset", "automations[0].link"),
    ("https://app.acme.example/reset", "https://evil.example/reset", "automations[0].link"),
    ("{{ token }}", "7", "automations[0].link"),
    ("purpose = \"reset-password\"", "purpose = \"fun\"", "automations[0].token.purpose"),
    ("purpose = \"reset-password\"", "purpose = \"change-email\"", "automations[0].token.purpose"),
    // No other token goes to an address that is not confirmed, or with a change of the address.
    ("account.password-reset-requested", "email-change-requested", "automations[0].token.purpose"),
    ("account.password-reset-requested", "account.email-changed", "automations[0].token.purpose"),
    ("lifetime = \"30m\"", "lifetime = \"13h\"", "automations[0].token.lifetime"),
    ("lifetime = \"30m\"", "lifetime = 30", "automations[0].token.lifetime"),
    ("max_age = \"2h\"", "max_age = \"1s\"", "automations[0].max_age"),
    ("username = \"elon\"\nemail = \"elon@example.com\"", "", "members[0].username"),
    ("elon@example.com", "elon@", "members[0].email"),
    ("first_name = \"Elon\"", "password = \"hunter2\"", "members[0].password"),
    ("first_name = \"Elon\"", "[[event_types]]\ntype = \"a.b\"", "event_types[0].schema"),
    ("first_name = \"Elon\"", "[[event_types]]\ntype = \"account.x\"\nschema = {}", "event_types[0].type"),
    (
        "first_name = \"Elon\"",
        "[[event_types]]\ntype = \"a.b\"\nschema = { type = \"x\" }",
        "event_types[0].schema",
    ),
];

#[tokio::test]
async fn every_wrong_file_names_its_place_and_changes_nothing() {
    let place = Place::new().await;
    for (right, wrong, named) in WRONG {
        assert!(ACME.contains(right), "{right}");
        let text = ACME.replacen(right, wrong, 1);
        let problems = place.apply(&text, false).await.err().unwrap_or_default();
        assert!(problems.iter().any(|problem| problem.place == named), "{wrong}: {named} in {problems:?}");
        assert!(problems.iter().all(|problem| !problem.what.contains("hunter2")), "{problems:?}");
    }
    let mut c = place.store.read().await.unwrap();
    assert!(db!(c, catalogue::projects()).unwrap().is_empty());
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let place = Place::new().await;
    let text = "[project]\nslug = 'a_b'\nname = 7\n[[integrations]]\nname = 'x'\n[[integrations]]\nname = 'x'\n\
                kind = 'capture'\nfrom = 'a@x.example'\n[[automations]]\nname = 'A'\nsubject = 's'\nbody = 'b'\n\
                [[members]]\nusername = 'mem_1'\n[[other]]\na = 1";
    let problems = place.apply(text, false).await.unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
    for expected in [
        "project.slug",
        "project.name",
        "integrations[0].kind",
        "integrations[0].from",
        "integrations[1].name",
        "automations[0].event",
        "automations[0].integration",
        "members[0].username",
        "other",
    ] {
        assert!(places.contains(&expected), "{expected} in {places:?}");
    }
}

#[tokio::test]
async fn a_notice_carries_neither_token_nor_link() {
    let place = Place::new().await;
    let text = ACME.replace("reset-password-confirm", "change-password");
    let problems = place.apply(&text, false).await.unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["automations[0].token", "automations[0].link"]);
}
