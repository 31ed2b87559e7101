//! What the SMTP client puts on the wire and makes of the answers, against the sink. It must not know
//! dispatches or stores.
#![expect(clippy::unwrap_used, reason = "what a test sets up here cannot fail")]

mod support;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use signalpost::mail::classify::{Cause, Failure, OutOfStep, Stage, Verdict, classify, uncertain};
use signalpost::mail::connection::Connection;
use signalpost::mail::network::Network;
use signalpost::mail::reply::Reply;
use signalpost::mail::server::{Credentials, Limits, Server, Tls, tls_config};
use signalpost::mail::wire::{Envelope, Unsendable, Wire};
use support::sink::{At, Builder, Fault, Sink, Step};

/// A time limit that a test waits for.
const SHORT: Duration = Duration::from_millis(150);
/// One that no test reaches.
const LONG: Duration = Duration::from_secs(20);

static SYSTEM_ROOTS: LazyLock<Server> = LazyLock::new(|| {
    let mut server = Server::from_url("smtp://127.0.0.1?tls=none", tls_config(None).unwrap()).unwrap();
    server.network = Network::Any;
    server.limits = limits(LONG);
    server
});

fn limits(each: Duration) -> Limits {
    Limits {
        connect: each,
        greeting: each,
        command: each,
        data: each,
        message: each,
        dot: each,
        opening: LONG,
        envelope: LONG,
        quit: each,
    }
}

/// The sink's server in clear.
fn plain(sink: &Sink) -> Server {
    Server { port: sink.port(), ..SYSTEM_ROOTS.clone() }
}

/// The same, giving up soon.
fn impatient(sink: &Sink) -> Server {
    Server { limits: limits(SHORT), ..plain(sink) }
}

/// The sink's server over TLS, its certificate trusted.
fn encrypted(sink: &Sink, tls: Tls) -> Server {
    let tls_config = tls_config(Some(sink.root_pem().as_bytes())).unwrap();
    Server { host: "localhost".to_owned(), tls, tls_config, ..plain(sink) }
}

fn with_login(server: Server) -> Server {
    Server { credentials: Credentials::new("user".to_owned(), "secret".to_owned()), ..server }
}

fn usual() -> Builder {
    Sink::builder().usual()
}

fn to(recipient: &str) -> Envelope {
    Envelope::new("from@a.example", recipient).unwrap()
}

fn mail(text: &str) -> Wire {
    Wire::encode(text.as_bytes()).unwrap()
}

async fn send(connection: &mut Connection, recipient: &str) -> Result<Reply, Failure> {
    send_text(connection, recipient, "Subject: a\r\n\r\nhello\r\n").await
}

async fn send_text(connection: &mut Connection, recipient: &str, text: &str) -> Result<Reply, Failure> {
    let wire = mail(text);
    connection.envelope(&to(recipient), &wire).await?;
    connection.body(&wire).await
}

async fn refusal(server: &Server) -> Failure {
    Connection::open(server).await.unwrap_err()
}

fn code(failure: &Failure) -> Option<(Stage, u16)> {
    failure.reply().map(|reply| (failure.stage, reply.code))
}

// The group of commands

#[tokio::test]
async fn mail_rcpt_and_data_arrive_together_when_pipelining_is_offered() {
    let sink = Sink::start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let reply = send(&mut connection, "a@b.example").await.unwrap();
    assert_eq!(reply.to_string(), "250 2.0.0 queued");
    let mails = sink.mails();
    assert!(mails[0].is_pipelined);
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("from@a.example", ["a@b.example".to_owned()].as_slice())
    );
    assert_eq!(sink.lines()[1..], ["MAIL FROM:<from@a.example> SIZE=21", "RCPT TO:<a@b.example>", "DATA"]);
}

#[tokio::test]
async fn commands_go_one_by_one_when_pipelining_is_not_offered() {
    let sink = Sink::builder().start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    send(&mut connection, "a@b.example").await.unwrap();
    let commands = sink.commands();
    assert!(commands.windows(2).all(|pair| pair[0].read < pair[1].read), "{commands:?}");
    assert_eq!(sink.lines()[1], "MAIL FROM:<from@a.example>", "SIZE only where it is offered");
    assert!(!sink.mails()[0].is_pipelined);
}

