//! Step 2, pure: what the file says, laid over what is stored, becomes the rows to write and what to tell of
//! them. Must not know how rows are written.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::Problems;
use super::read::ProjectFile;
use super::{Applying, Change, Verdict, automations, members};
use crate::domain::catalogue::{self, Automation, BUILT_IN, Integration, Settings};
use crate::domain::event_type::EventType;
use crate::domain::id::{AutomationId, IntegrationId, ProjectId};
use crate::domain::integration::changed;
use crate::domain::link;
use crate::domain::member::Member;
use crate::domain::project;
use crate::mail::stored::{self, Purposes};
use crate::store::shown::{EventTypeRow, ProjectRow};

/// What there is of the project, and of the members that the file names.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) project: Option<(ProjectRow, Settings)>,
    pub(super) integrations: Vec<Integration>,
    pub(super) automations: Vec<Automation>,
    pub(super) event_types: Vec<EventTypeRow>,
    pub(super) members: Vec<Member>,
}

/// What is to be written and told.
pub(super) struct Plan {
    pub(super) project: ProjectRow,
    pub(super) integrations: Vec<Integration>,
    pub(super) automations: Vec<Automation>,
    /// Built-in automations that one of the file stands in for.
    pub(super) retired: Vec<AutomationId>,
    pub(super) retired_integrations: Vec<IntegrationId>,
    pub(super) event_types: Vec<EventType>,
    pub(super) deleted_types: Vec<String>,
    pub(super) members: Vec<Member>,
    pub(super) changes: Vec<Change>,
    /// Name and event of every automation as it will be.
    pub(super) standing: Vec<(String, String)>,
    /// Stored automations that an entry of the file goes on with.
    pub(super) kept: HashSet<AutomationId>,
}

/// What the parts of a plan need of the whole.
pub(super) struct Planning<'a> {
    pub(super) applying: &'a Applying<'a>,
    pub(super) project: ProjectId,
    pub(super) link_hosts: Vec<String>,
    /// Types that are registered, or are by the file.
    event_types: Vec<String>,
    pub(super) problems: &'a Problems,
    /// By name; `None` for one of the file that is wrong.
    pub(super) integrations: Vec<(String, Option<IntegrationId>)>,
}

impl Planning<'_> {
    pub(super) fn wrong(&self, place: &str, field: &str, what: impl Into<String>) {
        self.problems.add(&format!("{place}.{field}"), what);
    }

    /// Within the text of a field.
    pub(super) fn wrong_at(&self, place: &str, field: &str, what: &str, at: Option<(usize, usize)>) {
        self.problems.add_at(&format!("{place}.{field}"), what, at);
    }

    pub(super) fn is_registered(&self, kind: &str) -> bool {
        self.event_types.iter().any(|one| one == kind)
    }

    /// The integration of that name. Of one that is in the file and wrong, only its own problem is told.
    pub(super) fn integration(&self, place: &str, name: &str) -> Option<IntegrationId> {
        let found = self.integrations.iter().find(|(of, _)| of == name);
        if found.is_none() {
            self.wrong(place, "integration", format!("`{name}` is no integration of the project"));
        }
        found.and_then(|(_, id)| *id)
    }
}

/// The event types that the project has, or gets.
fn registered(file: &ProjectFile, stored: &Stored) -> Vec<String> {
    let named = file.event_types.iter().map(|entry| entry.name.clone());
    stored.event_types.iter().map(|one| one.kind.clone()).chain(named).collect()
}

/// Compares; whatever is wrong is added to the problems.
pub(super) fn plan(
    applying: &Applying<'_>,
    (file, prune): (&ProjectFile, bool),
    stored: &Stored,
    problems: &Problems,
) -> Plan {
    let (project, settings, change) = laid_over(applying, file, stored);
    let link_hosts = match settings.link_hosts.as_slice() {
        [] => vec![applying.public_host.to_owned()],
        hosts => hosts.to_vec(),
    };
    let id = project.id;
    let mut plan = Plan {
        project,
        integrations: Vec::new(),
        automations: Vec::new(),
        retired: Vec::new(),
        retired_integrations: Vec::new(),
        event_types: Vec::new(),
        deleted_types: Vec::new(),
        members: Vec::new(),
        changes: vec![change],
        standing: Vec::new(),
        kept: HashSet::new(),
    };
    let event_types = registered(file, stored);
    let mut planning =
        Planning { applying, project: id, link_hosts, event_types, problems, integrations: Vec::new() };
    plan.add_integrations(&mut planning, file, stored);
    plan.add_automations(&planning, file, stored);
    plan.add_event_types(file, stored);
    if prune {
        plan.prune(&planning, (file, settings.builtin_automations), stored);
    }
    if settings.builtin_automations {
        plan.add_built_in(&planning);
    }
    plan.check_other_links(&planning, file, stored);
    plan.add_members(&planning, file, stored);
    plan
}

