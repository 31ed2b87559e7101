//! What members, operators and publishers do, in their words.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::world::{Answer, World, until};

/// A password that is good enough.
pub(crate) const PASSWORD: &str = "orbit-lantern-88-quilt";

impl World {
    /// Makes a member: `mem_NAME`, NAME, `NAME@example.com`.
    pub(crate) async fn member(&self, name: &str) {
        let data =
            json!({ "id": format!("mem_{name}"), "username": name, "email": format!("{name}@example.com") });
        assert_eq!(self.publish("created", data).await.said(), (202, "applied"));
    }

    /// Asks for a reset; the id of the dispatch.
    pub(crate) async fn ask_reset(&self, member: &str) -> String {
        let answer = self.publish("password-reset-requested", json!({ "member": member })).await;
        assert_eq!(answer.said(), (202, "dispatched"), "{answer:?}");
        answer.dispatch()
    }

    /// Asks for a reset, and takes the token out of the mail.
    pub(crate) async fn reset_token(&self, member: &str) -> String {
        let dispatch = self.ask_reset(member).await;
        self.until_idle().await;
        self.token_of(&dispatch).await
    }

    /// The token in the mail of a dispatch.
    pub(crate) async fn token_of(&self, dispatch: &str) -> String {
        let message_id = self.dispatch(dispatch).await["message_id"].clone();
        let mails = self.mails();
        let mail = mails.iter().find(|mail| mail.message_id == message_id);
        mail.unwrap_or_else(|| panic!("no mail of {dispatch}")).token.clone().unwrap()
    }

    pub(crate) async fn dispatch(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/dispatches/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// The state of a dispatch, and its reason if it has one.
    pub(crate) async fn state(&self, id: &str) -> String {
        let dispatch = self.dispatch(id).await;
        let text = |name: &str| dispatch[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("state"), text("reason")).trim().to_owned()
    }

    /// Each attempt at a dispatch, as `class code`.
    pub(crate) async fn attempts(&self, id: &str) -> Vec<String> {
        let dispatch = self.dispatch(id).await;
        let attempts = dispatch["attempts"].as_array().unwrap().iter();
        let shown = attempts.map(|one| format!("{} {}", one["class"].as_str().unwrap(), one["code"]));
        shown.map(|text| text.replace(" null", "")).collect()
    }

    pub(crate) async fn next_attempt_at(&self, id: &str) -> DateTime<Utc> {
        self.dispatch(id).await["next_attempt_at"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn until_state(&self, id: &str, state: &str) {
        until(state, async || self.state(id).await == state).await;
    }

    /// What a token says of itself: `good`, or why it is not.
    pub(crate) async fn inspect(&self, token: &str) -> String {
        let answer = self.post("/v1/tokens/inspect", json!({ "token": token })).await;
        match answer.status {
            200 => "good".to_owned(),
            _ => answer.json["reason"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Sets a password by a token.
    pub(crate) async fn complete(&self, token: &str) -> Answer {
        self.post("/v1/password-resets/complete", json!({ "token": token, "new_password": PASSWORD })).await
    }

    /// Lets time pass, in steps longer than the planner waits between two tries, until something has its answer.
    /// The answer, and how many seconds passed.
    pub(crate) async fn while_time_passes<T>(&self, asking: impl Future<Output = T>) -> (T, i64) {
        let (mut asking, mut passed) = (std::pin::pin!(asking), 0);
        loop {
            match tokio::time::timeout(Duration::from_millis(300), &mut asking).await {
                Ok(answer) => return (answer, passed),
                Err(_) => passed += 1,
            }
            self.pass(TimeDelta::seconds(1)).await;
        }
    }

    /// Makes many members in few batches.
    pub(crate) async fn members(&self, names: impl IntoIterator<Item = String>) {
        let event = |name: &String| {
            let data = json!({ "id": format!("mem_{name}"), "username": name, "email": format!("{name}@example.com") });
            self.event("created", &data)
        };
        let names: Vec<String> = names.into_iter().collect();
        for some in names.chunks(1000) {
            let answers = self.post("/v1/events", some.iter().map(event).collect()).await;
            let answers = answers.json.as_array().unwrap().clone();
            assert!(answers.iter().all(|one| one["outcome"] == "applied"), "{answers:?}");
        }
    }

    /// Holds back all mail: what is planned from now on waits in the database.
    pub(crate) async fn pause(&self) {
        self.sql("update integrations set paused_at = '2026-07-01T12:00:00+00:00'").await;
        self.sql("update catalogue set revision = revision + 1").await;
        self.nudge().await;
    }

    /// Requests of a reset are mailed twice from now on.
    pub(crate) async fn second_reset_automation(&self) {
        self.sql(if self.is_postgres() {
            "insert into automations (id, project_id, name, event_type, integration_id, template, purpose, lifetime_s, max_age_s) \
                 select gen_random_uuid(), project_id, 'Second', event_type, integration_id, template, purpose, lifetime_s, max_age_s \
                 from automations where name = 'Reset password'"
        } else {
            "insert into automations (id, project_id, name, event_type, integration_id, template, purpose, lifetime_s, max_age_s) \
                 select randomblob(16), project_id, 'Second', event_type, integration_id, template, purpose, lifetime_s, max_age_s \
                 from automations where name = 'Reset password'"
        })
        .await;
        self.sql("update catalogue set revision = revision + 1").await;
        self.nudge().await;
    }

    pub(crate) async fn resume(&self) {
        self.sql("update integrations set paused_at = null").await;
        self.sql("update catalogue set revision = revision + 1").await;
        self.nudge().await;
    }
}
