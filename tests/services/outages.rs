//! The broker or the database goes away under load and comes back: the worker says so meanwhile, heals by itself,
//! and loses, strands and doubles nothing.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::scene::{self, CONNECTIONS, Numbered};
use super::support::program::{Process, Program};
use super::support::proxy::{Ending, Fault, Proxy};
use super::support::services::{Publisher, Services};
use super::support::sink::Sink;

/// Until all is sent after the last fault.
const STRANDED: Duration = Duration::from_mins(1);
/// Until a part that is away is told by `/readyz`, and until one that is back is used.
const NOTICED: Duration = Duration::from_secs(20);

async fn some_moment(longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..longest_ms))).await;
}

/// Publishes some, again from the start of them until the broker has confirmed all, as a publisher must.
async fn publish_stubbornly(load: Numbered, first: usize, count: usize) {
    while load.publish(Publisher::Amqplib, (first, count), false).await.is_err() {
        some_moment(500).await;
    }
}

/// Waits until `/readyz` says no and names the part.
async fn unready(process: &Process, part: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let (ready, said) = process.readiness().await;
        let parts: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        let named = parts["parts"].as_array().into_iter().flatten();
        if !ready && named.into_iter().any(|one| one["part"] == part && one["ready"] == false) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < NOTICED, "{part} is away, and nobody says so: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "restarts PostgreSQL and kills the broker under everybody: run by name"]
async fn five_deaths_of_the_broker_and_of_the_database_lose_and_strand_nothing() {
    const ROUNDS: usize = 5;
    const EACH: usize = 2000;
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let sink = Sink::builder().usual().start_on_own_thread();
    let (domain, total) = (Services::domain(), ROUNDS * EACH);
    let program = Program::new(database.url()).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut worker = program.serve("one", &[]).await;
    scene::create_members(&worker, &program.api_key("acme"), &domain, total).await;

    let load = Numbered { services: services.clone(), url: vhost.url().to_owned(), domain: domain.clone() };
    for round in 0..ROUNDS {
        let mut publishing = JoinSet::new();
        publishing.spawn(publish_stubbornly(load.clone(), round * EACH, EACH));
        some_moment(1500).await;
        let (killed, told) = tokio::join!(services.kill_broker(), unready(&worker, "broker"));
        killed.unwrap();
        let healed = worker.ready(NOTICED).await;
        some_moment(1000).await;
        services.restart_postgres_immediate().await.unwrap();
        let again = worker.ready(NOTICED).await;
        publishing.join_all().await;
        println!("broker: told after {told:?}, used {healed:?} after it was back; database: {again:?}");
    }
    let quiet = scene::until_quiet(database.url(), total, STRANDED).await;
    let ledger = scene::balance(&program, total, &domain, scene::letters(&sink)).await;
    let summary = scene::balanced(&ledger, ROUNDS * CONNECTIONS);
    println!("quiet after {quiet:?}: {summary:?}, {} mails twice", summary.mails - total);
    let lines = worker.log().lines().count();
    assert!(lines < 1000, "{lines} lines of log");
    worker.stop().await;
    for queue in ["signalpost.events", "signalpost.dead"] {
        assert_eq!(scene::waiting_in(vhost.url(), queue).await, 0, "{queue}");
    }
}

/// Waits until the proxy has ended so many connections.
async fn until_ended(proxy: &Proxy, count: u64) {
    let begun = Instant::now();
    while proxy.counts().ended < count {
        assert!(begun.elapsed() < NOTICED, "{:?}", proxy.counts());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_answer_is_lost_strand_and_double_nothing() {
    const ROUNDS: usize = 10;
    const EACH: usize = 200;
    const TOTAL: usize = ROUNDS * EACH;
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let sink = Sink::builder().usual().start_on_own_thread();
    let domain = Services::domain();
    let (proxy, url) = Proxy::before_url(database.url()).await.unwrap();
    // In clear, so that the proxy can read along.
    let program = Program::new(&format!("{url}?sslmode=disable")).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut worker = program.serve("one", &[]).await;
    scene::create_members(&worker, &program.api_key("acme"), &domain, TOTAL).await;

    let load = Numbered { services, url: vhost.url().to_owned(), domain: domain.clone() };
    for round in 0..ROUNDS {
        // The database commits, and the worker is not told.
        let before = proxy.counts().ended;
        proxy.set(Fault::LoseAnswer { to: "COMMIT" }).await;
        publish_stubbornly(load.clone(), round * EACH, EACH).await;
        until_ended(&proxy, before + 3).await;
        proxy.set(Fault::None).await;
    }
    let lost = proxy.counts().ended;
    proxy.set(Fault::Refuse).await;
    proxy.end_open(Ending::Reset);
    let told = unready(&worker, "database").await;
    proxy.set(Fault::None).await;
    let healed = worker.ready(NOTICED).await;
    let quiet = scene::until_quiet(database.url(), TOTAL, STRANDED).await;
    let ledger = scene::balance(&program, TOTAL, &domain, scene::letters(&sink)).await;
    let summary = scene::balanced(&ledger, 0);
    println!(
        "{lost} answers lost; outage told after {told:?}, healed {healed:?}, quiet {quiet:?}: {summary:?}"
    );
    worker.stop().await;
}
