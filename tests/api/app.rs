//! A running HTTP side with two projects, `acme` and `other`, and what tests ask of it.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use signalpost::domain::api_key::{ApiKey, Scope};
use signalpost::domain::catalogue::{Automation, Brand, Integration, IntegrationKind, Settings};
use signalpost::domain::clock::Clock;
use signalpost::domain::event::{Incoming, Planned, Reason, Refusal};
use signalpost::domain::id::{ApiKeyId, AutomationId, DispatchId, EventId, IntegrationId, ProjectId};
use signalpost::domain::keys::{Keyring, SecretKey};
use signalpost::domain::member::Member;
use signalpost::mail::server::tls_config;
use signalpost::pipeline::dead_letters::DeadMessages;
use signalpost::pipeline::decode::Undecodable;
use signalpost::pipeline::flows::Flows;
use signalpost::pipeline::live::Live;
use signalpost::pipeline::reach::Reach;
use signalpost::pipeline::rearm::{self, Rearm};
use signalpost::pipeline::{Intake, Payload, Submission};
use signalpost::store::rows::{MemberRow, RefusalRow};
use signalpost::store::shown::{ProjectRow, StoredKey};
use signalpost::store::{Conn, Store, lite};
use signalpost::web::health::{Part, Readiness};
use signalpost::web::{self, KnownKeys, State, Surface};
use sqlx::SqliteConnection;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The API, the pages, the probes and the mailbox on one address, as `dev` has them.
pub(crate) const EVERYTHING: Surface = Surface { api: true, admin: true, dev: true };

pub(crate) const ACME: ProjectId = ProjectId(Uuid::from_u128(0xac));
pub(crate) const OTHER: ProjectId = ProjectId(Uuid::from_u128(0x07));
pub(crate) const AUTOMATION: AutomationId = AutomationId(Uuid::from_u128(0xa0));
pub(crate) const INTEGRATION: IntegrationId = IntegrationId(Uuid::from_u128(0x10));

pub(crate) struct App {
    pub(crate) base: String,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) readiness: Readiness,
    pub(crate) stop: CancellationToken,
    /// The server and the planner, in that order of ending.
    pub(crate) tasks: JoinSet<()>,
    /// What reached the planner.
    pub(crate) submitted: Arc<Mutex<Vec<Incoming>>>,
    client: Client,
    _directory: tempfile::TempDir,
}

pub(crate) fn start_of_tests() -> DateTime<Utc> {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::with(EVERYTHING).await
    }

    pub(crate) async fn with(surface: Surface) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        fill(&store).await;
        let clock = Clock::manual(start_of_tests());
        let keyring = Arc::new(Keyring::new(&SecretKey::from_bytes([1; 32]), &[]));
        let live = Live::load(store.clone()).await.unwrap();
        let flows = Flows::new(store.clone(), clock.clone(), keyring.clone(), live.clone(), None);
        let desk = rearm::Desk {
            store: store.clone(),
            live: live.clone(),
            keys: keyring.clone(),
            clock: clock.clone(),
        };
        let rearm = Rearm::new(desk, None);
        let (submissions, queue) = mpsc::channel(64);
        let submitted = Arc::new(Mutex::new(Vec::new()));
        let readiness = Readiness::expecting(&[Part::Database, Part::Broker], start_of_tests());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            store: store.clone(),
            clock: clock.clone(),
            keys: keyring.clone(),
            intake: Intake { submit: submissions },
            flows,
            live,
            public_url: base.clone(),
            trusted_proxies: Vec::new(),
            reach: Reach {
                keys: keyring.clone(),
                // Where the tests' own mail server is.
                allow: vec!["127.0.0.1/32".parse().unwrap()],
                tls: tls_config(None).unwrap(),
                public_url: base.clone(),
            },
            readiness: readiness.clone(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            surface,
            known_keys: KnownKeys::default(),
            dead_messages: DeadMessages::default(),
            asyncapi: Arc::new(signalpost::broker::describe()),
            rearm,
            tasks: tokio_util::task::TaskTracker::new(),
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let router = web::router(state);
        let stopping = stop.clone();
        tasks.spawn(async move { web::serve(listener, router, stopping).await.unwrap() });
        tasks.spawn(plan(queue, store.clone(), submitted.clone()));
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, store, clock, keyring, readiness, stop, tasks, submitted, client, _directory: directory }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, key: &ApiKey, path: &str) -> Answer {
        Answer::of(self.request("get", path).bearer_auth(key.expose()).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, key: &ApiKey, path: &str, body: &Value) -> Answer {
        let request = self.request("post", path).bearer_auth(key.expose()).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Posts a structured event with that id.
    pub(crate) async fn publish(&self, key: &ApiKey, event: &Value) -> Answer {
        let request = self.request("post", "/v1/events").bearer_auth(key.expose());
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        Answer::of(request.send().await.unwrap()).await
    }

    /// Makes a key of a project.
    pub(crate) async fn key(&self, project: ProjectId, scopes: &[Scope]) -> ApiKey {
        let key = ApiKey::generate(&mut rand::rng());
        let row = StoredKey {
            id: ApiKeyId::new_at(self.clock.now()).0,
            project_id: project.0,
            name: "test".to_owned(),
            scopes: Scope::list_to_json(scopes),
            created_at: self.clock.now(),
            revoked_at: None,
        };
        lite::keys::insert(&mut *self.write().await, &row, &key.hash()).await.unwrap();
        key
    }

    pub(crate) async fn all_keys(&self) -> ApiKey {
        self.key(ACME, &Scope::ALL).await
    }

    /// A call with a JSON body and more headers.
    pub(crate) async fn call(
        &self,
        key: &ApiKey,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.request(method, path).bearer_auth(key.expose());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn write(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        match self.store.write().await.unwrap() {
            Conn::Lite(connection) => connection,
            Conn::Pg(_) => panic!("the tests run on SQLite"),
        }
    }

    pub(crate) fn submissions(&self) -> Vec<Incoming> {
        self.submitted.lock().unwrap().clone()
    }
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a problem in full: status, media type, code.
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["code"], code);
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("urn:signalpost:problem:{code}"));
        assert!(self.json["title"].is_string() && self.json["detail"].is_string());
        &self.json
    }
}

