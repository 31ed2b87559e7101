//! Step 6: a carrier takes dispatches of one lane to the mail server, one after another on one connection.
//! Says of each try what it came to; the settling task writes it down.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use futures_util::FutureExt as _;
use metrics::counter;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::editions::Editions;
use super::lanes::{Held, Lane, Lanes};
use super::lease::Lease;
use super::live::Live;
use super::parcel::{Parcel, parcel, traced};
use super::reach::Reach;
use super::render;
use super::settle::{Ending, Settler, clip};
use crate::domain::catalogue::{Integration, IntegrationKind};
use crate::domain::clock::Clock;
use crate::domain::dispatch::{Attempt, Class, DeadReason, Owed, Settled, after_transient};
use crate::domain::keys::Keyring;
use crate::mail::circuit::Permission;
use crate::mail::classify::{Failure, Stage, Verdict, classify, uncertain};
use crate::mail::connection::Connection;
use crate::mail::reply::Reply;
use crate::mail::server::Limits;
use crate::mail::templates::Rendered;
use crate::store::shown::StoredCapture;
use crate::store::{Store, StoreError, db};

/// What lay in hand for longer is looked at again before it is sent: it may have been cancelled.
const LONG_IN_HAND: TimeDelta = TimeDelta::seconds(2);

/// What all carriers share.
pub struct Post {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub live: Live,
    pub lease: Arc<Lease>,
    pub settler: Settler,
    pub public_url: String,
    pub reach: Reach,
    /// E-mails in flight over all integrations.
    pub sends: Arc<Semaphore>,
    /// How long each step with a mail server may take.
    pub limits: Limits,
    /// The end of a stop's patience: what is being sent is dropped, and given back.
    pub cut_off: CancellationToken,
    pub editions: Editions,
}

/// One connection's worth of sending.
pub struct Carrier {
    lane: Arc<Lane>,
    post: Arc<Post>,
    lanes: Lanes,
    open: Option<Open>,
    /// Of the last try: the next body waits for it.
    receipt: Option<oneshot::Receiver<()>>,
}

struct Open {
    connection: Connection,
    integration: Arc<Integration>,
}

/// Why an exchange did not end with the server's acceptance.
enum Miss {
    Failed {
        failure: Failure,
        is_fresh: bool,
    },
    /// The worker may have been declared dead meanwhile.
    LeaseLost,
    /// The sealed password does not open with the keys at hand.
    Sealed,
}

impl Carrier {
    pub fn new(lane: Arc<Lane>, post: Arc<Post>, lanes: Lanes) -> Self {
        Self { lane, post, lanes, open: None, receipt: None }
    }

    /// Carries until there is nothing to do, or a stop.
    pub async fn run(self, stop: CancellationToken) {
        let cut_off = self.post.cut_off.clone();
        cut_off.run_until_cancelled_owned(Box::pin(self.carry(stop))).await;
    }

    async fn carry(mut self, stop: CancellationToken) {
        while let Some(held) = self.lane.next(&self.lanes, &stop).await {
            if !self.lane.turn(&self.post.live, &stop).await {
                self.receipt = Some(self.post.settler.settle(held, Ending::released(None)));
                continue;
            }
            // A mail that cannot be handled ends dead, and takes nobody with it.
            let tried = AssertUnwindSafe(traced(&held.owed, self.try_one(&held))).catch_unwind().await;
            let ending = tried.unwrap_or_else(|_| {
                self.open = None;
                Ending::unrenderable(self.post.clock.now(), &render::Unrenderable::Panic)
            });
            // Receipts come in order, so the newest speaks for those before it.
            self.receipt = Some(self.post.settler.settle(held, ending));
        }
        if let Some(open) = self.open.take() {
            open.connection.quit().await;
        }
    }

