//! Whoever looks into the dead queue, alone at a real broker: how many letters it takes in, and what it gives back.

use std::collections::HashSet;

use lapin::BasicProperties;
use signalpost::broker::topology::{self, DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_QUEUE};
use signalpost::broker::{DeadQueue, OriginKeys, Publisher};
use signalpost::domain::clock::Clock;
use signalpost::pipeline::dead_letters::{Act, DeadMessage, DeadMessages, Request, Wanted};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::rights::User;
use super::{BODY, BROKER, Client, Do, KEY, Planner, Running, Vhost, rabbitmqctl, until};

/// Looks into the dead queue of a vhost, with keys.
fn looker(vhost: &Vhost, keys: OriginKeys, requests: mpsc::Receiver<Request>) {
    let publisher = Publisher::new(vhost.options(), keys);
    let queue = DeadQueue::new(vhost.options(), publisher, Clock::system());
    tokio::spawn(queue.run(requests, CancellationToken::new()));
}

fn letters_of(vhost: &Vhost, keys: OriginKeys) -> DeadMessages {
    let (messages, requests) = DeadMessages::new();
    looker(vhost, keys, requests);
    messages
}

fn keys() -> OriginKeys {
    OriginKeys::new([7; 32], vec![])
}

async fn put(client: &Client, count: usize, body: &[u8]) {
    for id in 0..count {
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        client.publish_as(DEAD_EXCHANGE, KEY, properties, body).await;
    }
}

async fn all(messages: &DeadMessages) -> Vec<DeadMessage> {
    messages.ask(Wanted::default(), Act::Look { bodies: false }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_many_windows_are_seen_once_each_and_all_are_given_back() {
    const LETTERS: usize = 700;
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("windows");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    put(&client, LETTERS, BODY).await;
    let (one, other) = (letters_of(&vhost, keys()), letters_of(&vhost, keys()));
    let (seen, also) = tokio::join!(all(&one), all(&other));
    for seen in [seen, also] {
        let ids: HashSet<String> = seen.iter().map(|letter| letter.source_id.clone()).collect();
        assert_eq!((seen.len(), ids.len()), (LETTERS, LETTERS), "two that look at once each see all");
    }
    until("all are there again", async || client.ready(DEAD_QUEUE).await == 700).await;
    let some = all(&one).await.into_iter().skip(250).take(400).map(|letter| letter.id).collect();
    let wanted = Wanted { ids: Some(some), ..Wanted::default() };
    assert_eq!(one.ask(wanted, Act::Discard).await.unwrap().len(), 400);
    until("they are gone", async || vhost.messages(DEAD_QUEUE) == LETTERS - 400).await;
    assert_eq!(all(&one).await.len(), LETTERS - 400);
    assert_eq!(one.ask(Wanted::default(), Act::Replay).await.unwrap().len(), LETTERS - 400);
    until("they are moved", async || vhost.messages(DEAD_QUEUE) == 0).await;
    assert_eq!(vhost.messages(EVENTS_QUEUE), LETTERS - 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_large_letters_are_on_their_way_than_fit_into_the_memory() {
    const LETTERS: usize = 800;
    let _broker = BROKER.write().await;
    let vhost = Vhost::new("large");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    put(&client, LETTERS, &vec![b' '; 256 * 1024]).await;
    let before = peak();
    let messages = letters_of(&vhost, keys());
    assert_eq!(all(&messages).await.len(), LETTERS);
    let grown = peak() - before;
    println!("{LETTERS} letters of 256 KiB: {grown} KiB more at most");
    assert!(grown < 150 * 1024, "{grown} KiB");
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_waits_for_any_more_is_not_worked_on() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("abandoned");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    put(&client, 3, BODY).await;
    let (requests, received) = mpsc::channel(4);
    let (answer, gone) = oneshot::channel();
    drop(gone);
    requests.send(Request { wanted: Wanted::default(), act: Act::Discard, answer }).await.unwrap();
    let (answer, answered) = oneshot::channel();
    let act = Act::Look { bodies: false };
    requests.send(Request { wanted: Wanted::default(), act, answer }).await.unwrap();
    looker(&vhost, keys(), received);
    assert_eq!(answered.await.unwrap().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_with_another_users_name_is_replayed_as_that_users() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("users");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let alice = User::new(&vhost, "alice", ["^$", ".*", "^$"]);
    rabbitmqctl(&["set_topic_permissions", "-p", &vhost.name, &alice.name, DEAD_EXCHANGE, ".*", ".*"]);
    // As the broker puts it there: with all that it came with.
    let properties = BasicProperties::default()
        .with_message_id("1".into())
        .with_user_id(alice.name.as_str().into())
        .with_expiration("600000".into());
    alice.client().await.publish_as(DEAD_EXCHANGE, KEY, properties, BODY).await;
    let messages = letters_of(&vhost, keys());
    let letter = all(&messages).await.remove(0);
    assert_eq!((letter.source.as_str(), letter.reason.as_str()), (alice.name.as_str(), "unknown"));
    let replayed = messages.ask(Wanted::default(), Act::Replay).await.unwrap();
    assert_eq!(replayed.len(), 1);
    // Refused once more, it is still told as of its source.
    let planner = Planner::default();
    planner.order("1", Do::Refuse);
    let worker = Running::start(&vhost.options(), &planner, true);
    worker.until_seen("1", 1).await;
    assert!(planner.seen()[0].replay);
    until("it is back", async || client.ready(DEAD_QUEUE).await == 1).await;
    let letter = all(&messages).await.remove(0);
    assert_eq!((letter.source.as_str(), letter.reason.as_str()), (alice.name.as_str(), "unknown-member"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_an_older_key_is_told_and_is_genuine_as_long_as_that_key_is_there() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("older-key");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let planner = Planner::default();
    planner.order("1", Do::Refuse);
    let _worker = Running::start(&vhost.options(), &planner, true);
    client.publish("1", BODY).await;
    until("it is refused", async || client.ready(DEAD_QUEUE).await == 1).await;
    let look = async |keys| {
        let letter = all(&letters_of(&vhost, keys)).await.remove(0);
        (letter.reason, letter.is_of_old_key)
    };
    assert_eq!(look(keys()).await, ("unknown-member".to_owned(), false));
    let changed = OriginKeys::new([8; 32], vec![[7; 32]]);
    assert_eq!(look(changed).await, ("unknown-member".to_owned(), true));
    let without = OriginKeys::new([8; 32], vec![]);
    assert_eq!(look(without).await, ("unknown".to_owned(), false));
}
