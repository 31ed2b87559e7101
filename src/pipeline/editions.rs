//! The automation of a dispatch as it was when the dispatch was planned: the newest one if that is it, else the
//! version that the store keeps. Must not know what it is used for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::catalogue::{Automation, Catalogue};
use crate::domain::dispatch::Owed;
use crate::domain::id::AutomationId;
use crate::store::{Store, StoreError, db};

/// How many old versions are kept in memory; all are forgotten when there are more.
const MOST: usize = 1_000;

/// Old versions that were asked for. They never change.
#[derive(Default)]
pub struct Editions(Mutex<HashMap<(AutomationId, i32), Arc<Automation>>>);

impl Editions {
    /// `None`: of a dispatch from before versions were kept, whose automation is gone.
    pub async fn of(
        &self,
        store: &Store,
        catalogue: &Catalogue,
        owed: &Owed,
    ) -> Result<Option<Arc<Automation>>, StoreError> {
        let newest = catalogue.automations.get(&owed.automation_id);
        if let Some(newest) = newest.filter(|one| one.version == owed.automation_version) {
            return Ok(Some(newest.clone()));
        }
        let key = (owed.automation_id, owed.automation_version);
        if let Some(kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(kept.clone()));
        }
        let found = read(store, owed).await.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "an automation's version could not be read yet"
            );
        })?;
        let Some(found) = found.map(Arc::new) else { return Ok(newest.cloned()) };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, found.clone());
        Ok(Some(found))
    }
}

async fn read(store: &Store, owed: &Owed) -> Result<Option<Automation>, StoreError> {
    let mut c = store.read().await?;
    db!(c, automations::version(owed.project_id, owed.automation_id, owed.automation_version))
}
