//! Wrong files, each with the place it names; and files applied twice.

use super::*;
use crate::domain::catalogue::{Automation, Integration, IntegrationKind, SmtpServer};
use crate::domain::keys::SecretKey;
use crate::domain::member::Member;

const ACME: &str = r##"
[project]
slug = "acme"
name = "Acme"
link_hosts = ["app.acme.example"]
origins = ["https://app.acme.example"]
jexia_calls = false
out_of_office = { limit = 2, phrases = ["out of office", "out of the office"] }
throttle = { recipient = "5/h", client = "20/h" }
notices = ["account.*", "event.refused", "dispatch.dead", "dispatch.bounced"]
brand = { color = "#0b5fff", logo_url = "https://app.acme.example/logo.png", footer = "Acme Ltd, 1 Main Street" }

[[integrations]]
name = "main"
kind = "smtp"
url  = "smtp://user:${SMTP_PASSWORD}@mail.example.com:587?tls=required"
from = "Acme <no-reply@acme.example>"
reply_to = "help@acme.example"
connections = 10
auto_submitted = true

[[automations]]
name = "Our reset"
event = "account.password-reset-requested"
integration = "main"
template = "reset-password-confirm"
link = "https://app.acme.example/reset?token={{ token }}"
token = { purpose = "reset-password", lifetime = "30m" }
max_age = "2h"
enabled = true

[[members]]
username = "elon"
email = "elon@example.com"
first_name = "Elon"
"##;

/// A database of its own, and what files are applied with.
struct Place {
    store: Store,
    keys: Keyring,
    environment: BTreeMap<String, String>,
    _directory: tempfile::TempDir,
}

/// What is stored of the project `acme`.
/// Built-in automations that no test here is about.
const OTHERS: [&str; 5] = [
    "Administrator granted",
    "Confirm e-mail address",
    "E-mail address changed",
    "On vacation",
    "Out of office",
];

struct Found {
    integrations: Vec<Integration>,
    automations: Vec<Automation>,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let environment = [("SMTP_PASSWORD".to_owned(), "p@ss/word".to_owned())].into();
        let keys = Keyring::new(&SecretKey::from_bytes([7; 32]), &[]);
        Self { store, keys, environment, _directory: directory }
    }

    async fn apply(&self, text: &str, dry_run: bool) -> Result<Vec<String>, Vec<Problem>> {
        match apply(&self.applying(), text, Options { dry_run, prune: false }).await {
            Ok(changes) => Ok(changes.iter().map(ToString::to_string).collect()),
            Err(ApplyError::Wrong(problems)) => Err(problems),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn applying(&self) -> Applying<'_> {
        Applying {
            store: &self.store,
            keys: &self.keys,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            public_host: "mail.acme.example",
            environment: &self.environment,
        }
    }

    async fn found(&self) -> Found {
        let mut c = self.store.read().await.unwrap();
        Found {
            integrations: db!(c, integrations::all()).unwrap(),
            automations: db!(c, automations::all()).unwrap().into_iter().map(|(_, one)| one).collect(),
        }
    }

    async fn elon(&self) -> Member {
        let mut c = self.store.read().await.unwrap();
        let project = db!(c, catalogue::project_id("acme")).unwrap().unwrap();
        let name = crate::domain::member::MemberRef::parse("elon").unwrap();
        db!(c, members::find(project.0, &name)).unwrap().unwrap()
    }

    /// The place of the only problem.
    async fn problem(&self, text: &str) -> (String, String) {
        match self.apply(text, false).await.unwrap_err().as_slice() {
            [one] => (one.place.clone(), one.what.clone()),
            more => panic!("{more:?}\n{text}"),
        }
    }
}

impl Found {
    fn server(&self, name: &str) -> SmtpServer {
        let found = self.integrations.iter().find(|one| one.name == name).unwrap();
        match &found.kind {
            IntegrationKind::Smtp(server) => server.clone(),
            IntegrationKind::Capture => panic!("captures"),
        }
    }

    /// Of the automations; the built-in ones that no test here is about are left out.
    fn names(&self) -> Vec<&str> {
        let names = self.automations.iter().map(|one| one.name.as_str());
        let (others, names): (Vec<_>, _) = names.partition(|name| OTHERS.contains(name));
        assert_eq!(others.len(), OTHERS.len(), "{others:?}");
        names
    }

    fn automation(&self, name: &str) -> &Automation {
        self.automations.iter().find(|one| one.name == name).unwrap()
    }
}