fn laid_over(applying: &Applying<'_>, file: &ProjectFile, stored: &Stored) -> (ProjectRow, Settings, Change) {
    let slug = file.slug.clone().unwrap_or_default();
    let (old, old_settings) = match &stored.project {
        Some((row, settings)) => (Some(row), settings.clone()),
        None => (None, Settings::default()),
    };
    let settings = file.settings.over(&old_settings);
    let name = file.name.clone().or_else(|| old.map(|old| old.name.clone())).unwrap_or_else(|| slug.clone());
    let changed = old.map(|old| {
        let mut changed = project::changed(&old_settings, &settings);
        if old.name != name {
            changed.insert(0, "name");
        }
        changed
    });
    let row = ProjectRow {
        id: old.map_or_else(|| ProjectId::new_at(applying.now), |old| old.id),
        slug: slug.clone(),
        name,
        // Only a map with keys that are no texts fails to serialize, and there is none in it.
        settings: serde_json::to_string(&settings).unwrap_or_default(),
        paused: old.is_some_and(|old| old.paused),
    };
    (row, settings, Change { kind: "project", name: slug, verdict: verdict(changed) })
}

/// `None`: it is not stored yet.
fn verdict(changed: Option<Vec<&'static str>>) -> Verdict {
    match changed {
        None => Verdict::Created,
        Some(fields) if fields.is_empty() => Verdict::Unchanged,
        Some(fields) => Verdict::Changed(fields),
    }
}

impl Plan {
    pub(super) fn tell(&mut self, kind: &'static str, name: &str, changed: Option<Vec<&'static str>>) {
        self.changes.push(Change { kind, name: name.to_owned(), verdict: verdict(changed) });
    }

    fn add_members(&mut self, planning: &Planning<'_>, file: &ProjectFile, stored: &Stored) {
        for entry in &file.members {
            let Some(member) = entry.over(planning, &stored.members) else { continue };
            let old = stored.members.iter().find(|old| old.id == member.id);
            let fields = old.map(|old| members::changed(old, &member)).unwrap_or_default();
            match old.and_then(|old| entry.new_email(old)) {
                Some(email) => {
                    let (project, id) = (planning.project, member.id.clone());
                    let verdict = Verdict::Readdressed { fields, project, member: id, email };
                    self.changes.push(Change { kind: "member", name: member.username.clone(), verdict });
                }
                None => self.tell("member", &member.username, old.map(|_| fields)),
            }
            self.members.push(member);
        }
    }

    fn add_integrations(&mut self, planning: &mut Planning<'_>, file: &ProjectFile, stored: &Stored) {
        for entry in &file.integrations {
            let old = stored.integrations.iter().find(|old| old.name == entry.name);
            let new = entry.over(planning, old);
            planning.integrations.push((entry.name.clone(), new.as_ref().map(|new| new.id)));
            let Some(new) = new else { continue };
            self.tell("integration", &new.name, old.map(|old| changed(old, &new)));
            self.integrations.push(new);
        }
        // Those of the file stand first: its first one is what built-in automations are bound to.
        let mut others: Vec<_> = stored.integrations.iter().collect();
        others.sort_by(|one, other| one.name.cmp(&other.name));
        let others = others.into_iter().map(|other| (other.name.clone(), Some(other.id)));
        planning.integrations.extend(others);
    }

