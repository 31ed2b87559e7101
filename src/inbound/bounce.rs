//! Whether a message is a mail server's: a bounce, a receipt, a challenge. Must not know about absences.

use super::addresses::{address_in, local_part};
use super::evidence::Evidence;
use super::fold::fold;
use super::read::Letter;
use super::report::ReportKind;
use super::subject::Subject;

/// Points from which a message is a bounce.
const ENOUGH: i32 = 6;

const DAEMONS: [&str; 10] = [
    "mailer-daemon",
    "mailerdaemon",
    "postmaster",
    "mail-daemon",
    "maildaemon",
    "bounce-notification",
    "mdaemon",
    "mail.daemon",
    "mailer_daemon",
    "post_master",
];
const DAEMON_NAMES: [&str; 7] = [
    "mail delivery s",
    "mail delivery agent",
    "mailer-daemon",
    "mail administrator",
    "system administrator",
    "delivery subsystem",
    "systemadministrator",
];
const SUBJECTS: [&str; 60] = [
    "undeliver",
    "returned mail",
    "returned to sender",
    "returned email",
    "delivery status notification",
    "delivery failure",
    "delivery failed",
    "delivery notification",
    "delivery report",
    "delivery error",
    "delivery has failed",
    "delivery delayed",
    "delivery delay",
    "mail delivery",
    "failure notice",
    "failure delivery",
    "mail failure",
    "mail system error",
    "message delivery failure",
    "failed delivery",
    "could not send message",
    "could not be delivered",
    "not delivered",
    "not be delivered",
    "non delivery",
    "non-delivery",
    "nondeliverable",
    "mail could not",
    "warning: could not send",
    "warning: message",
    "delivery unsuccessful",
    "returning message",
    "user unknown",
    "unknown user",
    "error sending message",
    "mail error",
    "rejected mail",
    "mail rejected",
    "message rejected",
    "problem delivering",
    "unzustellbar",
    "nicht zugestellt",
    "zustellung fehlgeschlagen",
    "fehler bei der zustellung",
    "ubermittlungsstatus",
    "non remis",
    "non remise",
    "echec de",
    "non recapitabile",
    "mancato recapito",
    "no se puede entregar",
    "no entregado",
    "onbestelbaar",
    "nao entregue",
    "недоставлен",
    "не доставлен",
    "配信不能",
    "退信",
    "エラー通知",
    "送信エラー",
];
const TEXTS: [&str; 46] = [
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "does not exist",
    "could not be delivered",
    "couldn't be delivered",
    "cannot be delivered",
    "was not delivered",
    "wasn't delivered",
    "not be delivered",
    "unable to deliver",
    "not able to deliver",
    "delivery failed",
    "delivery has failed",
    "delivery to the following",
    "permanent error",
    "permanent failure",
    "fatal error",
    "recipient address rejected",
    "address rejected",
    "mailbox unavailable",
    "mailbox is full",
    "mailbox full",
    "mailbox not found",
    "over quota",
    "quota exceeded",
    "exceeded storage",
    "unrouteable address",
    "host unknown",
    "host not found",
    "unknown host",
    "status: 5.",
    "550 5.",
    "5.1.1",
    "550-5.",
    "undeliverable",
    "returned below",
    "returned to you",
    "remote host said",
    "connection timed out",
    "this message was created automatically by mail",
    "retry time not reached",
    "giving up on",
    "invalid recipient",
    "unknown recipient",
];
const RECEIPTS: [&str; 26] = [
    "read:",
    "read receipt",
    "return receipt",
    "disposition notification",
    "not read:",
    "gelesen:",
    "lesebestatigung",
    "ungelesen geloscht",
    "lu :",
    "lu:",
    "leido:",
    "leido :",
    "letto:",
    "conferma di lettura",
    "lida:",
    "gelezen:",
    "lest:",
    "laest:",
    "przeczytano:",
    "precteno:",
    "прочитано:",
    "прочтено:",
    "开封",
    "已读:",
    "已讀:",
    "開封済み",
];
const CALENDARS: [&str; 22] = [
    "accepted:",
    "declined:",
    "tentative:",
    "tentatively accepted:",
    "canceled:",
    "cancelled:",
    "invitation:",
    "updated invitation:",
    "zugesagt:",
    "abgesagt:",
    "mit vorbehalt:",
    "accepte :",
    "refuse :",
    "aceptado:",
    "rechazado:",
    "accettato:",
    "rifiutato:",
    "geaccepteerd:",
    "afgewezen:",
    "meeting forward notification",
    "new time proposed:",
    "reminder:",
];
const CHALLENGES: [&str; 10] = [
    "boxbe",
    "spamarrest",
    "spam arrest",
    "whitelist",
    "sender verification",
    "challenge/response",
    "to verify that you are",
    "please verify your",
    "tmda",
    "confirm that you are a",
];

