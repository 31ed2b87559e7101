//! Notices: what Signalpost itself did, told to whoever listens at the broker. Each is a row, written in the
//! transaction of its effect, of a kind that the project wants; a process without a broker writes none. Must not
//! know how they are told. No token, link or password is in one: of an event's data only what is named here.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::drafts::{OWN_SOURCE, Prepared, Told};
use super::entries::clean;
use crate::domain::catalogue::Catalogue;
use crate::domain::event::{Incoming, Refusal};
use crate::domain::id::{self, DispatchId, EventId, ProjectId};
use crate::store::rows::{EndedRow, NoticeRow};
use crate::store::{StoreError, Tx, db};

/// Events that are told under their own type once they had their effect.
const ACCOUNT: [&str; 3] = ["account.password-changed", "account.email-changed", "account.on-vacation"];
/// What a notice repeats of their data, beside the member.
const REPEATED: [&str; 6] = ["by", "old_email", "new_email", "count", "limit", "matched"];
const REFUSED: &str = "event.refused";
const SETTLED: &str = "event.settled";
const DEAD: &str = "dispatch.dead";
const SENT: &str = "dispatch.sent";
const BOUNCED: &str = "dispatch.bounced";

/// The notices of one transaction.
pub struct Notices<'a> {
    catalogue: &'a Catalogue,
    now: DateTime<Utc>,
    rows: Vec<NoticeRow>,
}

impl<'a> Notices<'a> {
    pub fn new(catalogue: &'a Catalogue, now: DateTime<Utc>) -> Self {
        Self { catalogue, now, rows: Vec::new() }
    }

    /// An event was accepted.
    pub fn planned(&mut self, event: &Prepared, id: EventId, told: &Told, mails: &[DispatchId]) {
        let (project, incoming) = (event.project.id, &event.incoming);
        let account = ACCOUNT.into_iter().find(|kind| *kind == incoming.kind);
        if let (Some(kind), true, Some(member)) = (account, told.had_effect, &told.member) {
            self.add(project, kind, || account_data(&member.1, &incoming.data));
        }
        self.add(project, SETTLED, || {
            json!({
                "event_id": id, "source": incoming.source, "id": incoming.id, "type": incoming.kind,
                "outcome": told.outcome.name(), "reason": told.reason, "detail": null, "field": null,
                "dispatches": mails,
            })
        });
    }

    /// An event was refused. One of a project that does not exist is nobody's.
    pub fn refused(&mut self, incoming: &Incoming, id: EventId, refusal: &Refusal) {
        let Some(project) = self.catalogue.projects.get(&incoming.project).map(|project| project.id) else {
            return;
        };
        let reason = refusal.reason.name();
        self.add(project, REFUSED, || {
            json!({
                "event_id": id, "source": clean(&incoming.source), "id": clean(&incoming.id),
                "type": clean(&incoming.kind), "outcome": reason, "reason": reason,
                "detail": clean(&refusal.detail), "field": refusal.field.as_deref().map(clean),
                "dispatches": [],
            })
        });
    }

    /// Whether the project wants to be told of dispatches that end dead, or sent.
    pub fn wants_end(&self, project: ProjectId, is_dead: bool) -> bool {
        self.catalogue.wants_notice(project, if is_dead { DEAD } else { SENT })
    }

    /// Dispatches ended, in this transaction: what is neither dead nor sent is not told.
    pub async fn ended(&mut self, tx: &mut Tx, dispatches: &[Uuid]) -> Result<(), StoreError> {
        if dispatches.is_empty() {
            return Ok(());
        }
        for row in db!(tx, notices::ended(dispatches))? {
            match row.state.as_str() {
                "dead" => self.dispatch(DEAD, &row),
                "sent" => self.dispatch(SENT, &row),
                _ => {}
            }
        }
        Ok(())
    }

    /// The mail of a dispatch came back, with that status.
    pub async fn bounced(
        &mut self,
        tx: &mut Tx,
        dispatch: Uuid,
        status: Option<&str>,
    ) -> Result<(), StoreError> {
        for row in db!(tx, notices::ended(&[dispatch]))? {
            self.dispatch(BOUNCED, &EndedRow { reason: status.map(str::to_owned), ..row });
        }
        Ok(())
    }

