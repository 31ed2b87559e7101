//! Reaching the server of an integration: its password opened for one connection, the addresses that may be
//! dialled; and trying all that step by step, for people. Dispatches go through `carry`, never through here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use serde::Serialize;
use tokio_rustls::rustls::ClientConfig;
use uuid::Uuid;

use crate::domain::catalogue::{Integration, IntegrationKind, SmtpServer};
use crate::domain::keys::Keyring;
use crate::mail::classify::{Failure, Stage};
use crate::mail::connection::Connection;
use crate::mail::message::{self, build};
use crate::mail::network::{Cidr, Network};
use crate::mail::server::{Credentials, DEFAULT_HELLO, Limits, Server, Tls};
use crate::mail::templates::Rendered;
use crate::mail::wire::{Envelope, Wire};

/// How long a person waits for each step, and for the server's word on the mail.
const STEP: Duration = Duration::from_secs(5);
/// For all of opening the connection, and for the mail: a request takes 30 s at most.
const OPENING: Duration = Duration::from_secs(12);
const MAIL: Duration = Duration::from_secs(8);
/// The longest text of a step, in characters.
const LONGEST: usize = 300;

/// What is needed to reach servers.
#[derive(Clone)]
pub struct Reach {
    pub keys: Arc<Keyring>,
    /// Networks beyond the public ones that integrations made over the API may reach.
    pub allow: Vec<Cidr>,
    pub tls: Arc<ClientConfig>,
    pub public_url: String,
}

/// One step of a try.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub step: &'static str,
    pub ok: bool,
    /// What the server said, or why it failed.
    pub detail: String,
}

impl Step {
    fn done(step: &'static str, detail: impl Into<String>) -> Self {
        Self { step, ok: true, detail: detail.into() }
    }

    fn failed(step: &'static str, detail: &str) -> Self {
        Self { step, ok: false, detail: detail.chars().take(LONGEST).collect() }
    }
}