#[tokio::test]
async fn a_file_applied_twice_changes_nothing_the_second_time() {
    let place = Place::new().await;
    let created = [
        "project acme: created",
        "integration main: created",
        "automation \"Our reset\": created",
        "automation \"Password changed\": created",
        "automation \"Confirm e-mail address\": created",
        "automation \"E-mail address changed\": created",
        "automation \"Administrator granted\": created",
        "automation \"Out of office\": created",
        "automation \"On vacation\": created",
        "member elon: created",
    ];
    assert_eq!(place.apply(ACME, true).await.unwrap(), created, "a dry run");
    assert_eq!(place.apply(ACME, false).await.unwrap(), created, "after a dry run nothing is there");
    let mut c = place.store.read().await.unwrap();
    let revision = db!(c, catalogue::revision()).unwrap();
    let again = place.apply(ACME, false).await.unwrap();
    assert!(again.iter().all(|line| line.ends_with(": unchanged")) && again.len() == 4, "{again:?}");
    assert_eq!(db!(c, catalogue::revision()).unwrap(), revision, "no worker reads again");
}

#[tokio::test]
async fn what_is_stored_is_what_the_file_says() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    let found = place.found().await;
    let main = &found.integrations[0];
    let server = found.server("main");
    assert_eq!(
        (server.host.as_str(), server.port, server.tls.as_str()),
        ("mail.example.com", 587, "required")
    );
    assert!(server.unrestricted && main.auto_submitted && main.connections == 10);
    let seal_place = server.seal_place(main.id, main.project_id);
    let sealed = server.sealed_password.unwrap();
    assert_eq!(place.keys.open(&seal_place, &sealed).unwrap(), b"p@ss/word");
    assert_eq!(found.names(), ["Our reset", "Password changed"]);
    assert_eq!(found.automation("Our reset").max_age, std::time::Duration::from_hours(2));
    assert_eq!(found.automation("Password changed").integration_id, main.id);
    let elon = place.elon().await;
    assert!(elon.id.starts_with("mem_") && elon.first_name.as_deref() == Some("Elon") && !elon.is_admin);
}

#[tokio::test]
async fn what_the_file_omits_stays() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    assert_eq!(place.apply("[project]\nslug = 'acme'", false).await.unwrap(), ["project acme: unchanged"]);
    let text = "[project]\nslug = 'acme'\nbrand = { color = '#fff' }\n[[integrations]]\nname = 'main'\n\
                connections = 5\nreply_to = ''\n[[automations]]\nname = 'Our reset'\nenabled = false\n\
                [[members]]\nusername = 'ELON'\nis_admin = true";
    let lines = [
        "project acme: changed (brand)",
        "integration main: changed (reply_to, connections)",
        "automation \"Our reset\": changed (enabled)",
        "member elon: changed (is_admin)",
    ];
    assert_eq!(place.apply(text, false).await.unwrap(), lines);
    let found = place.found().await;
    assert_eq!((found.integrations[0].connections, found.integrations[0].reply_to.as_deref()), (5, None));
    assert!(found.server("main").sealed_password.is_some() && found.automation("Our reset").link.is_some());
    assert!(place.elon().await.is_admin);
    assert!(place.apply(text, false).await.unwrap().iter().all(|line| line.ends_with("unchanged")));
}

#[tokio::test]
async fn a_password_goes_nowhere_else_without_being_given_again() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    let with =
        |url: &str| format!("[project]\nslug = 'acme'\n[[integrations]]\nname = 'main'\nurl = '{url}'");
    for same in
        ["smtp://user@mail.example.com", "smtp://mail.example.com:587", "smtp://USER@mail.example.com"]
    {
        let applied = place.apply(&with(same), false).await;
        assert_eq!(applied.is_ok(), !same.contains("USER"), "{same}");
        assert!(place.found().await.server("main").sealed_password.is_some());
    }
    for (url, changed) in [
        ("smtp://user@evil.example", "changes host"),
        ("smtp://evil.example", "changes host"),
        ("smtp://user@mail.example.com:25", "changes port"),
        ("smtp://root@mail.example.com", "changes user"),
        ("smtp://user@mail.example.com?tls=none", "changes tls"),
        ("smtps://user@mail.example.com:587", "changes tls"),
    ] {
        let (at, what) = place.problem(&with(url)).await;
        assert!(at == "integrations[0].url" && what.contains(changed), "{url}: {what}");
    }
    let lines = place.apply(&with("smtp://user:other@mail.example.com"), false).await.unwrap();
    assert_eq!(lines[1], "integration main: changed (password)");
    let lines = place.apply(&with("smtps://root:pw@relay.example"), false).await.unwrap();
    assert_eq!(lines[1], "integration main: changed (host, port, tls, user)");
    let lines = place.apply(&with("smtp://@localhost:25?tls=none"), false).await.unwrap();
    assert!(lines[1].contains("user"), "{lines:?}");
    assert!(place.found().await.server("main").sealed_password.is_none());
}

