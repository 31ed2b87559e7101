//! Signals under load: an orderly end with nothing lost or doubled; and one at once, for whoever insists.

use std::time::{Duration, Instant};

use super::scene::{self, Numbered};
use super::support::program::Program;
use super::support::services::{Publisher, Services};
use super::support::sink::{At, Fault, Sink};

/// How long an orderly end may take.
const ORDERLY: Duration = Duration::from_secs(20);

/// Waits until the sink took so many.
async fn until_taken(sink: &Sink, count: usize) {
    let begun = Instant::now();
    while sink.count() < count {
        assert!(begun.elapsed() < Duration::from_mins(1), "{} of {count} mails", sink.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_in_order_and_doubles_nothing() {
    const TOTAL: usize = 3000;
    const STOPS: usize = 3;
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let sink = Sink::builder().usual().start_on_own_thread();
    let domain = Services::domain();
    let program = Program::new(database.url()).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut worker = program.serve("one", &[]).await;
    scene::create_members(&worker, &program.api_key("acme"), &domain, TOTAL).await;

    let load = Numbered { services, url: vhost.url().to_owned(), domain: domain.clone() };
    for stop in 0..STOPS {
        let each = TOTAL / STOPS;
        let publishing = load.publish(Publisher::Amqplib, (stop * each, each), false);
        let stopping = async {
            until_taken(&sink, sink.count() + each / 5).await;
            worker.stop().await
        };
        let (published, time) = tokio::join!(publishing, stopping);
        assert_eq!(published.unwrap(), each);
        println!("stopped within {time:?} with {} mails of {}", sink.count(), (stop + 1) * each);
        assert!(time < ORDERLY);
        worker.start();
    }
    scene::until_quiet(database.url(), TOTAL, Duration::from_mins(1)).await;
    let ledger = scene::balance(&program, TOTAL, &domain, scene::letters(&sink)).await;
    assert_eq!(scene::balanced(&ledger, 0).mails, TOTAL);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_takes_its_time_is_waited_for_unless_a_second_signal_comes() {
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let slow = |at, _: &str| (at == At::Dot).then_some(Fault::Delay(Duration::from_secs(4)));
    let sink = Sink::builder().usual().choose(slow).start_on_own_thread();
    let domain = Services::domain();
    let program = Program::new(database.url()).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut worker = program.serve("one", &[]).await;
    scene::create_members(&worker, &program.api_key("acme"), &domain, 40).await;
    let load = Numbered { services, url: vhost.url().to_owned(), domain: domain.clone() };

    load.publish(Publisher::Amqplib, (0, 20), false).await.unwrap();
    until_in_hand(&sink, 10).await;
    let time = worker.stop().await;
    assert!(time > Duration::from_secs(1) && time < ORDERLY, "{time:?}");
    let (events, unsent) = scene::standing(database.url()).await.unwrap();
    assert_eq!((events, unsent), (20, 10), "what was in flight is settled, the rest was given back");

    worker.start();
    worker.ready(Duration::from_secs(10)).await;
    scene::until_quiet(database.url(), 20, Duration::from_mins(1)).await;
    load.publish(Publisher::Amqplib, (20, 20), false).await.unwrap();
    until_in_hand(&sink, 30).await;
    worker.terminate();
    until_logged(&worker, "a second signal stops at once", 2).await;
    worker.terminate();
    let (status, time) = worker.ended(ORDERLY).await;
    println!("a second signal ended it within {time:?}: {status}");
    assert!(time < Duration::from_secs(1), "{time:?}");
    assert_eq!(status.code(), Some(1));
}

/// Waits until so many final dots were waited for: the messages that were begun.
async fn until_in_hand(sink: &Sink, count: usize) {
    let begun = Instant::now();
    let asked = || sink.lines().iter().filter(|line| line.to_uppercase().starts_with("DATA")).count();
    while asked() < count {
        assert!(begun.elapsed() < Duration::from_mins(1), "{} of {count} mails begun", asked());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a text stands in the log so many times.
async fn until_logged(process: &super::support::program::Process, text: &str, times: usize) {
    let begun = Instant::now();
    while process.log().matches(text).count() < times {
        assert!(begun.elapsed() < Duration::from_secs(10), "{text:?} is not logged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
