//! The public pages as a member and a front end use them: from the captured mail to the change of the account.

use chrono::TimeDelta;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::acts::PASSWORD;
use super::world::World;

/// An answer of a page.
struct Shown {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Shown {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn says(&self, status: u16, sentence: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains(sentence), "{sentence} in {}", self.text);
    }
}

impl World {
    async fn asked(&self, request: reqwest::RequestBuilder) -> Shown {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Shown { status, headers, text: answer.text().await.unwrap() }
    }

    fn page(&self, page: &str) -> String {
        format!("{}/p/acme/{page}", self.nodes[0].base)
    }

    async fn visit(&self, page: &str, token: &str) -> Shown {
        let request = self.client.get(format!("{}?token={token}", self.page(page)));
        self.asked(request.header("accept", "text/html")).await
    }

    /// Presses a page's button.
    async fn press(&self, page: &str, fields: &[(&str, &str)]) -> Shown {
        self.asked(self.client.post(self.page(page)).form(fields)).await
    }

    /// A front end's call, from that origin.
    async fn fetch(&self, path: &str, origin: &str, body: Value) -> Shown {
        let request = self.client.post(format!("{}{path}", self.nodes[0].base));
        self.asked(request.header("origin", origin).json(&body)).await
    }

    /// Changes the project.
    async fn set(&self, statement: &'static str) {
        assert_eq!(self.sql(statement).await, 1);
        self.sql("update catalogue set revision = revision + 1").await;
        self.nudge().await;
    }

    async fn tokens_to(&self, address: &str) -> Vec<String> {
        self.until_idle().await;
        self.mails_to(address).into_iter().filter_map(|mail| mail.token).collect()
    }

    async fn email_of(&self, member: &str) -> Value {
        self.get(&format!("/v1/members/{member}")).await.json["email"].clone()
    }
}

#[tokio::test]
async fn a_member_forgets_the_password_and_chooses_a_new_one() {
    let world = World::start().await;
    world.member("ada").await;
    let form = world.visit("forgot-password", "").await;
    form.says(200, "<form method=\"post\" action=\"forgot-password\">");
    world
        .press("forgot-password", &[("member", "Ada@Example.com")])
        .await
        .says(202, "Look into your mailbox");
    let tokens = world.tokens_to("ada@example.com").await;
    let [token] = tokens.as_slice() else { panic!("{tokens:?}") };
    world.visit("reset-password", token).await.says(200, "value=\"ada\"");
    let weak = [("token", token.as_str()), ("new_password", "password")];
    world.press("reset-password", &weak).await.says(422, "too easy to guess");
    let good = [("token", token.as_str()), ("new_password", PASSWORD)];
    world.press("reset-password", &good).await.says(200, "Your password has been updated");
    let again = world.press("reset-password", &good).await;
    again.says(410, "used already");
    assert!(again.text.contains("href=\"forgot-password\""), "it offers a fresh mail");
    world.until_idle().await;
    assert!(world.mails_to("ada@example.com")[1].text.contains("with a link that was mailed to you"));
}

