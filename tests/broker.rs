//! The broker code against a real RabbitMQ, with a planner that is played. Each test has a vhost of its own:
//! `SIGNALPOST_TEST_AMQP=amqp://guest:guest@127.0.0.1:5672/%2f cargo test --test broker`; needs `rabbitmqctl`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test stands outside: it publishes, spawns and reads its address"
)]

#[path = "it/acts.rs"]
#[expect(dead_code, reason = "what another test binary's members do too")]
mod acts;
#[path = "broker/letters.rs"]
mod letters;
#[path = "support/node.rs"]
#[expect(dead_code, reason = "another test binary uses more of it")]
mod node;
#[path = "broker/notices.rs"]
mod notices;
#[path = "broker/raw.rs"]
mod raw;
#[path = "broker/rights.rs"]
mod rights;
mod support;
#[path = "support/world.rs"]
#[expect(dead_code, reason = "another test binary uses more of it")]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rand::seq::SliceRandom;
use signalpost::broker::topology::{self, DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE, EVENTS_QUEUE};
use signalpost::broker::{BrokerHealth, BrokerUrl, Ended, Options, OriginKeys, Publisher, Worker};
use signalpost::domain::clock::Clock;
use signalpost::domain::event::{Planned, Reason, Refusal};
use signalpost::domain::id::EventId;
use signalpost::pipeline::{Intake, Payload, Submission};
use tokio::sync::{RwLock, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);
const KEY: &str = "acme.account.signed-in";

