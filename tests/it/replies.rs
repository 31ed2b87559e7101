//! Replies to our mails: absences, bounces and people, brought over HTTP as a mail server brings them.

use std::io::Write as _;
use std::net::TcpStream;

use futures_util::future::join_all;
use serde_json::json;

use super::support::sink::{At, Step};
use super::world::{Answer, Setup, World};

/// A world whose integration names its dispatches in envelope and Reply-To.
async fn with_paths(setup: Setup) -> World {
    let world = World::with(setup).await;
    world
        .sql("update integrations set return_path = 'bounces@acme.example', reply_path = 'replies@acme.example'")
        .await;
    world.sql("update catalogue set revision = revision + 1").await;
    world.nudge().await;
    world
}

impl World {
    async fn bring(&self, node: usize, recipient: &str, message: &str) -> Answer {
        let request = self.client.post(format!("{}/v1/inbound", self.nodes[node].base));
        let request = request.query(&[("recipient", recipient)]).bearer_auth(self.key.expose());
        let request = request.header("content-type", "message/rfc822").body(message.to_owned());
        Answer::of(request.send().await.unwrap()).await
    }

    /// Asks for a reset and gives the envelope's sender of its mail.
    async fn mailed(&self, member: &str) -> (String, String) {
        let dispatch = self.ask_reset(member).await;
        self.until_idle().await;
        let digits = dispatch.trim_start_matches("dsp_").to_owned();
        let mails = self.sink.mails();
        let mail = mails.iter().find(|mail| mail.from.contains(&digits)).unwrap();
        (dispatch, mail.from.clone())
    }

    /// Automatic replies counted, and whether the member is on vacation.
    async fn absences(&self, name: &str) -> (i64, bool) {
        let member = self.get(&format!("/v1/members/mem_{name}")).await.json;
        (member["auto_replies"].as_i64().unwrap(), member["on_vacation"].as_bool().unwrap())
    }
}

const AWAY: &str = "From: Ada <ada@example.com>\nSubject: Automatic reply: Update your password\n\
                    Auto-Submitted: auto-replied\n\nI am out of the office until Monday.\n";

#[tokio::test]
async fn a_member_is_warned_then_on_vacation_by_the_replies_to_two_mails() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (dispatch, path) = world.mailed("ada").await;
    let first = world.bring(0, &path, AWAY).await;
    assert_eq!((first.status, first.json["verdict"].as_str()), (200, Some("ooo")), "{first:?}");
    assert_eq!(first.json["dispatch_id"], dispatch);
    assert_eq!(first.json["member"], "mem_ada");
    let event = first.json["event_id"].as_str().unwrap();
    let shown = world.get(&format!("/v1/events/{event}")).await.json;
    assert_eq!(shown["type"], "account.out-of-office-detected");
    world.until_idle().await;
    assert_eq!(world.absences("ada").await, (1, false));

    // The same mail is answered again, in other words and by a server that shouts.
    let again = AWAY.replace("out of the office", "on vacation");
    let again = world.bring(0, &path.to_uppercase(), &again).await;
    assert_eq!(again.json["event_id"], event);
    // And so is the warning.
    let warning = world.sink.mails().pop().unwrap();
    assert_eq!(world.bring(0, &warning.from, AWAY).await.json["verdict"], "ooo");
    world.until_idle().await;
    assert_eq!(world.absences("ada").await, (1, false));

    let (_, path) = world.mailed("ada").await;
    world.bring(0, &path, AWAY).await;
    world.until_idle().await;
    assert!(world.absences("ada").await.1);
    assert_eq!(world.mails_to("ada@example.com").len(), 4, "two asked for, a warning and a change");
}

#[tokio::test]
async fn a_reply_without_the_path_is_known_by_the_mail_that_it_names() {
    let world = World::start().await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    let id = world.mails()[0].message_id.clone();
    let answer = world.bring(0, "no-reply@acme.example", &format!("In-Reply-To: {id}\n{AWAY}")).await;
    assert_eq!(answer.json["dispatch_id"], dispatch);
    assert_eq!(world.absences("ada").await.0, 1);
    let unknown = "<00000000000070008000000000000001.ab@acme.example>";
    let answer =
        world.bring(0, "no-reply@acme.example", &format!("References: {unknown} {id}\n{AWAY}")).await;
    assert_eq!(answer.json["dispatch_id"], dispatch, "the first that is known");
}

