//! The driver of the first steps: takes what has arrived while the last batch was committing, plans it in one
//! transaction, and answers each once that is committed. One bad event never spoils a batch: the batch is
//! split until the culprit stands alone.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::FutureExt as _;
use metrics::counter;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::commit::plan_and_commit;
use super::drafts::Prepared;
use super::lanes::Lanes;
use super::live::Live;
use super::plan::{Desk, PlanError};
use super::rearm::Rearm;
use super::refuse::{Pause, Refused, suspect};
use super::{Payload, Submission};
use crate::domain::catalogue::Catalogue;
use crate::domain::clock::Clock;
use crate::domain::event::{Incoming, MAX_AHEAD, Planned, Reason, Refusal};
use crate::domain::id::{EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::store::{Fault, Store};

/// Events planned in one transaction.
const BATCH: usize = 512;
/// Events that wait for the planner before senders are held back.
pub const QUEUE: usize = 2 * BATCH;
/// How long an event for an unknown member is tried again: the one that creates the member may be on its way.
const UNKNOWN_MEMBER: TimeDelta = TimeDelta::seconds(5);
const UNKNOWN_MEMBER_PAUSE: Duration = Duration::from_millis(250);
/// A message that was planned alone so often without the worker living to tell is refused as poison.
const ALONE: i32 = 1;
/// Two workers may create the same member at once; the second then sees the first.
const DATA_TRIES: u32 = 3;

/// What planners share.
pub struct Planner {
    pub store: Store,
    pub live: Live,
    pub keys: Arc<Keyring>,
    pub clock: Clock,
    /// `None` in a process that does not send.
    pub lanes: Option<Lanes>,
    pub rearm: Rearm,
    pub submissions: Mutex<mpsc::Receiver<Submission>>,
}

/// A submission whose event was read.
struct Job {
    prepared: Prepared,
    reply: Reply,
}

/// Whom a job is answered to, and what follows from it.
struct Reply {
    /// Told again on purpose: what died of it is armed again.
    replay: bool,
    answer: oneshot::Sender<Planned>,
}

/// A job for an unknown member, with the time of its next try.
type Later = (Instant, Job);

/// Why a part of a batch was not planned.
enum Spoiled {
    /// Some row is at fault.
    Data,
    Panic,
}

impl Planner {
    /// Plans until a stop, and then what is in the queue. Two of these share one queue on PostgreSQL, so that
    /// one reads while the other commits. What waits for its member is dropped at a stop: its sender keeps it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut later: Vec<Later> = Vec::new();
        loop {
            let mut batch = Vec::new();
            let next = later.iter().map(|(at, _)| *at).min();
            let wake = next.unwrap_or_else(|| Instant::now() + UNKNOWN_MEMBER_PAUSE);
            tokio::select! {
                biased;
                count = self.receive(&mut batch, &stop) => {
                    if count == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake.into()), if next.is_some() => {}
            }
            let now = Instant::now();
            let (due, rest): (Vec<_>, Vec<_>) = later.into_iter().partition(|(at, _)| *at <= now);
            later = rest;
            let jobs = due.into_iter().map(|(_, job)| job).collect();
            later.extend(self.take(batch, jobs).await);
        }
    }

    /// What has arrived; none once the queue was closed by a stop and is empty.
    async fn receive(&self, batch: &mut Vec<Submission>, stop: &CancellationToken) -> usize {
        let mut submissions = self.submissions.lock().await;
        tokio::select! {
            biased;
            count = submissions.recv_many(batch, BATCH) => return count,
            () = stop.cancelled(), if !submissions.is_closed() => submissions.close(),
        }
        submissions.recv_many(batch, BATCH).await
    }

    /// Plans a batch; returns what is to be tried again later.
    async fn take(&self, batch: Vec<Submission>, mut jobs: Vec<Job>) -> Vec<Later> {
        if batch.iter().any(|one| self.names_unknown_project(one)) {
            // A project that was made a moment ago.
            self.live.refresh().await.ok();
        }
        let catalogue = self.live.current();
        let (mut refused, mut suspects) = (Vec::new(), Vec::new());
        for submission in batch {
            let is_suspect = submission.suspect;
            match self.prepare(&catalogue, submission) {
                Ok(job) if is_suspect => suspects.push(job),
                Ok(job) => jobs.push(job),
                Err(refusal) => refused.push(*refusal),
            }
        }
        self.refuse(refused).await;
        let mut later = Vec::new();
        for job in suspects {
            later.extend(self.plan_alone(&catalogue, job).await);
        }
        later.extend(self.plan_all(&catalogue, jobs).await);
        later
    }

    fn names_unknown_project(&self, submission: &Submission) -> bool {
        let Payload::Event(event) = &submission.payload else { return false };
        !self.live.current().projects.contains_key(&event.project)
    }

    fn prepare(&self, catalogue: &Catalogue, submission: Submission) -> Result<Job, Box<Refused>> {
        let now = self.clock.now();
        let (answer, replay, client) = (submission.answer, submission.replay, submission.client);
        let incoming = match submission.payload {
            Payload::Event(incoming) => incoming,
            Payload::Undecodable(undecodable) => {
                let incoming = Incoming {
                    project: undecodable.project,
                    source: undecodable.source,
                    id: undecodable.id,
                    kind: undecodable.kind,
                    time: now,
                    received_at: now,
                    data: serde_json::Value::Null,
                    traceparent: None,
                };
                return Err(Box::new(Refused { incoming, refusal: undecodable.refusal, answer }));
            }
        };
        let read = |incoming: &Incoming| {
            let project = catalogue.projects.get(&incoming.project).cloned().ok_or_else(|| {
                Refusal::new(Reason::UnknownProject, "there is no project of this name").in_field("project")
            })?;
            if incoming.time > now + MAX_AHEAD {
                return Err(Refusal::invalid("time", "is more than 5 minutes ahead"));
            }
            let change = project.change(&incoming.kind, &incoming.data)?;
            Ok((project, change))
        };
        match read(&incoming) {
            Ok((project, change)) => {
                let since = if replay { now } else { incoming.time };
                let prepared = Prepared { incoming, project, change, own: false, since, client };
                Ok(Job { prepared, reply: Reply { replay, answer } })
            }
            Err(refusal) => Err(Box::new(Refused { incoming, refusal, answer })),
        }
    }

    /// Plans a suspect after a row that names it is committed: if it takes the worker down, the next worker
    /// finds the row.
    async fn plan_alone(&self, catalogue: &Catalogue, job: Job) -> Vec<Later> {
        let fingerprint = suspect(&job.prepared.incoming);
        if self.name_suspect(&fingerprint).await > ALONE {
            let refusal = Refusal::new(Reason::Poison, "it took workers down each time it was planned");
            self.refuse(vec![Refused { incoming: job.prepared.incoming, refusal, answer: job.reply.answer }])
                .await;
            return Vec::new();
        }
        let later = self.plan_all(catalogue, vec![job]).await;
        self.clear_suspect(&fingerprint).await;
        later
    }

    /// Plans all jobs, splitting around those that spoil a transaction.
    async fn plan_all(&self, catalogue: &Catalogue, jobs: Vec<Job>) -> Vec<Later> {
        let (mut parts, mut later) = (vec![jobs], Vec::new());
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            // Taken apart and put together again: nothing of an event is copied.
            let (batch, replies): (Vec<Prepared>, Vec<Reply>) =
                part.into_iter().map(|job| (job.prepared, job.reply)).unzip();
            let tried = self.plan_part(catalogue, &batch).await;
            part = batch.into_iter().zip(replies).map(|(prepared, reply)| Job { prepared, reply }).collect();
            match tried {
                Ok(planned) => later.extend(self.answer(part, planned).await),
                Err(spoiled) if part.len() == 1 => {
                    self.refuse(part.into_iter().map(|job| job.spoiled(&spoiled)).collect()).await;
                }
                Err(_) => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push(rest);
                    parts.push(part);
                }
            }
        }
        later
    }

    /// One transaction, tried again for as long as nothing is wrong with its data.
    async fn plan_part(&self, catalogue: &Catalogue, batch: &[Prepared]) -> Result<Vec<Planned>, Spoiled> {
        let (mut pause, mut data_tries) = (Pause::default(), 0);
        loop {
            let tried = AssertUnwindSafe(self.try_plan(catalogue, batch)).catch_unwind().await;
            match tried {
                Err(_) => return Err(Spoiled::Panic),
                Ok(Ok(planned)) => return Ok(planned),
                Ok(Err(PlanError::Raced)) => {}
                Ok(Err(PlanError::Store(error))) if error.fault() == Fault::Data => {
                    data_tries += 1;
                    if !error.is_unique_violation() || data_tries >= DATA_TRIES {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            events = batch.len(),
                            "the database refuses the data of a batch"
                        );
                        return Err(Spoiled::Data);
                    }
                }
                Ok(Err(PlanError::Store(error))) => pause.after(&error).await,
            }
        }
    }

    async fn try_plan(&self, catalogue: &Catalogue, batch: &[Prepared]) -> Result<Vec<Planned>, PlanError> {
        let desk = Desk { catalogue, keys: &self.keys, now: self.clock.now() };
        plan_and_commit(self.store.begin().await?, &desk, batch, self.lanes.as_ref()).await
    }

    /// Answers what is decided; an unknown member is tried again for a while.
    async fn answer(&self, jobs: Vec<Job>, planned: Vec<Planned>) -> Vec<Later> {
        let (mut later, mut refused) = (Vec::new(), Vec::new());
        self.arm_again(&jobs, &planned).await;
        for (job, planned) in jobs.into_iter().zip(planned) {
            let incoming = &job.prepared.incoming;
            match planned {
                Planned::Refused { refusal, .. } if refusal.reason == Reason::UnknownMember => {
                    if self.clock.now() - incoming.received_at < UNKNOWN_MEMBER {
                        later.push((Instant::now() + UNKNOWN_MEMBER_PAUSE, job));
                    } else {
                        refused.push(Refused {
                            incoming: job.prepared.incoming,
                            refusal,
                            answer: job.reply.answer,
                        });
                    }
                }
                planned => {
                    count(&incoming.kind, outcome(&planned));
                    job.reply.answer.send(planned).ok();
                }
            }
        }
        self.refuse(refused).await;
        later
    }

    /// Replays are answered once they are committed.
    async fn arm_again(&self, jobs: &[Job], planned: &[Planned]) {
        let mut replayed: HashMap<ProjectId, Vec<EventId>> = HashMap::new();
        for (job, planned) in jobs.iter().zip(planned) {
            if let (true, Planned::Duplicate { event, .. }) = (job.reply.replay, planned) {
                let events = replayed.entry(job.prepared.project.id).or_default();
                if !events.contains(event) {
                    events.push(*event);
                }
            }
        }
        for (project, events) in replayed {
            if self.arm_some(project, &events).await {
                continue;
            }
            for event in events {
                if !self.arm_some(project, &[event]).await {
                    tracing::error!(event.id = %event, "an event could not be replayed");
                }
            }
        }
    }

    /// `false`: the database refuses the data of one of them.
    async fn arm_some(&self, project: ProjectId, events: &[EventId]) -> bool {
        let mut pause = Pause::default();
        while let Err(error) = self.rearm.replay_events(project, events).await {
            if error.fault() == Fault::Data {
                tracing::warn!(error = &error as &dyn std::error::Error, "replayed events were refused");
                return false;
            }
            pause.after(&error).await;
        }
        true
    }
}