fn rabbitmqctl(arguments: &[&str]) -> String {
    let output = Command::new("rabbitmqctl").arg("-q").args(arguments).output().expect("rabbitmqctl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// Held while a test runs: shared, or alone by one that changes the whole broker.
static BROKER: RwLock<()> = RwLock::const_new(());

fn broker_url() -> String {
    std::env::var("SIGNALPOST_TEST_AMQP").expect("SIGNALPOST_TEST_AMQP is the URL of a RabbitMQ")
}

/// The user of that URL, and where the broker is.
fn user_and_host() -> (String, String) {
    let url = broker_url();
    let (login, host) = url.trim_start_matches("amqp://").split_once('@').expect("a user in the URL");
    let host = host.split('/').next().unwrap_or_default();
    (login.split(':').next().unwrap_or_default().to_owned(), host.to_owned())
}

fn user() -> String {
    user_and_host().0
}

/// A vhost that is gone afterwards.
struct Vhost {
    name: String,
    url: String,
}

impl Vhost {
    fn new(name: &str) -> Self {
        let base = broker_url();
        let server = base.rsplit_once('/').map_or(base.as_str(), |(server, _)| server);
        let name = format!("signalpost-{name}-{}", std::process::id());
        let url = format!("{server}/{name}");
        rabbitmqctl(&["add_vhost", &name]);
        rabbitmqctl(&["set_permissions", "-p", &name, &user(), ".*", ".*", ".*"]);
        Self { name, url }
    }

    fn options(&self) -> Options {
        let url = BrokerUrl::parse(&self.url).unwrap();
        Options { url, declare: true, prefetch: 2048, name: "signalpost worker".into() }
    }

    async fn client(&self) -> Client {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Client { connection, channel }
    }

    /// Ready and unacknowledged ones, asked of the queue itself: `list_queues` tells what was seconds ago.
    fn messages(&self, queue: &str) -> usize {
        let ask = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{}\">>, queue, <<\"{queue}\">>)), \
             {{ok, {{_, N}}, _}} = ra:leader_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), N.",
            self.name
        );
        rabbitmqctl(&["eval", &ask]).trim().parse().unwrap()
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let _ = Command::new("rabbitmqctl").args(["-q", "delete_vhost", &self.name]).output();
    }
}

/// Somebody else at the broker: publishers, operators.
struct Client {
    connection: Connection,
    channel: Channel,
}

impl Client {
    async fn publish(&self, id: &str, body: &[u8]) {
        let properties = BasicProperties::default().with_message_id(id.into());
        self.publish_as(EVENTS_EXCHANGE, KEY, properties, body).await;
    }

    async fn publish_as(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirm =
            self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        let confirmed = confirm.await.unwrap();
        assert!(confirmed.is_ack() && confirmed.take_message().is_none(), "{exchange} {key} takes it");
    }

    async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
    }

    /// The next of a queue, acknowledged.
    async fn take(&self, queue: &str) -> BasicGetMessage {
        let taking = async {
            loop {
                if let Some(message) = self.get(queue).await {
                    break message;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let message = tokio::time::timeout(DEADLINE, taking).await.expect("a message");
        message.ack(BasicAckOptions::default()).await.unwrap();
        message
    }

    /// Ready ones.
    async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        queue.message_count()
    }
}

/// What the played planner saw of a message.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    project: String,
    id: String,
    suspect: bool,
    replay: bool,
}

/// What it does with the message of that id; without an entry it accepts.
#[derive(Clone, Copy, PartialEq)]
enum Do {
    Refuse,
    /// Keeps the answer back until it is told otherwise.
    Keep,
    /// Drops the answer so many times.
    Drop(usize),
}

#[derive(Clone, Default)]
struct Planner {
    seen: Arc<Mutex<Vec<Seen>>>,
    orders: Arc<Mutex<HashMap<String, Do>>>,
    kept: Arc<Mutex<Vec<Submission>>>,
}

impl Planner {
    fn order(&self, id: &str, what: Do) {
        self.orders.lock().unwrap().insert(id.to_owned(), what);
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        self.seen().into_iter().for_each(|seen| *times.entry(seen.id).or_default() += 1);
        times
    }

    /// Batches of what is there, each answered in random order, as planning does.
    async fn run(self, mut submissions: mpsc::Receiver<Submission>) {
        let mut batch = Vec::new();
        while submissions.recv_many(&mut batch, 512).await > 0 {
            batch.shuffle(&mut rand::rng());
            batch.drain(..).for_each(|submission| self.plan(submission));
        }
    }

    fn plan(&self, submission: Submission) {
        let (project, id, refusal) = match &submission.payload {
            Payload::Event(event) => (event.project.clone(), event.id.clone(), None),
            Payload::Undecodable(what) => (what.project.clone(), what.id.clone(), Some(what.refusal.clone())),
        };
        let mut orders = self.orders.lock().unwrap();
        let order = orders.get(&id).copied();
        if let Some(Do::Drop(times)) = order {
            let _ =
                if times > 1 { orders.insert(id.clone(), Do::Drop(times - 1)) } else { orders.remove(&id) };
        }
        let (suspect, replay) = (submission.suspect, submission.replay);
        self.seen.lock().unwrap().push(Seen { project, id, suspect, replay });
        let event = EventId::new_at(Clock::system().now());
        let unknown = || Refusal::new(Reason::UnknownMember, "there is no such member").in_field("member");
        match order {
            Some(Do::Keep) => self.kept.lock().unwrap().push(submission),
            Some(Do::Drop(_)) => drop(submission),
            Some(Do::Refuse) => {
                let _ = submission.answer.send(Planned::Refused { event, refusal: unknown() });
            }
            None => {
                let accepted = Planned::Accepted { event, outcome: "applied", dispatches: vec![] };
                let answer = refusal.map_or(accepted, |refusal| Planned::Refused { event, refusal });
                let _ = submission.answer.send(answer);
            }
        }
    }
}

/// A worker that runs, and its switches.
struct Running {
    planner: Planner,
    health: watch::Receiver<BrokerHealth>,
    take: watch::Sender<bool>,
    stop: CancellationToken,
    ended: JoinHandle<Ended>,
}

impl Running {
    fn start(options: &Options, planner: &Planner, take: bool) -> Self {
        let (submit, submissions) = mpsc::channel(1024);
        tokio::spawn(planner.clone().run(submissions));
        let keys = OriginKeys::new([7; 32], vec![]);
        let publisher = Publisher::new(Options { name: "publisher".into(), ..options.clone() }, keys);
        let worker = Worker::new(options.clone(), Clock::system(), Intake { submit }, publisher);
        let (health, stop) = (worker.health(), CancellationToken::new());
        let (take, taken) = watch::channel(take);
        let ended = tokio::spawn(worker.run(taken, stop.clone()));
        Self { planner: planner.clone(), health, take, stop, ended }
    }

    async fn until_health(&mut self, what: &str, is: impl FnMut(&BrokerHealth) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, self.health.wait_for(is)).await;
        let _ = waited.unwrap_or_else(|_| panic!("never {what}")).unwrap();
    }

    async fn until_consuming(&mut self) {
        self.until_health("consuming", |health| *health == BrokerHealth::Consuming).await;
    }

    async fn until_seen(&self, id: &str, times: usize) {
        let planner = &self.planner;
        until(&format!("{id} seen {times} times"), async || {
            planner.times().get(id).is_some_and(|seen| *seen >= times)
        })
        .await;
    }

    async fn stop(self) -> Ended {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.expect("it stops").unwrap()
    }
}

