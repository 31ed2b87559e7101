//! What services tell of accounts, and which mails come of it.

use serde_json::{Value, json};

use super::world::{Answer, World};

/// Who was mailed since, each with the token if the mail carries one.
fn mailed(world: &World, since: usize) -> Vec<(String, Option<String>)> {
    let mut mails: Vec<_> =
        world.mails()[since..].iter().map(|mail| (mail.recipient.clone(), mail.token.clone())).collect();
    mails.sort();
    mails
}

async fn published(world: &World, kind: &str, data: Value) -> Answer {
    let answer = world.publish(kind, data).await;
    world.until_idle().await;
    answer
}

fn said(answer: &Answer) -> (u16, String, String) {
    let text = |name: &str| answer.json[name].as_str().unwrap_or_default().to_owned();
    match answer.status {
        202 => (202, text("outcome"), String::new()),
        status => (status, text("code"), text("field")),
    }
}

/// How many automatic replies were counted, and whether the member is on vacation.
async fn absence(world: &World, name: &str) -> (i64, bool) {
    let member = world.get(&format!("/v1/members/mem_{name}")).await.json;
    (member["auto_replies"].as_i64().unwrap(), member["on_vacation"].as_bool().unwrap())
}

#[tokio::test]
async fn a_requested_address_gets_the_link_and_nothing_changes_until_it_is_followed() {
    let world = World::start().await;
    world.members(["ada".to_owned(), "eve".to_owned()]).await;
    let before = world.mails().len();
    let data = json!({ "member": "ada", "new_email": "ada@new.example" });
    assert_eq!(published(&world, "email-change-requested", data).await.said(), (202, "dispatched"));
    let mails = mailed(&world, before);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].0, "ada@new.example");
    assert_eq!(world.inspect(mails[0].1.as_ref().unwrap()).await, "good");
    let member = world.get("/v1/members/mem_ada").await.json;
    assert_eq!(member["email"], "ada@example.com");
    for taken in ["eve@example.com", "ADA@example.com"] {
        let data = json!({ "member": "ada", "new_email": taken });
        let answer = published(&world, "email-change-requested", data).await;
        assert_eq!(
            (answer.json["code"].as_str(), answer.json["field"].as_str()),
            (Some("email-in-use"), Some("new_email"))
        );
    }
    assert_eq!(world.inspect(mails[0].1.as_ref().unwrap()).await, "good");
}

#[tokio::test]
async fn a_changed_address_is_told_to_both_and_only_the_old_one_gets_the_way_back() {
    let world = World::start().await;
    world.members(["ada".to_owned(), "bob".to_owned()]).await;
    let changes = [
        ("ada", "email-changed", json!({ "member": "ada", "new_email": "ada@new.example" })),
        ("bob", "updated", json!({ "id": "mem_bob", "email": "bob@new.example" })),
    ];
    for (name, kind, data) in changes {
        let reset = world.reset_token(name).await;
        let before = world.mails().len();
        let answer = published(&world, kind, data).await;
        assert_eq!(answer.said(), (202, "dispatched"));
        let mails = mailed(&world, before);
        let to: Vec<&str> = mails.iter().map(|(to, _)| to.as_str()).collect();
        assert_eq!(to, [format!("{name}@example.com"), format!("{name}@new.example")]);
        assert_eq!(world.inspect(mails[0].1.as_ref().unwrap()).await, "good");
        assert_eq!(mails[1].1, None, "the new address cannot take the change back");
        assert_eq!(world.inspect(&reset).await, "replaced", "what the old mailbox has is void");
    }
}

#[tokio::test]
async fn an_outdated_change_of_address_changes_and_mails_nothing() {
    let world = World::start().await;
    world.member("ada").await;
    published(&world, "email-changed", json!({ "member": "ada", "new_email": "ada@new.example" })).await;
    let before = world.mails().len();
    let late = json!({ "member": "mem_ada", "new_email": "ada@older.example" });
    let answer = world.publish_aged(chrono::TimeDelta::seconds(5), "email-changed", late).await;
    world.until_idle().await;
    assert_eq!(said(&answer).1, "stale");
    assert_eq!(world.get("/v1/members/mem_ada").await.json["email"], "ada@new.example");
    assert_eq!(world.mails().len(), before);
}

