//! `signalpost check`: reaches what the configuration names, as the program itself would, and tells how each is. Must
//! not change anything, nor make a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Error, bail};
use serde_json::json;

use super::serve::broker_options;
use super::{Context, output};
use crate::broker;
use crate::broker::topology::{Inspected, Standing};
use crate::domain::catalogue::{Catalogue, Integration, IntegrationKind};
use crate::domain::keys::Keyring;
use crate::mail::classify::Stage;
use crate::mail::connection::Connection;
use crate::mail::server::{Limits, Server, Tls, tls_config};
use crate::pipeline::live::Live;
use crate::pipeline::reach::Reach;
use crate::store::Store;

/// One line.
struct Finding {
    part: &'static str,
    name: String,
    /// What is wrong, else what is right.
    said: Result<String, String>,
    /// Those that went well, of an integration.
    steps: Vec<String>,
}

pub(super) async fn run(context: &Context, json: bool) -> anyhow::Result<()> {
    let (mut all, mut wrong) = (0, 0);
    let mut tell = |finding: &Finding| {
        all += 1;
        wrong += usize::from(finding.said.is_err());
        finding.tell(json)
    };
    let keys = super::dev::keyring(context).map(Arc::new);
    tell(&configuration(context, keys.as_ref()))?;
    let (found, store) = database(context).await;
    tell(&found)?;
    for finding in broker_parts(context).await? {
        tell(&finding)?;
    }
    if let Some(store) = store {
        for finding in integrations(context, &store, keys.as_ref().ok()).await {
            tell(&finding)?;
        }
        store.close().await;
    }
    if wrong > 0 {
        bail!("{wrong} of {all} are not well");
    }
    Ok(())
}

impl Finding {
    fn new(part: &'static str, name: impl Into<String>, said: Result<String, String>) -> Self {
        Self { part, name: name.into(), said, steps: Vec::new() }
    }