/// Keeps what it gets, as the planner keeps refusals, and answers.
async fn plan(mut queue: mpsc::Receiver<Submission>, store: Store, submitted: Arc<Mutex<Vec<Incoming>>>) {
    while let Some(Submission { payload, answer, .. }) = queue.recv().await {
        let planned = match payload {
            Payload::Event(incoming) => {
                let planned = planned(&incoming);
                submitted.lock().unwrap().push(incoming);
                planned
            }
            Payload::Undecodable(undecodable) => Some(note(&store, undecodable).await),
        };
        // Dropping the answer is how a planner that stops looks.
        if let Some(planned) = planned {
            let _ = answer.send(planned);
        }
    }
}

async fn note(store: &Store, undecodable: Undecodable) -> Planned {
    let Undecodable { refusal, project, source, id, kind } = undecodable;
    let event = EventId(Uuid::from_u128(0xef));
    let row = RefusalRow {
        id: event.0,
        project,
        source,
        source_id: id,
        kind,
        reason: refusal.reason.name(),
        field: refusal.field.clone(),
        detail: refusal.detail.clone(),
        received_at: start_of_tests(),
    };
    let Conn::Lite(mut c) = store.write().await.unwrap() else { panic!("the tests run on SQLite") };
    lite::events::insert_refusals(&mut c, &[row]).await.unwrap();
    Planned::Refused { event, refusal }
}

fn planned(incoming: &Incoming) -> Option<Planned> {
    let event = EventId(Uuid::from_u128(0xe0));
    let dispatches = vec![DispatchId(Uuid::from_u128(0xd0))];
    let reason = match incoming.id.as_str() {
        "stopped" => return None,
        "duplicate" => {
            return Some(Planned::Duplicate { event, outcome: "dispatched".to_owned(), dispatches });
        }
        "invalid" => Reason::Invalid,
        "unknown-type" => Reason::UnknownType,
        "unknown-member" => Reason::UnknownMember,
        "email-in-use" => Reason::EmailInUse,
        "id-reused" => Reason::IdReused,
        "poison" => Reason::Poison,
        _ => return Some(Planned::Accepted { event, outcome: "dispatched", dispatches }),
    };
    let refusal = Refusal::new(reason, "said the planner").in_field("data");
    Some(Planned::Refused { event, refusal })
}

async fn fill(store: &Store) {
    let Conn::Lite(mut c) = store.write().await.unwrap() else { panic!("the tests run on SQLite") };
    for (id, slug) in [(ACME, "acme"), (OTHER, "other")] {
        let brand = Brand { color: Some("#0b5fff".to_owned()), ..Brand::default() };
        let settings = Settings { brand, ..Settings::default() };
        let settings = serde_json::to_string(&settings).unwrap();
        let row = ProjectRow { id, slug: slug.to_owned(), name: slug.to_owned(), settings, paused: false };
        lite::catalogue::put_project(&mut c, &row, start_of_tests()).await.unwrap();
    }
    lite::integrations::put(&mut c, &integration()).await.unwrap();
    lite::automations::put(&mut c, ACME, &automation(), start_of_tests()).await.unwrap();
    lite::catalogue::raise_revision(&mut c).await.unwrap();
    for (project, id) in [(ACME, "mem_elon"), (OTHER, "mem_olga")] {
        put_member(&mut c, project, id).await;
    }
}

fn integration() -> Integration {
    Integration {
        id: INTEGRATION,
        project_id: ACME,
        name: "main".to_owned(),
        kind: IntegrationKind::Capture,
        sender: "Acme <no-reply@acme.example>".to_owned(),
        reply_to: None,
        connections: 1,
        rate: None,
        auto_submitted: true,
        return_path: None,
        reply_path: None,
        paused: false,
        retired: false,
    }
}

fn automation() -> Automation {
    Automation {
        id: AUTOMATION,
        version: 1,
        name: "Reset password".to_owned(),
        event_type: "account.password-reset-requested".to_owned(),
        integration_id: INTEGRATION,
        template: "reset-password-confirm".to_owned(),
        texts: Vec::new(),
        condition: None,
        token: None,
        max_age: std::time::Duration::from_hours(2),
        link: None,
        enabled: true,
        paused: false,
    }
}

async fn put_member(c: &mut SqliteConnection, project: ProjectId, id: &str) {
    let name = id.trim_start_matches("mem_");
    let at = start_of_tests();
    let member = Member {
        project_id: project,
        id: id.to_owned(),
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        first_name: Some(name.to_owned()),
        last_name: None,
        locale: None,
        is_admin: false,
        on_vacation: false,
        auto_replies: 0,
        applied_at: at,
        tokens_ended_at: None,
        deleted_at: None,
        created_at: at,
    };
    let row = MemberRow {
        project_id: project.0,
        member: &member,
        username_key: member.username.clone(),
        email_key: member.email.clone(),
        applied_at: at,
        tokens_ended_at: None,
        deleted_at: None,
        created_at: at,
    };
    lite::members::put(c, &[row]).await.unwrap();
}