#[tokio::test]
async fn a_new_administrator_is_made_to_choose_a_password() {
    let world = World::start().await;
    world.member("ada").await;
    let answer = published(&world, "administrator-granted", json!({ "member": "ada@example.com" })).await;
    assert_eq!(answer.said(), (202, "dispatched"));
    let token = world.token_of(&answer.dispatch()).await;
    assert_eq!(world.inspect(&token).await, "good");
    assert_eq!(world.get("/v1/members/mem_ada").await.json["is_admin"], true);
}

#[tokio::test]
async fn absences_warn_once_for_each_mail_and_then_set_the_member_on_vacation() {
    let world = World::start().await;
    world.member("ada").await;
    let mut answered = Vec::new();
    for _ in 0..3 {
        let dispatch = world.ask_reset("ada").await;
        world.until_idle().await;
        answered.push(world.dispatch(&dispatch).await["message_id"].as_str().unwrap().to_owned());
    }
    let reply = |to: &str| json!({ "member": "ada", "in_reply_to": to, "matched": "out of office" });
    let mails = world.mails().len();

    for _ in 0..2 {
        let answer = published(&world, "out-of-office-detected", reply(&answered[0])).await;
        assert_eq!(answer.said(), (202, "applied"));
        assert_eq!(absence(&world, "ada").await, (1, false));
    }
    assert_eq!(world.mails().len(), mails + 1, "one warning");
    let dispatches = world.get("/v1/dispatches?limit=100").await.json;
    let dispatches = dispatches["items"].as_array().unwrap();
    let warning = dispatches.iter().find(|one| one["template"] == "out-of-office-warning").unwrap();
    published(&world, "out-of-office-detected", reply(warning["message_id"].as_str().unwrap())).await;
    assert_eq!(absence(&world, "ada").await, (1, false), "a reply to the warning counts for nothing");

    published(&world, "signed-in", json!({ "member": "ada" })).await;
    assert_eq!(absence(&world, "ada").await, (0, false));
    published(&world, "out-of-office-detected", reply(&answered[1])).await;
    published(&world, "out-of-office-detected", reply(&answered[2])).await;
    assert_eq!(absence(&world, "ada").await, (2, true));
    assert_eq!(world.mails().len(), mails + 3);
    published(&world, "out-of-office-detected", reply("<never@seen.example>")).await;
    assert_eq!((absence(&world, "ada").await, world.mails().len()), ((2, true), mails + 3));
    world.reset_token("ada").await;
    assert_eq!(world.mails().len(), mails + 4, "on vacation a member still gets security mail");
}

#[tokio::test]
async fn many_absences_at_once_make_one_warning_less_than_the_limit_and_one_change() {
    let world = World::start().await;
    world.member("ada").await;
    let reply = |number: usize| {
        world.event(
            "out-of-office-detected",
            &json!({ "member": "ada", "message_id": format!("<{number}@x.example>") }),
        )
    };
    let (some, others): (Vec<Value>, Vec<Value>) =
        ((0..100).map(reply).collect(), (100..200).map(reply).collect());
    let (one, other) =
        tokio::join!(world.post("/v1/events", json!(some)), world.post("/v1/events", json!(others)));
    assert_eq!((one.status, other.status), (200, 200));
    world.until_idle().await;
    assert_eq!(absence(&world, "ada").await, (2, true));
    let templates = world.get("/v1/dispatches?limit=100").await.json;
    let mut templates: Vec<String> = templates["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["template"].as_str().unwrap().to_owned())
        .collect();
    templates.sort();
    assert_eq!(templates, ["out-of-office-change", "out-of-office-warning"]);
}
