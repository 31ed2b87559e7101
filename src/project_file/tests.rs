//! Files applied once and twice, and what is stored then.

use super::fixture::{ACME, OTHERS, Place};
use super::*;

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
async fn an_address_is_changed_by_an_event_alone_and_what_is_with_it_at_once() {
    let place = Place::new().await;
    place.apply(ACME, false).await.unwrap();
    let member = |fields: &str| format!("[project]\nslug = 'acme'\n[[members]]\n{fields}");
    let (at, told) = place.problem(&member("username = 'kim'\nemail = 'ELON@example.com'")).await;
    assert!(at == "members[0].email" && told.contains("another member"), "{told}");
    let moved = member("username = 'elon'\nemail = 'new@example.com'\nlast_name = 'Newman'");
    let changes = place.apply(&moved, false).await.unwrap();
    assert_eq!(changes.last().unwrap(), "member elon: changed (email, last_name)");
    // The caller publishes the event; until then the stored address stays.
    let changes = place.apply(&moved, false).await.unwrap();
    assert_eq!(changes.last().unwrap(), "member elon: changed (email)");
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