#[tokio::test]
async fn a_built_in_automation_gives_way_to_one_of_the_file() {
    let place = Place::new().await;
    let bare =
        "[project]\nslug = 'acme'\n[[integrations]]\nname = 'box'\nkind = 'capture'\nfrom = 'a@x.example'\n";
    place.apply(bare, false).await.unwrap();
    let before = place.found().await;
    assert_eq!(before.names(), ["Password changed", "Reset password"]);
    let ours = "[[automations]]\nname = 'Ours'\nevent = 'password-changed'\nintegration = 'box'\n\
                template = 'change-password'\n";
    let lines = place.apply(&format!("{bare}{ours}"), false).await.unwrap();
    assert_eq!(lines[2], "automation Ours: changed (name)");
    let after = place.found().await;
    assert_eq!(after.names(), ["Ours", "Reset password"]);
    assert_eq!(
        (after.automation("Ours").id, after.automation("Ours").version),
        (before.automation("Password changed").id, 2)
    );
    place.apply(&format!("{bare}{ours}"), false).await.unwrap();
    assert_eq!(place.found().await.automation("Ours").version, 2);
}

#[tokio::test]
async fn an_automation_that_moves_to_another_event_leaves_a_built_in_one_in_its_place() {
    let place = Place::new().await;
    let text = "[project]\nslug = 'acme'\n[[integrations]]\nname = 'box'\nkind = 'capture'\nfrom = 'a@x.example'\n\
                [[automations]]\nname = 'Ours'\nevent = 'account.password-changed'\nintegration = 'box'\n\
                template = 'change-password'\n";
    place.apply(text, false).await.unwrap();
    assert_eq!(place.found().await.names(), ["Ours", "Reset password"]);
    let moved = text.replace("account.password-changed", "account.password-reset-requested");
    let lines = place.apply(&moved, false).await.unwrap();
    assert_eq!(
        lines[2..],
        [
            "automation Ours: changed (event)",
            "automation \"Reset password\": retired",
            "automation \"Password changed\": created",
        ]
    );
    assert_eq!(place.found().await.names(), ["Ours", "Password changed"]);
    assert!(place.apply(&moved, false).await.unwrap().iter().all(|line| line.ends_with(": unchanged")));
}

#[tokio::test]
async fn a_project_can_do_without_the_built_in_automations() {
    let place = Place::new().await;
    let text = "[project]\nslug = 'acme'\nbuiltin_automations = false";
    assert_eq!(place.apply(text, false).await.unwrap(), ["project acme: created"]);
    assert_eq!(
        place.apply("[project]\nslug = 'acme'", false).await.unwrap().len(),
        1,
        "and it is remembered"
    );
}

#[tokio::test]
async fn the_project_of_dev_is_made_once() {
    let place = Place::new().await;
    let made = ensure_default(&place.applying()).await.unwrap();
    assert!(made.iter().any(|change| change.to_string() == "integration mailbox: created"), "{made:?}");
    assert_eq!(made.len(), 5 + OTHERS.len());
    assert!(ensure_default(&place.applying()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_leaves_a_trace() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    place.apply(ACME, false).await.unwrap();
    let Store::Lite { reader, .. } = &place.store else { panic!() };
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("select actor, action, subject from audit order by rowid")
            .fetch_all(reader)
            .await
            .unwrap();
    assert_eq!(rows.len(), 5 + OTHERS.len());
    assert_eq!((rows[1].0.as_str(), rows[1].1.as_str()), ("apply", "integration.created"));
    assert!(rows.iter().all(|row| !row.2.contains("p@ss")));
}

#[tokio::test]
async fn an_address_is_changed_by_an_event_alone() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    let member = |fields: &str| format!("[project]\nslug = 'acme'\n[[members]]\n{fields}");
    for (fields, what) in [
        ("username = 'elon'\nemail = 'new@example.com'", "account.email-changed"),
        ("username = 'kim'\nemail = 'ELON@example.com'", "another member"),
    ] {
        let (at, told) = place.problem(&member(fields)).await;
        assert!(at == "members[0].email" && told.contains(what), "{told}");
    }
}

#[tokio::test]
async fn a_link_host_that_is_in_use_is_not_left_out() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    let (at, what) = place.problem("[project]\nslug = 'acme'\nlink_hosts = ['www.acme.example']").await;
    assert!(at == "project.link_hosts" && what.contains("Our reset"), "{what}");
}