#[tokio::test]
async fn what_is_forged_or_altered_has_no_effect() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (_, path) = world.mailed("ada").await;
    let id = world.mails()[0].message_id.clone();
    let at = path.find('@').unwrap() - 1;
    let last = if path.as_bytes()[at] == b'a' { "b" } else { "a" };
    let altered = [&path[..at], last, &path[at + 1..]].concat();
    let (left, domain) = id.trim_matches(['<', '>']).split_once('@').unwrap();
    for (recipient, header) in [
        (altered.as_str(), String::new()),
        ("bounces@acme.example", format!("In-Reply-To: <{left}@other.{domain}>\n")),
        ("bounces@acme.example", format!("In-Reply-To: <1{}@{domain}>\n", &left[1..])),
    ] {
        let answer = world.bring(0, recipient, &format!("{header}{AWAY}")).await;
        assert_eq!(answer.json["verdict"], "ooo");
        assert!(answer.json.get("dispatch_id").is_none() && answer.json.get("event_id").is_none());
    }
    assert_eq!(world.absences("ada").await, (0, false));
}

#[tokio::test]
async fn a_bounce_is_noted_at_its_dispatch_and_changes_no_member() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (dispatch, path) = world.mailed("ada").await;
    let report = |action: &str| {
        format!(
            "From: MAILER-DAEMON@mx.example\nAuto-Submitted: auto-replied\nContent-Type: multipart/report; \
             report-type=delivery-status; boundary=b\n\n--b\n\nIt failed.\n--b\nContent-Type: \
             message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; \
             ada@example.com\nAction: {action}\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n--b--\n"
        )
    };
    let late = world.bring(0, &path, &report("delayed")).await;
    assert_eq!(late.json["verdict"], "bounce");
    assert!(world.dispatch(&dispatch).await["bounced_at"].is_null(), "it is only late");
    let answer = world.bring(0, &path, &report("failed")).await;
    assert_eq!((&answer.json["verdict"], &answer.json["dispatch_id"]), (&json!("bounce"), &json!(dispatch)));
    let shown = world.dispatch(&dispatch).await;
    assert!(shown["bounced_at"].is_string() && shown["state"] == "sent");
    assert_eq!(shown["bounce_status"], "5.1.1");
    assert_eq!(shown["bounce_diagnostic"], "smtp; 550 no such user");
    assert_eq!(world.absences("ada").await, (0, false));
}

#[tokio::test]
async fn a_persons_reply_starts_the_count_again() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (_, path) = world.mailed("ada").await;
    world.bring(0, &path, AWAY).await;
    assert_eq!(world.absences("ada").await.0, 1);
    let reply = "From: ada@example.com\nSubject: Re: Update your password\n\nThank you, that worked.\n";
    let answer = world.bring(0, &path, reply).await;
    assert_eq!(answer.json["verdict"], "human");
    assert_eq!(world.absences("ada").await, (0, false));
}

/// A person's reply to the mail of that path.
const REPLY: &str = "From: Ada <ada@example.com>\nSubject: Re: Update your password\nMessage-ID: <r1@example.com>\n\n\
                     The link is dead.\n\nOn 1 Jul 2026, Acme <no-reply@acme.example> wrote:\n> Hello Ada\n";

#[tokio::test]
async fn a_persons_reply_is_passed_on_once_whatever_fails_and_never_in_a_circle() {
    let world = with_paths(Setup::default()).await;
    world.sql("update integrations set reply_to = 'help@acme.example'").await;
    world.sql("update catalogue set revision = revision + 1").await;
    world.nudge().await;
    world.member("ada").await;
    let (dispatch, path) = world.mailed("ada").await;
    let path = path.replace("bounces", "replies");
    world.sink.script([Step::reply_at(At::Rcpt, "451 4.7.1 later").to("help@acme.example")]);
    let failed = world.bring(0, &path, REPLY).await;
    assert_eq!((failed.status, failed.json["code"].as_str()), (503, Some("unavailable")), "{failed:?}");
    for _ in 0..2 {
        let answer = world.bring(0, &path, REPLY).await;
        assert_eq!((answer.status, &answer.json["verdict"]), (200, &json!("human")), "{answer:?}");
        assert_eq!(
            (&answer.json["passed_on"], &answer.json["dispatch_id"]),
            (&json!(true), &json!(dispatch))
        );
    }
    let all = world.sink.mails();
    let passed: Vec<_> = all.iter().filter(|mail| mail.to == ["help@acme.example"]).collect();
    assert_eq!(passed.len(), 1);
    let mail = String::from_utf8(passed[0].data.clone()).unwrap();
    for line in [
        "From: Acme <no-reply@acme.example>",
        "Reply-To: ada@example.com",
        "Subject: Re: Update your password",
        "Auto-Submitted: auto-generated",
        "The link is dead.",
    ] {
        assert!(mail.lines().any(|other| other.replace('"', "") == line), "{line}: {mail}");
    }
    assert!(!mail.contains("Hello Ada"), "{mail}");
    // As if `reply_to` led back to us.
    let circle = world.bring(0, &path, &mail).await;
    assert_eq!((&circle.json["verdict"], &circle.json["passed_on"]), (&json!("auto-other"), &json!(null)));
    assert_eq!(world.mails_to("help@acme.example").len(), 1);
    // The mail is forgotten, its address still tells.
    world.sql("delete from dispatches").await;
    let late = REPLY.replace("r1@", "r2@");
    let answer = world.bring(0, &path, &late).await;
    assert_eq!(
        (&answer.json["passed_on"], &answer.json["dispatch_id"]),
        (&json!(true), &json!(null)),
        "{answer:?}"
    );
    assert_eq!(world.mails_to("help@acme.example").len(), 2);
    // Brought by many at once.
    let third = REPLY.replace("r1@", "r3@");
    for answer in join_all((0..16).map(|_| world.bring(0, &path, &third))).await {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    assert_eq!(world.mails_to("help@acme.example").len(), 3);
}

#[tokio::test]
async fn without_an_address_for_replies_the_answer_says_that_none_is_passed_on() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (_, path) = world.mailed("ada").await;
    let answer = world.bring(0, &path, REPLY).await;
    assert_eq!((answer.status, &answer.json["passed_on"]), (200, &json!(false)), "{answer:?}");
    assert!(answer.json["detail"].as_str().unwrap().contains("no `reply_to`"));
    let nothing = world.bring(0, "nobody@acme.example", REPLY).await;
    assert_eq!((nothing.status, &nothing.json["passed_on"]), (200, &json!(false)), "{nothing:?}");
    assert_eq!(world.sink.mails().len(), 1);
}

