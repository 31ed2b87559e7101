//! The real services that `tests/all` starts: PostgreSQL, RabbitMQ, Postfix, and publishers in other languages.
//! It knows their variables and `tests/services/*.sh`, and nothing of the program.
//!
//! A database or virtual host of a test's own may be used beside others. [`Services::restart_postgres_immediate`]
//! and [`Services::kill_broker`] hit every user of the machine's services: tests that call them, and all tests
//! in a binary with one that does, run with `--test-threads=1`.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use url::Url;

use super::ledger::Letter;

/// Where the services are. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    postgres: Url,
    amqp: Url,
    /// `smtp://user:password@localhost:port`, STARTTLS required.
    pub postfix: String,
    /// The same server with TLS from the first byte, `smtps://…`.
    pub postfix_tls: String,
    /// The authority that signed Postfix's certificate, as a PEM file.
    pub postfix_ca: PathBuf,
    maildir: PathBuf,
    python: String,
    node: String,
    node_path: String,
}

/// A publisher in another language, from `tests/clients`.
#[derive(Debug, Clone, Copy)]
pub enum Publisher {
    Pika,
    Amqplib,
}

impl Services {
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            postgres: variable("SIGNALPOST_TEST_POSTGRES")?.parse()?,
            amqp: variable("SIGNALPOST_TEST_AMQP")?.parse()?,
            postfix: variable("SIGNALPOST_TEST_POSTFIX")?,
            postfix_tls: variable("SIGNALPOST_TEST_POSTFIX_TLS")?,
            postfix_ca: variable("SIGNALPOST_TEST_POSTFIX_CA")?.into(),
            maildir: variable("SIGNALPOST_TEST_POSTFIX_MAILDIR")?.into(),
            python: variable("SIGNALPOST_TEST_PYTHON")?,
            node: variable("SIGNALPOST_TEST_NODE")?,
            node_path: variable("SIGNALPOST_TEST_NODE_PATH")?,
        })
    }

    /// Whether the tests are to run on PostgreSQL instead of SQLite.
    pub fn wants_postgres() -> bool {
        variable("SIGNALPOST_TEST_STORE").is_ok_and(|value| value == "postgres")
    }

    /// Whether the long kill campaigns are asked for.
    pub fn is_campaign() -> bool {
        variable("SIGNALPOST_TEST_CAMPAIGN").is_ok_and(|value| value == "1")
    }

    /// A new, empty database. Takes some 30 ms.
    pub async fn database(&self) -> Result<Database> {
        create_database(&self.postgres).await
    }

    /// The same for tests that need PostgreSQL and none of the other services.
    pub async fn lone_database() -> Result<Database> {
        create_database(&variable("SIGNALPOST_TEST_POSTGRES")?.parse()?).await
    }

    /// A new virtual host that the tests' user may do everything in. Takes about a second.
    pub async fn vhost(&self) -> Result<Vhost> {
        // Named after the user, so that tests/all finds what a killed test left.
        let user = self.amqp.username();
        let name = format!("{user}.{}", random());
        script("rabbitmq.sh", ["add-vhost", &name, user]).await?;
        let mut url = self.amqp.clone();
        url.set_path(&name);
        Ok(Vhost { url: url.into(), name })
    }

    /// A mail domain that no other test uses; Postfix takes mail for all of `*.example`.
    pub fn domain() -> String {
        format!("{}.example", random())
    }

    /// What Postfix delivered to a domain so far.
    pub fn letters(&self, domain: &str) -> Result<Vec<Letter>> {
        let mut letters = Vec::new();
        for entry in self.maildir.join("new").read_dir()? {
            letters.push(Letter::delivered(&std::fs::read(entry?.path())?));
        }
        letters.retain(|letter| letter.recipient.rsplit('@').next() == Some(domain));
        Ok(letters)
    }

    /// The same once so many are there, or what is there when the time has run out.
    pub async fn letters_when(&self, domain: &str, count: usize, limit: Duration) -> Result<Vec<Letter>> {
        let begun = Instant::now();
        loop {
            let letters = self.letters(domain)?;
            if letters.len() >= count || begun.elapsed() > limit {
                return Ok(letters);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends one mail to Postfix with Python's smtplib, a client that is no code of ours; an error has the
    /// server's reply.
    pub async fn send_smtp(&self, url: &str, to: &str, message: &str, more: &[&str]) -> Result<()> {
        let mut input = tempfile::tempfile()?;
        input.write_all(message.as_bytes())?;
        input.rewind()?;
        let mut command = Command::new(&self.python);
        command.arg(tests().join("clients/send_smtp.py")).args(["--url", url, "--to", to]).args(more);
        command.arg("--ca").arg(&self.postfix_ca).stdin(input);
        run(command).await.map(drop)
    }

    /// Publishes with a client of another language; `arguments` as its file says. Returns how many messages
    /// the broker confirmed.
    pub async fn publish(&self, publisher: Publisher, url: &str, arguments: &[&str]) -> Result<usize> {
        let (program, file) = match publisher {
            Publisher::Pika => (&self.python, "publish_pika.py"),
            Publisher::Amqplib => (&self.node, "publish_amqplib.js"),
        };
        let mut command = Command::new(program);
        command.arg(tests().join("clients").join(file)).args(["--url", url]).args(arguments);
        command.env("NODE_PATH", &self.node_path);
        let said = String::from_utf8(run(command).await?.stdout)?;
        let count = said.trim().strip_prefix("published ").context("the publisher told no count")?;
        Ok(count.parse()?)
    }

    /// PostgreSQL dies as in a power cut and comes back through recovery; returns when it answers. Serial
    /// tests only.
    pub async fn restart_postgres_immediate(&self) -> Result<()> {
        script("postgres.sh", ["restart-immediate"]).await
    }

    /// The broker is killed with SIGKILL and started again; returns when it answers. Serial tests only.
    pub async fn kill_broker(&self) -> Result<()> {
        script("rabbitmq.sh", ["kill-and-start"]).await
    }
}

/// A database of a test's own. Dropped with this, also under open connections.
pub struct Database {
    admin: Url,
    url: String,
    name: String,
}

impl Database {
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A failure leaves it to tests/all, which drops all that its role owns.
        let _ = psql_command(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).output();
    }
}

/// A virtual host of a test's own. Deleted with this, and its queues with it.
pub struct Vhost {
    url: String,
    name: String,
}

impl Vhost {
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // A failure leaves it to tests/all, which deletes all that are named after its user.
        let _ = script_command("rabbitmq.sh").args(["delete-vhost", &self.name]).output();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own variables, from tests/all; no configuration")]
fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set: run `tests/all`, or `tests/all --run cargo test --test services`")
    })
}

async fn create_database(admin: &Url) -> Result<Database> {
    let name = format!("signalpost_test_{}", random());
    psql(admin, format!("CREATE DATABASE {name}")).await?;
    let mut url = admin.clone();
    url.set_path(&name);
    Ok(Database { admin: admin.clone(), url: url.into(), name })
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn psql_command(url: &Url, statement: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-qX", "-v", "ON_ERROR_STOP=1", "-c", statement, url.as_str()]);
    command
}

async fn psql(url: &Url, statement: String) -> Result<()> {
    run(psql_command(url, &statement)).await.map(drop)
}

fn script_command(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(tests().join("services").join(script));
    command
}

async fn script<const N: usize>(script: &str, arguments: [&str; N]) -> Result<()> {
    let mut command = script_command(script);
    command.args(arguments);
    run(command).await.map(drop)
}

/// Runs a command on a thread where waiting is allowed; fails with what it said if it fails.
async fn run(mut command: Command) -> Result<Output> {
    tokio::task::spawn_blocking(move || {
        let output = command.output().with_context(|| format!("{command:?} does not start"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
        Ok(output)
    })
    .await?
}
