//! The bare loop's turn: takes messages, inserts what has come in one statement, acknowledges, sends ready-made
//! mail over as many connections, marks what was sent in one statement. Decides nothing and checks nothing:
//! what the services cost by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use signalpost::mail::connection::Connection;
use signalpost::mail::network::Network;
use signalpost::mail::server::{DEFAULT_HELLO, Limits, Server, Tls, tls_config};
use signalpost::mail::wire::{Envelope, Wire};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::processor::Usage;
use super::{PREFETCH, Round, place};

const QUEUE: &str = "bare";
/// Rows of one statement, as the product's.
const BATCH: usize = 512;
/// A mail that a carrier has in hand.
type Mail = (Uuid, usize);

pub(crate) async fn run(round: &Round<'_>) -> Result<(Usage, Duration)> {
    let pool = PgPoolOptions::new().max_connections(4).connect(&round.database.url).await?;
    sqlx::query("create table mails (id uuid primary key, source_id text not null, body text not null, sent_at timestamptz)")
        .execute(&pool)
        .await?;
    let (publisher, channel) = round.vhost.channel().await?;
    place::declare(&channel, QUEUE).await?;
    place::fill(&channel, "", QUEUE, round.count).await?;

    let before = Usage::now()?;
    let begun = Instant::now();
    let (to_send, mails) = mpsc::channel(BATCH);
    let (to_mark, sent) = mpsc::unbounded_channel();
    let (mails, mut tasks) = (Arc::new(Mutex::new(mails)), JoinSet::new());
    let server = Arc::new(server(round.sink.port())?);
    for _ in 0..round.connections {
        tasks.spawn(carry(server.clone(), mails.clone(), to_mark.clone()));
    }
    drop(to_mark);
    tasks.spawn(mark(pool.clone(), sent));
    let (connection, taking) = round.vhost.channel().await?;
    take(&taking, &pool, to_send, round.count).await?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    // Answered once every acknowledgement before it was handled.
    taking.close(200, "done".into()).await?;
    let taken = begun.elapsed();
    ensure!(place::left(&channel, QUEUE).await? == 0, "the queue is empty");
    let sent: i64 =
        sqlx::query_scalar("select count(*) from mails where sent_at is not null").fetch_one(&pool).await?;
    ensure!(usize::try_from(sent)? == round.count, "{sent} mails are marked");
    connection.close(200, "done".into()).await?;
    publisher.close(200, "done".into()).await?;
    pool.close().await;
    Ok((before, taken))
}

/// Takes, inserts, acknowledges, hands over.
async fn take(channel: &Channel, pool: &PgPool, to_send: mpsc::Sender<Mail>, count: usize) -> Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consuming =
        channel.basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    let mut place = 0;
    while place < count {
        let batch = arrived(&mut consumer).await?;
        let ids: Vec<Uuid> = batch.iter().map(|_| Uuid::now_v7()).collect();
        let names: Vec<String> = batch.iter().map(name).collect();
        let bodies: Vec<String> =
            batch.iter().map(|one| String::from_utf8_lossy(&one.data).into_owned()).collect();
        sqlx::query("insert into mails (id, source_id, body) select * from unnest($1::uuid[], $2::text[], $3::text[])")
            .bind(&ids)
            .bind(&names)
            .bind(&bodies)
            .execute(pool)
            .await?;
        let last = batch.last().context("a batch is never empty")?.delivery_tag;
        channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
        for id in ids {
            to_send.send((id, place)).await?;
            place += 1;
        }
    }
    Ok(())
}

fn name(delivery: &Delivery) -> String {
    delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
}

/// At least one, and what is there already.
async fn arrived(consumer: &mut Consumer) -> Result<Vec<Delivery>> {
    let mut batch = vec![consumer.next().await.context("the consumer goes on")??];
    while batch.len() < BATCH
        && let Some(Some(delivery)) = consumer.next().now_or_never()
    {
        batch.push(delivery?);
    }
    Ok(batch)
}

/// Sends the same ready-made mail to each member.
async fn carry(
    server: Arc<Server>,
    mails: Arc<Mutex<mpsc::Receiver<Mail>>>,
    sent: mpsc::UnboundedSender<Uuid>,
) -> Result<()> {
    let wire = Wire::encode(ready_made().as_bytes())?;
    let mut connection = Connection::open(&server).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    loop {
        let next = mails.lock().await.recv().await;
        let Some((id, number)) = next else { break };
        let to = format!("member-{number}@example.com");
        let envelope = Envelope::new("no-reply@acme.example", &to)?;
        let failed = |failure| anyhow::anyhow!("{failure}");
        connection.envelope(&envelope, &wire).await.map_err(failed)?;
        connection.body(&wire).await.map_err(failed)?;
        sent.send(id)?;
    }
    connection.quit().await;
    Ok(())
}

/// Marks what was sent, as it comes in while the last statement commits.
async fn mark(pool: PgPool, mut sent: mpsc::UnboundedReceiver<Uuid>) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while sent.recv_many(&mut batch, BATCH).await > 0 {
        sqlx::query("update mails set sent_at = now() where id = any($1)")
            .bind(&batch)
            .execute(&pool)
            .await?;
        batch.clear();
    }
    Ok(())
}

fn server(port: u16) -> Result<Server> {
    Ok(Server {
        host: "127.0.0.1".to_owned(),
        port,
        tls: Tls::None,
        credentials: None,
        hello: DEFAULT_HELLO.to_owned(),
        limits: Limits::default(),
        network: Network::Any,
        tls_config: tls_config(None)?,
    })
}

/// About as long as a reset mail.
fn ready_made() -> String {
    let head = "From: Acme <no-reply@acme.example>\r\nSubject: Reset your password\r\n\
                Message-ID: <ready-made@acme.example>\r\nContent-Type: text/plain\r\n\r\n";
    let line = "Somebody asked to reset the password of your account at Acme.\r\n";
    format!("{head}{}", line.repeat(40))
}