fn text(message: &BasicGetMessage, name: &str) -> String {
    let headers = message.properties.headers().as_ref().unwrap();
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

const BODY: &[u8] = br#"{"member":"elon"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_differs_is_named() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("topology");
    let client = vhost.client().await;
    let found = differences(&vhost).await;
    assert_eq!(found.len(), 5, "{found:?}");
    topology::ensure(&client.channel, true).await.unwrap();
    topology::ensure(&client.channel, true).await.unwrap();
    topology::ensure(&client.channel, false).await.unwrap();
    assert!(differences(&vhost).await.is_empty());

    client.channel.queue_delete(EVENTS_QUEUE.into(), QueueDeleteOptions::default()).await.unwrap();
    let planner = Planner::default();
    let mut looking = Running::start(&Options { declare: false, ..vhost.options() }, &planner, true);
    looking.until_health("missing", |health| last_error(health).contains("does not exist")).await;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    client.channel.queue_declare(EVENTS_QUEUE.into(), durable, FieldTable::default()).await.unwrap();
    let found = differences(&vhost).await;
    assert!(found[0].contains("the queue `signalpost.events` exists and is not as it must be"));
    let mut declaring = Running::start(&vhost.options(), &planner, true);
    declaring.until_health("different", |health| last_error(health).contains("delete it and let")).await;
    looking.until_consuming().await;
    assert_eq!(looking.stop().await, Ended::Stopped);
    assert_eq!(declaring.stop().await, Ended::Stopped);
}

/// What is missing or differs.
async fn differences(vhost: &Vhost) -> Vec<String> {
    let parts = signalpost::broker::check(&vhost.options()).await.unwrap();
    parts.into_iter().filter_map(|part| part.found.err()).map(|error| error.to_string()).collect()
}