#[tokio::test]
async fn nothing_is_sent_ahead_of_the_answers_to_ehlo_starttls_and_auth() {
    let slow = || Fault::Delay(Duration::from_millis(20));
    let steps = [At::Greeting, At::Ehlo, At::StartTls, At::Auth].map(|at| Step::new(at, slow()).always());
    let sink = usual().starttls().auth("PLAIN", "user", "secret").script(steps).start().await;
    let mut connection = Connection::open(&with_login(encrypted(&sink, Tls::Required))).await.unwrap();
    send(&mut connection, "a@b.example").await.unwrap();
    let commands = sink.commands();
    let verbs: Vec<_> = commands.iter().map(|command| command.line.get(..4).unwrap()).collect();
    assert_eq!(verbs, ["EHLO", "STAR", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"]);
    let reads: Vec<_> = commands.iter().map(|command| (command.is_tls, command.read)).collect();
    assert!(reads[..5].windows(2).all(|pair| pair[0] < pair[1]), "{reads:?}");
    assert_eq!(reads[4], reads[6]);
}

#[tokio::test]
async fn many_mails_use_one_connection() {
    let sink = Sink::start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    assert!(connection.is_fresh());
    for _ in 0..20 {
        assert!(connection.is_reusable());
        send(&mut connection, "a@b.example").await.unwrap();
    }
    assert!(!connection.is_fresh());
    connection.quit().await;
    assert_eq!((sink.count(), sink.connections(), sink.most_connections()), (20, 1, 1));
    assert_eq!(sink.lines().last().unwrap(), "QUIT");
}

// Refusals inside a group

#[tokio::test]
async fn mail_refused_inside_a_group_leaves_the_connection_usable() {
    for builder in [usual(), Sink::builder()] {
        let sink = builder.script([Step::reply_at(At::Mail, "451 4.7.1 later")]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert_eq!(code(&failure), Some((Stage::Mail, 451)));
        assert_eq!(classify(&failure, connection.is_fresh()), Verdict::Retry);
        assert!(connection.is_reusable());
        send(&mut connection, "c@d.example").await.unwrap();
        assert_eq!((sink.mails()[0].to[0].as_str(), sink.connections()), ("c@d.example", 1));
        assert!(sink.lines().contains(&"RSET".to_owned()));
    }
}

#[tokio::test]
async fn a_refused_recipient_does_not_harm_the_next_mail() {
    for builder in [usual(), Sink::builder()] {
        let sink =
            builder.script([Step::reply_at(At::Rcpt, "550 5.1.1 unknown").to("no@b.example")]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "no@b.example").await.unwrap_err();
        assert_eq!(code(&failure), Some((Stage::Rcpt, 550)));
        assert_eq!(classify(&failure, true), Verdict::Dead);
        send(&mut connection, "a@b.example").await.unwrap();
        assert_eq!((sink.mails()[0].to.len(), sink.connections()), (1, 1));
    }
}

#[tokio::test]
async fn a_354_without_a_recipient_is_ended_with_a_lone_dot() {
    let steps =
        [Step::reply_at(At::Rcpt, "450 4.2.1 busy"), Step::reply_at(At::Data, "354 go ahead all the same")];
    let sink = usual().script(steps).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let failure = send(&mut connection, "a@b.example").await.unwrap_err();
    assert_eq!(code(&failure), Some((Stage::Rcpt, 450)));
    assert_eq!(sink.count(), 0);
    send(&mut connection, "a@b.example").await.unwrap();
    assert_eq!((sink.count(), sink.connections()), (1, 1));
}

#[tokio::test]
async fn an_empty_mail_is_never_ended_for_an_accepted_recipient() {
    let steps = [
        Step::reply_at(At::Mail, "451 4.7.1 later"),
        Step::reply_at(At::Rcpt, "250 2.1.5 odd"),
        Step::reply_at(At::Data, "354 odd"),
    ];
    let sink = usual().script(steps).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let failure = send(&mut connection, "a@b.example").await.unwrap_err();
    assert_eq!(code(&failure), Some((Stage::Mail, 451)));
    assert!(!connection.is_reusable());
    drop(connection);
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn data_refused_is_a_refusal_of_the_mail() {
    let sink = usual().script([Step::reply_at(At::Data, "451 4.3.0 disk")]).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let failure = send(&mut connection, "a@b.example").await.unwrap_err();
    assert_eq!(code(&failure), Some((Stage::Data, 451)));
    send(&mut connection, "a@b.example").await.unwrap();
}

#[tokio::test]
async fn the_verdict_after_the_dot_counts() {
    let sink = usual().script([Step::reply_at(At::Dot, "554 5.7.1 spam")]).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let failure = send(&mut connection, "a@b.example").await.unwrap_err();
    assert_eq!(code(&failure), Some((Stage::Dot, 554)));
    assert!(!uncertain(&failure));
    assert_eq!(sink.count(), 0);
    send(&mut connection, "a@b.example").await.unwrap();
    assert_eq!((sink.count(), sink.connections()), (1, 1));
}

// TLS and AUTH

#[tokio::test]
async fn mail_goes_over_starttls_and_over_tls_from_the_start() {
    for (builder, tls) in [(usual().starttls(), Tls::Required), (usual().implicit_tls(), Tls::Implicit)] {
        let sink = builder.start().await;
        let mut connection = Connection::open(&encrypted(&sink, tls)).await.unwrap();
        send(&mut connection, "a@b.example").await.unwrap();
        send(&mut connection, "a@b.example").await.unwrap();
        assert!(connection.is_reusable());
        connection.quit().await;
        assert!(sink.mails().iter().all(|mail| mail.is_tls && mail.is_pipelined));
    }
}

#[tokio::test]
async fn starttls_that_is_not_offered_fails_closed() {
    let sink = usual().auth("PLAIN", "user", "secret").start().await;
    let failure = refusal(&with_login(encrypted(&sink, Tls::Required))).await;
    assert!(matches!((failure.stage, &failure.cause), (Stage::StartTls, Cause::NotOffered("STARTTLS"))));
    assert_eq!(classify(&failure, true), Verdict::Integration);
    assert_eq!(sink.lines().len(), 1, "nothing but EHLO was said in clear");
}

#[tokio::test]
async fn starttls_that_is_refused_fails_closed() {
    let sink = usual().starttls().script([Step::reply_at(At::StartTls, "454 4.7.0 not now")]).start().await;
    assert_eq!(code(&refusal(&encrypted(&sink, Tls::Required)).await), Some((Stage::StartTls, 454)));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let sink = usual().starttls().certificate_for("other.example").start().await;
    assert_no_tls(&refusal(&encrypted(&sink, Tls::Required)).await);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let sink = usual().starttls().expired().start().await;
    assert_no_tls(&refusal(&encrypted(&sink, Tls::Required)).await);
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    for (builder, tls) in [(usual().starttls(), Tls::Required), (usual().implicit_tls(), Tls::Implicit)] {
        let sink = builder.start().await;
        let tls_config = Arc::clone(&SYSTEM_ROOTS.tls_config);
        assert_no_tls(&refusal(&Server { tls_config, ..encrypted(&sink, tls) }).await);
        assert_eq!(sink.count(), 0);
    }
}

fn assert_no_tls(failure: &Failure) {
    assert!(matches!((failure.stage, &failure.cause), (Stage::Tls, Cause::Tls(_))), "{failure}");
    assert_eq!(classify(failure, true), Verdict::Integration);
}

#[tokio::test]
async fn replies_slipped_in_before_the_encryption_are_refused() {
    let injected = Step::new(At::StartTls, Fault::Surplus("250-sink.example\r\n250 AUTH PLAIN".to_owned()));
    let sink = usual().starttls().script([injected]).start().await;
    let failure = refusal(&encrypted(&sink, Tls::Required)).await;
    let is_surplus = matches!(failure.cause, Cause::OutOfStep(OutOfStep::Surplus));
    assert!(is_surplus && failure.stage == Stage::StartTls, "{failure}");
}

#[tokio::test]
async fn both_ways_of_auth_are_spoken() {
    for mechanisms in ["PLAIN", "LOGIN", "LOGIN PLAIN"] {
        let sink = usual().starttls().auth(mechanisms, "user", "secret").start().await;
        let mut connection = Connection::open(&with_login(encrypted(&sink, Tls::Required))).await.unwrap();
        send(&mut connection, "a@b.example").await.unwrap();
        assert_eq!(sink.mails()[0].user.as_deref(), Some("user"), "{mechanisms}");
        assert!(
            sink.commands().iter().filter(|command| command.line.starts_with("AUTH")).all(|auth| auth.is_tls)
        );
    }
}

#[tokio::test]
async fn a_long_password_is_sent_in_its_own_line() {
    let password = "p".repeat(600);
    let sink = usual().auth("PLAIN", "user", &password).start().await;
    let credentials = Credentials::new("user".to_owned(), password);
    let mut connection = Connection::open(&Server { credentials, ..plain(&sink) }).await.unwrap();
    send(&mut connection, "a@b.example").await.unwrap();
    assert!(sink.lines().contains(&"AUTH PLAIN".to_owned()));
}

#[tokio::test]
async fn auth_goes_in_clear_only_where_tls_was_declined() {
    let sink = usual().auth("PLAIN", "user", "secret").start().await;
    assert!(Connection::open(&with_login(plain(&sink))).await.is_ok());
}

#[tokio::test]
async fn wrong_credentials_are_the_integrations_fault() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let sink = usual().auth(mechanism, "user", "another").start().await;
        let failure = refusal(&with_login(plain(&sink))).await;
        assert_eq!(code(&failure), Some((Stage::Auth, 535)));
        assert_eq!(classify(&failure, true), Verdict::Integration);
    }
}

#[tokio::test]
async fn a_server_without_a_known_way_of_auth_is_the_integrations_fault() {
    let sink = usual().auth("CRAM-MD5", "user", "secret").start().await;
    let failure = refusal(&with_login(plain(&sink))).await;
    assert!(matches!((failure.stage, &failure.cause), (Stage::Auth, Cause::NotOffered(_))));
}

#[tokio::test]
async fn a_refusal_that_repeats_the_password_does_not_carry_it_on() {
    let sink = usual()
        .auth("PLAIN", "user", "secret")
        .script([Step::reply_at(At::Auth, "535 5.7.8 secret?")])
        .start()
        .await;
    let failure = refusal(&with_login(plain(&sink))).await;
    assert_eq!(failure.to_string(), "AUTH: 535 5.7.8 (text withheld)");
    assert!(!format!("{failure:?}").contains("secret"));
}

#[tokio::test]
async fn a_refused_greeting_or_ehlo_is_the_integrations_fault() {
    for (at, stage) in [(At::Greeting, Stage::Greeting), (At::Ehlo, Stage::Ehlo)] {
        let sink = usual().script([Step::reply_at(at, "554 5.7.1 blocked")]).start().await;
        let failure = refusal(&plain(&sink)).await;
        assert_eq!(code(&failure), Some((stage, 554)));
        assert_eq!(classify(&failure, true), Verdict::Integration);
    }
}

#[tokio::test]
async fn a_private_server_is_not_dialled_under_the_public_policy() {
    let sink = Sink::start().await;
    let failure = refusal(&Server { network: Network::Public { also: Vec::new() }, ..plain(&sink) }).await;
    assert!(matches!((failure.stage, failure.cause), (Stage::Connect, Cause::NetworkRefused)));
    assert_eq!(sink.connections(), 0);
}

// The message

#[tokio::test]
async fn dots_and_odd_line_ends_make_exactly_one_mail_of_equal_content() {
    let sink = Sink::start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let long = "x".repeat(998);
    let texts = [
        ".\r\n..\r\n...a\r\n.\r\nMAIL FROM:<x@y>\r\n".to_owned(),
        "a\n.\nMAIL FROM:<x@y>\nRCPT TO:<z@y>\nDATA\n".to_owned(),
        "a\r.\rMAIL FROM:<x@y>\r\n.\rb\n.\r\nc".to_owned(),
        format!("{long}\r\n.{}\r\n", &long[1..]),
        String::new(),
        "\r\n\r\n.".to_owned(),
    ];
    for text in &texts {
        send_text(&mut connection, "a@b.example", text).await.unwrap();
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), texts.len());
    for (mail, text) in mails.iter().zip(&texts) {
        let lines = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        let expected = if lines.is_empty() || lines.ends_with("\r\n") { lines } else { lines + "\r\n" };
        assert_eq!(String::from_utf8_lossy(&mail.data), expected);
        assert!(!mail.has_bare_line_end());
    }
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let sink = usual().starttls().start().await;
    let text = ".0123456789abcdef\r\n".repeat(100_000);
    for server in [plain(&sink), encrypted(&sink, Tls::Required)] {
        let mut connection = Connection::open(&server).await.unwrap();
        send_text(&mut connection, "a@b.example", &text).await.unwrap();
    }
    assert!(sink.mails().iter().all(|mail| mail.data == text.as_bytes()));
}

#[tokio::test]
async fn what_the_server_cannot_take_is_refused_without_asking_it() {
    let sink = Sink::builder().offer("SIZE 100").start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let wide = to("ä@b.example");
    for (envelope, wire, why) in [
        (wide, mail("a"), Unsendable::Utf8Address),
        (to("a@b.example"), mail("ä"), Unsendable::EightBit),
        (to("a@b.example"), mail(&"a\r\n".repeat(40)), Unsendable::TooLarge),
    ] {
        let failure = connection.envelope(&envelope, &wire).await.unwrap_err();
        assert!(matches!(failure.cause, Cause::Unsendable(found) if found == why), "{failure}");
        assert_eq!(classify(&failure, false), Verdict::Dead);
    }
    assert_eq!(sink.lines().len(), 1);
    send(&mut connection, "a@b.example").await.unwrap();
}

#[tokio::test]
async fn an_address_in_another_script_goes_to_a_server_that_offers_smtputf8() {
    let sink = usual().offer("SMTPUTF8").start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    send_text(&mut connection, "ä@b.example", "Subject: ä\r\n\r\n").await.unwrap();
    assert_eq!(sink.lines()[1], "MAIL FROM:<from@a.example> SIZE=15 BODY=8BITMIME SMTPUTF8");
    assert_eq!(sink.mails()[0].to, ["ä@b.example"]);
}

// Losses

#[tokio::test]
async fn a_drop_before_the_dot_is_retried_without_a_second_mail() {
    let sink = usual().script([Step::new(At::Body, Fault::CutAfter(1000))]).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let text = "0123456789abcdef\r\n".repeat(1_000_000);
    let failure = send_text(&mut connection, "a@b.example", &text).await.unwrap_err();
    assert_eq!((failure.stage, uncertain(&failure)), (Stage::Body, false), "{failure}");
    assert_eq!(classify(&failure, true), Verdict::Retry);
    assert!(!connection.is_reusable());
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn a_drop_after_the_dot_is_uncertain() {
    for (fault, taken) in [(Fault::Close, 0), (Fault::TakeAndClose, 1)] {
        let sink = usual().script([Step::new(At::Dot, fault)]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert!(failure.stage == Stage::Dot && uncertain(&failure), "{failure}");
        assert_eq!(classify(&failure, true), Verdict::Retry);
        assert!(!connection.is_reusable());
        assert_eq!(sink.count(), taken);
    }
}

#[tokio::test]
async fn an_early_refusal_explains_a_broken_write() {
    let early = Fault::ReplyAndClose("552 5.3.4 too big".to_owned());
    let sink = usual().script([Step::new(At::Body, early)]).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    let text = "0123456789abcdef\r\n".repeat(1_000_000);
    let failure = send_text(&mut connection, "a@b.example", &text).await.unwrap_err();
    assert_eq!(code(&failure), Some((Stage::Body, 552)), "{failure}");
}

#[tokio::test]
async fn a_goodbye_on_an_idle_connection_is_seen_before_the_next_mail() {
    for fault in [Fault::Reply("421 4.3.2 bye".to_owned()), Fault::Close] {
        let sink = usual().script([Step::new(At::Idle, fault)]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        send(&mut connection, "a@b.example").await.unwrap();
        let gone = async {
            while connection.is_reusable() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, gone).await.expect("the goodbye is seen");
    }
}

#[tokio::test]
async fn a_goodbye_that_crosses_the_next_mail_charges_nothing() {
    let goodbye = || [Fault::Reply("421 4.4.2 idle too long".to_owned()), Fault::Close];
    for (at, fault) in goodbye().map(|f| (At::Mail, f)).into_iter().chain(goodbye().map(|f| (At::Rcpt, f))) {
        let sink = Sink::start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        send(&mut connection, "a@b.example").await.unwrap();
        sink.script([Step::new(at, fault)]);
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert_eq!(classify(&failure, connection.is_fresh()), Verdict::Reconnect, "{failure}");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_421_closes_the_connection_at_every_stage() {
    for at in [At::Mail, At::Rcpt, At::Data, At::Dot] {
        let sink = usual().script([Step::reply_at(at, "421 4.3.2 closing")]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert_eq!(failure.reply().map(|reply| reply.code), Some(421), "{failure}");
        assert_eq!(classify(&failure, true), Verdict::Suspect);
        assert!(!connection.is_reusable());
    }
}

// Time

#[tokio::test]
async fn silence_while_opening_hits_the_deadline() {
    for (at, stage) in
        [(At::Greeting, Stage::Greeting), (At::Ehlo, Stage::Ehlo), (At::StartTls, Stage::StartTls)]
    {
        let sink = usual().starttls().script([Step::silence_at(at)]).start().await;
        let failure = refusal(&Server { tls: Tls::Required, ..impatient(&sink) }).await;
        assert!(failure.stage == stage && matches!(failure.cause, Cause::TimedOut), "{failure}");
    }
}

#[tokio::test]
async fn silence_while_sending_hits_the_deadline() {
    for (at, stage) in
        [(At::Mail, Stage::Mail), (At::Rcpt, Stage::Rcpt), (At::Data, Stage::Data), (At::Dot, Stage::Dot)]
    {
        let sink = usual().script([Step::silence_at(at)]).start().await;
        let mut connection = Connection::open(&impatient(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert!(failure.stage == stage && matches!(failure.cause, Cause::TimedOut), "{failure}");
        assert_eq!(uncertain(&failure), stage == Stage::Dot);
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_server_that_stops_reading_hits_the_deadline() {
    let sink = usual().script([Step::new(At::Body, Fault::Delay(LONG))]).start().await;
    let mut connection = Connection::open(&impatient(&sink)).await.unwrap();
    let text = "0123456789abcdef\r\n".repeat(1_000_000);
    let failure = send_text(&mut connection, "a@b.example", &text).await.unwrap_err();
    assert!(failure.stage == Stage::Body && matches!(failure.cause, Cause::TimedOut), "{failure}");
}

#[tokio::test]
async fn a_trickling_reply_hits_the_deadline_of_the_whole() {
    for at in [At::Greeting, At::Mail] {
        let sink = usual().script([Step::new(at, Fault::Trickle(Duration::from_millis(30)))]).start().await;
        let start = Instant::now();
        let server = impatient(&sink);
        let failure = match Connection::open(&server).await {
            Ok(mut connection) => send(&mut connection, "a@b.example").await.unwrap_err(),
            Err(failure) => failure,
        };
        assert!(matches!(failure.cause, Cause::TimedOut), "{failure}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_opening_and_the_envelope_have_a_deadline_of_their_own() {
    let slow = |at| Step::new(at, Fault::Delay(Duration::from_millis(60)));
    let sink = usual().script([At::Greeting, At::Ehlo].map(slow)).start().await;
    let tight = Limits { opening: Duration::from_millis(90), ..limits(LONG) };
    let failure = refusal(&Server { limits: tight, ..plain(&sink) }).await;
    assert!(failure.stage == Stage::Ehlo && matches!(failure.cause, Cause::TimedOut), "{failure}");

    let sink = usual().script([At::Mail, At::Rcpt].map(slow)).start().await;
    let tight = Limits { envelope: Duration::from_millis(90), ..limits(LONG) };
    let mut connection = Connection::open(&Server { limits: tight, ..plain(&sink) }).await.unwrap();
    let failure = send(&mut connection, "a@b.example").await.unwrap_err();
    assert!(matches!(failure.cause, Cause::TimedOut), "{failure}");
}

// Step

#[tokio::test]
async fn a_reply_out_of_step_drops_the_connection() {
    for (at, reply) in [
        (At::Mail, "354 what"),
        (At::Rcpt, "334 what"),
        (At::Data, "250 what"),
        (At::Dot, "354 what"),
        (At::Mail, "hello"),
        (At::Rcpt, "150 what"),
        (At::Dot, "999 what"),
        (At::Dot, "250-ok\r\n550 what"),
    ] {
        let sink = usual().script([Step::reply_at(at, reply)]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert!(matches!(failure.cause, Cause::OutOfStep(_)), "{reply} at {at:?}: {failure}");
        assert_eq!(uncertain(&failure), at == At::Dot);
        assert!(!connection.is_reusable(), "{reply} at {at:?}");
    }
}

#[tokio::test]
async fn a_surplus_reply_is_never_taken_for_the_verdict_on_a_mail() {
    for at in [At::Ehlo, At::Mail, At::Rcpt, At::Data] {
        let surplus = Step::new(at, Fault::Surplus("250 2.0.0 queued".to_owned()));
        let sink = usual().script([surplus, Step::reply_at(At::Dot, "554 5.7.1 no")]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let failure = send(&mut connection, "a@b.example").await.unwrap_err();
        assert!(matches!(failure.cause, Cause::OutOfStep(_)), "{at:?}: {failure}");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_surplus_reply_after_the_verdict_ends_the_connection_but_not_the_mail() {
    let sink = usual().script([Step::new(At::Dot, Fault::Surplus("250 again".to_owned()))]).start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    assert!(send(&mut connection, "a@b.example").await.is_ok());
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn a_cancelled_exchange_never_leaves_a_reusable_connection() {
    for (at, builder) in [At::Mail, At::Rcpt, At::Data, At::Dot]
        .into_iter()
        .flat_map(|at| [(at, usual()), (at, Sink::builder())])
    {
        let late = Step::new(at, Fault::Delay(Duration::from_millis(80)));
        let sink = builder.script([late]).start().await;
        let mut connection = Connection::open(&plain(&sink)).await.unwrap();
        let cancelled =
            tokio::time::timeout(Duration::from_millis(20), send(&mut connection, "a@b.example")).await;
        assert!(cancelled.is_err());
        assert!(!connection.is_reusable());
        let failure = send(&mut connection, "c@d.example").await.unwrap_err();
        assert!(matches!(failure.cause, Cause::OutOfStep(OutOfStep::Unfinished)), "{failure}");
        assert!(sink.mails().iter().all(|mail| mail.to[0] == "a@b.example"));
    }
}

#[tokio::test]
async fn a_message_goes_only_after_its_envelope() {
    let sink = Sink::start().await;
    let mut connection = Connection::open(&plain(&sink)).await.unwrap();
    assert!(connection.body(&mail("a")).await.is_err());
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn a_hostile_server_cannot_fill_the_memory() {
    let endless = "250-a\r\n".repeat(5000) + "250 a";
    let long = format!("250 {}", "a".repeat(100_000));
    for reply in [endless, long] {
        let sink = usual().script([Step::reply_at(At::Ehlo, &reply)]).start().await;
        let failure = refusal(&plain(&sink)).await;
        assert!(matches!(failure.cause, Cause::OutOfStep(OutOfStep::Malformed(_))), "{failure}");
    }
}

// Speed

#[test]
#[ignore = "a measurement: run it alone, with --release"]
fn a_group_a_mail_makes_thousands_of_mails_a_second() {
    const MAILS: usize = 5_000;
    const CONNECTIONS: usize = 10;
    let sink = usual().keep_bodies(false).start_on_own_thread();
    let server = plain(&sink);
    let wire = mail(&"0123456789abcdef 0123456789abcdef 0123456789abcdef\r\n".repeat(50));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Instant::now();
    runtime.block_on(futures_util::future::join_all((0..CONNECTIONS).map(|_| async {
        let mut connection = Connection::open(&server).await.unwrap();
        for _ in 0..MAILS {
            connection.envelope(&to("a@b.example"), &wire).await.unwrap();
            connection.body(&wire).await.unwrap();
        }
    })));
    let mails = u32::try_from(sink.count()).unwrap();
    println!("{:.0} mails a second", f64::from(mails) / start.elapsed().as_secs_f64());
}