    async fn try_one(&mut self, held: &Held) -> Ending {
        let owed = &held.owed;
        // First of all, since it may take a while; closed only when the process is at its end.
        let Ok(_send) = self.post.sends.clone().acquire_owned().await else { return Ending::released(None) };
        let now = self.post.clock.now();
        if held.worker != self.post.lease.id() || !self.post.lease.may_send() {
            return Ending::released(None);
        }
        if now >= owed.expires_at {
            return Ending { settled: Settled::Dead(DeadReason::Expired), attempt: None };
        }
        if now - owed.taken_at > LONG_IN_HAND && !self.is_still_wanted(held).await {
            return Ending::released(None);
        }
        let catalogue = self.post.live.current();
        let is_held_back = catalogue.automations.get(&owed.automation_id).is_some_and(|one| one.paused);
        let Some(integration) =
            catalogue.integrations.get(&owed.integration_id).filter(|one| !one.paused && !is_held_back)
        else {
            return Ending::released(None);
        };
        let desk = render::Desk {
            catalogue: &catalogue,
            keys: &self.post.keys,
            public_url: &self.post.public_url,
            now,
        };
        let Ok(edition) = self.post.editions.of(&self.post.store, &catalogue, owed).await else {
            return Ending::released(Some(now + LONG_IN_HAND));
        };
        let mail = match render::parts(&desk, owed, edition.as_deref()) {
            Ok(mail) => mail,
            Err(why) => return Ending::unrenderable(now, &why),
        };
        match &integration.kind {
            IntegrationKind::Capture => self.capture(owed, mail, integration).await,
            IntegrationKind::Smtp(server) => {
                match parcel(&self.post.keys, owed, &mail, (integration, server), now) {
                    Ok(parcel) => self.transmit(&parcel, held.worker).await,
                    Err(why) => Ending::unrenderable(now, why.as_ref()),
                }
            }
        }
    }

    /// A database that cannot be asked says no: the row stays where it is until it can be.
    async fn is_still_wanted(&self, held: &Held) -> bool {
        let asked: Result<bool, StoreError> = async {
            let mut c = self.post.store.read().await?;
            db!(c, work::still_wanted(held.owed.id.0, held.worker))
        }
        .await;
        asked.unwrap_or(false)
    }

    async fn capture(&self, owed: &Owed, mail: Rendered, integration: &Integration) -> Ending {
        let now = self.post.clock.now();
        let mail = render::captured(owed, mail, integration);
        let Ok(sealed) = mail.seal(&self.post.keys, owed.id, &mut rand::rng()) else {
            return Ending::released(Some(now + LONG_IN_HAND));
        };
        let capture = StoredCapture { dispatch_id: owed.id.0, captured_at: now, sealed };
        let kept: Result<(), StoreError> = async {
            let mut c = self.post.store.write().await?;
            db!(c, captures::insert(owed.project_id.0, &capture))
        }
        .await;
        match kept {
            Ok(()) => Ending::sent(now, None, "captured"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a mail could not be captured yet");
                Ending::released(Some(now + LONG_IN_HAND))
            }
        }
    }

    async fn transmit(&mut self, parcel: &Parcel<'_>, worker: i64) -> Ending {
        // A statement of its own: in the head of the match the lock would be held in its arms.
        let permission = self.lane.circuit().permission(Instant::now());
        match permission {
            Permission::Go => {}
            Permission::Probe { .. } => self.lane.circuit().probing(parcel.owed.id.0),
            Permission::Wait(_) => return Ending::released(None),
        }
        let mut is_second = false;
        loop {
            match self.exchange(parcel, worker).await {
                Ok(reply) => return self.accepted(&reply),
                Err(Miss::LeaseLost) => {
                    self.lane.circuit().probe_dropped(Instant::now());
                    return Ending::released(None);
                }
                Err(Miss::Sealed) => {
                    return self
                        .integration_failed(None, "the password cannot be opened with the keys at hand");
                }
                Err(Miss::Failed { failure, is_fresh }) => {
                    let verdict = classify(&failure, is_fresh);
                    self.open.take_if(|open| !open.connection.is_reusable());
                    if verdict == Verdict::Reconnect && !is_second {
                        is_second = true;
                        self.open = None;
                        continue;
                    }
                    return self.judge(parcel.owed, &failure, verdict);
                }
            }
        }
    }

