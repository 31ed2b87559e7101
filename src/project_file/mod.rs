//! A project as a TOML file: read, compared with what is stored, written in one transaction. Keyed by name, and
//! idempotent. What the file omits stays, whole records and single fields alike; an optional text is taken away
//! by an empty one.
//!
//! 1. `read` makes the file's fields into values; 2. `plan` compares them with what is stored; 3. this file
//!    does both under the catalogue's lock and writes.
//!
//! Every problem of both steps is told in one go.
//! Must not know who calls it.

mod automations;
mod event_types;
mod export;
mod exported_automation;
mod fields;
mod integrations;
mod members;
mod places;
mod plan;
mod prune;
mod read;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};

pub use export::{ExportError, export};
pub use fields::Problem;
use plan::{Plan, Stored};
use read::ProjectFile;

use crate::domain::address::{EmailAddress, fold};
use crate::domain::id::{self, ProjectId};
use crate::domain::keys::Keyring;
use crate::store::rows::{MemberKey, MemberRow};
use crate::store::shown::AuditEntry;
use crate::store::{Store, StoreError, Tx, db};

/// The project that `dev` starts with.
const DEFAULT: &str = include_str!("default.toml");
const DEFAULT_SLUG: &str = "default";

/// What a file is applied with.
pub struct Applying<'a> {
    pub store: &'a Store,
    pub keys: &'a Keyring,
    pub now: DateTime<Utc>,
    /// Where links go if the project names no other host.
    pub public_host: &'a str,
    /// What `${NAME}` in a URL stands for.
    pub environment: &'a BTreeMap<String, String>,
}

/// How a file is applied.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Only tell what would change.
    pub dry_run: bool,
    /// Take away what the file omits; members never.
    pub prune: bool,
}

/// What became of a record of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `project`, `integration`, `automation`, `event-type` or `member`.
    pub kind: &'static str,
    pub name: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Created,
    /// These of its fields.
    Changed(Vec<&'static str>),
    /// A member whose address is to be another one, beside what of the other fields changed. The caller changes it,
    /// as an event does.
    Readdressed {
        fields: Vec<&'static str>,
        project: ProjectId,
        /// By id.
        member: String,
        email: EmailAddress,
    },
    Unchanged,
    /// A built-in automation that one of the file stands in for, or something that the file omits.
    Retired,
}

impl Change {
    /// What became of it, in a word.
    pub fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Created => "created",
            Verdict::Changed(_) | Verdict::Readdressed { .. } => "changed",
            Verdict::Unchanged => "unchanged",
            Verdict::Retired => "retired",
        }
    }

    /// The fields that changed.
    pub fn fields(&self) -> Vec<&'static str> {
        match &self.verdict {
            Verdict::Changed(fields) => fields.clone(),
            Verdict::Readdressed { fields, .. } => {
                std::iter::once("email").chain(fields.iter().copied()).collect()
            }
            Verdict::Created | Verdict::Unchanged | Verdict::Retired => Vec::new(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.name.contains(char::is_whitespace) { "\"" } else { "" };
        write!(f, "{} {quote}{}{quote}: {}", self.kind, self.name, self.word())?;
        match self.fields().as_slice() {
            [] => Ok(()),
            fields => write!(f, " ({})", fields.join(", ")),
        }
    }
}

