//! The whole application in this process: a database of its own, a mail server of its own, HTTP on a free port,
//! and a clock that moves when told. Tests act through this as a publisher, a member and an operator would.
//! It knows the program only as far as starting it and looking into its database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Client;
use serde_json::{Value, json};
use signalpost::app::App;
use signalpost::broker::Options;
use signalpost::domain::api_key::{ApiKey, Scope};
use signalpost::domain::clock::Clock;
use signalpost::domain::id::ApiKeyId;
use signalpost::domain::keys::{Keyring, SecretKey};
use signalpost::mail::server::Limits;
use signalpost::project_file::{self, ApplyError, Applying, Change, apply};
use signalpost::store::shown::StoredKey;
use signalpost::store::{Conn, Store, lite, pg};

use super::node::Node;
use super::support::ledger::Letter;
use super::support::services::Services;
use super::support::sink::{Builder, Sink};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const GLANCE: Duration = Duration::from_millis(5);

/// What a world is made from.
pub(crate) struct Setup {
    pub(crate) sink: Builder,
    /// `user:password@`, of the integration.
    pub(crate) login: &'static str,
    pub(crate) connections: u16,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) nodes: usize,
    pub(crate) broker: Option<Options>,
}

/// The application, and what is around it.
pub(crate) struct World {
    pub(crate) sink: Sink,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    pub(crate) client: Client,
    pub(crate) key: ApiKey,
    keyring: Arc<Keyring>,
    url: String,
    limits: Limits,
    broker: Option<Options>,
    events: AtomicU64,
    /// The database: gone with this.
    _home: Box<dyn std::any::Any>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl Default for Setup {
    fn default() -> Self {
        let noon: DateTime<Utc> = "2026-07-01T12:00:00Z".parse().unwrap();
        Self {
            sink: Sink::builder().usual(),
            login: "",
            connections: 4,
            limits: Limits::default(),
            clock: Clock::manual(noon),
            nodes: 1,
            broker: None,
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with_sink(sink: Builder) -> Self {
        Self::with(Setup { sink, ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let (home, url): (Box<dyn std::any::Any>, String) = if Services::wants_postgres() {
            let database = Services::lone_database().await.unwrap();
            let url = database.url().to_owned();
            forgo_fsync(&url).await;
            (Box::new(database), url)
        } else {
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", directory.path().join("test.db").display());
            (Box::new(directory), url)
        };
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let sink = setup.sink.start().await;
        let keyring = Arc::new(Keyring::new(&SecretKey::from_bytes([7; 32]), &[]));
        let mut world = Self {
            key: ApiKey::generate(&mut rand::rng()),
            client: Client::new(),
            clock: setup.clock,
            events: AtomicU64::new(0),
            limits: setup.limits,
            broker: setup.broker,
            nodes: Vec::new(),
            _home: home,
            sink,
            store,
            keyring,
            url,
        };
        world.make_project(setup.login, setup.connections).await;
        world.make_key().await;
        for _ in 0..setup.nodes {
            world.start_node().await;
        }
        world
    }

    pub(crate) fn is_postgres(&self) -> bool {
        !self.store.is_sqlite()
    }

    async fn make_project(&self, login: &str, connections: u16) {
        let text = format!(
            "[project]\nslug = \"acme\"\nname = \"Acme\"\nthrottle = {{ recipient = \"100000/h\", client = \"100000/h\" }}\n\n\
             [[integrations]]\nname = \"main\"\nkind = \"smtp\"\n\
             url = \"smtp://{login}127.0.0.1:{}?tls=none\"\nfrom = \"Acme <no-reply@acme.example>\"\n\
             connections = {connections}\n",
            self.sink.port()
        );
        self.apply(&text).await.unwrap();
    }

    /// Applies a project's file.
    pub(crate) async fn apply(&self, text: &str) -> Result<Vec<Change>, ApplyError> {
        let applying = Applying {
            store: &self.store,
            keys: &self.keyring,
            now: self.clock.now(),
            public_host: "127.0.0.1",
            environment: &std::collections::BTreeMap::new(),
        };
        apply(&applying, text, project_file::Options::default()).await
    }

    async fn make_key(&self) {
        let id = ApiKeyId::new_at(self.clock.now()).0;
        let project: Vec<u8> = match &self.store {
            Store::Lite { writer, .. } => {
                sqlx::query_scalar("select id from projects").fetch_one(writer).await.unwrap()
            }
            Store::Pg(pool) => {
                sqlx::query_scalar("select uuid_send(id) from projects").fetch_one(pool).await.unwrap()
            }
        };
        let row = StoredKey {
            id,
            project_id: uuid::Uuid::from_slice(&project).unwrap(),
            name: "test".to_owned(),
            scopes: Scope::list_to_json(&Scope::ALL),
            created_at: self.clock.now(),
            revoked_at: None,
        };
        match self.store.write().await.unwrap() {
            Conn::Pg(mut c) => pg::keys::insert(&mut c, &row, &self.key.hash()).await.unwrap(),
            Conn::Lite(mut c) => lite::keys::insert(&mut c, &row, &self.key.hash()).await.unwrap(),
        }
    }

    // Processes

    /// Starts one more process on the database; its number.
    pub(crate) async fn start_node(&mut self) -> usize {
        let (url, clock, keys) = (self.url.clone(), self.clock.clone(), self.keyring.clone());
        let outside = (self.limits, self.broker.clone());
        self.nodes.push(Node::start(url, clock, keys, outside).await);
        self.nodes.len() - 1
    }

    /// A process is gone as after SIGKILL: nothing of it runs on, and nothing was tidied up.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].runtime.take().unwrap().shutdown_background();
    }

    /// A process stops in order.
    pub(crate) async fn stop(&mut self, node: usize) {
        let app = self.nodes[node].app.take().unwrap();
        let runtime = self.nodes[node].runtime.take().unwrap();
        runtime.spawn(app.stop()).await.unwrap();
        runtime.shutdown_background();
    }

    pub(crate) fn app(&self, node: usize) -> &App {
        self.nodes[node].app.as_ref().unwrap()
    }

    /// Every living worker looks at once for what is due, and reads the catalogue if it changed.
    pub(crate) async fn nudge(&self) {
        let living = self.nodes.iter().filter(|node| node.runtime.is_some());
        for app in living.filter_map(|node| node.app.as_ref()) {
            app.engine.live.refresh().await.unwrap();
            if let Some(sender) = &app.engine.sender {
                sender.lanes.fetch_soon();
            }
        }
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: TimeDelta) {
        self.clock.advance(time);
        self.nudge().await;
    }

    // HTTP

    pub(crate) async fn post_to(&self, node: usize, path: &str, body: &Value) -> Answer {
        let kind = match body {
            Value::Array(_) => "application/cloudevents-batch+json",
            _ if path == "/v1/events" => "application/cloudevents+json",
            _ => "application/json",
        };
        let request = self.client.post(format!("{}{path}", self.nodes[node].base));
        let request = request.bearer_auth(self.key.expose()).header("content-type", kind);
        Answer::of(request.body(body.to_string()).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_to(self.live_node(), path, &body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.nodes[self.live_node()].base));
        Answer::of(request.bearer_auth(self.key.expose()).send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let request = self.client.delete(format!("{}{path}", self.nodes[self.live_node()].base));
        Answer::of(request.bearer_auth(self.key.expose()).send().await.unwrap()).await
    }

    fn live_node(&self) -> usize {
        self.nodes.iter().position(|node| node.runtime.is_some()).unwrap()
    }

    /// An event of now with an id of its own.
    pub(crate) fn event(&self, kind: &str, data: &Value) -> Value {
        let id = self.events.fetch_add(1, Ordering::Relaxed);
        json!({
            "specversion": "1.0", "id": id.to_string(), "source": "/shop", "type": format!("account.{kind}"),
            "time": self.clock.now().to_rfc3339(), "data": data,
        })
    }

    pub(crate) async fn publish(&self, kind: &str, data: Value) -> Answer {
        self.post("/v1/events", self.event(kind, &data)).await
    }

    /// Publishes an event that happened so much earlier than now (later, if it is negative).
    pub(crate) async fn publish_aged(&self, age: TimeDelta, kind: &str, data: Value) -> Answer {
        let mut event = self.event(kind, &data);
        event["time"] = (self.clock.now() - age).to_rfc3339().into();
        self.post("/v1/events", event).await
    }

    // The database

    pub(crate) async fn sql(&self, statement: &'static str) -> u64 {
        match &self.store {
            Store::Pg(pool) => sqlx::query(statement).execute(pool).await.unwrap().rows_affected(),
            Store::Lite { writer, .. } => {
                sqlx::query(statement).execute(writer).await.unwrap().rows_affected()
            }
        }
    }

    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        match &self.store {
            Store::Pg(pool) => sqlx::query_scalar(query).fetch_one(pool).await.unwrap(),
            Store::Lite { reader, .. } => sqlx::query_scalar(query).fetch_one(reader).await.unwrap(),
        }
    }

    /// How many dispatches are in hand, or due.
    async fn open(&self) -> i64 {
        const OPEN: &str = "select count(*) from dispatches where state = 'pending' and (holder is not null or due_at <= $1)";
        let now = self.clock.now();
        match &self.store {
            Store::Pg(pool) => sqlx::query_scalar(OPEN).bind(now).fetch_one(pool).await.unwrap(),
            Store::Lite { reader, .. } => sqlx::query_scalar(OPEN).bind(now).fetch_one(reader).await.unwrap(),
        }
    }

    /// Waits until nothing is in hand, and nothing is due.
    pub(crate) async fn until_idle(&self) {
        until("no dispatch is in hand or due", async || self.open().await == 0).await;
    }

    // Mail

    /// What the mail server took, in order.
    pub(crate) fn mails(&self) -> Vec<Letter> {
        let mails = self.sink.mails();
        mails.iter().map(|mail| Letter::read(&mail.to[0], &mail.data)).collect()
    }

    pub(crate) fn mails_to(&self, address: &str) -> Vec<Letter> {
        self.mails().into_iter().filter(|mail| mail.recipient == address).collect()
    }
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Self { status, json: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// The status and the code of a problem, or else the outcome.
    pub(crate) fn said(&self) -> (u16, &str) {
        let words = ["code", "outcome"].map(|name| self.json[name].as_str());
        (self.status, words.into_iter().flatten().next().unwrap_or_default())
    }

    /// The id of the first dispatch.
    pub(crate) fn dispatch(&self) -> String {
        self.json["dispatches"][0].as_str().unwrap_or_else(|| panic!("no dispatch: {self:?}")).to_owned()
    }
}

/// No test cuts the power, and waiting for the disk is most of what making a database takes.
async fn forgo_fsync(url: &str) {
    let name = url.rsplit('/').next().unwrap_or_default();
    let statement = format!("alter database {name} set synchronous_commit = off");
    let store = Store::connect(url).await.unwrap();
    if let Store::Pg(pool) = &store {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await.unwrap();
    }
    store.close().await;
}

/// Waits until something holds.
///
/// # Panics
/// If it still does not after [`PATIENCE`].
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}
