//! The gauges that are read from the database, the same on every replica, and those of the dead queue, which one
//! replica reads for all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use metrics::gauge;

use super::Upkeep;
use crate::domain::catalogue::Catalogue;
use crate::domain::dispatch::DeadReason;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::pipeline::dead_letters::DeadMessage;
use crate::store::{StoreError, db};

impl Upkeep {
    pub(super) async fn gauges(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut c = self.store.read().await?;
        let due = db!(c, work::due(now))?;
        let dead = db!(c, work::dead_count())?;
        let oldest_dead = db!(c, dead::oldest())?;
        let later = db!(c, work::later_count(now))?;
        drop(c);
        let catalogue = self.live.current();
        let open = self.sender.as_ref().map(|(lanes, _)| lanes.open_circuits()).unwrap_or_default();
        let (mut count, mut oldest, mut paused, mut broken) = (0, TimeDelta::zero(), 0, 0);
        for (integration, automation, rows, since) in due {
            let id = IntegrationId(integration);
            if is_paused(&catalogue, id, AutomationId(automation)) {
                paused += rows;
            } else if open.contains(&id) {
                broken += rows;
            } else {
                count += rows;
                oldest = oldest.max(now - since);
            }
        }
        set("signalpost_dispatches_due", count);
        gauge!("signalpost_oldest_due_seconds").set(oldest.to_std().unwrap_or_default().as_secs_f64());
        gauge!("signalpost_dispatches_waiting", "why" => "paused").set(float(paused));
        gauge!("signalpost_dispatches_waiting", "why" => "circuit-open").set(float(broken));
        gauge!("signalpost_dispatches_waiting", "why" => "retry").set(float(later));
        let reasons =
            [DeadReason::Rejected, DeadReason::Exhausted, DeadReason::Expired, DeadReason::Unrenderable];
        for reason in reasons.map(DeadReason::name) {
            let rows = dead.iter().find(|(of, _)| of == reason).map_or(0, |(_, rows)| *rows);
            gauge!("signalpost_dead_letters", "kind" => "dispatch", "reason" => reason).set(float(rows));
        }
        self.ages.of_dispatches(oldest_dead.map(|at| now - at));
        for integration in catalogue.integrations.values() {
            let value = if open.contains(&integration.id) { 1.0 } else { 0.0 };
            gauge!("signalpost_integration_open", "integration" => integration.id.to_string()).set(value);
        }
        Ok(())
    }
}

/// Whether a dispatch of both is held back by somebody.
fn is_paused(catalogue: &Catalogue, integration: IntegrationId, automation: AutomationId) -> bool {
    let integration = catalogue.integrations.get(&integration);
    let project = integration.and_then(|one| catalogue.project(one.project_id));
    integration.is_some_and(|one| one.paused)
        || project.is_some_and(|one| one.paused)
        || catalogue.automations.get(&automation).is_some_and(|one| one.paused)
}

fn set(name: &'static str, value: i64) {
    gauge!(name).set(float(value));
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

/// The ages of the oldest of both kinds of dead letters, of which the greater is told.
#[derive(Default)]
pub struct Ages(Mutex<[Option<TimeDelta>; 2]>);

impl Ages {
    pub(super) fn of_dispatches(&self, age: Option<TimeDelta>) {
        self.tell(0, age);
    }

    pub(super) fn of_messages(&self, age: Option<TimeDelta>) {
        self.tell(1, age);
    }

    fn tell(&self, place: usize, age: Option<TimeDelta>) {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ages[place] = age;
        let oldest = ages.iter().flatten().max().and_then(|age| age.to_std().ok()).unwrap_or_default();
        gauge!("signalpost_oldest_dead_letter_seconds").set(oldest.as_secs_f64());
    }
}

/// Refused messages by reason: those of before that are gone are none.
pub(super) fn dead_messages(before: &mut BTreeMap<String, i64>, letters: &[DeadMessage]) {
    for count in before.values_mut() {
        *count = 0;
    }
    for letter in letters {
        *before.entry(letter.reason.clone()).or_default() += 1;
    }
    for (reason, count) in before {
        let labels = [("kind", "message".to_owned()), ("reason", reason.clone())];
        gauge!("signalpost_dead_letters", &labels).set(float(*count));
    }
}
