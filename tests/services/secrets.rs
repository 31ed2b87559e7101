//! No secret is at rest or in a log: looked for everywhere after all kinds of mail, at the loudest log level.

use std::process::Command;
use std::time::Duration;

use url::Url;

use super::scene::{self, Numbered, RESET};
use super::support::program::Program;
use super::support::services::{Publisher, Services};

const MAILS: usize = 300;

/// The passwords in a URL, as written there.
fn password(url: &str) -> String {
    Url::parse(url).unwrap().password().unwrap().to_owned()
}

/// All that is in a database, as a backup has it.
fn dump(url: &str) -> String {
    let output = Command::new("pg_dump").arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_a_backup_a_log_or_the_dead_queue() {
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let domain = Services::domain();
    let program = Program::new(database.url())
        .with("SIGNALPOST_AMQP_URL", vhost.url())
        .with("SIGNALPOST_LOG", "trace")
        .with("SSL_CERT_FILE", &services.postfix_ca.to_string_lossy());
    program.run(&["migrate"]);
    program.apply(&scene::project(&format!("{}?tls=required", services.postfix)));
    let mut worker = program.serve("one", &[]).await;
    let key = program.api_key("acme");
    scene::create_members(&worker, &key, &domain, MAILS).await;

    let load = Numbered { services: services.clone(), url: vhost.url().to_owned(), domain: domain.clone() };
    load.publish(Publisher::Amqplib, (0, MAILS), true).await.unwrap();
    let wrong = ["--routing-key", RESET, "--prefix", "wrong", "--domain", "nobody.example", "--count", "3"];
    services.publish(Publisher::Pika, vhost.url(), &wrong).await.unwrap();
    scene::until_quiet(database.url(), MAILS, Duration::from_mins(2)).await;
    let letters = services.letters_when(&domain, MAILS, Duration::from_mins(1)).await.unwrap();
    scene::until_waiting(vhost.url(), "signalpost.dead", 3, Duration::from_secs(30)).await;
    // A link that is opened: its token is in the request's URI.
    let tokens: Vec<String> = letters.iter().filter_map(|letter| letter.token.clone()).collect();
    let page = format!("{}/p/acme/reset-password?token={}", worker.url, tokens[0]);
    assert!(reqwest::get(page).await.unwrap().status().is_success());
    worker.stop().await;

    assert_eq!(tokens.len(), MAILS);
    let mut secrets = tokens;
    secrets.push(key);
    secrets.extend([&services.postfix, database.url(), vhost.url()].map(password));
    secrets.push("AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM".to_owned());
    let dead = scene::dead_letters(vhost.url()).await;
    assert_eq!(dead.len(), 3);
    let places = [
        ("a backup", dump(database.url())),
        ("the log", worker.log()),
        ("the dead queue", format!("{dead:?}")),
    ];
    for (place, text) in &places {
        let found = secrets.iter().filter(|secret| text.contains(secret.as_str()));
        let lines: Vec<_> =
            found.filter_map(|secret| text.lines().find(|line| line.contains(secret))).collect();
        assert!(lines.is_empty(), "{} secrets in {place}: {}", lines.len(), lines[0]);
    }
    println!("{} secrets are not in {:?}", secrets.len(), places.map(|(place, text)| (place, text.len())));
}
