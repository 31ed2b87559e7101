//! A small project for the tests of this folder: one integration that captures, and the automation of resets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::drafts::Prepared;
use crate::domain::catalogue::{
    Automation, BUILT_IN, Integration, IntegrationKind, Project, Settings, TokenPlan,
};
use crate::domain::change::Change;
use crate::domain::event::Incoming;
use crate::domain::id::{AutomationId, IntegrationId, ProjectId};
use crate::domain::token::Purpose;
use crate::store::shown::ProjectRow;
use crate::store::{Store, db};

pub(super) const ACME: ProjectId = ProjectId(Uuid::from_u128(1));
pub(super) const MAIN: IntegrationId = IntegrationId(Uuid::from_u128(2));
pub(super) const RESET: &str = "account.password-reset-requested";

/// So many milliseconds after the start of the tests.
pub(super) fn at(milliseconds: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-07-01T12:00:00Z".parse().unwrap();
    start + TimeDelta::milliseconds(milliseconds)
}

pub(super) fn automation(name: &str, lifetime: u64) -> Automation {
    Automation {
        id: AutomationId(Uuid::new_v4()),
        version: 1,
        name: name.to_owned(),
        event_type: RESET.to_owned(),
        integration_id: MAIN,
        template: "reset-password-confirm".to_owned(),
        texts: Vec::new(),
        condition: None,
        token: Some(TokenPlan { purpose: Purpose::ResetPassword, lifetime: Duration::from_secs(lifetime) }),
        max_age: Duration::from_hours(2),
        link: None,
        enabled: true,
        paused: false,
    }
}

/// A built-in automation.
pub(super) fn built_in(event_type: &str) -> Automation {
    let one = BUILT_IN.iter().find(|one| one.event_type == event_type).unwrap();
    Automation {
        event_type: event_type.to_owned(),
        template: one.template.to_owned(),
        token: one.purpose.map(|purpose| TokenPlan { purpose, lifetime: purpose.default_lifetime() }),
        ..automation(one.name, 0)
    }
}

pub(super) fn project(automations: Vec<Automation>) -> Arc<Project> {
    let mut by_type: HashMap<String, Vec<Arc<Automation>>> = HashMap::new();
    for automation in automations {
        by_type.entry(automation.event_type.clone()).or_default().push(Arc::new(automation));
    }
    Arc::new(Project {
        id: ACME,
        slug: "acme".to_owned(),
        name: "Acme".to_owned(),
        settings: Settings::default(),
        paused: false,
        automations: by_type,
        event_types: std::collections::HashMap::new(),
    })
}

pub(super) fn incoming(id: &str, kind: &str, time: DateTime<Utc>, data: Value) -> Incoming {
    Incoming {
        project: "acme".to_owned(),
        source: "test".to_owned(),
        id: id.to_owned(),
        kind: kind.to_owned(),
        time,
        received_at: time,
        data,
        traceparent: None,
    }
}

pub(super) fn prepared(project: &Arc<Project>, incoming: Incoming) -> Prepared {
    let change = Change::read(&incoming.kind, &incoming.data).unwrap();
    let since = incoming.time;
    Prepared { incoming, project: project.clone(), change, own: false, since, client: None }
}

/// A database with the project in it.
pub(super) async fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let integration = Integration {
        id: MAIN,
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
    };
    let row = ProjectRow {
        id: ACME,
        slug: "acme".to_owned(),
        name: "Acme".to_owned(),
        settings: "{}".to_owned(),
        paused: false,
    };
    let mut c = store.write().await.unwrap();
    db!(c, catalogue::put_project(&row, at(0))).unwrap();
    db!(c, integrations::put(&integration)).unwrap();
    db!(c, automations::put(ACME, &automation("Reset", 1800), at(0))).unwrap();
    drop(c);
    (directory, store)
}