/// What is no mail of a person or their responder, by its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    Bounce,
    Other,
}

/// Says what a mail server's or a calendar's message is; nothing if it is none.
pub(super) fn machine(letter: &Letter<'_>, subject: &Subject, text: &str) -> Option<(Machine, Evidence)> {
    let mut evidence = Evidence::default();
    let challenge = is_challenge(letter, subject, text);
    match reported(letter) {
        Some(ReportKind::Delivery) if challenge => {
            evidence.add(-10, "asks the sender to prove that it is a person");
            return Some((Machine::Other, evidence));
        }
        Some(ReportKind::Delivery) => {
            let success = letter.report.as_ref().is_some_and(super::report::Report::is_success);
            evidence.add(10, "is a report of delivery (RFC 3464)");
            return Some((if success { Machine::Other } else { Machine::Bounce }, evidence));
        }
        Some(ReportKind::Disposition) if subject.text.contains("reject") => {
            evidence.add(10, "is a report of a rejection");
            return Some((Machine::Bounce, evidence));
        }
        Some(ReportKind::Disposition | ReportKind::Feedback) => {
            evidence.add(10, "is a report of reading or of a complaint");
            return Some((Machine::Other, evidence));
        }
        None => {}
    }
    let started = |list: &[&str]| list.iter().any(|word| subject.text.starts_with(word));
    if letter.calendar && !subject.answer {
        evidence.add(10, "has a calendar's part");
        return Some((Machine::Other, evidence));
    }
    if challenge {
        evidence.add(5, "asks the sender to prove that it is a person");
        return Some((Machine::Other, evidence));
    }
    if (letter.tnef || letter.headers.has("in-reply-to") || null_path(letter))
        && (started(&RECEIPTS) || started(&CALENDARS))
    {
        evidence.add(5, "subject is a receipt's or a calendar's");
        return Some((Machine::Other, evidence));
    }
    weigh_bounce(letter, subject, text, &mut evidence);
    (evidence.points >= ENOUGH).then_some((Machine::Bounce, evidence))
}

fn reported(letter: &Letter<'_>) -> Option<ReportKind> {
    let kind = match letter.report_type.as_deref() {
        Some("delivery-status") => Some(ReportKind::Delivery),
        Some("disposition-notification") => Some(ReportKind::Disposition),
        Some("feedback-report") => Some(ReportKind::Feedback),
        _ => None,
    };
    kind.or(letter.report.as_ref().map(|report| report.kind))
}

fn null_path(letter: &Letter<'_>) -> bool {
    letter.headers.first("return-path").is_some_and(|path| path.replace(' ', "") == "<>")
}

fn is_challenge(letter: &Letter<'_>, subject: &Subject, text: &str) -> bool {
    let from = fold(&letter.headers.first("from").unwrap_or_default());
    let start = &text[..text.floor_char_boundary(1500)];
    let says = |text: &str| CHALLENGES.iter().any(|word| text.contains(word));
    says(&subject.text) || says(&from) || (says(start) && !is_daemon(letter))
}

fn is_daemon(letter: &Letter<'_>) -> bool {
    let from = letter.headers.first("from").unwrap_or_default();
    let address = address_in(&from).unwrap_or_else(|| from.to_lowercase());
    let local = local_part(&address);
    let name = fold(&from);
    DAEMONS.iter().any(|daemon| local.contains(daemon)) || DAEMON_NAMES.iter().any(|word| name.contains(word))
}

fn weigh_bounce(letter: &Letter<'_>, subject: &Subject, text: &str, evidence: &mut Evidence) {
    if letter.headers.has("x-failed-recipients") {
        evidence.add(8, "header X-Failed-Recipients");
    }
    if is_daemon(letter) {
        evidence.add(4, "sent by a mail server");
    }
    let person = subject.answer || subject.forward;
    if let Some(word) = SUBJECTS.iter().find(|word| !person && subject.text.contains(*word)) {
        evidence.add(4, format!("subject says {word:?}"));
    }
    let said: Vec<_> = TEXTS.iter().filter(|word| text.contains(*word)).collect();
    if let Some(word) = said.first() {
        evidence.add(if said.len() > 1 { 3 } else { 2 }, format!("text says {word:?}"));
    }
    if !letter.returned.is_empty() && !person {
        evidence.add(1, "returns a message");
    }
    if null_path(letter) {
        evidence.add(1, "the return path is empty");
    }
}
