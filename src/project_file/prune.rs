//! Taking away what the file omits: automations, integrations, event types. Members stay whatever the file says,
//! and so do the built-in automations, unless the project does not want them.

use super::plan::{Plan, Planning, Stored};
use super::read::ProjectFile;
use super::{Change, Verdict};
use crate::domain::catalogue::{Automation, BUILT_IN, Integration};

impl Plan {
    pub(super) fn prune(
        &mut self,
        planning: &Planning<'_>,
        (file, keeps_built_in): (&ProjectFile, bool),
        stored: &Stored,
    ) {
        let omitted = |one: &&Integration| file.integrations.iter().all(|entry| entry.name != one.name);
        let gone: Vec<&Integration> = stored.integrations.iter().filter(omitted).collect();
        let is_gone = |one: &Automation| gone.iter().any(|gone| gone.id == one.integration_id);
        for old in stored.automations.iter().filter(|old| !self.kept.contains(&old.id)).collect::<Vec<_>>() {
            if !keeps_built_in || !is_built_in(old) {
                self.retired.push(old.id);
                self.standing.retain(|(name, _)| *name != old.name);
                self.retire("automation", &old.name);
            } else if is_gone(old) {
                self.rebind(planning, file, old);
            }
        }
        for one in &gone {
            self.retired_integrations.push(one.id);
            self.retire("integration", &one.name);
        }
        let named = |kind: &str| file.event_types.iter().any(|entry| entry.name == kind);
        for old in stored.event_types.iter().filter(|old| !named(&old.kind)) {
            self.deleted_types.push(old.kind.clone());
            self.retire("event-type", &old.kind);
        }
        // An entry of the file that says nothing of its integration goes on with the stored one.
        for one in self.automations.iter().filter(|one| is_gone(one)) {
            let what = format!("of \"{}\" is one that the file omits, so it cannot be pruned", one.name);
            planning.problems.add("automations.integration", what);
        }
        let unchanged = stored.automations.iter().filter(|old| self.kept.contains(&old.id) && is_gone(old));
        for old in unchanged.filter(|old| self.automations.iter().all(|new| new.id != old.id)) {
            let what = format!("of \"{}\" is one that the file omits, so it cannot be pruned", old.name);
            planning.problems.add("automations.integration", what);
        }
    }

    /// A built-in automation goes on with the first integration of the file.
    fn rebind(&mut self, planning: &Planning<'_>, file: &ProjectFile, old: &Automation) {
        let first = file.integrations.first().and_then(|_| planning.integrations.first());
        let Some((_, Some(integration))) = first else {
            planning.problems.add("integrations", "is missing: the built-in automations need one");
            return;
        };
        self.automations.push(Automation { integration_id: *integration, ..old.clone() });
        self.tell("automation", &old.name, Some(vec!["integration"]));
    }

    fn retire(&mut self, kind: &'static str, name: &str) {
        self.changes.push(Change { kind, name: name.to_owned(), verdict: Verdict::Retired });
    }
}

fn is_built_in(one: &Automation) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.name == one.name && built_in.event_type == one.event_type)
}
