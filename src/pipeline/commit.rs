//! Step 4, its end: plans in an open transaction, commits, and only then hands over what this worker holds. Own
//! flows have done their effect in the transaction before; the planner has done nothing.

use super::drafts::Prepared;
use super::lanes::{Lanes, Reservation};
use super::plan::{Desk, PlanError, plan};
use super::planner::count;
use crate::domain::event::Planned;
use crate::store::{Tx, db};

/// Plans a batch and commits; `lanes` is `None` in a process that does not send.
pub async fn plan_and_commit(
    mut tx: Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    lanes: Option<&Lanes>,
) -> Result<Vec<Planned>, PlanError> {
    let mut reservation = lanes.map_or_else(Reservation::none, Lanes::reserve);
    let plan = plan(&mut tx, desk, batch, &mut reservation).await?;
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
