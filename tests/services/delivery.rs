//! Events of real publishers over a real broker and database to a real mail server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::scene::{self, Numbered, Records};
use super::support::program::Program;
use super::support::services::{Publisher, Services};

/// Of each of the two publishers.
const EACH: usize = 1500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_pika_and_amqplib_sent_twice_becomes_one_mail_with_its_own_token() {
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let (domain, total) = (Services::domain(), 2 * EACH);
    let program = Program::new(database.url())
        .with("SIGNALPOST_AMQP_URL", vhost.url())
        .with("SSL_CERT_FILE", &services.postfix_ca.to_string_lossy());
    program.run(&["migrate"]);
    program.apply(&scene::project(&format!("{}?tls=required", services.postfix)));
    let mut worker = program.serve("one", &[]).await;
    scene::create_members(&worker, &program.api_key("acme"), &domain, total).await;

    let begun = Instant::now();
    let load = Numbered { services: services.clone(), url: vhost.url().to_owned(), domain: domain.clone() };
    let (pika, amqplib) = tokio::join!(
        load.publish(Publisher::Pika, (0, EACH), true),
        load.publish(Publisher::Amqplib, (EACH, EACH), true),
    );
    assert_eq!((pika.unwrap(), amqplib.unwrap()), (2 * EACH, 2 * EACH));
    let published = begun.elapsed();
    scene::until_quiet(database.url(), total, Duration::from_mins(3)).await;
    let accepted = begun.elapsed();
    let letters = services.letters_when(&domain, total, Duration::from_mins(2)).await.unwrap();
    println!("published in {published:?}, all accepted after {accepted:?}, delivered {:?}", begun.elapsed());

    assert_eq!(letters.len(), total);
    let ledger = scene::balance(&program, total, &domain, letters.clone()).await;
    scene::balanced(&ledger, 0);
    let tokens: BTreeSet<_> = letters.iter().filter_map(|letter| letter.token.as_deref()).collect();
    assert_eq!(tokens.len(), total);
    assert_eq!(Records::read(database.url()).await.unwrap().in_state("sent"), total);
    worker.stop().await;
    for queue in ["signalpost.events", "signalpost.dead"] {
        assert_eq!(scene::waiting_in(vhost.url(), queue).await, 0, "{queue}");
    }
}
