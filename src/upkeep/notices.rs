//! Tells what Signalpost did on the exchange of notices: takes some rows, publishes them outside of any transaction,
//! and deletes those that the broker confirmed. After a crash a notice may be told twice, with the same id.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Upkeep;
use crate::broker::{PublishError, Publisher};
use crate::pipeline::engine::is_stopped_within;
use crate::store::rows::TakenNotice;
use crate::store::{StoreError, db};

/// How often is looked for some.
const STEP: Duration = Duration::from_millis(500);
/// After a fault.
const PAUSE: Duration = Duration::from_secs(5);
/// How long those that a process took are its own; a try to publish takes at most half of it.
const HOLD: TimeDelta = TimeDelta::minutes(1);
/// Told in one go.
const BATCH: i64 = 200;

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a notice could not be published: {0}")]
    Publish(#[from] PublishError),
}

/// Until the stop.
pub(super) async fn run(upkeep: Arc<Upkeep>, stop: CancellationToken) {
    let Some(publisher) = &upkeep.publisher else { return };
    let (mut pause, mut taken) = (STEP, Vec::new());
    while !is_stopped_within(&stop, pause).await {
        pause = match stop.run_until_cancelled(tell(&upkeep, publisher, &mut taken)).await {
            Some(Ok(())) => STEP,
            Some(Err(fault)) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "notices will be told later");
                PAUSE
            }
            None => break,
        };
    }
    if let Err(error) = leave(&upkeep, &mut taken).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "notices are told by another in a minute");
    }
}

/// Tells all that there are. `taken` holds those that this process has, whenever it is dropped.
async fn tell(upkeep: &Upkeep, publisher: &Publisher, taken: &mut Vec<Uuid>) -> Result<(), Fault> {
    leave(upkeep, taken).await?;
    loop {
        let now = upkeep.clock.now();
        let mut c = upkeep.store.write().await?;
        let notices = db!(c, notices::take((now, now + HOLD), BATCH))?;
        drop(c);
        if notices.is_empty() {
            return Ok(());
        }
        taken.extend(notices.iter().map(|notice| notice.id));
        let confirms = join_all(notices.iter().map(|notice| publish(publisher, notice))).await;
        let told = notices.iter().zip(&confirms).filter(|(_, confirm)| confirm.is_ok());
        let told: Vec<Uuid> = told.map(|(notice, _)| notice.id).collect();
        if !told.is_empty() {
            let mut c = upkeep.store.write().await?;
            db!(c, notices::delete(&told))?;
            taken.retain(|id| !told.contains(id));
        }
        confirms.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
}

async fn publish(publisher: &Publisher, notice: &TakenNotice) -> Result<(), PublishError> {
    let event: Value = serde_json::from_str(&notice.body).unwrap_or_default();
    let project = event.get("project").and_then(Value::as_str).unwrap_or_default();
    publisher.publish_notice(project, &notice.kind, &event).await
}

/// Gives back what was taken and not told.
async fn leave(upkeep: &Upkeep, taken: &mut Vec<Uuid>) -> Result<(), StoreError> {
    if !taken.is_empty() {
        let mut c = upkeep.store.write().await?;
        db!(c, notices::leave(taken))?;
        taken.clear();
    }
    Ok(())
}