#[tokio::test]
async fn a_link_goes_to_the_public_host_if_the_project_names_none() {
    let place = Place::new().await;
    let text = ACME.replace("link_hosts = [\"app.acme.example\"]\n", "");
    let (at, what) = place.problem(&text).await;
    assert!(at == "automations[0].link" && what.contains("mail.acme.example"), "{what}");
    let text = text.replace("https://app.acme.example/reset?", "https://mail.acme.example/reset?");
    assert!(place.apply(&text, false).await.is_ok());
}

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

const MORE: &str = r#"
[[integrations]]
name = "second"
kind = "capture"
from = "second@acme.example"
rate = "50/s"
return_path = "bounces@acme.example"
reply_path = "replies@acme.example"

[[event_types]]
type = "billing.card-expiring"
schema = { type = "object", required = ["member", "last4"] }

[[event_types]]
type = "billing.paid"
schema = '{"enum": [null, 1]}'

[[members]]
email = "nobody@example.com"
"#;

impl Place {
    async fn prune(&self, text: &str) -> Vec<String> {
        let options = Options { dry_run: false, prune: true };
        let changes = apply(&self.applying(), text, options).await.unwrap_or_else(|_| panic!("{text}"));
        changes.iter().filter(|one| one.verdict != Verdict::Unchanged).map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn what_is_exported_applies_to_the_same_and_holds_no_secret() {
    let place = Place::new().await;
    place.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let exported = export(&place.store, "acme").await.unwrap();
    assert!(!exported.contains("p@ss") && !exported.contains("p%40ss"), "{exported}");
    let again = place.apply(&exported, false).await.unwrap_or_else(|wrong| panic!("{wrong:?}\n{exported}"));
    assert!(again.iter().all(|line| line.ends_with(": unchanged")), "{again:?}\n{exported}");
    assert_eq!(export(&place.store, "acme").await.unwrap(), exported);
    for part in ["builtin_automations", "rate = \"50/s\"", "billing.card-expiring", "nobody@example.com"] {
        assert!(exported.contains(part), "{part} in {exported}");
    }
    assert!(matches!(export(&place.store, "gone").await, Err(ExportError::NoProject)));
}

#[tokio::test]
async fn an_export_makes_the_same_project_elsewhere_once_it_has_its_passwords() {
    let here = Place::new().await;
    here.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let exported = export(&here.store, "acme").await.unwrap();
    let there = Place::new().await;
    let problems = there.apply(&exported, false).await.unwrap_err();
    assert!(problems.iter().all(|problem| problem.place == "integrations[0].url"), "{problems:?}");
    let with = exported.replace("smtp://user@", "smtp://user:${SMTP_PASSWORD}@");
    there.apply(&with, false).await.unwrap();
    assert_eq!(export(&there.store, "acme").await.unwrap(), exported);
}

#[tokio::test]
async fn pruning_takes_away_what_the_file_omits_but_no_member_and_no_built_in_automation() {
    let place = Place::new().await;
    place.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let own = "[[automations]]\nname = 'Mine'\nevent = 'account.password-changed'\nintegration = 'second'\n\
               template = 'change-password'\n";
    place.apply(&format!("{ACME}{MORE}{own}"), false).await.unwrap();
    let bare = "[project]\nslug = 'acme'\n[[integrations]]\nname = 'fresh'\nkind = 'capture'\n\
                from = 'fresh@acme.example'\n";
    let changed = place.prune(bare).await;
    for line in [
        "integration fresh: created",
        "integration main: retired",
        "integration second: retired",
        "automation Mine: retired",
        "automation \"Our reset\": retired",
        "automation \"Reset password\": created",
        "event-type billing.card-expiring: retired",
    ] {
        assert!(changed.contains(&line.to_owned()), "{line} in {changed:?}");
    }
    assert!(place.prune(bare).await.is_empty(), "the second time nothing is left to do");
    let exported = export(&place.store, "acme").await.unwrap();
    assert!(exported.contains("elon@example.com") && exported.contains("Password changed"), "{exported}");
    assert!(!exported.contains("second") && !exported.contains("billing"), "{exported}");
}
