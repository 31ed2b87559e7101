//! Fetches what nobody holds: retries that are due, what was given back, what a process without a sender
//! planned. Fairly over integrations: each gets what it has room for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::carry::Post;
use super::lanes::{Held, Lanes};
use super::settle::Ending;
use crate::domain::dispatch::{Addressee, Facts, Owed, OwedToken, Settled};
use crate::domain::id::{AutomationId, DispatchId, EventId, IntegrationId, ProjectId};
use crate::domain::token::{Purpose, TokenId};
use crate::store::rows::{ClaimedRow, Slots};
use crate::store::{StoreError, db};

/// Looked for at least so often, ± 20 %, so that workers do not all look at once.
const POLL: Duration = Duration::from_secs(1);
const JITTER: f64 = 0.2;

/// Fetches until a stop.
pub async fn run(post: Arc<Post>, lanes: Lanes, hungry: Arc<Notify>, stop: CancellationToken) {
    loop {
        let pause = POLL.mul_f64(1.0 + JITTER * (2.0 * rand::random::<f64>() - 1.0));
        tokio::select! {
            () = hungry.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        if !post.lease.may_send() {
            continue;
        }
        if let Err(error) = fetch(&post, &lanes).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "due dispatches could not be fetched");
        }
    }
}

/// One look: takes what there is room for.
pub async fn fetch(post: &Post, lanes: &Lanes) -> Result<usize, StoreError> {
    lanes.strays().give_back(&post.store).await?;
    let mut c = post.store.read().await?;
    let waiting = db!(c, work::waiting_integrations())?;
    drop(c);
    let mut places: HashMap<Uuid, Vec<OwnedSemaphorePermit>> = HashMap::new();
    for id in waiting.into_iter().map(IntegrationId) {
        let room = lanes.room(id);
        let kept: Vec<_> = std::iter::from_fn(|| lanes.try_place(id)).take(room).collect();
        if !kept.is_empty() {
            places.insert(id.0, kept);
        }
    }
    if places.is_empty() {
        return Ok(0);
    }
    let slots: Vec<Slots> = places
        .iter()
        .map(|(integration, kept)| Slots { integration: *integration, slots: kept.len() })
        .collect();
    let (worker, now) = (post.lease.id(), post.clock.now());
    let rows = claim(post, lanes, (&slots, worker), now).await?;
    let count = rows.len();
    for slot in &slots {
        let taken = rows.iter().filter(|row| row.integration_id == slot.integration).count();
        lanes.set_backlog(IntegrationId(slot.integration), taken == slot.slots);
    }
    for row in rows {
        let Some(place) = places.get_mut(&row.integration_id).and_then(Vec::pop) else { continue };
        let is_void = row.purpose.is_some() && row.token_id.is_none();
        let Some(owed) = owed(row, now) else { continue };
        let held = Held { owed, worker, place };
        if is_void {
            drop(post.settler.settle(held, Ending { settled: Settled::Superseded, attempt: None }));
        } else {
            lanes.put(held);
        }
    }
    Ok(count)
}

async fn claim(
    post: &Post,
    lanes: &Lanes,
    (slots, worker): (&[Slots], i64),
    now: DateTime<Utc>,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let catalogue = post.live.current();
    let paused = catalogue.automations.values().filter(|automation| automation.paused);
    let paused: Vec<Uuid> = paused.map(|automation| automation.id.0).collect();
    let mut tx = post.store.begin().await?;
    let at_once = if post.store.is_sqlite() { 1 } else { slots.len().max(1) };
    let mut ids = Vec::new();
    for part in slots.chunks(at_once) {
        ids.extend(db!(tx, work::claim(part, worker, (now, &paused)))?);
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = db!(tx, work::claimed(&ids))?;
    let tokens: Vec<Uuid> = rows.iter().filter_map(|row| row.token_id).collect();
    if !tokens.is_empty() {
        db!(tx, tokens::renew(&tokens, now))?;
    }
    // Until the answer they are perhaps this worker's; afterwards for certain, and in hand.
    lanes.strays().add(worker, ids.iter().copied());
    tx.commit().await?;
    // One whose event or member is gone is given back with the strays, until it expires.
    let found: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    lanes.strays().forget(&found);
    Ok(rows)
}

fn owed(row: ClaimedRow, now: DateTime<Utc>) -> Option<Owed> {
    let purpose = row.purpose.as_deref().and_then(Purpose::from_name);
    let token = match (purpose, row.token_id, row.key_id, row.lifetime_s) {
        (Some(purpose), Some(id), Some(key_id), Some(lifetime)) => {
            let lifetime = Duration::from_secs(lifetime.unsigned_abs());
            Some(OwedToken { purpose, id: TokenId(id), key_id, lifetime })
        }
        _ => None,
    };
    Some(Owed {
        id: DispatchId(row.id),
        project_id: ProjectId(row.project_id),
        event_id: EventId(row.event_id),
        automation_id: AutomationId(row.automation_id),
        automation_version: row.automation_version,
        integration_id: IntegrationId(row.integration_id),
        template: row.template,
        recipient: row.recipient,
        message_id: row.message_id,
        token,
        event: Facts { kind: row.kind, time: row.time, data: serde_json::from_str(&row.data).ok()? },
        member: Addressee {
            id: row.member_id,
            username: row.username,
            email: row.member_email,
            first_name: row.first_name,
            last_name: row.last_name,
            locale: row.locale,
            is_admin: row.is_admin,
            on_vacation: row.on_vacation,
        },
        expires_at: row.expires_at,
        attempts: row.attempts.unsigned_abs(),
        charged: row.charged.unsigned_abs(),
        received_at: row.received_at,
        taken_at: now,
        traceparent: row.traceparent,
    })
}