impl Job {
    fn spoiled(self, spoiled: &Spoiled) -> Refused {
        let refusal = match spoiled {
            Spoiled::Data => Refusal::invalid("data", "has a value that the database refuses"),
            Spoiled::Panic => Refusal::new(Reason::Poison, "planning it fails each time"),
        };
        Refused { incoming: self.prepared.incoming, refusal, answer: self.reply.answer }
    }
}

fn outcome(planned: &Planned) -> &'static str {
    match planned {
        Planned::Accepted { outcome, .. } => outcome,
        Planned::Duplicate { .. } => "duplicate",
        Planned::Refused { refusal, .. } => refusal.reason.name(),
    }
}

/// Counts what an event ended in.
pub(super) fn count(kind: &str, outcome: &'static str) {
    counter!("signalpost_events_total", "type" => kind.to_owned(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use serde_json::json;

    use super::super::engine::{Engine, Settings};
    use super::super::fixture::{RESET, at, incoming, store};
    use super::*;
    use crate::domain::keys::SecretKey;
    use crate::store::db;

    #[tokio::test]
    async fn events_that_panic_are_refused_alone_and_all_others_are_planned() {
        let (_directory, store) = store().await;
        let settings = Settings {
            store: store.clone(),
            clock: Clock::manual(at(10_000)),
            keys: Arc::new(Keyring::new(&SecretKey::from_bytes([1; 32]), &[])),
            public_url: String::new(),
            sender: None,
            is_told: false,
        };
        let engine = Engine::start(settings).await.unwrap();
        let member = |number: usize| {
            let data = json!({ "id": format!("mem_{number}"), "email": format!("{number}@example.com") });
            incoming(&format!("member {number}"), "account.created", at(0), data)
        };
        let ask = |number: usize| {
            let mut data = json!({ "member": format!("mem_{number}") });
            if number % 50 == 7 {
                data["panic"] = json!(true);
            }
            incoming(&number.to_string(), RESET, at(1), data)
        };
        let mut outcomes: HashMap<&str, usize> = HashMap::new();
        let (members, asks): (Vec<_>, Vec<_>) = (0..510).map(|number| (member(number), ask(number))).unzip();
        for events in [members, asks] {
            let submit = |event| engine.intake.submit(Payload::Event(event));
            for planned in join_all(events.into_iter().map(submit)).await {
                *outcomes.entry(outcome(&planned.unwrap())).or_default() += 1;
            }
        }
        assert_eq!(outcomes, HashMap::from([("applied", 510), ("dispatched", 499), ("poison", 11)]));
        let mut c = store.read().await.unwrap();
        assert_eq!(db!(c, work::due_count(at(10_000), 1000)).unwrap(), 499);
        drop(c);
        engine.stop(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    }
}
