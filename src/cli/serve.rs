//! `signalpost serve`, and what `dev` shares with it: connects, binds, starts the application, waits for a
//! signal, stops in two steps.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, connect, output};
use crate::app::{App, Settings};
use crate::broker::{self, BrokerUrl};
use crate::config::{Config, PublicUrl};
use crate::domain::keys::Keyring;
use crate::mail::server::{Limits, tls_config};
use crate::pipeline::engine::SenderSettings;
use crate::pipeline::reach::Reach;
use crate::store::Store;
use crate::telemetry;
use crate::web::Surface;

/// A second signal stops at once, with this exit code.
const STOPPED_AT_ONCE: i32 = 1;

/// The halves of the program that a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Halves {
    pub(super) http: bool,
    pub(super) worker: bool,
}

pub(super) async fn run(context: &Context, halves: Halves, migrate: bool) -> anyhow::Result<()> {
    let config = &context.config;
    let store = connect(context).await?;
    if migrate {
        store.migrate().await.context("the schema could not be brought up")?;
    }
    let missing = store.missing_migrations().await.context("the database's schema could not be looked at")?;
    if missing > 0 {
        bail!(
            "the database's schema is older than this program: run `signalpost migrate`, or give `--migrate`"
        );
    }
    let keys = config.keyring().context("SIGNALPOST_SECRET_KEY is missing")?;
    let public_url = config.public_url.clone().context("SIGNALPOST_PUBLIC_URL is missing")?;
    let start = Start { context, store, keys: Arc::new(keys), public_url, halves, is_dev: false };
    let (app, _lock) = start.start().await?;
    for address in &app.addresses {
        output::tell(&format!("listening on http://{address}"));
    }
    until_signal().await?;
    app.stop().await;
    Ok(())
}

/// What an application is started from.
pub(super) struct Start<'a> {
    pub(super) context: &'a Context,
    pub(super) store: Store,
    pub(super) keys: Arc<Keyring>,
    pub(super) public_url: PublicUrl,
    pub(super) halves: Halves,
    pub(super) is_dev: bool,
}

impl Start<'_> {
    /// Starts it. The file is the lock of a worker on SQLite, held for as long as it runs.
    pub(super) async fn start(self) -> anyhow::Result<(App, Option<File>)> {
        let config = &self.context.config;
        let lock = if self.halves.worker { lock(config)? } else { None };
        let tls = tls_config(None).context("the system's certificate authorities could not be read")?;
        let allow = config.smtp_allow.clone();
        let surfaces = bind(config, self.halves, self.is_dev).await?;
        let public_url = reached(self.public_url, config.http_addr, &surfaces)?;
        let (keys, reached_by) = (self.keys.clone(), public_url.clone());
        let reach = Reach { keys, allow: allow.clone(), tls: tls.clone(), public_url: reached_by };
        let sender = if self.halves.worker {
            Some(SenderSettings {
                concurrency: config.send_concurrency,
                allow,
                tls,
                limits: Limits::default(),
                alone: lock.is_some(),
            })
        } else {
            None
        };
        if config.otlp_endpoint.is_some() {
            tracing::warn!("SIGNALPOST_OTLP_ENDPOINT is set, but traces are not exported yet");
        }
        // Everything of `dev` is in this process.
        let broker = if self.is_dev { None } else { broker_options(config)? };
        let settings = Settings {
            store: self.store,
            clock: self.context.clock.clone(),
            keys: self.keys,
            public_url,
            trusted_proxies: config.trusted_proxies.clone(),
            reach,
            surfaces,
            sender,
            broker,
            max_due: config.max_due,
            retention: config.retention,
            metrics: telemetry::metrics()?,
        };
        Ok((App::start(settings).await?, lock))
    }
}

/// The base of links: where it is the listening address itself and the system chose the port, with that port.
fn reached(
    public_url: PublicUrl,
    asked: SocketAddr,
    surfaces: &[(TcpListener, Surface)],
) -> anyhow::Result<String> {
    let is_asked = asked.port() == 0 && PublicUrl::of_loopback(asked).as_ref() == Some(&public_url);
    let bound =
        surfaces.first().filter(|_| is_asked).map(|(listener, _)| listener.local_addr()).transpose()?;
    let public_url = bound.and_then(PublicUrl::of_loopback).unwrap_or(public_url);
    Ok(public_url.as_str().to_owned())
}

/// The broker of the configuration, if there is one.
pub(super) fn broker_options(config: &Config) -> anyhow::Result<Option<broker::Options>> {
    let Some(url) = &config.amqp_url else { return Ok(None) };
    let url = BrokerUrl::parse(url.expose()).context("SIGNALPOST_AMQP_URL cannot be read")?;
    let (declare, prefetch) = (config.amqp_declare, config.prefetch);
    Ok(Some(broker::Options { url, declare, prefetch, name: "signalpost worker".to_owned() }))
}

/// One worker at a time on a SQLite file: it may take over at once what one that crashed had in hand.
fn lock(config: &Config) -> anyhow::Result<Option<File>> {
    let url = config.database_url.expose();
    let Some(file) = url.strip_prefix("sqlite://") else { return Ok(None) };
    let name = format!("{}.worker", file.split('?').next().unwrap_or(file));
    let lock = File::create(&name).with_context(|| format!("{name} could not be made"))?;
    lock.try_lock().with_context(|| format!("another worker runs on {}", config.database_url.shown()))?;
    Ok(Some(lock))
}

async fn bind(config: &Config, halves: Halves, is_dev: bool) -> anyhow::Result<Vec<(TcpListener, Surface)>> {
    let separate = config.admin_addr.filter(|admin| *admin != config.http_addr);
    let is_dev = is_dev && separate.unwrap_or(config.http_addr).ip().is_loopback();
    let public = Surface { api: halves.http, admin: separate.is_none(), dev: is_dev && separate.is_none() };
    let mut surfaces = vec![(listen(config.http_addr).await?, public)];
    if let Some(address) = separate {
        surfaces.push((listen(address).await?, Surface { api: false, admin: true, dev: is_dev }));
    }
    Ok(surfaces)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} could not be listened on"))
}

/// The first signal asks to stop; a second one does not wait.
pub(super) async fn until_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what is in flight ends within 20 s; a second signal stops at once");
    std::thread::spawn(move || {
        // The runtime may be busy ending what is in flight, so this waits on a thread of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            std::process::exit(STOPPED_AT_ONCE);
        }
    });
    Ok(())
}
