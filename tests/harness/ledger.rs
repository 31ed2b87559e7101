//! Planted bugs: each is one change to the books of a clean run, and each must be found.

use serde_json::json;

use super::support::ledger::{Dispatch, Expect, Ledger, Letter, Rules, Summary, Violation};

const TOKENS: Rules = Rules { uncertain: 0, tokens: true };

/// The books of a run before a bug is planted.
struct Run {
    letters: Vec<Letter>,
    dispatches: Vec<Dispatch>,
    refused: Vec<&'static str>,
}

/// Four events owe a mail, one is wrong, one only changes a record. The first was published twice.
fn clean() -> Run {
    let letters = (1..=4).map(letter).collect();
    Run { letters, dispatches: (1..=4).map(dispatch).collect(), refused: vec!["bad"] }
}

fn letter(number: usize) -> Letter {
    Letter {
        recipient: format!("user{number}@example.com"),
        message_id: format!("<m{number}@signalpost>"),
        token: Some(format!("token-{number}")),
        text: String::new(),
    }
}

fn dispatch(number: usize) -> Dispatch {
    Dispatch {
        id: format!("dsp_{number}"),
        event: format!("e{number}"),
        template: "reset-password-confirm".to_owned(),
        to: format!("User{number}@example.com"),
        state: "sent".to_owned(),
        message_id: Some(format!("m{number}@signalpost")),
    }
}

impl Run {
    fn check(self, rules: Rules) -> Result<Summary, Vec<Violation>> {
        let mut ledger = Ledger::default();
        for number in [1, 1, 2, 3, 4] {
            ledger.published(&format!("e{number}"), &format!("user{number}@example.com"), Expect::Mail);
        }
        ledger.published("bad", "user9@example.com", Expect::Refusal);
        ledger.published("record", "user1@example.net", Expect::Nothing);
        self.letters.into_iter().for_each(|letter| ledger.mail(letter));
        self.dispatches.into_iter().for_each(|dispatch| ledger.dispatch(dispatch));
        self.refused.into_iter().for_each(|id| ledger.refused(id));
        ledger.check(rules)
    }
}

/// Plants a bug in a clean run and returns what was found, names only.
fn planted(bug: impl FnOnce(&mut Run)) -> Vec<String> {
    planted_under(TOKENS, bug)
}

fn planted_under(rules: Rules, bug: impl FnOnce(&mut Run)) -> Vec<String> {
    let mut run = clean();
    bug(&mut run);
    let found = run.check(rules).unwrap_err();
    found.iter().map(|violation| format!("{violation:?}").split(' ').take(1).collect()).collect()
}

#[test]
fn a_clean_run_balances() {
    let summary = clean().check(TOKENS).unwrap();
    assert_eq!(summary, Summary { events: 6, mails: 4, refused: 1, sent: 4, ..Summary::default() });
}

#[test]
fn acknowledged_before_the_commit_is_lost() {
    let found = planted(|run| {
        run.letters.remove(2);
        run.dispatches.remove(2);
    });
    assert_eq!(found, ["Lost"]);
}

#[test]
fn settled_before_the_server_took_it_is_sent_to_nobody() {
    let found = planted(|run| drop(run.letters.remove(0)));
    assert_eq!(found, ["SentToNobody"]);
}

#[test]
fn an_event_planned_twice_is_doubled() {
    let again = Dispatch { id: "dsp_again".to_owned(), message_id: Some("other".to_owned()), ..dispatch(1) };
    let mail = Letter { message_id: "other".to_owned(), ..letter(1) };
    let found = planted(|run| {
        run.dispatches.push(again);
        run.letters.push(mail);
    });
    assert_eq!(found, ["Doubled", "PlannedTwice"]);
}

#[test]
fn a_retry_with_a_new_message_id_is_doubled_whatever_is_uncertain() {
    let rules = Rules { uncertain: 100, tokens: true };
    let found = planted_under(rules, |run| {
        run.letters.push(Letter { message_id: "other".to_owned(), ..letter(2) });
    });
    assert_eq!(found, ["Doubled"]);
}

#[test]
fn copies_are_allowed_only_for_uncertain_sends() {
    let copied = |copies| {
        let mut run = clean();
        run.letters.extend((1..=copies).map(letter));
        run.check(Rules { uncertain: 2, tokens: true })
    };
    assert_eq!(copied(2).unwrap().uncertain, 2);
    let found = copied(3).unwrap_err();
    assert!(matches!(found[..], [Violation::TooManyUncertain { allowed: 2, .. }]), "{found:?}");
}

#[test]
fn a_dispatch_whose_worker_died_is_stranded() {
    let found = planted(|run| {
        run.dispatches[3].state = "sending".to_owned();
        run.letters.remove(3);
    });
    assert_eq!(found, ["Stranded"]);
    let found = planted(|run| {
        run.dispatches[3].state = "pending".to_owned();
        run.letters.remove(3);
    });
    assert_eq!(found, ["Stranded"]);
}

#[test]
fn a_mail_of_a_dispatch_called_dead_is_uncertain() {
    let found = planted(|run| run.dispatches[0].state = "dead".to_owned());
    assert_eq!(found, ["TooManyUncertain"]);
}

