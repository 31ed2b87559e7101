//! Where a round takes place: a database and a virtual host that are gone afterwards, and a queue that is filled.
//! Knows nothing of who drains it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Publishes that wait for their confirms at once.
const UNCONFIRMED: usize = 1000;

/// A fresh database.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn new(plans: bool) -> Result<Self> {
        let server = variable("SIGNALPOST_TEST_POSTGRES")?;
        let name = format!("signalpost_bench_{}", uuid::Uuid::new_v4().simple());
        let (base, _) = server.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
        let url = format!("{base}/{name}");
        let mut c = PgConnection::connect(&server).await?;
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut c).await?;
        if plans {
            for setting in [
                "session_preload_libraries = 'auto_explain'",
                "auto_explain.log_min_duration = 0",
                "auto_explain.log_analyze = on",
                "auto_explain.log_buffers = on",
            ] {
                let sql = format!("alter database {name} set {setting}");
                sqlx::query(AssertSqlSafe(sql)).execute(&mut c).await?;
            }
        }
        Ok(Self { url, server, name })
    }

    pub(crate) async fn drop(&self) -> Result<()> {
        let mut c = PgConnection::connect(&self.server).await?;
        let sql = format!("drop database if exists {} with (force)", self.name);
        sqlx::query(AssertSqlSafe(sql)).execute(&mut c).await?;
        Ok(())
    }
}

/// A virtual host of its own.
pub(crate) struct Vhost {
    pub(crate) url: String,
    name: String,
}

impl Vhost {
    pub(crate) fn new() -> Result<Self> {
        let base = variable("SIGNALPOST_TEST_AMQP")?;
        let server = base.rsplit_once('/').map_or(base.as_str(), |(server, _)| server);
        let name = format!("signalpost-bench-{}", std::process::id());
        let user = url::Url::parse(&base)?.username().to_owned();
        let vhost = Self { url: format!("{server}/{name}"), name };
        rabbitmqctl(&["add_vhost", &vhost.name])?;
        rabbitmqctl(&["set_permissions", "-p", &vhost.name, &user, ".*", ".*", ".*"])?;
        Ok(vhost)
    }

    pub(crate) async fn channel(&self) -> Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let _ = rabbitmqctl(&["delete_vhost", &self.name]);
    }
}

fn rabbitmqctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("rabbitmqctl").arg("-q").args(arguments).output().context("rabbitmqctl")?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A durable quorum queue.
pub(crate) async fn declare(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, arguments).await?;
    Ok(())
}

/// Fills a queue with one event for each member; all are confirmed.
pub(crate) async fn fill(channel: &Channel, exchange: &str, key: &str, count: usize) -> Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut confirms = Vec::with_capacity(UNCONFIRMED);
    for number in 0..count {
        let id = format!("reset-{number}");
        let properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        let body = format!(r#"{{"email":"member-{number}@example.com"}}"#);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let publish =
            channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties);
        confirms.push(publish.await?);
        if confirms.len() == UNCONFIRMED || number + 1 == count {
            for confirm in confirms.drain(..) {
                ensure!(confirm.await?.is_ack(), "the broker takes the messages");
            }
        }
    }
    Ok(())
}

/// Messages that are ready; with every consumer gone, all that are left.
pub(crate) async fn left(channel: &Channel, queue: &str) -> Result<u32> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    Ok(channel.queue_declare(queue.into(), options, FieldTable::default()).await?.message_count())
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is missing"))
}