#[tokio::test]
async fn who_has_an_account_cannot_be_told_from_the_page() {
    let world = World::start().await;
    world.member("ada").await;
    let mut answers = Vec::new();
    for name in ["ada@example.com", "nobody@example.com", "mem_nobody", "nobody"] {
        let shown = world.press("forgot-password", &[("member", name)]).await;
        let nonce =
            shown.header("content-security-policy").split('\'').find(|part| part.starts_with("nonce-"));
        let nonce = nonce.unwrap().trim_start_matches("nonce-").to_owned();
        answers.push((shown.status, shown.text.replace(&nonce, "")));
        let json = world.fetch("/p/acme/forgot-password", "", json!({ "email": name })).await;
        assert_eq!((json.status, json.text.as_str()), (202, "{\"status\":\"accepted\"}"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all");
    world.until_idle().await;
    assert!(world.mails().iter().all(|mail| mail.recipient == "ada@example.com"));
    for wrong in ["", " ", "a\0b"] {
        world.press("forgot-password", &[("member", wrong)]).await.says(422, "No message was sent");
    }
}

#[tokio::test]
async fn a_new_address_is_confirmed_and_undone_by_the_buttons_of_its_mails() {
    let world = World::start().await;
    world.member("ada").await;
    let asked = world.post("/v1/members/ada/email", json!({ "new_email": "ada@new.example" })).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let confirm = world.tokens_to("ada@new.example").await.remove(0);
    for _ in 0..20 {
        world.visit("confirm-email", &confirm).await.says(200, "ada@new.example");
        world.asked(world.client.head(format!("{}?token={confirm}", world.page("confirm-email")))).await;
    }
    assert_eq!(world.email_of("ada").await, "ada@example.com", "opening changes nothing");
    let fields = [("token", confirm.as_str()), ("new_email", "evil@example.org"), ("member", "mem_other")];
    world.press("confirm-email", &fields).await.says(200, "go to ada@new.example from now on");
    assert_eq!(world.email_of("ada").await, "ada@new.example", "the address is the token's");
    world.press("confirm-email", &fields).await.says(410, "used already");

    let undo = world.tokens_to("ada@example.com").await.pop().unwrap();
    world.visit("confirm-email", &undo).await.says(410, "not a link that was mailed");
    world.visit("undo-email-change", &undo).await.says(200, "gets ada@example.com back");
    world.press("undo-email-change", &[("token", &undo)]).await.says(200, "ada@example.com again");
    assert_eq!(world.email_of("ada").await, "ada@example.com");
    let forced = world.tokens_to("ada@example.com").await.pop().unwrap();
    world.visit("reset-password", &forced).await.says(200, "Choose a new password");
}

#[tokio::test]
async fn an_address_that_was_taken_meanwhile_is_told_on_the_page() {
    let world = World::start().await;
    world.member("ada").await;
    world.member("bob").await;
    world.post("/v1/members/ada/email", json!({ "new_email": "free@example.com" })).await;
    let token = world.tokens_to("free@example.com").await.remove(0);
    world.post("/v1/members/bob/email", json!({ "new_email": "free@example.com", "by": "admin" })).await;
    world.press("confirm-email", &[("token", &token)]).await.says(409, "This address is in use");
}

#[tokio::test]
async fn a_member_on_vacation_comes_back_by_the_link_of_the_mail() {
    let world = World::start().await;
    world.member("ada").await;
    for reply in ["<1@x.example>", "<2@x.example>"] {
        let data = json!({ "member": "ada", "matched": "out of the office", "message_id": reply });
        world.publish("out-of-office-detected", data).await;
    }
    let away = world.get("/v1/members/ada").await.json;
    assert_eq!(away["on_vacation"], true, "{away}");
    let token = world.tokens_to("ada@example.com").await.pop().unwrap();
    world.visit("notifications", &token).await.says(200, "Are you away?");
    let back = [("token", token.as_str()), ("on_vacation", "false")];
    world.press("notifications", &back).await.says(200, "Welcome back");
    let here = world.get("/v1/members/ada").await.json;
    assert_eq!((&here["on_vacation"], &here["auto_replies"]), (&json!(false), &json!(0)));
    world.press("notifications", &back).await.says(410, "used already");
    let wrong =
        world.fetch("/p/acme/notifications", "", json!({ "token": token, "on_vacation": "soon" })).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
}

#[tokio::test]
async fn an_expired_link_says_so_and_offers_a_fresh_mail() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    world.pass(TimeDelta::minutes(31)).await;
    let page = world.visit("reset-password", &token).await;
    page.says(410, "It has expired");
    assert!(page.text.contains("href=\"forgot-password\""));
    world.visit("undo-email-change", "x").await.says(410, "not a link that was mailed");
}

#[tokio::test]
async fn only_the_projects_origins_may_call_from_a_browser() {
    let world = World::start().await;
    world.member("ada").await;
    let ours = "https://app.acme.example";
    world.set("update projects set settings = '{\"origins\":[\"https://app.acme.example\"]}'").await;
    let body = json!({ "email": "ada@example.com" });
    let called = world.fetch("/p/acme/forgot-password", ours, body.clone()).await;
    assert_eq!((called.status, called.header("access-control-allow-origin")), (202, ours));
    let foreign = world.fetch("/p/acme/forgot-password", "https://evil.example", body).await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    for (origin, allowed) in [(ours, ours), ("https://evil.example", "")] {
        let asking = world.client.request(reqwest::Method::OPTIONS, world.page("reset-password"));
        let asking = asking.header("origin", origin).header("access-control-request-method", "POST");
        let told = world.asked(asking).await;
        assert_eq!((told.status, told.header("access-control-allow-origin")), (204, allowed));
        assert_eq!(told.header("vary"), "origin");
    }
}

#[tokio::test]
async fn jexias_calls_are_off_until_a_project_turns_them_on() {
    let world = World::start().await;
    world.member("ada").await;
    let base = format!("{}/jexia/acme/ums/resetpassword", world.nodes[0].base);
    let call = async |path: &str, body: Value| {
        let request = world.client.post(format!("{base}{path}")).header("content-type", "text/plain");
        let shown =
            world.asked(request.header("origin", "https://front.example").body(body.to_string())).await;
        let json: Value = serde_json::from_str(&shown.text).unwrap();
        assert_eq!(shown.header("access-control-allow-origin"), "*");
        (shown.status, json)
    };
    let ada = json!({ "email": "ada@example.com" });
    assert_eq!(call("", ada.clone()).await.0, 404);
    world.set("update projects set settings = '{\"jexia_calls\":true}'").await;
    for path in ["", "/"] {
        assert_eq!(call(path, ada.clone()).await, (200, json!({})));
    }
    let token = world.tokens_to("ada@example.com").await.pop().unwrap();
    let (status, unknown) = call("", json!({ "email": "nobody@example.com" })).await;
    assert_eq!(status, 404);
    assert!(unknown[0]["message"].is_string() && unknown[0]["request_id"].is_string(), "{unknown}");
    let path = format!("/{token}/");
    assert_eq!(call(&path, json!({ "new_password": "password" })).await.0, 422);
    let (status, member) = call(&path, json!({ "new_password": PASSWORD })).await;
    assert_eq!((status, &member["email"]), (200, &json!("ada@example.com")));
    let (status, used) = call(&format!("/{token}"), json!({ "new_password": PASSWORD })).await;
    assert_eq!((status, &used[0]["message"]), (410, &json!("The token has been used already.")));
}

#[tokio::test]
async fn one_client_can_cause_so_much_mail_and_no_more_and_is_told_nothing_of_it() {
    let world = World::start().await;
    world
        .set("update projects set settings = '{\"throttle\":{\"recipient\":\"5/h\",\"client\":\"2/h\"}}'")
        .await;
    for name in ["ada", "bob", "eve"] {
        world.member(name).await;
        world.press("forgot-password", &[("member", name)]).await.says(202, "Look into your mailbox");
    }
    world.until_idle().await;
    assert_eq!(world.mails().len(), 2);
    assert_eq!(world.number("select count(*) from events where outcome = 'throttled'").await, 1);
}

#[tokio::test]
async fn a_confirmation_that_came_too_late_is_mailed_again_to_the_same_address() {
    let world = World::start().await;
    world.member("ada").await;
    world.post("/v1/members/ada/email", json!({ "new_email": "ada@new.example" })).await;
    let late = world.tokens_to("ada@new.example").await.remove(0);
    world.pass(TimeDelta::minutes(61)).await;
    for page in [
        world.visit("confirm-email", &late).await,
        world.press("confirm-email", &[("token", late.as_str())]).await,
    ] {
        page.says(410, "It has expired");
        assert!(page.text.contains("Send a new mail") && page.text.contains("ada@new.example"));
    }
    assert_eq!(world.tokens_to("ada@new.example").await.len(), 1, "opening the page mails nothing");
    let fields = [("token", late.as_str()), ("again", "true"), ("new_email", "evil@example.org")];
    world.press("confirm-email", &fields).await.says(202, "on its way to ada@new.example");
    let fresh = world.tokens_to("ada@new.example").await.pop().unwrap();
    assert_ne!(fresh, late);
    let replaced = world.press("confirm-email", &fields).await;
    replaced.says(410, "replaced by a newer mail");
    assert!(!replaced.text.contains("Send a new mail"));
    world.press("confirm-email", &[("token", &fresh)]).await.says(200, "go to ada@new.example from now on");
    assert!(world.mails().iter().all(|mail| mail.recipient != "evil@example.org"));
}

#[tokio::test]
async fn a_confirmation_that_was_ended_is_not_mailed_again() {
    let world = World::start().await;
    world.member("ada").await;
    world.post("/v1/members/ada/email", json!({ "new_email": "thief@evil.example" })).await;
    let ended = world.tokens_to("thief@evil.example").await.remove(0);
    assert_eq!(world.delete("/v1/members/ada/tokens").await.status, 204);
    world.pass(TimeDelta::minutes(61)).await;
    let fields = [("token", ended.as_str()), ("again", "true")];
    world.press("confirm-email", &fields).await.says(410, "ended by a change");
    let before = world.mails_to("thief@evil.example").len();
    world.until_idle().await;
    assert_eq!(world.mails_to("thief@evil.example").len(), before);
}

#[tokio::test]
async fn every_page_of_a_link_that_does_not_work_says_where_to_start_again() {
    let world = World::start().await;
    for page in ["reset-password", "confirm-email", "undo-email-change", "notifications"] {
        let shown = world.visit(page, "x").await;
        shown.says(410, "not a link that was mailed");
        assert!(shown.text.contains("href=\"forgot-password\""), "{page}");
    }
}
