//! Step 4, its end: plans in an open transaction, commits, and only then hands over what this worker holds. The
//! planner does both at once; own flows do their effect, and write the audit, in the same transaction.

use super::drafts::Prepared;
use super::lanes::{Lanes, Reservation};
use super::plan::{Desk, Plan, PlanError, plan};
use super::planner::count;
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