#[tokio::test]
async fn what_another_mailbox_answers_says_nothing_of_the_member() {
    let world = with_paths(Setup::default()).await;
    world.member("ada").await;
    let (_, first) = world.mailed("ada").await;
    world.bring(0, &first, AWAY).await;
    let (_, second) = world.mailed("ada").await;
    world.until_idle().await;
    let moved = "update members set email = 'ada@other.example', email_key = 'ada@other.example' where id = 'mem_ada'";
    assert_eq!(world.sql(moved).await, 1);
    let answer = world.bring(0, &second, AWAY).await;
    assert_eq!(
        (&answer.json["verdict"], &answer.json["event_id"]),
        (&json!("ooo"), &json!(null)),
        "{answer:?}"
    );
    assert!(answer.json["detail"].as_str().unwrap().contains("does not count"));
    assert_eq!(world.bring(0, &second, REPLY).await.json["verdict"], "human");
    assert_eq!(world.absences("ada").await, (1, false), "neither counted nor a sign of life");
}

#[tokio::test]
async fn only_a_message_is_taken() {
    let world = World::start().await;
    let answer = world.post("/v1/inbound", json!({})).await;
    assert_eq!((answer.status, answer.json["code"].as_str()), (415, Some("unsupported-media-type")));
    let answer = world.bring(0, "", "").await;
    assert_eq!((answer.status, answer.json["verdict"].as_str()), (200, Some("human")));
}

#[tokio::test]
async fn uploads_that_break_off_hold_up_nobody() {
    let world = World::start().await;
    let address = world.nodes[0].base.trim_start_matches("http://").to_owned();
    let begun = format!(
        "POST /v1/inbound HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: message/rfc822\r\nContent-Length: 1000\r\n\r\nSubject: x\r\n",
        world.key.expose()
    );
    let uploads: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut upload = TcpStream::connect(&address).unwrap();
            upload.write_all(begun.as_bytes()).unwrap();
            upload
        })
        .collect();
    drop(uploads);
    assert_eq!(world.bring(0, "", "Subject: x\n\nHello").await.status, 200);
}

/// Dispatches that are answered at once.
const REPLIES: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_absences_at_once_are_one_warning_and_one_change() {
    let world = with_paths(Setup { nodes: 2, ..Setup::default() }).await;
    world.member("ada").await;
    let events: Vec<_> =
        (0..REPLIES).map(|_| world.event("password-changed", &json!({ "member": "ada" }))).collect();
    let answer = world.post("/v1/events", events.into()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.until_idle().await;
    let paths: Vec<String> = world.sink.mails().into_iter().map(|mail| mail.from).collect();
    assert_eq!(paths.len(), REPLIES);
    let brought = paths.iter().enumerate().map(|(place, path)| world.bring(place % 2, path, AWAY));
    for answer in join_all(brought).await {
        assert_eq!((answer.status, answer.json["verdict"].as_str()), (200, Some("ooo")), "{answer:?}");
    }
    world.until_idle().await;
    assert!(world.absences("ada").await.1);
    // The warning may be cancelled while it waits, since the change that follows says more.
    let warnings =
        world.number("select count(*) from dispatches where template = 'out-of-office-warning'").await;
    let changes =
        world.number("select count(*) from dispatches where template = 'out-of-office-change'").await;
    assert_eq!((warnings, changes), (1, 1));
    let told = world.number("select count(*) from events where type = 'account.out-of-office-warned'").await;
    let switched = world.number("select count(*) from events where type = 'account.on-vacation'").await;
    assert_eq!((told, switched), (1, 1));
}
