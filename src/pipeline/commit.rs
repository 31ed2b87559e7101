//! Step 4, its end: plans in an open transaction, commits, and only then hands over what this worker holds. The
//! planner does both at once; own flows do their effect, and write the audit, in the same transaction.

use super::drafts::Prepared;
use super::lanes::{Lanes, Reservation};
use super::plan::{Desk, Plan, PlanError, plan};
use super::planner::count;
use super::settle::count_end;
use crate::domain::event::Planned;
use crate::store::{StoreError, Tx, db};

/// A batch that is planned and not committed yet.
pub struct Uncommitted {
    plan: Plan,
    reservation: Reservation,
}

/// Plans a batch and commits; `lanes` is `None` in a process that does not send.
pub async fn plan_and_commit(
    mut tx: Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    lanes: Option<&Lanes>,
) -> Result<Vec<Planned>, PlanError> {
    let planned = Uncommitted::plan(&mut tx, desk, batch, lanes).await?;
    Ok(planned.commit(tx, lanes).await?)
}

impl Uncommitted {
    pub async fn plan(
        tx: &mut Tx,
        desk: &Desk<'_>,
        batch: &[Prepared],
        lanes: Option<&Lanes>,
    ) -> Result<Self, PlanError> {
        let mut reservation = lanes.map_or_else(Reservation::none, Lanes::reserve);
        let plan = plan(tx, desk, batch, &mut reservation).await?;
        Ok(Self { plan, reservation })
    }

    /// What became of each event, in the order of the batch.
    pub fn planned(&self) -> &[Planned] {
        &self.plan.planned
    }

    pub async fn commit(self, mut tx: Tx, lanes: Option<&Lanes>) -> Result<Vec<Planned>, StoreError> {
        let Self { plan, mut reservation } = self;
        if plan.unheld && !reservation.is_held() {
            db!(tx, catalogue::notify_due())?;
        }
        reservation.committing();
        tx.commit().await?;
        for (kind, outcome) in plan.own {
            count(&kind, outcome);
        }
        for template in &plan.cancelled {
            count_end(template, "cancelled");
        }
        for purpose in plan.issued {
            let labels = [("purpose", purpose.name()), ("event", "issued")];
            metrics::counter!("signalpost_tokens_total", &labels).increment(1);
        }
        if let Some(lanes) = lanes {
            lanes.hand_over(plan.owed, reservation);
        }
        Ok(plan.planned)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use chrono::TimeDelta;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::json;

    use super::super::Payload;
    use super::super::engine::{Engine, Settings};
    use super::super::expiry::expire;
    use super::super::fixture::{ACME, at, incoming, store};
    use super::super::flows::Actor;
    use crate::domain::clock::Clock;
    use crate::domain::keys::{Keyring, SecretKey};
    use crate::domain::member::MemberRef;

    #[tokio::test]
    async fn events_of_flows_and_dispatches_that_are_cancelled_or_expire_are_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let (_directory, store) = store().await;
        let clock = Clock::manual(at(10_000));
        let settings = Settings {
            store: store.clone(),
            clock: clock.clone(),
            keys: Arc::new(Keyring::new(&SecretKey::from_bytes([1; 32]), &[])),
            public_url: String::new(),
            sender: None,
            is_told: false,
        };
        let engine = Engine::start(settings).await.unwrap();
        let data = json!({ "id": "mem_ada", "email": "ada@example.com" });
        let created = incoming("1", "account.created", at(0), data);
        engine.intake.submit(Payload::Event(created)).await.unwrap();
        let (ada, actor) = (MemberRef::Id("mem_ada".to_owned()), Actor::member(None));
        for _ in 0..2 {
            clock.advance(TimeDelta::seconds(1));
            engine.flows.force_reset(ACME, &ada, &actor).await.unwrap();
        }
        clock.advance(TimeDelta::hours(3));
        expire(&store, &clock, &engine.live).await.unwrap();
        let text = handle.render();
        for series in [
            "signalpost_events_total{type=\"account.created\",outcome=\"applied\"} 1",
            "signalpost_events_total{type=\"account.password-reset-requested\",outcome=\"dispatched\"} 2",
            "signalpost_dispatches_total{template=\"reset-password-confirm\",state=\"cancelled\"} 1",
            "signalpost_dispatches_total{template=\"reset-password-confirm\",state=\"dead\"} 1",
        ] {
            assert!(text.contains(series), "{series} in {text}");
        }
        engine.stop(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    }
}