/// A file that was not applied, not even in part.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the file is wrong in {} places", .0.len())]
    Wrong(Vec<Problem>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the project what the file says, and tells what changed.
pub async fn apply(applying: &Applying<'_>, text: &str, options: Options) -> Result<Vec<Change>, ApplyError> {
    let problems = fields::Problems::default();
    let variable = |name: &str| applying.environment.get(name).cloned();
    let Some(file) = ProjectFile::read(text, &variable, &problems) else {
        return Err(ApplyError::Wrong(problems.take(text)));
    };
    let mut tx = applying.store.begin().await?;
    // First of all: two of these at once wait here for each other.
    db!(tx, catalogue::raise_revision())?;
    let stored = stored(&mut tx, &file).await?;
    let plan = plan::plan(applying, (&file, options.prune), &stored, &problems);
    let problems = problems.take(text);
    if !problems.is_empty() {
        tx.rollback().await?;
        return Err(ApplyError::Wrong(problems));
    }
    let is_idle = plan.changes.iter().all(|change| change.verdict == Verdict::Unchanged);
    if options.dry_run || is_idle {
        tx.rollback().await?;
        return Ok(plan.changes);
    }
    write(&mut tx, &plan, applying.now).await?;
    tx.commit().await?;
    Ok(plan.changes)
}

/// Makes the project of `dev`, unless there is one: what was changed in it since stays.
pub async fn ensure_default(applying: &Applying<'_>) -> Result<Vec<Change>, ApplyError> {
    let mut c = applying.store.read().await?;
    let found = db!(c, catalogue::project_id(DEFAULT_SLUG))?;
    drop(c);
    if found.is_some() {
        return Ok(Vec::new());
    }
    apply(applying, DEFAULT, Options::default()).await
}

async fn stored(tx: &mut Tx, file: &ProjectFile) -> Result<Stored, StoreError> {
    let slug = file.slug.as_deref().unwrap_or_default();
    let projects = db!(tx, catalogue::projects())?;
    let Some(project) = projects.into_iter().find(|project| project.slug == slug) else {
        return Ok(Stored::default());
    };
    let settings = serde_json::from_str(&project.settings);
    let settings = settings.map_err(|_| StoreError::Unreadable("settings of a project"))?;
    let integrations = db!(tx, integrations::all())?;
    let automations = db!(tx, automations::all())?;
    let keys = member_keys(project.id, file);
    Ok(Stored {
        integrations: integrations
            .into_iter()
            .filter(|one| one.project_id == project.id && !one.retired)
            .collect(),
        automations: automations
            .into_iter()
            .filter(|(of, _)| *of == project.id)
            .map(|(_, one)| one)
            .collect(),
        event_types: db!(tx, event_types::list(project.id, "", i64::MAX))?,
        members: db!(tx, members::lock(&keys))?,
        project: Some((project, settings)),
    })
}

/// Both ways in which the file's members can be there already, in the order in which locks are taken.
fn member_keys(project: ProjectId, file: &ProjectFile) -> Vec<MemberKey> {
    let key = |kind, key: &str| MemberKey { project: project.0, kind, key: fold(key) };
    let names = file.members.iter().filter_map(|member| member.profile.username.as_deref());
    let addresses = file.members.iter().filter_map(|member| member.profile.email.as_ref());
    let mut keys: Vec<_> = names.map(|name| key("username", name)).collect();
    keys.extend(addresses.map(|address| key("email", address.as_str())));
    keys.sort();
    keys.dedup();
    keys
}

async fn write(tx: &mut Tx, plan: &Plan, now: DateTime<Utc>) -> Result<(), StoreError> {
    let project = plan.project.id;
    db!(tx, catalogue::put_project(&plan.project, now))?;
    for integration in &plan.integrations {
        db!(tx, integrations::put(integration))?;
    }
    for retired in &plan.retired {
        db!(tx, automations::retire(project, *retired, now))?;
    }
    for automation in &plan.automations {
        db!(tx, automations::put(project, automation, now))?;
    }
    for integration in &plan.retired_integrations {
        db!(tx, integrations::retire(project, *integration, now))?;
    }
    for one in &plan.event_types {
        db!(tx, event_types::put(project, (&one.kind, &one.schema.to_string()), now))?;
    }
    for kind in &plan.deleted_types {
        db!(tx, event_types::delete(project, kind))?;
    }
    let rows = plan.members.iter().map(MemberRow::of);
    let rows = rows.collect::<Vec<_>>();
    db!(tx, members::put(&rows))?;
    for change in plan.changes.iter().filter(|change| change.verdict != Verdict::Unchanged) {
        let entry = AuditEntry {
            id: id::new_at(now),
            project_id: project.0,
            at: now,
            actor: "apply".to_owned(),
            action: format!("{}.{}", change.kind, change.word()),
            subject: change.to_string(),
            client: None,
        };
        db!(tx, audit::insert(&entry))?;
    }
    Ok(())
}

#[cfg(test)]
mod exported_files;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_files;