    fn add_automations(&mut self, planning: &Planning<'_>, file: &ProjectFile, stored: &Stored) {
        let mut taken = std::mem::take(&mut self.kept);
        for entry in &file.automations {
            let by_name = stored.automations.iter().find(|old| old.name == entry.name);
            // One that stands in for a built-in one goes on under its id.
            let old = by_name.or_else(|| replaced(entry.event.as_deref()?, file, stored));
            let old = old.filter(|old| taken.insert(old.id));
            let Some(new) = entry.over(planning, old) else { continue };
            let changed = old.map(|old| catalogue::changed(old, &new));
            self.tell("automation", &new.name, changed.clone());
            self.standing.push((new.name.clone(), new.event_type.clone()));
            // Writing raises the version, so only what differs is written.
            if changed.is_none_or(|fields| !fields.is_empty()) {
                self.automations.push(new);
            }
        }
        for old in file.automations.iter().filter_map(|entry| replaced(entry.event.as_deref()?, file, stored))
        {
            if taken.insert(old.id) {
                self.retired.push(old.id);
                let change = Change { kind: "automation", name: old.name.clone(), verdict: Verdict::Retired };
                self.changes.push(change);
            }
        }
        let others = stored.automations.iter().filter(|old| !taken.contains(&old.id));
        self.standing.extend(others.map(|old| (old.name.clone(), old.event_type.clone())));
        self.kept = taken;
    }

    fn add_event_types(&mut self, file: &ProjectFile, stored: &Stored) {
        for entry in &file.event_types {
            let Some(new) = &entry.checked else { continue };
            let old = stored.event_types.iter().find(|old| old.kind == entry.name);
            let same = |old: &EventTypeRow| {
                serde_json::from_str(&old.schema).is_ok_and(|old: Value| old == new.schema)
            };
            let changed = old.map(|old| if same(old) { Vec::new() } else { vec!["schema"] });
            self.tell("event-type", &entry.name, changed.clone());
            if changed.is_none_or(|fields| !fields.is_empty()) {
                self.event_types.push(new.clone());
            }
        }
    }

    fn add_built_in(&mut self, planning: &Planning<'_>) {
        for one in &BUILT_IN {
            let stands = |(name, event): &(String, String)| event == one.event_type || name == one.name;
            if self.standing.iter().any(stands) {
                continue;
            }
            match planning.integrations.first() {
                Some((_, Some(integration))) => {
                    self.automations.push(automations::built_in(planning, one, *integration));
                    self.tell("automation", one.name, None);
                }
                Some((_, None)) => {}
                None => planning.problems.add(
                    "integrations",
                    "is missing: the built-in automations need one (or `project.builtin_automations = false`)",
                ),
            }
        }
    }

    /// A stored link that the file does not touch must not lose its host either.
    fn check_other_links(&self, planning: &Planning<'_>, file: &ProjectFile, stored: &Stored) {
        let is_relinked = |old: &&Automation| {
            let entry = file.automations.iter().find(|entry| entry.name == old.name);
            self.retired.contains(&old.id) || entry.is_some_and(automations::AutomationEntry::has_link)
        };
        for old in stored.automations.iter().filter(|old| !is_relinked(old)) {
            let is_rewritten = self.automations.iter().any(|new| new.id == old.id);
            let purposes = Purposes {
                event_type: &old.event_type,
                token: old.token.is_some(),
                link_hosts: &planning.link_hosts,
            };
            let faults = old.texts.iter().filter(|_| !is_rewritten);
            if let Some((field, wrong)) = faults.flat_map(|text| stored::check(text, &purposes)).next() {
                let what = format!("the stored {field} of `{}` {}", old.name, wrong.what);
                planning.problems.add("project.link_hosts", what);
            }
            let Some(Err(what)) = old.link.as_ref().map(|link| link::check(link, &planning.link_hosts))
            else {
                continue;
            };
            planning.problems.add("project.link_hosts", format!("the stored link of `{}` {what}", old.name));
        }
    }
}

/// The stored built-in automation of that event, unless the file names it.
fn replaced<'a>(event: &str, file: &ProjectFile, stored: &'a Stored) -> Option<&'a Automation> {
    let built_in = BUILT_IN.iter().find(|one| one.event_type == event)?;
    let is_it = |old: &&Automation| old.name == built_in.name && old.event_type == event;
    let is_named = file.automations.iter().any(|entry| entry.name == built_in.name);
    stored.automations.iter().find(is_it).filter(|_| !is_named)
}