    fn tell(&self, json: bool) -> std::io::Result<()> {
        let (well, said) = match &self.said {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        if json {
            let mut line = json!({ "part": self.part, "name": self.name, "well": well, "said": said });
            if self.part == "integration" {
                line["steps"] = json!(self.steps);
            }
            return output::line(&line.to_string());
        }
        let mark = if well { "ok    " } else { "WRONG " };
        output::line(&format!("{mark} {} {}: {said}", self.part, self.name))
    }
}

/// What is wrong in it was told before; only the key may still be missing.
fn configuration(context: &Context, keys: Result<&Arc<Keyring>, &anyhow::Error>) -> Finding {
    let said = match keys {
        Err(error) => Err(error.to_string()),
        Ok(_) if context.config.public_url.is_none() => {
            Err("SIGNALPOST_PUBLIC_URL is required, since the HTTP address is not loopback".to_owned())
        }
        Ok(_) => Ok("every value can be read".to_owned()),
    };
    Finding::new("configuration", "values", said)
}

async fn database(context: &Context) -> (Finding, Option<Store>) {
    let url = &context.config.database_url;
    let finding = |said| Finding::new("database", url.shown(), said);
    if let Some(file) = url.expose().strip_prefix("sqlite://") {
        let file = file.split('?').next().unwrap_or(file);
        if !Path::new(file).exists() {
            return (finding(Err("there is no such file; `signalpost migrate` makes it".to_owned())), None);
        }
    }
    let store = match Store::connect(url.expose()).await {
        Ok(store) => store,
        Err(error) => return (finding(Err(format!("cannot be reached: {:#}", Error::new(error)))), None),
    };
    match store.missing_migrations().await {
        Ok(0) => (finding(Ok("is reached, and has this program's schema".to_owned())), Some(store)),
        Ok(missing) => {
            let said =
                format!("lacks {missing} migrations of this program; `signalpost migrate` applies them");
            (finding(Err(said)), None)
        }
        Err(error) => (finding(Err(format!("its schema cannot be read: {:#}", Error::new(error)))), None),
    }
}

async fn broker_parts(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let Some(options) = broker_options(&context.config)? else {
        let said = Ok("none is configured: events arrive by HTTP only".to_owned());
        return Ok(vec![Finding::new("broker", "-", said)]);
    };
    let name = options.url.to_string();
    Ok(match broker::check(&options).await {
        Err(error) => vec![Finding::new("broker", name, Err(error.to_string()))],
        Ok(parts) => {
            let reached = Finding::new("broker", name, Ok("is reached".to_owned()));
            std::iter::once(reached).chain(parts.into_iter().map(broker_part)).collect()
        }
    })
}

fn broker_part(part: Inspected) -> Finding {
    let said = match part.found {
        Ok(Standing::AsItMustBe) => Ok("is as it must be".to_owned()),
        Ok(Standing::NotCompared) => {
            Ok("is there; this user may not declare it, so its arguments were not compared".to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    Finding::new(part.what, part.name, said)
}

async fn integrations(context: &Context, store: &Store, keys: Option<&Arc<Keyring>>) -> Vec<Finding> {
    let live = match Live::load(store.clone()).await {
        Ok(live) => live,
        Err(error) => {
            let said = Err(format!("cannot be read: {:#}", Error::new(error)));
            return vec![Finding::new("database", "catalogue", said)];
        }
    };
    let catalogue = live.current();
    let mut all: Vec<_> = catalogue.integrations.values().collect();
    all.sort_by_key(|one| (one.project_id, one.name.clone()));
    let mut findings = Vec::new();
    for integration in all {
        findings.push(look_at(context, &catalogue, integration, keys).await);
    }
    findings
}

async fn look_at(
    context: &Context,
    catalogue: &Catalogue,
    integration: &Integration,
    keys: Option<&Arc<Keyring>>,
) -> Finding {
    let project = catalogue.project(integration.project_id).map_or("?", |project| project.slug.as_str());
    let name = format!("{project}/{}", integration.name);
    let IntegrationKind::Smtp(smtp) = &integration.kind else {
        return Finding::new("integration", name, Ok("keeps mail in the mailbox".to_owned()));
    };
    let (Some(keys), Ok(tls)) = (keys, tls_config(None)) else {
        let said = "the secret key or the system's certificate authorities cannot be read";
        return Finding::new("integration", name, Err(said.to_owned()));
    };
    let public_url = context.config.public_url.as_ref().map_or("", |url| url.as_str());
    let (allow, public_url) = (context.config.smtp_allow.clone(), public_url.to_owned());
    let reach = Reach { keys: keys.clone(), allow, tls, public_url };
    if let Some(server) = reach.server(integration, smtp, Limits::default()) {
        converse(name, &server).await
    } else {
        let said = "its password cannot be opened with SIGNALPOST_SECRET_KEY".to_owned();
        Finding::new("integration", name, Err(said))
    }
}

/// Opens a session as for a mail, and ends it.
async fn converse(name: String, server: &Server) -> Finding {
    let address = format!("{}:{}", server.host, server.port);
    let steps = steps(server);
    let (said, well) = match Connection::open(server).await {
        Ok(connection) => {
            connection.quit().await;
            let all: Vec<String> = steps.iter().map(ToString::to_string).chain(["QUIT".to_owned()]).collect();
            (Ok(format!("{address}: {}", all.join(", "))), all)
        }
        Err(failure) => {
            // In the order of the conversation, which EHLO is in twice.
            let failed = steps.iter().rposition(|step| *step == failure.stage).unwrap_or(0);
            let well: Vec<String> = steps[..failed].iter().map(ToString::to_string).collect();
            let before = if well.is_empty() { String::new() } else { format!(" after {}", well.join(", ")) };
            (Err(format!("{address}: {} failed{before}: {}", failure.stage, failure.cause)), well)
        }
    };
    Finding { steps: well, ..Finding::new("integration", name, said) }
}

fn steps(server: &Server) -> Vec<Stage> {
    let mut steps = match server.tls {
        Tls::Implicit => vec![Stage::Connect, Stage::Tls, Stage::Greeting, Stage::Ehlo],
        Tls::None => vec![Stage::Connect, Stage::Greeting, Stage::Ehlo],
        Tls::Required => vec![Stage::Connect, Stage::Greeting, Stage::Ehlo, Stage::StartTls, Stage::Tls],
    };
    steps.extend(server.credentials.is_some().then_some(Stage::Auth));
    steps
}