    /// One mail on an open or a new connection. The envelope may go while the mail before it is being
    /// settled, the body only afterwards: a crash doubles at most one mail a connection.
    async fn exchange(&mut self, parcel: &Parcel<'_>, worker: i64) -> Result<Reply, Miss> {
        let is_usable = self
            .open
            .as_mut()
            .is_some_and(|open| open.integration == *parcel.integration && open.connection.is_reusable());
        if !is_usable {
            self.open = None;
            let server = self
                .post
                .reach
                .server(parcel.integration, parcel.server, self.post.limits)
                .ok_or(Miss::Sealed)?;
            let opened = Connection::open(&server).await;
            let connection = opened.map_err(|failure| Miss::Failed { failure, is_fresh: true })?;
            self.open = Some(Open { connection, integration: parcel.integration.clone() });
        }
        let Some(Open { connection, .. }) = &mut self.open else { return Err(Miss::LeaseLost) };
        let offered = connection.envelope(&parcel.envelope, &parcel.wire).await;
        offered.map_err(|failure| Miss::Failed { failure, is_fresh: connection.is_fresh() })?;
        if let Some(receipt) = self.receipt.take() {
            receipt.await.ok();
        }
        // Both took time: the worker may have been declared dead, and have a new number by now.
        if worker != self.post.lease.id() || !self.post.lease.may_send() {
            self.open = None;
            return Err(Miss::LeaseLost);
        }
        let said = connection.body(&parcel.wire).await;
        said.map_err(|failure| Miss::Failed { failure, is_fresh: connection.is_fresh() })
    }

    fn accepted(&self, reply: &Reply) -> Ending {
        let was_open = {
            let mut circuit = self.lane.circuit();
            let was_open = circuit.is_open();
            circuit.succeeded();
            was_open
        };
        if was_open {
            self.lanes.fetch_soon();
        }
        Ending::sent(self.post.clock.now(), Some(reply.code), &reply.to_string())
    }

    fn judge(&self, owed: &Owed, failure: &Failure, verdict: Verdict) -> Ending {
        let code = failure.reply().map(|reply| reply.code);
        let said = describe(failure);
        if uncertain(failure) {
            counter!("signalpost_smtp_uncertain_total").increment(1);
        }
        let chance = rand::random::<f64>();
        let opens = match verdict {
            Verdict::Integration => true,
            Verdict::Suspect => self.lane.circuit().suspected(owed.id.0, Instant::now(), chance),
            Verdict::Retry | Verdict::Dead | Verdict::Reconnect => false,
        };
        if opens {
            return self.integration_failed(code, &said);
        }
        if failure.reply().is_some() && failure.stage > Stage::Auth && verdict != Verdict::Suspect {
            // The server is there and talks: whatever is wrong is wrong with this mail.
            self.lane.circuit().succeeded();
        } else {
            self.lane.circuit().probe_dropped(Instant::now());
        }
        let at = self.post.clock.now();
        if verdict == Verdict::Dead {
            let attempt = Attempt { at, class: Class::Permanent, code, reply: said };
            return Ending { settled: Settled::Dead(DeadReason::Rejected), attempt: Some(attempt) };
        }
        let attempt = Attempt { at, class: Class::Transient, code, reply: said };
        Ending { settled: after_transient(owed, at, chance), attempt: Some(attempt) }
    }

    /// Not this mail's fault: it is not charged, and waits behind others, so that the next probe is another.
    fn integration_failed(&self, code: Option<u16>, said: &str) -> Ending {
        let at = self.post.clock.now();
        let wait = {
            let mut circuit = self.lane.circuit();
            circuit.failed(Instant::now(), rand::random());
            match circuit.look(Instant::now()) {
                Permission::Wait(until) => until.saturating_duration_since(Instant::now()),
                Permission::Go | Permission::Probe { .. } => std::time::Duration::ZERO,
            }
        };
        tracing::warn!(integration.id = %self.lane.id, reply = said, wait_ms = wait.as_millis(), "an integration fails; its circuit is open");
        let attempt = Attempt { at, class: Class::Integration, code, reply: said.to_owned() };
        let again = at + TimeDelta::from_std(wait).unwrap_or(LONG_IN_HAND);
        Ending { settled: Settled::Released(Some(again)), attempt: Some(attempt) }
    }
}

fn describe(failure: &Failure) -> String {
    match failure.reply() {
        Some(reply) => clip(&reply.to_string()),
        None => clip(&failure.to_string()),
    }
}