    fn dispatch(&mut self, kind: &'static str, row: &EndedRow) {
        self.add(ProjectId(row.project_id), kind, || {
            json!({
                "dispatch_id": DispatchId(row.id), "event_id": EventId(row.event_id), "source": row.source,
                "id": row.source_id, "state": row.state, "reason": row.reason,
            })
        });
    }

    fn add(&mut self, project: ProjectId, kind: &'static str, data: impl FnOnce() -> Value) {
        if !self.catalogue.wants_notice(project, kind) {
            return;
        }
        let Some(project) = self.catalogue.project(project) else { return };
        let id = id::new_at(self.now);
        let body = json!({
            "specversion": "1.0", "id": id, "source": OWN_SOURCE, "type": kind, "time": self.now,
            "datacontenttype": "application/json", "project": project.slug, "data": data(),
        });
        let (project_id, created_at) = (project.id.0, self.now);
        self.rows.push(NoticeRow { id, project_id, kind, body: body.to_string(), created_at });
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes them, in one statement.
    pub async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        if self.rows.is_empty() { Ok(()) } else { db!(tx, notices::insert(&self.rows)) }
    }
}

fn account_data(member: &str, data: &Value) -> Value {
    let mut told = Map::from_iter([("member".to_owned(), member.into())]);
    for name in REPEATED {
        match data.get(name) {
            Some(Value::String(text)) => drop(told.insert(name.to_owned(), clean(text).into())),
            Some(Value::Number(number)) => drop(told.insert(name.to_owned(), number.clone().into())),
            _ => {}
        }
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::{ACME, at, incoming, prepared, project, store};
    use super::*;
    use crate::domain::event::{Outcome, Reason};

    fn catalogue(wishes: &[&str], is_told: bool) -> Catalogue {
        let mut acme = project(Vec::new());
        let one = Arc::make_mut(&mut acme);
        one.settings.notices = wishes.iter().map(|wish| (*wish).to_owned()).collect();
        let mut catalogue = Catalogue { is_told, ..Catalogue::default() };
        catalogue.projects.insert(acme.slug.clone(), acme.clone());
        catalogue.by_id.insert(acme.id, acme);
        catalogue
    }

    fn told(outcome: Outcome, had_effect: bool) -> Told {
        let member = Some((ACME, "mem_1".to_owned()));
        Told { outcome, reason: None, member, automations: Vec::new(), had_effect }
    }

    fn bodies(notices: &Notices<'_>) -> Vec<Value> {
        notices.rows.iter().map(|row| serde_json::from_str(&row.body).unwrap()).collect()
    }

    #[test]
    fn a_project_is_told_what_it_wants_and_a_process_without_a_broker_tells_nothing() {
        let changed = prepared(
            &project(Vec::new()),
            incoming("1", "account.password-changed", at(0), json!({ "member": "ada" })),
        );
        for (wishes, is_told, kinds) in [
            (&["account.*"][..], true, vec!["account.password-changed"]),
            (&["*"][..], true, vec!["account.password-changed", "event.settled"]),
            (&["event.settled"][..], true, vec!["event.settled"]),
            (&["account.email-changed", "dispatch.*"][..], true, vec![]),
            (&[][..], true, vec![]),
            (&["*"][..], false, vec![]),
        ] {
            let catalogue = catalogue(wishes, is_told);
            let mut notices = Notices::new(&catalogue, at(5));
            notices.planned(&changed, EventId::new_at(at(5)), &told(Outcome::Dispatched, true), &[]);
            let found: Vec<&str> = notices.rows.iter().map(|row| row.kind).collect();
            assert_eq!(found, kinds, "{wishes:?} {is_told}");
        }
    }

    #[test]
    fn an_account_notice_repeats_what_is_named_and_no_secret() {
        let catalogue = catalogue(&["account.*"], true);
        let data = json!({
            "member": "ada", "by": "reset", "password": "hunter2", "token": "hunter2", "matched": ["hunter2"],
        });
        let changed = prepared(&project(Vec::new()), incoming("1", "account.password-changed", at(0), data));
        let mut notices = Notices::new(&catalogue, at(5));
        notices.planned(&changed, EventId::new_at(at(5)), &told(Outcome::Applied, true), &[]);
        // What is outdated changed nothing.
        notices.planned(&changed, EventId::new_at(at(5)), &told(Outcome::Stale, false), &[]);
        let bodies = bodies(&notices);
        assert_eq!(bodies.len(), 1);
        assert_eq!(bodies[0]["data"], json!({ "member": "mem_1", "by": "reset" }));
        assert_eq!(bodies[0]["id"], notices.rows[0].id.to_string());
        assert_eq!((&bodies[0]["source"], &bodies[0]["project"]), (&json!("signalpost"), &json!("acme")));
    }

    #[test]
    fn event_and_dispatch_notices_have_the_fields_of_the_reference() {
        let catalogue = catalogue(&["event.*", "dispatch.*"], true);
        let mut notices = Notices::new(&catalogue, at(5));
        let (event, dispatch) = (EventId::new_at(at(5)), DispatchId::new_at(at(5)));
        let refusal = Refusal::new(Reason::UnknownMember, "there is no such member").in_field("member");
        let wrong = incoming("1", "account.signed-in", at(0), json!({ "member": "hunter2" }));
        notices.refused(&wrong, event, &refusal);
        notices.refused(&Incoming { project: "nobody".to_owned(), ..wrong }, event, &refusal);
        notices.dispatch(
            DEAD,
            &EndedRow {
                id: dispatch.0,
                project_id: ACME.0,
                event_id: event.0,
                state: "dead".to_owned(),
                reason: Some("rejected".to_owned()),
                source: Some("shop".to_owned()),
                source_id: Some("7".to_owned()),
            },
        );
        let data: Vec<Value> = bodies(&notices).into_iter().map(|body| body["data"].clone()).collect();
        let source = incoming("1", "account.signed-in", at(0), Value::Null).source;
        let refused = json!({
            "event_id": event, "source": source, "id": "1", "type": "account.signed-in",
            "outcome": "unknown-member", "reason": "unknown-member", "detail": "there is no such member",
            "field": "member", "dispatches": [],
        });
        let dead = json!({
            "dispatch_id": dispatch, "event_id": event, "source": "shop", "id": "7", "state": "dead",
            "reason": "rejected",
        });
        assert_eq!(data, [refused, dead]);
    }

    #[tokio::test]
    async fn what_a_worker_takes_is_another_s_only_when_its_time_is_over() {
        let (_directory, store) = store().await;
        let catalogue = catalogue(&["event.refused"], true);
        let mut notices = Notices::new(&catalogue, at(0));
        let wrong = incoming("1", "account.signed-in", at(0), Value::Null);
        for _ in 0..3 {
            notices.refused(&wrong, EventId::new_at(at(0)), &Refusal::invalid("data", "is wrong"));
        }
        let mut tx = store.begin().await.unwrap();
        notices.write(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let mut c = store.write().await.unwrap();
        let first = db!(c, notices::take((at(1), at(60)), 2)).unwrap();
        let rest = db!(c, notices::take((at(2), at(60)), 2)).unwrap();
        assert_eq!((first.len(), rest.len(), first[0].kind.as_str()), (2, 1, REFUSED));
        assert!(db!(c, notices::take((at(59), at(90)), 2)).unwrap().is_empty());
        db!(c, notices::delete(&[first[0].id])).unwrap();
        db!(c, notices::leave(&[rest[0].id])).unwrap();
        let again = db!(c, notices::take((at(59), at(90)), 2)).unwrap();
        assert_eq!(again.iter().map(|one| one.id).collect::<Vec<_>>(), [rest[0].id]);
        let crashed = db!(c, notices::take((at(60), at(90)), 2)).unwrap();
        assert_eq!(
            crashed.iter().map(|one| (one.id, &one.body)).collect::<Vec<_>>(),
            [(first[1].id, &first[1].body)]
        );
        assert_eq!(db!(c, notices::delete_before(at(1))).unwrap(), 2);
    }
}