#[test]
fn a_dead_or_cancelled_dispatch_is_not_lost() {
    let mut run = clean();
    run.letters.truncate(2);
    run.dispatches[2].state = "dead".to_owned();
    run.dispatches[3].state = "cancelled".to_owned();
    let summary = run.check(TOKENS).unwrap();
    assert_eq!((summary.sent, summary.dead, summary.cancelled), (2, 1, 1));
}

#[test]
fn what_nobody_published_is_unknown() {
    let mail = Letter {
        recipient: "stranger@example.com".to_owned(),
        message_id: "x".to_owned(),
        token: None,
        text: String::new(),
    };
    assert_eq!(planted(|run| run.letters.push(mail)), ["Unknown"]);
    assert_eq!(planted(|run| run.refused.push("other")), ["Unknown"]);
    let dispatch = Dispatch { event: "other".to_owned(), message_id: None, ..dispatch(1) };
    assert_eq!(planted(|run| run.dispatches.push(dispatch)), ["Unknown"]);
}

#[test]
fn a_token_in_the_mails_of_two_events_is_found() {
    let found = planted(|run| run.letters[1].token = run.letters[0].token.clone());
    assert_eq!(found, ["TokenShared"]);
}

#[test]
fn two_members_mails_mixed_up_are_found() {
    let found = planted(|run| {
        run.letters[0].recipient = "user2@example.com".to_owned();
        run.letters[1].recipient = "user1@example.com".to_owned();
    });
    assert_eq!(found, ["Misdirected", "Misdirected"]);
}

#[test]
fn a_retry_with_another_token_is_found() {
    let rules = Rules { uncertain: 1, tokens: true };
    let found = planted_under(rules, |run| {
        run.letters.push(Letter { token: Some("token-other".to_owned()), ..letter(1) });
    });
    assert_eq!(found, ["TokenChanged"]);
}

#[test]
fn a_mail_without_its_token_or_name_is_found() {
    assert_eq!(planted(|run| run.letters[0].token = None), ["TokenMissing"]);
    let found = planted(|run| {
        run.letters[0].message_id.clear();
        run.dispatches[0].message_id = None;
    });
    assert_eq!(found, ["MessageIdMissing"]);
}

#[test]
fn a_message_id_of_two_events_is_found() {
    let found = planted(|run| {
        run.dispatches[1].message_id = run.dispatches[0].message_id.clone();
        run.dispatches[1].state = "dead".to_owned();
        run.letters.remove(1);
    });
    assert!(found.contains(&"MessageIdShared".to_owned()), "{found:?}");
}

#[test]
fn refusals_are_neither_dropped_nor_invented() {
    assert_eq!(planted(|run| run.refused.clear()), ["NotRefused"]);
    assert_eq!(planted(|run| run.refused.push("e1")), ["WronglyRefused"]);
    assert_eq!(planted(|run| run.refused.push("bad")), ["RefusedTooOften"]);
}

#[test]
fn a_mail_for_a_refused_event_or_a_mere_record_is_uncalled() {
    for (recipient, event) in [("user9@example.com", "bad"), ("user1@example.net", "record")] {
        let mail = Letter {
            recipient: recipient.to_owned(),
            message_id: "x".to_owned(),
            token: None,
            text: String::new(),
        };
        let found = planted_under(Rules::default(), |run| run.letters.push(mail));
        assert_eq!(found, ["Uncalled"], "{event}");
    }
}

#[test]
fn an_event_called_dispatched_without_a_dispatch_is_lost() {
    let check = |outcome| {
        let mut ledger = Ledger::default();
        ledger.published("e1", "user1@example.com", Expect::Mail);
        let event = json!({"id": "evt_1", "source_id": "e1", "outcome": outcome, "dispatches": []});
        ledger.answers(&[event], &[]).unwrap();
        ledger.check(Rules::default())
    };
    assert!(matches!(check("dispatched").unwrap_err()[..], [Violation::Lost { .. }]));
    assert!(check("throttled").is_ok());
}

#[test]
fn an_event_with_two_recipients_owes_a_mail_to_each() {
    let check = |old: bool| {
        let mut ledger = Ledger::default();
        ledger.published("e1", "new@example.com", Expect::Mail);
        ledger.also_to("e1", "old@example.com");
        let event = json!({"id": "evt_1", "source_id": "e1", "outcome": "dispatched"});
        let to = |id: &str, to: &str| {
            json!({"id": id, "event_id": "evt_1", "to": to, "state": "sent", "message_id": format!("<{id}>"),
                   "template": "change-email"})
        };
        let dispatches = [to("d1", "new@example.com"), to("d2", "old@example.com")];
        ledger.answers(&[event], &dispatches[..=usize::from(old)]).unwrap();
        let raw = |id: &str| format!("Message-ID: <{id}>\r\n\r\ntext\r\n");
        ledger.mail(Letter::read("new@example.com", raw("d1").as_bytes()));
        if old {
            ledger.mail(Letter::read("old@example.com", raw("d2").as_bytes()));
        }
        ledger.check(Rules::default())
    };
    assert_eq!(check(true).unwrap().mails, 2);
    assert!(matches!(check(false).unwrap_err()[..], [Violation::Lost { .. }]));
}
