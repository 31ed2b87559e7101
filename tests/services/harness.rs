//! The services themselves, before anything is tested with them: what the others build on works.

use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use sqlx::{Connection as _, PgConnection};

use super::support::services::{Publisher, Services};

async fn answers(url: &str) -> sqlx::Result<i32> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await
}

/// A durable queue behind the exchange that publishers declare.
#[expect(clippy::disallowed_methods, reason = "what is published here can be read")]
async fn queue(url: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("heard".into(), options, FieldTable::default()).await?;
    Ok((connection, channel))
}

/// The ids of the messages that wait, taken out.
async fn heard(channel: &Channel) -> lapin::Result<Vec<String>> {
    let mut ids = Vec::new();
    while let Some(message) = channel.basic_get("heard".into(), BasicGetOptions::default()).await? {
        let id = message.delivery.properties.message_id().as_ref().map(ToString::to_string);
        ids.push(id.unwrap_or_default());
        message.delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(ids)
}

#[tokio::test]
async fn a_database_is_fresh_and_gone_with_its_owner() {
    let services = Services::from_env().unwrap();
    let database = services.database().await.unwrap();
    let url = database.url().to_owned();
    assert_eq!(answers(&url).await.unwrap(), 1);
    let _open = PgConnection::connect(&url).await.unwrap();
    drop(database);
    assert!(answers(&url).await.is_err());
}

#[tokio::test]
async fn publishers_of_other_languages_reach_a_vhost_of_its_own() {
    let services = Services::from_env().unwrap();
    let vhost = services.vhost().await.unwrap();
    let (_connection, channel) = queue(vhost.url()).await.unwrap();
    for (publisher, prefix) in [(Publisher::Pika, "py"), (Publisher::Amqplib, "js")] {
        // The first run declares the exchange, so that the queue can be bound to it.
        assert_eq!(services.publish(publisher, vhost.url(), &[]).await.unwrap(), 1);
        let (exchange, options) = ("signalpost.events".into(), QueueBindOptions::default());
        channel
            .queue_bind("heard".into(), exchange, "#".into(), options, FieldTable::default())
            .await
            .unwrap();
        let arguments = ["--count", "2", "--prefix", prefix, "--twice", "--mandatory"];
        assert_eq!(services.publish(publisher, vhost.url(), &arguments).await.unwrap(), 4);
        let mut ids = heard(&channel).await.unwrap();
        ids.retain(|id| id.starts_with(prefix));
        assert_eq!(ids, [0, 0, 1, 1].map(|number| format!("{prefix}-{number}")));
    }
}

#[tokio::test]
async fn mail_reaches_the_maildir_only_encrypted_and_authenticated() {
    let services = Services::from_env().unwrap();
    let domain = Services::domain();
    let text = "Message-ID: <m1@acme.example>\r\n\r\nhello\r\n";
    for (user, url) in [("starttls", &services.postfix), ("tls", &services.postfix_tls)] {
        services.send_smtp(url, &format!("{user}@{domain}"), text, &[]).await.unwrap();
    }
    let plain = services.send_smtp(&services.postfix, "elon@example.com", text, &["--plain"]).await;
    assert!(plain.unwrap_err().to_string().contains("530 5.7.0"));
    for (to, reply) in [("refused@example.com", "550 5.1.1"), ("later@example.com", "450 4.2.0")] {
        let refused = services.send_smtp(&services.postfix, to, text, &[]).await;
        assert!(refused.unwrap_err().to_string().contains(reply));
    }
    let mut letters = services.letters_when(&domain, 2, Duration::from_secs(20)).await.unwrap();
    letters.sort_by(|a, b| a.recipient.cmp(&b.recipient));
    let seen: Vec<_> = letters.iter().map(|letter| letter.recipient.split('@').next()).collect();
    assert_eq!(seen, [Some("starttls"), Some("tls")]);
    assert_eq!(letters[0].message_id, "<m1@acme.example>");
}

#[tokio::test]
#[ignore = "restarts PostgreSQL and kills the broker under everybody: run by name"]
async fn services_come_back_after_a_crash() {
    let services = Services::from_env().unwrap();
    let database = services.database().await.unwrap();
    let vhost = services.vhost().await.unwrap();
    let begun = Instant::now();
    services.restart_postgres_immediate().await.unwrap();
    assert_eq!(answers(database.url()).await.unwrap(), 1);
    let postgres = begun.elapsed();
    services.kill_broker().await.unwrap();
    let broker = begun.elapsed().saturating_sub(postgres);
    queue(vhost.url()).await.unwrap();
    println!("PostgreSQL {postgres:?}, RabbitMQ {broker:?}");
    assert!(begun.elapsed() < Duration::from_mins(2));
}
