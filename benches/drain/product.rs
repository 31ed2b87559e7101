//! The product's turn: the application as `signalpost serve` runs it, with one worker. Times it from the start of
//! consuming until all mails are in the sink, all dispatches are settled, and the queue is empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chrono::Utc;
use metrics_exporter_prometheus::PrometheusHandle;
use signalpost::app::{App, Settings};
use signalpost::broker::topology::{self, EVENTS_EXCHANGE, EVENTS_QUEUE};
use signalpost::broker::{BrokerUrl, Options};
use signalpost::domain::clock::Clock;
use signalpost::domain::keys::{Keyring, SecretKey};
use signalpost::mail::server::{Limits, tls_config};
use signalpost::pipeline::engine::SenderSettings;
use signalpost::pipeline::reach::Reach;
use signalpost::store::{Store, partitions};
use sqlx::PgPool;

use super::processor::Usage;
use super::{LIMIT, PREFETCH, Round, place};

const KEY: &str = "acme.account.password-reset-requested";
/// How often the database is asked whether all is settled, once all mails are there.
const LOOK: Duration = Duration::from_millis(5);

/// A project, an integration that leads to the sink, an automation, and members.
const FIXTURE: [&str; 5] = [
    "insert into projects (id, slug, name, created_at) values (gen_random_uuid(), 'acme', 'Acme', now())",
    "insert into integrations (id, project_id, name, kind, host, port, tls, sender, connections, unrestricted)
     select gen_random_uuid(), id, 'sink', 'smtp', '127.0.0.1', $1, 'none', 'Acme <no-reply@acme.example>', $2, true
     from projects",
    "insert into automations (id, project_id, name, event_type, integration_id, template, purpose, lifetime_s, max_age_s)
     select gen_random_uuid(), project_id, 'reset', 'account.password-reset-requested', id, 'reset-password-confirm',
       'reset-password', 3600, 86400 from integrations",
    "insert into members (project_id, id, username, username_key, email, email_key, first_name, applied_at, created_at)
     select id, 'mem_' || n, 'member-' || n, 'member-' || n, 'member-' || n || '@example.com',
       'member-' || n || '@example.com', 'Maria', now(), now() from projects, generate_series(0, $1 - 1) n",
    "vacuum analyze members",
];

pub(crate) async fn run(round: &Round<'_>, metrics: PrometheusHandle) -> Result<(Usage, Duration)> {
    let store = Store::connect(&round.database.url).await?;
    store.migrate().await?;
    partitions::ensure(&store, Utc::now()).await?;
    let Store::Pg(pool) = store.clone() else { anyhow::bail!("the benchmark runs on PostgreSQL") };
    prepare(&pool, round).await?;
    let (connection, channel) = round.vhost.channel().await?;
    topology::ensure(&channel, true).await?;
    place::fill(&channel, EVENTS_EXCHANGE, KEY, round.count).await?;

    let settings = settings(round, store, metrics)?;
    let before = Usage::now()?;
    let app = App::start(settings).await?;
    let begun = Instant::now();
    round.sink.wait_for(round.count, LIMIT).await;
    while unsettled(&pool).await? > 0 {
        ensure!(begun.elapsed() < LIMIT, "all is settled in time");
        tokio::time::sleep(LOOK).await;
    }
    let taken = begun.elapsed();
    let sent: i64 =
        sqlx::query_scalar("select count(*) from dispatches where state = 'sent'").fetch_one(&pool).await?;
    ensure!(usize::try_from(sent)? == round.count, "{sent} dispatches are sent");
    app.stop().await;
    // What was not acknowledged would be back.
    ensure!(place::left(&channel, EVENTS_QUEUE).await? == 0, "the queue is empty");
    connection.close(200, "done".into()).await?;
    Ok((before, taken))
}

fn settings(round: &Round<'_>, store: Store, metrics: PrometheusHandle) -> Result<Settings> {
    let sender = SenderSettings {
        concurrency: 64,
        allow: Vec::new(),
        tls: tls_config(None)?,
        alone: false,
        limits: Limits::default(),
    };
    let url = BrokerUrl::parse(&round.vhost.url)?;
    let broker = Options { url, declare: true, prefetch: PREFETCH, name: "signalpost worker".to_owned() };
    let keys = Arc::new(Keyring::new(&SecretKey::from_bytes([7; 32]), &[]));
    let (allow, tls) = (Vec::new(), sender.tls.clone());
    Ok(Settings {
        store,
        clock: Clock::system(),
        reach: Reach { keys: keys.clone(), allow, tls, public_url: "https://mail.acme.example".to_owned() },
        keys,
        public_url: "https://mail.acme.example".to_owned(),
        trusted_proxies: Vec::new(),
        surfaces: Vec::new(),
        sender: Some(sender),
        broker: Some(broker),
        max_due: 200_000,
        retention: Duration::from_hours(720),
        metrics,
    })
}

async fn prepare(pool: &PgPool, round: &Round<'_>) -> Result<()> {
    let (port, count) = (i32::from(round.sink.port()), i32::try_from(round.count)?);
    let [projects, integrations, automations, members, analyze] = FIXTURE;
    sqlx::query(projects).execute(pool).await?;
    sqlx::query(integrations).bind(port).bind(i32::from(round.connections)).execute(pool).await?;
    sqlx::query(automations).execute(pool).await?;
    sqlx::query(members).bind(count).execute(pool).await?;
    sqlx::query(analyze).execute(pool).await?;
    Ok(())
}

/// Asked through the two small partial indexes.
async fn unsettled(pool: &PgPool) -> Result<i64> {
    let sql = "select (select count(*) from dispatches where state = 'pending' and holder is null)
             + (select count(*) from dispatches where state = 'pending' and holder is not null)";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}
