//! Step 4: who has said what already. A known identity is answered as the first time; a repetition within a
//! batch is answered as the one before it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::drafts::Prepared;
use super::plan::refused;
use crate::domain::event::{Planned, Reason, Refusal};
use crate::domain::id::{DispatchId, EventId};
use crate::store::rows::{IdentityKey, KnownIdentity};
use crate::store::{StoreError, Tx, db};

fn identity(event: &Prepared) -> IdentityKey {
    IdentityKey {
        project: event.project.id.0,
        source: event.incoming.source.clone(),
        source_id: event.incoming.id.clone(),
    }
}

/// Answers the events that were accepted before. Returns the repetitions within the batch: each place with
/// the place of the first of its identity.
pub(super) async fn set_known_aside(
    tx: &mut Tx,
    now: DateTime<Utc>,
    batch: &[Prepared],
    planned: &mut [Option<Planned>],
) -> Result<HashMap<usize, usize>, StoreError> {
    let mut first: HashMap<IdentityKey, usize> = HashMap::new();
    let mut echoes = HashMap::new();
    for (place, event) in batch.iter().enumerate() {
        match first.entry(identity(event)) {
            std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(place)),
            std::collections::hash_map::Entry::Occupied(entry) => drop(echoes.insert(place, *entry.get())),
        }
    }
    let keys: Vec<IdentityKey> = first.keys().cloned().collect();
    for known in db!(tx, events::known(&keys))? {
        let key = IdentityKey {
            project: known.project_id,
            source: known.source.clone(),
            source_id: known.source_id.clone(),
        };
        let Some(place) = first.get(&key) else { continue };
        planned[*place] = Some(repeated(&known, &batch[*place], now));
    }
    Ok(echoes)
}

fn repeated(known: &KnownIdentity, event: &Prepared, now: DateTime<Utc>) -> Planned {
    if known.fingerprint != event.incoming.fingerprint() {
        return refused(now, id_reused());
    }
    Planned::Duplicate {
        event: EventId(known.event_id),
        outcome: known.outcome.clone().unwrap_or_default(),
        dispatches: known.dispatches.as_deref().map(read_ids).unwrap_or_default(),
    }
}

fn id_reused() -> Refusal {
    Refusal::new(Reason::IdReused, "this id was used for an event with another type or other data")
        .in_field("id")
}

/// Ids of dispatches as kept in a column.
pub(super) fn read_ids(text: &str) -> Vec<DispatchId> {
    let ids: Vec<Uuid> = serde_json::from_str(text).unwrap_or_default();
    ids.into_iter().map(DispatchId).collect()
}

/// A repetition within the batch gets the answer of the first.
pub(super) fn fill_echoes(
    planned: &[Option<Planned>],
    echoes: &HashMap<usize, usize>,
    batch: &[Prepared],
    now: DateTime<Utc>,
) -> Vec<Planned> {
    let answer = |place: usize| planned[place].clone();
    let of_echo = |place: usize, first: usize| {
        if batch[place].incoming.fingerprint() != batch[first].incoming.fingerprint() {
            return refused(now, id_reused());
        }
        match answer(first) {
            Some(Planned::Accepted { event, outcome, dispatches }) => {
                Planned::Duplicate { event, outcome: outcome.to_owned(), dispatches }
            }
            Some(other) => other,
            None => refused(now, id_reused()),
        }
    };
    let all = (0..batch.len()).map(|place| match echoes.get(&place) {
        Some(first) => of_echo(place, *first),
        // Each place that is no echo was answered: known, refused, or written.
        None => answer(place).unwrap_or_else(|| refused(now, id_reused())),
    });
    all.collect()
}
