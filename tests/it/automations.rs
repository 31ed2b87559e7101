//! Automations as people write them: Jexia's example by API and by file, conditions, versions under way.

use mail_parser::MessageParser;
use serde_json::{Value, json};

use super::support::sink::{At, Sink, Step};
use super::world::{Answer, World};

const RESET: &str = "account.password-reset-requested";
const SUBJECT: &str = "Reset the password of {{.email}}";
const BODY: &str =
    "Hello {{.email}},\n\nhere is your token: {{.token}}\n\nSee https://127.0.0.1/reset?token={{ token }}\n";

/// Subject and text of each mail to an address.
fn read(world: &World, address: &str) -> Vec<(String, String)> {
    let mails = world.sink.mails();
    let to = mails.iter().filter(|mail| mail.to.iter().any(|to| to == address));
    to.map(|mail| {
        let parsed = MessageParser::default().parse(mail.data.as_slice()).unwrap();
        (
            parsed.subject().unwrap_or_default().to_owned(),
            parsed.body_text(0).unwrap_or_default().into_owned(),
        )
    })
    .collect()
}

/// Jexia's document: a known member gets the text with both placeholders filled in, an unknown one is an error.
async fn jexia_s_example(world: &World) {
    world.member("elon").await;
    let token = world.reset_token("elon").await;
    let mails = read(world, "elon@example.com");
    let (subject, text) = mails.last().unwrap();
    assert_eq!(subject, "Reset the password of elon@example.com");
    assert!(text.contains("Hello elon@example.com,"), "{text}");
    let unbroken = text.replace("\r\n", " ").replace('\n', " ");
    assert!(unbroken.contains(&format!("here is your token: {token}")), "{text}");
    assert!(text.contains(&format!("https://127.0.0.1/reset?token={token}")), "{text}");
    assert_eq!(world.inspect(&token).await, "good");
    let unknown = world.post("/v1/password-resets", json!({ "member": "nobody@example.com" })).await;
    assert_eq!(unknown.said(), (404, "unknown-member"), "{unknown:?}");
}

async fn made(world: &World, body: Value) -> Answer {
    let answer = world.post("/v1/automations", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    world.nudge().await;
    answer
}

fn own(name: &str, body: &str) -> Value {
    json!({ "name": name, "event": RESET, "integration": "main", "subject": "S", "body": body })
}

/// Switches the built-in one off, so that each request is one mail.
async fn without_built_in(world: &World) {
    world
        .apply("[project]\nslug = 'acme'\n[[automations]]\nname = 'Reset password'\nenabled = false\n")
        .await
        .unwrap();
}

#[tokio::test]
async fn jexia_s_example_made_by_the_api() {
    let world = World::start().await;
    without_built_in(&world).await;
    made(
        &world,
        json!({ "name": "Own", "event": RESET, "integration": "main", "subject": SUBJECT, "body": BODY }),
    )
    .await;
    jexia_s_example(&world).await;
}

#[tokio::test]
async fn jexia_s_example_made_by_a_file() {
    let world = World::start().await;
    let file = format!(
        "[project]\nslug = 'acme'\n[[automations]]\nname = 'Own'\nevent = '{RESET}'\nintegration = 'main'\n\
         subject = '{SUBJECT}'\nbody = '''{BODY}'''\n"
    );
    let changes: Vec<String> = world.apply(&file).await.unwrap().iter().map(ToString::to_string).collect();
    assert!(changes.iter().any(|change| change.starts_with("automation Own: changed")), "{changes:?}");
    world.nudge().await;
    jexia_s_example(&world).await;
    let again: Vec<String> = world.apply(&file).await.unwrap().iter().map(ToString::to_string).collect();
    assert!(again.iter().all(|change| change.ends_with("unchanged")), "{again:?}");
}

#[tokio::test]
async fn a_condition_decides_which_mail_is_sent() {
    let world = World::start().await;
    without_built_in(&world).await;
    let mut admin = own("Admin", "By an admin: {{ link }}");
    admin["condition"] = json!("event.reason == 'admin'");
    made(&world, admin).await;
    world.member("elon").await;
    let none = world.publish("password-reset-requested", json!({ "member": "elon" })).await;
    assert_eq!(none.said(), (202, "condition-false"), "{none:?}");
    let one = world.publish("password-reset-requested", json!({ "member": "elon", "reason": "admin" })).await;
    assert_eq!(one.said(), (202, "dispatched"), "{one:?}");
    world.until_idle().await;
    let mails = read(&world, "elon@example.com");
    assert_eq!(mails.len(), 1);
    assert!(mails[0].1.starts_with("By an admin:"), "{mails:?}");
}

#[tokio::test]
async fn a_mail_that_is_tried_again_is_of_the_version_it_was_planned_with() {
    let busy = Sink::builder().usual().script([Step::reply_at(At::Rcpt, "451 4.3.0 later")]);
    let world = World::with_sink(busy).await;
    without_built_in(&world).await;
    let mut first = own("Own", "First: {{ link }}");
    first["link"] = json!("https://127.0.0.1/first/{{ token }}");
    let id = made(&world, first).await.json["id"].as_str().unwrap().to_owned();
    world.member("elon").await;
    let dispatch = world.ask_reset("elon").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "pending");
    world.delete(&format!("/v1/automations/{id}")).await;
    world.nudge().await;
    world.pass(chrono::TimeDelta::minutes(1)).await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "sent");
    let mails = read(&world, "elon@example.com");
    assert!(mails[0].1.contains("First:") && mails[0].1.contains("https://127.0.0.1/first/"), "{mails:?}");
}
