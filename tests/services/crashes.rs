//! `kill -9` of the program under load: nothing is lost, nothing is stranded, and no more mails come twice than
//! there were connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::scene::{self, CONNECTIONS, Numbered};
use super::support::program::Program;
use super::support::services::{Publisher, Services};
use super::support::sink::Sink;

/// What is in hand of a worker that was killed goes to another after 30 s at most, and is sent.
const STRANDED: Duration = Duration::from_mins(1);
/// Requests at once of the publisher over HTTP.
const POSTERS: usize = 32;

/// How long a campaign is.
struct Extent {
    kills: usize,
    /// Events published around each kill.
    each: usize,
}

fn extent() -> Extent {
    if Services::is_campaign() { Extent { kills: 20, each: 1250 } } else { Extent { kills: 3, each: 600 } }
}

/// A moment that nobody chose.
async fn some_moment(longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..longest_ms))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_two_workers_loses_and_strands_nothing() {
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let sink = Sink::builder().usual().start_on_own_thread();
    let (domain, Extent { kills, each }) = (Services::domain(), extent());
    let total = kills * each;
    let program = Program::new(database.url()).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut workers = [program.serve("one", &[]).await, program.serve("two", &["--only", "worker"]).await];
    scene::create_members(&workers[0], &program.api_key("acme"), &domain, total).await;

    let begun = Instant::now();
    let load = Numbered { services, url: vhost.url().to_owned(), domain: domain.clone() };
    for round in 0..kills {
        let load = load.clone();
        let publishing = load.publish(Publisher::Amqplib, (round * each, each), false);
        let killing = async {
            some_moment(1500).await;
            let victim = &mut workers[rand::random_range(0..2)];
            victim.kill();
            some_moment(200).await;
            victim.start();
            some_moment(1000).await;
        };
        let (published, ()) = tokio::join!(publishing, killing);
        assert_eq!(published.unwrap(), each);
    }
    let (under_kills, by_then) = (begun.elapsed(), sink.count());
    let quiet = scene::until_quiet(database.url(), total, STRANDED).await;
    let ledger = scene::balance(&program, total, &domain, scene::letters(&sink)).await;
    let summary = scene::balanced(&ledger, kills * CONNECTIONS);
    println!(
        "{kills} kills in {under_kills:?} ({by_then} mails), quiet {quiet:?} later: {summary:?}, {} mails twice",
        summary.mails - total
    );
    for worker in &mut workers {
        worker.stop().await;
    }
    for queue in ["signalpost.events", "signalpost.dead"] {
        assert_eq!(scene::waiting_in(vhost.url(), queue).await, 0, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_one_process_on_sqlite_loses_and_strands_nothing() {
    let sink = Sink::builder().usual().start_on_own_thread();
    let (domain, Extent { kills, each }) = (Services::domain(), extent());
    let total = kills * each;
    let program = Program::on_sqlite();
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut process = program.serve("one", &[]).await;
    let key = program.api_key("acme");
    scene::create_members(&process, &key, &domain, total).await;

    let begun = Instant::now();
    let posted = Arc::new(AtomicUsize::new(0));
    let mut posters = JoinSet::new();
    for first in 0..POSTERS {
        let (url, key, domain) = (format!("{}/v1/events", process.url), key.clone(), domain.clone());
        let posted = posted.clone();
        posters.spawn(async move {
            let client = reqwest::Client::new();
            for number in (first..total).step_by(POSTERS) {
                post(&client, (&url, &key), number, &domain).await;
                posted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut killed = 0;
    while killed < kills {
        // Spread over the whole load, however fast it goes.
        let before = killed * total / kills;
        while posted.load(Ordering::Relaxed) < before {
            some_moment(20).await;
        }
        some_moment(300).await;
        process.kill();
        killed += 1;
        process.start();
        process.ready(Duration::from_secs(10)).await;
    }
    posters.join_all().await;
    let under_kills = begun.elapsed();
    let quiet = scene::until_quiet(program.database_url(), total, STRANDED).await;
    let ledger = scene::balance(&program, total, &domain, scene::letters(&sink)).await;
    let summary = scene::balanced(&ledger, kills * CONNECTIONS);
    println!(
        "{kills} kills in {under_kills:?}, quiet {quiet:?} later: {summary:?}, {} mails twice",
        summary.mails - total
    );
    process.stop().await;
}

/// Posts one event until it is answered, always under the same id, as a publisher must.
async fn post(client: &reqwest::Client, (url, key): (&str, &str), number: usize, domain: &str) {
    let event = json!({
        "specversion": "1.0", "id": format!("run-{number}"), "source": "load",
        "type": "account.password-reset-requested", "data": { "member": format!("user{number}@{domain}") },
    });
    loop {
        let request =
            client.post(url).bearer_auth(key).header("content-type", "application/cloudevents+json");
        if let Ok(answer) = request.body(event.to_string()).send().await {
            let status = answer.status();
            if status.is_success() {
                return;
            }
            let said: Value = answer.json().await.unwrap_or_default();
            assert!(status.is_server_error(), "run-{number}: {status} {said}");
        }
        some_moment(50).await;
    }
}
