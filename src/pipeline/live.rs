//! The catalogue as the running process sees it: one snapshot in memory, read again when its revision in the
//! database has risen. A change made anywhere is seen within [`POLL`], without a query for each event.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::catalogue::{Catalogue, Project};
use crate::domain::event_type::EventType;
use crate::domain::id::ProjectId;
use crate::store::shown::EventTypeRow;
use crate::store::{Store, StoreError, db};

/// How often the revision is looked at.
pub const POLL: Duration = Duration::from_secs(1);

/// The newest snapshot.
#[derive(Clone)]
pub struct Live {
    store: Store,
    is_told: bool,
    current: watch::Sender<Arc<Catalogue>>,
}

impl Live {
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        Self::load_told(store, false).await
    }

    /// `is_told` where a broker is known, so that notices can be told.
    pub async fn load_told(store: Store, is_told: bool) -> Result<Self, StoreError> {
        let (current, _) = watch::channel(Arc::new(read(&store, is_told).await?));
        Ok(Self { store, is_told, current })
    }

    pub fn current(&self) -> Arc<Catalogue> {
        self.current.borrow().clone()
    }

    /// Reads the catalogue again if somebody changed it.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut c = self.store.read().await?;
        let revision = db!(c, catalogue::revision())?;
        drop(c);
        if revision != self.current().revision {
            self.current.send_replace(Arc::new(read(&self.store, self.is_told).await?));
        }
        Ok(())
    }
}

async fn read(store: &Store, is_told: bool) -> Result<Catalogue, StoreError> {
    let mut c = store.read().await?;
    // The revision first: what changes while the rest is read is read again at the next look.
    let revision = db!(c, catalogue::revision())?;
    let rows = db!(c, catalogue::projects())?;
    let integrations = db!(c, integrations::all())?;
    let mut by_type: HashMap<ProjectId, HashMap<String, Vec<_>>> = HashMap::new();
    let mut automations = HashMap::new();
    for (project, automation) in db!(c, automations::all())? {
        let automation = Arc::new(automation);
        automations.insert(automation.id, automation.clone());
        let types = by_type.entry(project).or_default();
        types.entry(automation.event_type.clone()).or_default().push(automation);
    }
    let mut event_types = event_types(db!(c, event_types::all())?);
    let mut projects = HashMap::new();
    for row in rows {
        let settings = serde_json::from_str(&row.settings)
            .map_err(|_| StoreError::Unreadable("settings of a project"))?;
        let automations = by_type.remove(&row.id).unwrap_or_default();
        let project = Project {
            id: row.id,
            slug: row.slug,
            name: row.name,
            settings,
            paused: row.paused,
            automations,
            event_types: event_types.remove(&row.id).unwrap_or_default(),
        };
        projects.insert(project.slug.clone(), Arc::new(project));
    }
    let paused: HashSet<ProjectId> =
        projects.values().filter(|project| project.paused).map(|project| project.id).collect();
    // Where the whole project is paused, each of its integrations is.
    let integrations = integrations.into_iter().map(|mut one| {
        one.paused |= paused.contains(&one.project_id);
        (one.id, Arc::new(one))
    });
    let integrations = integrations.collect();
    let by_id = projects.values().map(|project| (project.id, project.clone())).collect();
    Ok(Catalogue { revision, projects, by_id, automations, integrations, is_told })
}

/// Compiled, by project and name. One that does not compile any more takes nobody with it: it is unknown.
fn event_types(rows: Vec<EventTypeRow>) -> HashMap<ProjectId, HashMap<String, EventType>> {
    let mut by_project: HashMap<_, HashMap<_, _>> = HashMap::new();
    for row in rows {
        let schema = serde_json::from_str(&row.schema).unwrap_or_default();
        match EventType::new(&row.kind, schema) {
            Ok(one) => drop(by_project.entry(row.project_id).or_default().insert(row.kind, one)),
            Err((_, what)) => tracing::error!(r#type = row.kind, what, "a stored event type cannot be used"),
        }
    }
    by_project
}