impl Reach {
    /// The server of an integration, its password opened for this connection only; `None` if it does not open.
    pub fn server(&self, integration: &Integration, server: &SmtpServer, limits: Limits) -> Option<Server> {
        let credentials = match (&server.username, &server.sealed_password) {
            (Some(user), Some(sealed)) => {
                let place = server.seal_place(integration.id, integration.project_id);
                let password = String::from_utf8(self.keys.open(&place, sealed)?).ok()?;
                Some(Credentials::new(user.clone(), password)?)
            }
            _ => None,
        };
        let tls = match server.tls.as_str() {
            "none" => Tls::None,
            "implicit" => Tls::Implicit,
            _ => Tls::Required,
        };
        let also = self.allow.clone();
        let network = if server.unrestricted { Network::Any } else { Network::Public { also } };
        let hello = url::Url::parse(&self.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Some(Server {
            host: server.host.clone(),
            port: server.port,
            tls,
            credentials,
            hello: hello.unwrap_or_else(|| DEFAULT_HELLO.to_owned()),
            limits,
            network,
            tls_config: self.tls.clone(),
        })
    }

    /// Tries an integration, and sends a mail if somebody is named. The first step that fails is the last.
    pub async fn try_out(
        &self,
        integration: &Integration,
        mail: Option<(&str, Rendered)>,
        now: DateTime<Utc>,
    ) -> Vec<Step> {
        let IntegrationKind::Smtp(stored) = &integration.kind else {
            return vec![Step::done("capture", "mail is kept in the mailbox; there is no server to reach")];
        };
        let mut steps = Vec::new();
        let Some(server) = self.server(integration, stored, limits()) else {
            return vec![Step::failed("password", "the stored password does not open with the secret keys")];
        };
        steps.push(resolve(&server).await);
        if steps.iter().any(|step| !step.ok) {
            return steps;
        }
        let mut connection = match Connection::open(&server).await {
            Ok(connection) => {
                steps.extend(stages(&server).into_iter().map(|(_, step)| Step::done(step, "")));
                connection
            }
            Err(failure) => {
                steps.extend(until(&server, &failure));
                return steps;
            }
        };
        if let Some(mail) = mail {
            steps.push(send(&mut connection, integration, mail, now).await);
        }
        connection.quit().await;
        steps
    }
}

/// The mail that tries an integration.
pub fn test_mail(integration: &Integration) -> Rendered {
    let said = format!("This is a test of the integration \"{}\". Nothing has to be done.", integration.name);
    let html = said.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;");
    let subject = format!("Test of {}", integration.name);
    Rendered { subject, html: format!("<p>{html}</p>"), text: said + "\n" }
}

/// For a mail that somebody waits for.
pub(super) fn limits() -> Limits {
    Limits {
        connect: STEP,
        greeting: STEP,
        command: STEP,
        data: STEP,
        message: STEP,
        dot: MAIL,
        opening: OPENING,
        envelope: STEP,
        quit: Duration::from_secs(1),
    }
}

/// Resolves the name and says which of its addresses may be dialled; opening the connection checks again.
async fn resolve(server: &Server) -> Step {
    let found =
        tokio::time::timeout(STEP, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => return Step::failed("resolve", "the name has no address"),
        Err(_) => return Step::failed("resolve", "time ran out"),
    };
    if !addresses.iter().any(|address| server.network.permits(*address)) {
        // Which addresses an inner name has is nobody's business outside.
        return Step::failed("resolve", "the network policy permits none of the server's addresses");
    }
    Step::done("resolve", "")
}

/// What opening a connection goes through, in order.
fn stages(server: &Server) -> Vec<(Stage, &'static str)> {
    let mut stages = vec![(Stage::Connect, "connect")];
    if server.tls == Tls::Implicit {
        stages.push((Stage::Tls, "tls"));
    }
    stages.push((Stage::Greeting, "greeting"));
    stages.push((Stage::Ehlo, "ehlo"));
    if server.tls == Tls::Required {
        stages.extend([(Stage::StartTls, "starttls"), (Stage::Tls, "tls")]);
    }
    if server.credentials.is_some() {
        stages.push((Stage::Auth, "auth"));
    }
    stages
}

/// The steps up to the one that failed.
fn until(server: &Server, failure: &Failure) -> Vec<Step> {
    let mut steps = Vec::new();
    for (stage, step) in stages(server) {
        if stage == failure.stage {
            let said = failure.reply().map_or_else(|| failure.cause.to_string(), ToString::to_string);
            steps.push(Step::failed(step, &said));
            return steps;
        }
        steps.push(Step::done(step, ""));
    }
    steps.push(Step::failed("session", &failure.to_string()));
    steps
}

async fn send(
    connection: &mut Connection,
    integration: &Integration,
    mail: (&str, Rendered),
    now: DateTime<Utc>,
) -> Step {
    let written = written(integration, mail, now);
    let (envelope, wire) = match written {
        Ok(written) => written,
        Err(why) => return Step::failed("mail", &why.to_string()),
    };
    let sent = async {
        connection.envelope(&envelope, &wire).await?;
        connection.body(&wire).await
    };
    match sent.await {
        Ok(reply) => Step::done("mail", reply.to_string()),
        Err(failure) => {
            let said = failure.reply().map_or_else(|| failure.to_string(), ToString::to_string);
            Step::failed("mail", &said)
        }
    }
}

fn written(
    integration: &Integration,
    (to, mail): (&str, Rendered),
    now: DateTime<Utc>,
) -> Result<(Envelope, Wire), Box<dyn std::error::Error + Send + Sync>> {
    let from: Mailbox = integration.sender.parse()?;
    let domain = message::domain_of(from.email.as_ref()).unwrap_or_default();
    let octets = build(
        &mail,
        &message::Envelope {
            from: &from,
            reply_to: integration.reply_to.as_deref(),
            to,
            message_id: &format!("test.{}@{domain}", Uuid::new_v4().simple()),
            date: now,
            auto_submitted: integration.auto_submitted,
        },
    )?;
    Ok((Envelope::new(from.email.as_ref(), to)?, Wire::encode(&octets)?))
}