fn last_error(health: &BrokerHealth) -> &str {
    match health {
        BrokerHealth::Connecting { last_error: Some(error), .. } => error,
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_answered_in_random_order_are_all_acknowledged() {
    const MESSAGES: usize = 5000;
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("many");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let mut confirms = Vec::new();
    for id in 0..MESSAGES {
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        let (exchange, options) = (EVENTS_EXCHANGE.into(), BasicPublishOptions::default());
        confirms.push(
            client.channel.basic_publish(exchange, KEY.into(), options, BODY, properties).await.unwrap(),
        );
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
    let started = std::time::Instant::now();
    let worker = Running::start(&vhost.options(), &Planner::default(), true);
    let planner = worker.planner.clone();
    until("all are seen", async || planner.seen.lock().unwrap().len() == MESSAGES).await;
    assert_eq!(worker.stop().await, Ended::Stopped);
    println!("{MESSAGES} messages in {:?}", started.elapsed());
    assert_eq!(vhost.messages(EVENTS_QUEUE), 0);
    assert_eq!(planner.times().len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_acknowledged_once_it_is_in_the_dead_queue() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("refused");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let (dead, all) = (DEAD_QUEUE, "#");
    let unbind =
        client.channel.queue_unbind(dead.into(), DEAD_EXCHANGE.into(), all.into(), FieldTable::default());
    unbind.await.unwrap();
    let planner = Planner::default();
    planner.order("no", Do::Refuse);
    let worker = Running::start(&Options { declare: false, ..vhost.options() }, &planner, true);
    let mut headers = FieldTable::default();
    headers.insert("mine".into(), AMQPValue::LongLongInt(5));
    headers.insert("x-signalpost-reason".into(), AMQPValue::LongString("forged".into()));
    let properties = BasicProperties::default()
        .with_message_id("no".into())
        .with_content_type("text/x-odd".into())
        .with_user_id(user().into())
        .with_expiration("600000".into())
        .with_timestamp(1_700_000_000)
        .with_headers(headers);
    client.publish_as(EVENTS_EXCHANGE, KEY, properties, BODY).await;
    client.publish("not-json", b"{").await;
    client.publish("yes", BODY).await;
    worker.until_seen("no", 1).await;
    worker.until_seen("yes", 1).await;
    until("the other one is acknowledged around it", async || vhost.messages(EVENTS_QUEUE) == 2).await;

    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    client.channel.queue_bind(dead.into(), DEAD_EXCHANGE.into(), all.into(), options, none).await.unwrap();
    until("both are in the dead queue", async || client.ready(DEAD_QUEUE).await == 2).await;
    until("both are acknowledged", async || vhost.messages(EVENTS_QUEUE) == 0).await;
    let letters = [client.take(DEAD_QUEUE).await, client.take(DEAD_QUEUE).await];
    let is = |id: &'static str| {
        move |letter: &&BasicGetMessage| {
            letter.properties.message_id().as_ref().is_some_and(|found| found.as_str() == id)
        }
    };
    let letter = letters.iter().find(is("no")).unwrap();
    assert_eq!(letter.data, BODY);
    assert_eq!(letter.routing_key.as_str(), KEY);
    assert_eq!(text(letter, "x-signalpost-reason"), "unknown-member");
    assert_eq!(text(letter, "x-signalpost-detail"), "there is no such member");
    assert_eq!(text(letter, "x-signalpost-field"), "member");
    assert!(text(letter, "x-signalpost-at").ends_with('Z'));
    assert!(text(letter, "x-signalpost-origin").contains(&format!("\"user_id\":\"{}\"", user())));
    let properties = &letter.properties;
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/x-odd");
    assert_eq!((*properties.timestamp(), *properties.delivery_mode()), (Some(1_700_000_000), Some(2)));
    assert!(properties.headers().as_ref().unwrap().contains_key("mine"));
    let letter = letters.iter().find(is("not-json")).unwrap();
    assert_eq!((letter.data.as_slice(), text(letter, "x-signalpost-field").as_str()), (&b"{"[..], "data"));
    assert_eq!(worker.stop().await, Ended::Stopped);
}

/// Messages that the broker takes and lapin cannot read: key, properties, the field and the fault that are told.
fn unreadable() -> Vec<(&'static [u8], Vec<u8>, &'static str, &'static str)> {
    use raw::{APP_ID, CLUSTER_ID, CONTENT_TYPE, CORRELATION_ID, HEADERS, MESSAGE_ID, REPLY_TO, TYPE};
    use raw::{full_frame, header, long, nested, properties, short};
    const NOT_UTF8: &str = "is not UTF-8";
    const NAME: &str = "has a name that is not UTF-8";
    let key = KEY.as_bytes();
    let id = |name: &str| (MESSAGE_ID, short(name.as_bytes()));
    let bad = || short(b"a\xff\xfe");
    let with = |headers: &[u8]| properties(&[(HEADERS, long(headers)), id("bad-headers")]);
    let long_text = long(b"text");
    vec![
        (key, properties(&[(MESSAGE_ID, bad())]), "message_id", NOT_UTF8),
        (key, properties(&[id("bad-type"), (TYPE, bad())]), "type", NOT_UTF8),
        (key, properties(&[id("bad-app"), (APP_ID, bad())]), "app_id", NOT_UTF8),
        (key, properties(&[id("bad-cluster"), (CLUSTER_ID, bad())]), "cluster_id", NOT_UTF8),
        (key, properties(&[(REPLY_TO, bad()), id("bad-reply")]), "reply_to", NOT_UTF8),
        (key, properties(&[(CORRELATION_ID, bad()), id("bad-correlation")]), "correlation_id", NOT_UTF8),
        (key, properties(&[(CONTENT_TYPE, bad()), id("bad-content")]), "content_type", NOT_UTF8),
        (b"acme.account.\xff", properties(&[id("bad-key")]), "routing_key", NOT_UTF8),
        (b"\xff.account.created", properties(&[id("bad-project")]), "routing_key", NOT_UTF8),
        (key, with(&header(b"\xff", b'S', &long_text)), "headers", NAME),
        (key, with(&header(b"t", b'F', &long(&header(b"\xff", b'S', &long_text)))), "headers", NAME),
        (key, with(&nested(20_000, b'A')), "headers", "is nested deeper than 32"),
        (key, with(&nested(20_000, b'F')), "headers", "is nested deeper than 32"),
        (key, with(&full_frame()), "headers", "is too long for a frame"),
    ]
}

/// Headers of every type that the broker takes, none of which means anything.
fn readable_headers() -> Vec<u8> {
    let long_octets = raw::long(b"\xff\xfe");
    let sized = [(b't', 1), (b'b', 1), (b'B', 1), (b's', 2), (b'u', 2), (b'I', 4), (b'i', 4), (b'f', 4)];
    let more = [(b'd', 8), (b'D', 5), (b'T', 8), (b'l', 8), (b'L', 8), (b'V', 0)];
    let mut headers: Vec<_> = sized
        .iter()
        .chain(&more)
        .map(|(kind, size)| raw::header(&[*kind], *kind, &vec![0x41; *size]))
        .collect();
    headers.push(raw::header(b"text", b'S', &long_octets));
    headers.push(raw::header(b"octets", b'x', &long_octets));
    headers.push(raw::header(b"", b'A', &raw::long(&[])));
    headers.push(raw::nested(32, b'F'));
    headers.push(raw::header(b"x-signalpost-unreadable", b'S', &raw::long(b"id is forged")));
    headers.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_refused_and_holds_up_no_other() {
    const GOOD: usize = 200;
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("unreadable");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let bad = unreadable();
    let mut raw = raw::Raw::connect(&vhost.url);
    // Came once already, so that the broker counts: it is the last of the bad ones that is too long by that.
    let (key, properties, ..) = bad.last().unwrap();
    raw.publish(EVENTS_EXCHANGE, key, properties, format!("{{\"bad\":{}}}", bad.len() - 1).as_bytes());
    raw::Raw::connect(&vhost.url).get_and_leave(EVENTS_QUEUE);
    for id in 0..GOOD {
        if let Some((key, properties, ..)) = bad[..bad.len() - 1].get(id / 10).filter(|_| id % 10 == 0) {
            raw.publish(EVENTS_EXCHANGE, key, properties, format!("{{\"bad\":{}}}", id / 10).as_bytes());
        }
        let named = (raw::MESSAGE_ID, raw::short(id.to_string().as_bytes()));
        let headers = (raw::HEADERS, raw::long(&readable_headers()));
        raw.publish(EVENTS_EXCHANGE, KEY.as_bytes(), &raw::properties(&[headers, named]), BODY);
    }
    let started = std::time::Instant::now();
    let worker = Running::start(&vhost.options(), &Planner::default(), true);
    until("the queue is empty", async || vhost.messages(EVENTS_QUEUE) == 0).await;
    println!("{GOOD} good and {} bad ones in {:?}", bad.len(), started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20));
    let times = worker.planner.times();
    assert!((0..GOOD).all(|id| times[&id.to_string()] == 1), "each good one comes once: {times:?}");
    assert_eq!(vhost.messages(DEAD_QUEUE), bad.len());

    let mut letters = BTreeMap::new();
    for _ in 0..bad.len() {
        let letter = client.take(DEAD_QUEUE).await;
        letters.insert(String::from_utf8(letter.data.clone()).unwrap(), letter);
    }
    for (place, (.., field, what)) in bad.iter().enumerate() {
        let letter = &letters[&format!("{{\"bad\":{place}}}")];
        let told = ["reason", "field", "detail"].map(|name| text(letter, &format!("x-signalpost-{name}")));
        assert_eq!(told, ["invalid".to_owned(), (*field).to_owned(), format!("`{field}` {what}")]);
        assert!(!letter.properties.headers().as_ref().unwrap().contains_key("x-signalpost-unreadable"));
    }
    // What is left can be replayed: without its reply address it is an event like any other.
    let letter = &letters["{\"bad\":4}"];
    client.publish_as("", EVENTS_QUEUE, letter.properties.clone(), &letter.data).await;
    worker.until_seen("bad-reply", 2).await;
    assert!(worker.planner.seen().iter().any(|seen| seen.id == "bad-reply" && seen.replay));
    assert_eq!(worker.stop().await, Ended::Stopped);
    assert_eq!((vhost.messages(EVENTS_QUEUE), vhost.messages(DEAD_QUEUE)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_moved_back_is_a_replay_and_speaks_for_its_project_only() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("replay");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let planner = Planner::default();
    planner.order("1", Do::Refuse);
    let worker = Running::start(&vhost.options(), &planner, true);
    // Its source is the user, which the mover is not.
    let properties = BasicProperties::default().with_message_id("1".into()).with_user_id(user().into());
    client.publish_as(EVENTS_EXCHANGE, KEY, properties, BODY).await;
    let letter = client.take(DEAD_QUEUE).await;
    // As a shovel moves it: through the default exchange.
    client.publish_as("", EVENTS_QUEUE, letter.properties.clone(), &letter.data).await;
    let again = client.take(DEAD_QUEUE).await;
    assert_eq!(text(&again, "x-signalpost-origin"), text(&letter, "x-signalpost-origin"));
    assert_eq!(again.routing_key.as_str(), KEY);
    // With another body the header is worth nothing.
    client.publish_as("", EVENTS_QUEUE, letter.properties.clone(), b"{}").await;
    let forged = client.take(DEAD_QUEUE).await;
    assert_eq!(forged.routing_key.as_str(), EVENTS_QUEUE);
    let seen: Vec<_> = planner.seen().into_iter().map(|seen| (seen.project, seen.replay)).collect();
    let told = |project: &str, replay| (project.to_owned(), replay);
    assert_eq!(seen, [told("acme", false), told("acme", true), told("signalpost", false)]);
    assert_eq!(worker.stop().await, Ended::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_is_made_again() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("closed");
    let planner = Planner::default();
    planner.order("kept", Do::Keep);
    let mut worker = Running::start(&vhost.options(), &planner, true);
    worker.until_consuming().await;
    vhost.client().await.publish("kept", BODY).await;
    worker.until_seen("kept", 1).await;
    rabbitmqctl(&["close_all_connections", "--vhost", &vhost.name, "a test"]);
    // The answer to the old delivery is late; the message comes again.
    worker.until_seen("kept", 2).await;
    planner.orders.lock().unwrap().clear();
    for submission in planner.kept.lock().unwrap().drain(..).collect::<Vec<_>>() {
        planner.plan(submission);
    }
    assert_eq!(worker.stop().await, Ended::Stopped);
    assert_eq!(vhost.messages(EVENTS_QUEUE), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_declared_again() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("deleted");
    let mut worker = Running::start(&vhost.options(), &Planner::default(), true);
    worker.until_consuming().await;
    let client = vhost.client().await;
    client.publish("before", BODY).await;
    worker.until_seen("before", 1).await;
    client.channel.queue_delete(EVENTS_QUEUE.into(), QueueDeleteOptions::default()).await.unwrap();
    worker.until_health("noticed", |health| last_error(health).contains("queue was deleted")).await;
    worker.until_consuming().await;
    client.publish("after", BODY).await;
    worker.until_seen("after", 1).await;
    assert_eq!(worker.stop().await, Ended::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_closed_by_the_consumer_time_out_is_made_again() {
    let _broker = BROKER.write().await;
    let vhost = Vhost::new("timeout");
    let planner = Planner::default();
    planner.order("slow", Do::Keep);
    // Read when a channel is opened, so it is set back at once.
    let set = |milliseconds: &str| {
        rabbitmqctl(&["eval", &format!("application:set_env(rabbit, consumer_timeout, {milliseconds}).")]);
    };
    let before = rabbitmqctl(&["eval", "{ok, It} = application:get_env(rabbit, consumer_timeout), It."]);
    set("1000");
    let mut worker = Running::start(&vhost.options(), &planner, true);
    worker.until_consuming().await;
    set(before.trim());
    vhost.client().await.publish("slow", BODY).await;
    worker.until_seen("slow", 1).await;
    // The broker looks once a minute; this has it look now, at the channels of this vhost.
    let look = format!(
        "[Pid ! tick || Pid <- rabbit_channel:list(), rabbit_channel:info(Pid, [vhost]) == [{{vhost, <<\"{}\">>}}]].",
        vhost.name
    );
    until("noticed", async || {
        rabbitmqctl(&["eval", &look]);
        planner.times()["slow"] == 2
    })
    .await;
    planner.orders.lock().unwrap().clear();
    for submission in planner.kept.lock().unwrap().drain(..).collect::<Vec<_>>() {
        planner.plan(submission);
    }
    assert_eq!(worker.stop().await, Ended::Stopped);
    assert_eq!(vhost.messages(EVENTS_QUEUE), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_memory_alarm_consuming_goes_on_and_a_refused_message_waits() {
    let _broker = BROKER.write().await;
    let vhost = Vhost::new("alarm");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let planner = Planner::default();
    planner.order("first", Do::Refuse);
    planner.order("no", Do::Refuse);
    let mut worker = Running::start(&vhost.options(), &planner, true);
    client.publish("first", BODY).await;
    client.take(DEAD_QUEUE).await;
    worker.take.send_replace(false);
    worker.until_health("paused", |health| *health == BrokerHealth::Paused).await;
    for id in ["no", "yes-1", "yes-2"] {
        client.publish(id, BODY).await;
    }
    assert_eq!(planner.seen().len(), 1, "nothing is taken while paused");
    rabbitmqctl(&["set_vm_memory_high_watermark", "0.00001"]);
    worker.take.send_replace(true);
    for id in ["no", "yes-1", "yes-2"] {
        worker.until_seen(id, 1).await;
    }
    let blocked = |health: &BrokerHealth| matches!(health, BrokerHealth::Blocked { .. });
    let told = tokio::time::timeout(Duration::from_secs(5), worker.health.wait_for(blocked)).await.is_ok();
    rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]);
    assert!(told, "the health says that the broker takes nothing");
    let letter = client.take(DEAD_QUEUE).await;
    assert_eq!(letter.properties.message_id().as_ref().unwrap().as_str(), "no");
    worker.until_consuming().await;
    assert_eq!(worker.stop().await, Ended::Stopped);
    assert_eq!(
        (client.ready(DEAD_QUEUE).await, client.ready(EVENTS_QUEUE).await),
        (0, 0),
        "it was there once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_stop_acknowledges_what_was_answered_and_leaves_the_rest() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("stop");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let planner = Planner::default();
    for id in 0..10 {
        client.publish(&id.to_string(), BODY).await;
        planner.order(&id.to_string(), Do::Keep);
    }
    let worker = Running::start(&vhost.options(), &planner, true);
    until("all are in flight", async || planner.kept.lock().unwrap().len() == 10).await;
    worker.stop.cancel();
    planner.orders.lock().unwrap().clear();
    // Three are answered after the stop, one of them refused; seven never.
    planner.order("2", Do::Refuse);
    let kept: Vec<_> = planner.kept.lock().unwrap().drain(..).collect();
    for submission in kept {
        let Payload::Event(event) = &submission.payload else { panic!("an event") };
        if ["2", "5", "9"].contains(&event.id.as_str()) {
            planner.plan(submission);
        }
    }
    assert_eq!(worker.stop().await, Ended::Stopped);
    assert_eq!((vhost.messages(EVENTS_QUEUE), vhost.messages(DEAD_QUEUE)), (7, 1));
    until("they are ready for others", async || client.ready(EVENTS_QUEUE).await == 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_message_is_handed_over_again_and_suspected_in_the_end() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("unanswered");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    client.publish("came-back", BODY).await;
    for _ in 0..3 {
        // Returned unacknowledged: the broker counts.
        let channel = client.connection.create_channel().await.unwrap();
        until("it is there", async || {
            channel.basic_get(EVENTS_QUEUE.into(), BasicGetOptions::default()).await.unwrap().is_some()
        })
        .await;
        channel.close(200, "done".into()).await.unwrap();
    }
    let planner = Planner::default();
    planner.order("dropped", Do::Drop(3));
    let worker = Running::start(&vhost.options(), &planner, true);
    client.publish("dropped", BODY).await;
    client.publish("after-it", BODY).await;
    worker.until_seen("dropped", 4).await;
    until("all are acknowledged", async || vhost.messages(EVENTS_QUEUE) == 0).await;
    let suspects: Vec<_> =
        planner.seen().into_iter().filter(|seen| seen.suspect).map(|seen| seen.id).collect();
    assert_eq!(suspects, ["came-back", "dropped"]);
    assert_eq!(worker.stop().await, Ended::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_or_refuses_the_login_is_tried_again_and_no_password_is_told() {
    let planner = Planner::default();
    let options = |url: &str| {
        let url = BrokerUrl::parse(url).unwrap();
        Options { url, declare: true, prefetch: 10, name: "signalpost worker".into() }
    };
    let mut nobody = Running::start(&options("amqp://guest:hunter2@127.0.0.1:1/v"), &planner, true);
    nobody.until_health("failing", |health| last_error(health).contains("could not connect")).await;
    assert_eq!(nobody.stop().await, Ended::Stopped);
    let (user, host) = user_and_host();
    let wrong = format!("amqp://{user}:hunter2@{host}/%2f");
    let mut stranger = Running::start(&options(&wrong), &planner, true);
    stranger.until_health("refused", |health| last_error(health).contains("user name or password")).await;
    assert!(!last_error(&stranger.health.borrow()).contains("hunter2"));
    assert_eq!(stranger.stop().await, Ended::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_event_is_consumed_and_one_that_nobody_takes_is_an_error() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("publish");
    let publisher = Publisher::new(vhost.options(), OriginKeys::new([7; 32], vec![]));
    let event = serde_json::json!({"specversion": "1.0", "id": "1", "source": "cli", "type": "account.signed-in",
        "data": {"member": "elon"}});
    publisher.publish_event("acme", "account.signed-in", &event).await.unwrap();
    let worker = Running::start(&vhost.options(), &Planner::default(), true);
    worker.until_seen("1", 1).await;
    assert_eq!(worker.stop().await, Ended::Stopped);
    let looking =
        Publisher::new(Options { declare: false, ..vhost.options() }, OriginKeys::new([7; 32], vec![]));
    let client = vhost.client().await;
    client.channel.queue_delete(EVENTS_QUEUE.into(), QueueDeleteOptions::default()).await.unwrap();
    let error = looking.publish_event("acme", "account.signed-in", &event).await.unwrap_err();
    assert!(error.to_string().contains("signalpost.events"), "{error}");
    publisher.close().await;
}
