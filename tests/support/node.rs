//! One process of the application. It knows how the program is started, and nothing of what tests do with it.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use signalpost::app::{App, Settings};
use signalpost::broker::Options;
use signalpost::domain::clock::Clock;
use signalpost::domain::keys::Keyring;
use signalpost::mail::server::{Limits, tls_config};
use signalpost::pipeline::engine::SenderSettings;
use signalpost::pipeline::reach::Reach;
use signalpost::store::Store;
use signalpost::web::Surface;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// One process of the application, as far as a test can have one: its own connections to the database, and a
/// runtime that can be taken from under it.
pub(crate) struct Node {
    pub(crate) app: Option<App>,
    pub(crate) base: String,
    pub(crate) runtime: Option<Runtime>,
}

impl Node {
    pub(crate) async fn start(
        url: String,
        clock: Clock,
        keys: Arc<Keyring>,
        (limits, broker): (Limits, Option<Options>),
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let public_url = base.clone();
        let starting = runtime.spawn(async move {
            let store = Store::connect(&url).await.unwrap();
            let surface = Surface { api: true, admin: true, dev: false };
            // SQLite has one worker at a time, which knows that it is alone.
            let (alone, tls) = (store.is_sqlite(), tls_config(None).unwrap());
            let (keyring, base) = (Arc::clone(&keys), public_url.clone());
            let reach = Reach { keys: keyring, allow: Vec::new(), tls: tls.clone(), public_url: base };
            let settings = Settings {
                store,
                clock,
                keys,
                public_url,
                trusted_proxies: Vec::new(),
                reach,
                surfaces: vec![(TcpListener::from_std(listener).unwrap(), surface)],
                sender: Some(SenderSettings { concurrency: 64, allow: Vec::new(), tls, limits, alone }),
                broker,
                max_due: 200_000,
                retention: Duration::from_hours(24 * 30),
                metrics: PrometheusBuilder::new().build_recorder().handle(),
            };
            App::start(settings).await.unwrap()
        });
        let app = starting.await.unwrap();
        Self { app: Some(app), base, runtime: Some(runtime) }
    }

    pub(crate) fn worker(&self) -> i64 {
        self.app.as_ref().unwrap().engine.sender.as_ref().unwrap().lease.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
