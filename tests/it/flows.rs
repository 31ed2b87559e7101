//! What members, applications and administrators do with accounts over the API, from the request to the last mail.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use signalpost::domain::password::{Password, hash};

use super::acts::PASSWORD;
use super::support::ledger::Letter;
use super::world::{Answer, World};

const NEW_PASSWORD: &str = "velvet-harbor-31-magnet";

impl World {
    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.nodes[0].base));
        let request = request.bearer_auth(self.key.expose()).json(&body);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn new_member(&self, name: &str) -> Value {
        let body = json!({ "username": name, "email": format!("{name}@example.com"), "first_name": name });
        let made = self.post("/v1/members", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json
    }

    async fn shown(&self, member: &str) -> Value {
        let answer = self.get(&format!("/v1/members/{member}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    async fn set_password(&self, member: &str, password: &str) {
        let path = format!("/v1/members/{member}/password");
        let set = self.call(Method::PUT, &path, json!({ "new_password": password, "by": "admin" })).await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    async fn verify(&self, member: &str, password: &str) -> Answer {
        self.post(&format!("/v1/members/{member}/verify-password"), json!({ "password": password })).await
    }

    /// The newest mail to an address, once everything is sent.
    async fn newest(&self, address: &str) -> Letter {
        self.until_idle().await;
        let mut mails = self.mails_to(address);
        mails.pop().unwrap_or_else(|| panic!("no mail to {address}"))
    }

    async fn token_to(&self, address: &str) -> String {
        self.newest(address).await.token.unwrap_or_else(|| panic!("no token in the mail to {address}"))
    }

    async fn audited(&self) -> Vec<String> {
        let answer = self.get("/v1/audit").await;
        let rows = answer.json["items"].as_array().unwrap().iter();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.map(|row| format!("{} {}", text(row, "action"), text(row, "subject"))).collect()
    }

    /// Asks for another address, and takes the token out of the mail to it.
    async fn asked_to_move(&self, member: &str, to: &str) -> String {
        let asked = self.post(&format!("/v1/members/{member}/email"), json!({ "new_email": to })).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        self.token_to(to).await
    }

    async fn confirm(&self, token: &str) -> Answer {
        self.post("/v1/email-changes/confirm", json!({ "token": token })).await
    }

    async fn undo(&self, token: &str) -> Answer {
        self.post("/v1/email-changes/undo", json!({ "token": token })).await
    }
}

fn refused(answer: &Answer) -> (u16, &str, &str) {
    let (status, code) = answer.said();
    (status, code, answer.json["field"].as_str().unwrap_or_default())
}

fn reason(answer: &Answer) -> &str {
    assert_eq!(answer.said(), (410, "token-invalid"), "{answer:?}");
    answer.json["reason"].as_str().unwrap()
}

#[tokio::test]
async fn a_member_is_made_found_changed_and_deleted() {
    let world = World::start().await;
    let ada = world.new_member("ada").await;
    let id = ada["id"].as_str().unwrap();
    assert_eq!((&ada["on_vacation"], &ada["auto_replies"]), (&json!(false), &json!(0)));
    for name in ["ada", "ADA@example.com", id] {
        assert_eq!(world.shown(name).await, ada, "{name}");
    }
    for (body, said) in [
        (json!({ "username": "bob", "email": "Ada@Example.com" }), (409, "email-in-use", "email")),
        (json!({ "username": "ada", "email": "bob@example.com" }), (400, "invalid", "username")),
        (json!({ "id": id, "username": "bob", "email": "bob@example.com" }), (409, "id-in-use", "id")),
        (json!({ "username": "bob" }), (400, "invalid", "email")),
        (json!({ "username": "b@b", "email": "bob@example.com" }), (400, "invalid", "username")),
        (
            json!({ "username": "bob", "email": "b@example.com", "password_hash": "x" }),
            (400, "invalid", "password_hash"),
        ),
    ] {
        let answer = world.post("/v1/members", body).await;
        assert_eq!(refused(&answer), said, "{answer:?}");
    }
    let edit = json!({ "last_name": "Lovelace", "locale": "en-GB", "on_vacation": true });
    let edited = world.call(Method::PATCH, "/v1/members/ada", edit).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    assert_eq!((&edited.json["last_name"], &edited.json["on_vacation"]), (&json!("Lovelace"), &json!(true)));
    assert_eq!(edited.json["first_name"], "ada", "what is absent stays");
    assert_eq!(world.call(Method::DELETE, "/v1/members/ada", json!({})).await.status, 204);
    assert_eq!(world.get("/v1/members/ada").await.said(), (404, "unknown-member"));
    assert_eq!(world.call(Method::DELETE, "/v1/members/ada", json!({})).await.status, 404);
    let mut audited = world.audited().await;
    audited.retain(|row| row.starts_with("member."));
    audited.sort();
    assert_eq!(
        audited,
        ["member.created", "member.deleted", "member.updated"].map(|did| format!("{did} {id}"))
    );
}

#[tokio::test]
async fn members_are_listed_by_pages_and_searched_by_what_they_are_called() {
    let world = World::start().await;
    for name in ["ada", "bob", "adam", "a_c"] {
        world.new_member(name).await;
        world.pass(TimeDelta::milliseconds(1)).await;
    }
    let names = |answer: &Answer| -> Vec<String> {
        let items = answer.json["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        items.iter().map(|member| member["username"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.get("/v1/members?limit=3").await;
    assert_eq!(names(&first), ["ada", "bob", "adam"]);
    let next = first.json["next"].as_str().unwrap();
    let rest = world.get(&format!("/v1/members?limit=3&after={next}")).await;
    assert_eq!((names(&rest), &rest.json["next"]), (vec!["a_c".to_owned()], &Value::Null));
    assert_eq!(names(&world.get("/v1/members?search=ADA").await), ["ada", "adam"]);
    assert_eq!(names(&world.get("/v1/members?search=bob@example").await), ["bob"]);
    assert_eq!(names(&world.get("/v1/members?search=a_").await), ["a_c"], "no wild card");
    assert!(names(&world.get("/v1/members?search=%25").await).is_empty(), "no wild card");
    assert_eq!(refused(&world.get("/v1/members?after=x").await), (400, "invalid", "after"));
    assert_eq!(refused(&world.get("/v1/members?search=a%00").await), (400, "invalid", "search"));
}

#[tokio::test]
async fn an_imported_hash_is_the_members_password() {
    let world = World::start().await;
    let hash = hash(&Password::new(PASSWORD.to_owned())).unwrap();
    let body = json!({ "username": "ada", "email": "ada@example.com", "password_hash": hash });
    let made = world.post("/v1/members", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert!(!made.json.to_string().contains("argon2"));
    assert_eq!(world.verify("ada", PASSWORD).await.status, 200);
    assert_eq!(world.verify("ada", "not the one").await.said(), (401, "wrong-password"));
}

#[tokio::test]
async fn guessing_a_password_becomes_slow_and_locks_nobody_out() {
    let world = World::start().await;
    world.new_member("ada").await;
    assert_eq!(world.verify("ada", PASSWORD).await.said(), (401, "wrong-password"), "there is none yet");
    world.set_password("ada", PASSWORD).await;
    assert_eq!(world.verify("ada", PASSWORD).await.status, 200);
    for _ in 0..10 {
        world.verify("ada", "password").await;
    }
    assert_eq!(world.verify("ada", "password").await.said(), (429, "throttled"));
    world.pass(TimeDelta::seconds(3)).await;
    assert_eq!(world.verify("ada", PASSWORD).await.status, 200, "the right one is still taken");
    assert_eq!(world.verify("nobody", PASSWORD).await.said(), (404, "unknown-member"));
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_or_on_behalf_and_the_member_is_told() {
    let world = World::start().await;
    world.new_member("ada").await;
    world.set_password("ada", PASSWORD).await;
    let mail = world.newest("ada@example.com").await;
    assert!(mail.text.contains("An administrator of Acme changed the password"), "{}", mail.text);
    let change = async |body: Value| world.call(Method::PUT, "/v1/members/ada/password", body).await;
    let wrong = change(json!({ "current_password": "no", "new_password": NEW_PASSWORD })).await;
    assert_eq!(wrong.said(), (403, "wrong-password"));
    assert_eq!(
        refused(&change(json!({ "new_password": NEW_PASSWORD })).await),
        (400, "invalid", "current_password")
    );
    let weak = change(json!({ "current_password": PASSWORD, "new_password": "password" })).await;
    assert_eq!(weak.said(), (422, "weak-password"));
    let token = world.reset_token("ada").await;
    let done = change(json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD })).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert!(world.newest("ada@example.com").await.text.contains("You changed the password"));
    assert_eq!(world.verify("ada", NEW_PASSWORD).await.status, 200);
    assert_eq!(reason(&world.complete(&token).await), "replaced", "every token of the account ends");
}

#[tokio::test]
async fn a_forced_reset_ends_the_password_or_sets_one_at_once() {
    let world = World::start().await;
    world.new_member("ada").await;
    world.set_password("ada", PASSWORD).await;
    let forced = world.post("/v1/password-resets/force", json!({ "member": "ada" })).await;
    assert_eq!(forced.status, 202, "{forced:?}");
    let mail = world.newest("ada@example.com").await;
    assert!(mail.text.contains("You must choose a new password before you can sign in"), "{}", mail.text);
    assert_eq!(world.verify("ada", PASSWORD).await.said(), (401, "wrong-password"));
    assert_eq!(world.complete(&mail.token.unwrap()).await.status, 200);
    let body = json!({ "member": "ada", "new_password": NEW_PASSWORD });
    let forced = world.post("/v1/password-resets/force", body).await;
    assert_eq!(forced.status, 200, "{forced:?}");
    let told = world.newest("ada@example.com").await;
    assert!(told.token.is_none() && told.text.contains("changed the password"), "{}", told.text);
    assert_eq!(world.verify("ada", NEW_PASSWORD).await.status, 200);
    let unknown = world.post("/v1/password-resets/force", json!({ "member": "nobody" })).await;
    assert_eq!(unknown.said(), (404, "unknown-member"));
}

#[tokio::test]
async fn a_new_address_counts_once_it_is_confirmed_and_the_old_one_can_take_it_back() {
    let world = World::start().await;
    let ada = world.new_member("ada").await;
    world.set_password("ada", PASSWORD).await;
    let token = world.asked_to_move("ada", "thief@example.org").await;
    assert_eq!(world.shown("ada").await["email"], "ada@example.com", "nothing changes before");
    let reset = world.reset_token("ada").await;
    let confirmed = world.confirm(&token).await;
    assert_eq!((confirmed.status, &confirmed.json["member"]["email"]), (200, &json!("thief@example.org")));
    assert_eq!(reason(&world.confirm(&token).await), "used");
    assert_eq!(reason(&world.complete(&reset).await), "replaced", "the old mailbox cannot take the account");

    let undo = world.token_to("ada@example.com").await;
    assert!(world.newest("thief@example.org").await.token.is_none(), "the new one cannot undo");
    world.set_password("ada", NEW_PASSWORD).await;
    let thiefs = world.reset_token("ada").await;
    let undone = world.undo(&undo).await;
    assert_eq!((undone.status, &undone.json["member"]["email"]), (200, &json!("ada@example.com")));
    assert_eq!(reason(&world.undo(&undo).await), "used");
    assert_eq!(reason(&world.complete(&thiefs).await), "replaced");
    assert_eq!(
        world.verify("ada", NEW_PASSWORD).await.said(),
        (401, "wrong-password"),
        "the thief's is gone"
    );
    world.until_idle().await;
    let to_thief = world.mails_to("thief@example.org");
    let tokens: Vec<_> = to_thief.iter().filter_map(|mail| mail.token.clone()).collect();
    assert_eq!(tokens, [token, thiefs], "no way back for the thief");
    let forced = world.mails_to("ada@example.com").into_iter().rev().find_map(|mail| mail.token).unwrap();
    assert_eq!(world.complete(&forced).await.status, 200);
    let id = ada["id"].as_str().unwrap();
    let audited = world.audited().await;
    assert_eq!(audited.iter().filter(|row| **row == format!("email.change-undone {id}")).count(), 1);
    assert_eq!(audited.iter().filter(|row| **row == format!("email.changed {id}")).count(), 1);
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_when_asked_for_and_again_when_confirmed() {
    let world = World::start().await;
    for name in ["ada", "bob"] {
        world.new_member(name).await;
    }
    let answer = world.post("/v1/members/ada/email", json!({ "new_email": "BOB@example.com" })).await;
    assert_eq!(refused(&answer), (409, "email-in-use", "new_email"));
    let token = world.asked_to_move("ada", "free@example.com").await;
    let wish = json!({ "new_email": "free@example.com", "by": "admin" });
    assert_eq!(world.post("/v1/members/bob/email", wish).await.status, 202);
    assert_eq!(world.confirm(&token).await.said(), (409, "email-in-use"));
    assert_eq!(world.shown("ada").await["email"], "ada@example.com");
    let back = json!({ "new_email": "bob@example.com", "by": "admin" });
    assert_eq!(world.post("/v1/members/bob/email", back).await.status, 202);
    assert_eq!(world.confirm(&token).await.status, 200, "the token stayed good");
}

#[tokio::test]
async fn an_administrator_changes_an_address_at_once_and_both_are_told() {
    let world = World::start().await;
    world.new_member("ada").await;
    let asked = world.asked_to_move("ada", "other@example.com").await;
    let moved = json!({ "new_email": "ada@new.example", "by": "admin" });
    let answer = world.post("/v1/members/ada/email", moved).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(world.shown("ada@new.example").await["username"], "ada");
    assert!(world.newest("ada@new.example").await.token.is_none());
    assert!(world.newest("ada@example.com").await.token.is_some());
    assert_eq!(reason(&world.confirm(&asked).await), "replaced", "the one asked for before ended");
    let edited = world.call(Method::PATCH, "/v1/members/ada", json!({ "email": "ada@third.example" })).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    assert!(world.newest("ada@new.example").await.token.is_some(), "as every change of an address");
}

#[tokio::test]
async fn an_administrator_is_made_or_promoted_and_has_to_choose_a_strong_password() {
    let world = World::start().await;
    world.new_member("ada").await;
    world.set_password("ada", "gravelpiano").await;
    let promoted = world.post("/v1/administrators", json!({ "email": "ada@example.com" })).await;
    assert_eq!((promoted.status, &promoted.json["member"]["is_admin"]), (201, &json!(true)), "{promoted:?}");
    let mail = world.newest("ada@example.com").await;
    assert!(mail.text.contains("You must choose a new password"), "{}", mail.text);
    let token = mail.token.unwrap();
    let weak = json!({ "token": token, "new_password": "gravelpiano" });
    assert_eq!(world.post("/v1/password-resets/complete", weak).await.said(), (422, "weak-password"));
    assert_eq!(world.complete(&token).await.status, 200);

    let again = world.post("/v1/administrators", json!({ "email": "Ada@example.com" })).await;
    assert_eq!(refused(&again), (409, "already-administrator", "email"));
    world.new_member("bob").await;
    let mismatched = json!({ "email": "bob@example.com", "username": "eve" });
    let mismatched = world.post("/v1/administrators", mismatched).await;
    assert_eq!(refused(&mismatched), (409, "username-mismatch", "username"));
    let quiet = json!({ "email": "eve@example.com", "username": "eve", "send_email": false });
    assert_eq!(world.post("/v1/administrators", quiet).await.status, 201);
    assert_eq!(world.shown("eve").await["is_admin"], true);
    world.until_idle().await;
    assert!(world.mails_to("eve@example.com").is_empty());
    assert_eq!(world.post("/v1/administrators", json!({ "email": "new@example.com" })).await.status, 201);
    assert!(world.newest("new@example.com").await.token.is_some());
}

#[tokio::test]
async fn tokens_are_listed_without_themselves_and_taken_back() {
    let world = World::start().await;
    world.new_member("ada").await;
    let reset = world.reset_token("ada").await;
    let change = world.asked_to_move("ada", "ada@new.example").await;
    let listed = world.get("/v1/members/ada/tokens").await;
    let items = listed.json["items"].as_array().unwrap();
    let mut purposes: Vec<_> = items.iter().map(|token| token["purpose"].as_str().unwrap()).collect();
    purposes.sort_unstable();
    assert_eq!(purposes, ["change-email", "reset-password"]);
    assert!(items.iter().all(|token| token.as_object().unwrap().len() == 3), "{items:?}");
    let path = "/v1/members/ada/tokens?purpose=reset-password";
    assert_eq!(world.call(Method::DELETE, path, json!({})).await.status, 204);
    assert_eq!(reason(&world.complete(&reset).await), "replaced");
    assert_eq!(world.call(Method::DELETE, "/v1/members/ada/tokens", json!({})).await.status, 204);
    assert_eq!(reason(&world.confirm(&change).await), "replaced");
    assert_eq!(world.get("/v1/members/ada/tokens").await.json["items"], json!([]));
    let wrong = world.call(Method::DELETE, "/v1/members/ada/tokens?purpose=all", json!({})).await;
    assert_eq!(refused(&wrong), (400, "invalid", "purpose"));
}
