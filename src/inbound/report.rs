//! Reports: delivery status (RFC 3464), disposition, feedback. Must not know what is done about them.

use super::fold::fold;
use super::read::Letter;

/// What subjects of warnings say, folded.
const DELAYED_SUBJECTS: [&str; 22] = [
    "warning:",
    "delay",
    "still being retried",
    "still trying",
    "not yet been delivered",
    "verzoger",
    "verspat",
    "retard",
    "retras",
    "demora",
    "ritard",
    "vertrag",
    "vertraag",
    "atras",
    "opozni",
    "zpozd",
    "forsink",
    "forsen",
    "gecik",
    "задерж",
    "遅延",
    "延迟",
];
/// What the text of a warning says.
const DELAYED: [&str; 12] = [
    "will be retried",
    "will retry",
    "will continue to",
    "will keep trying",
    "still trying",
    "still being",
    "has been delayed",
    "is delayed",
    "not yet been",
    "do not need to resend",
    "don't need to resend",
    "warning message only",
];
/// What a report of a failure says that is final.
const PERMANENT: [&str; 46] = [
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "does not exist",
    "doesn't exist",
    "permanent error",
    "permanent failure",
    "permanent fatal",
    "permanently failed",
    "fatal error",
    "address rejected",
    "message rejected",
    "mail rejected",
    "rejected mail",
    "mailbox not found",
    "mailbox unavailable",
    "invalid recipient",
    "unknown recipient",
    "unrouteable address",
    "host unknown",
    "host not found",
    "unknown host",
    "giving up",
    "given up",
    "undeliver",
    "returned mail",
    "returned to sender",
    "returned to you",
    "returned below",
    "delivery failed",
    "delivery has failed",
    "delivery failure",
    "failed delivery",
    "failure notice",
    "could not be delivered",
    "couldn't be delivered",
    "cannot be delivered",
    "was not delivered",
    "unable to deliver",
    "unzustellbar",
    "nicht zugestellt",
    "non remis",
    "mancato recapito",
    "не доставлен",
    "配信不能",
];
/// Characters that are kept of a diagnostic.
const DIAGNOSTIC: usize = 500;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportKind {
    Delivery,
    Disposition,
    Feedback,
}

/// What a report says, of its first failed recipient if there is one, else of its last.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) kind: ReportKind,
    /// `failed`, `delayed`, `delivered`, `relayed`, `expanded`
    pub(super) action: Option<String>,
    /// `5.1.1`
    pub(super) status: Option<String>,
    pub(super) diagnostic: Option<String>,
    /// The report itself, to look for ids in.
    pub(super) text: String,
}

impl Report {
    pub(super) fn read(kind: ReportKind, text: &str) -> Self {
        let mut report = Self { kind, action: None, status: None, diagnostic: None, text: text.to_owned() };
        for (name, value) in fields(text) {
            // The first failure is what counts.
            if name == "action" && report.action.as_deref() == Some("failed") {
                break;
            }
            match name.as_str() {
                "action" => report.action = first_word(&value).map(|word| word.to_ascii_lowercase()),
                "status" => report.status = first_word(&value).filter(|word| is_status(word)),
                "diagnostic-code" => report.diagnostic = Some(value),
                _ => {}
            }
        }
        report
    }

    /// Nothing failed and nothing is late: the report of a success.
    pub(super) fn is_success(&self) -> bool {
        matches!(self.action.as_deref(), Some("delivered" | "relayed" | "expanded"))
    }
}

/// What a bounce says about the mail that came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// RFC 3463, `5.1.1`.
    pub status: Option<String>,
    pub diagnostic: Option<String>,
}

impl Letter<'_> {
    /// Why the mail came back; nothing if it is only late or arrived.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if let Some(report) = &self.report {
            let is_final = match report.action.as_deref() {
                Some(action) => action == "failed",
                None => report.status.as_deref().is_none_or(is_permanent),
            };
            let (status, diagnostic) = (report.status.clone(), report.diagnostic.as_deref().map(clipped));
            return is_final.then_some(Failure { status, diagnostic });
        }
        self.told_in_words()
    }

    /// The failure that a report in words tells of. A warning of delay is none: the mail is still being tried.
    fn told_in_words(&self) -> Option<Failure> {
        let (subject, text) = (fold(&self.subject), fold(&self.new.text));
        let says = |list: &[&str], text: &str| list.iter().any(|phrase| text.contains(phrase));
        if says(&DELAYED_SUBJECTS, &subject) {
            return None;
        }
        let apart = |c: char| !(c.is_ascii_digit() || c == '.');
        let mut words = self.new.text.split(apart).map(|word| word.trim_matches('.'));
        let status = words.find(|word| is_status(word) && is_permanent(word)).map(str::to_owned);
        let in_words = || {
            let failed = says(&PERMANENT, &text) || says(&PERMANENT, &subject);
            (failed && !says(&DELAYED, &text)) || self.headers.has("x-failed-recipients")
        };
        (status.is_some() || in_words()).then_some(Failure { status, diagnostic: None })
    }
}

fn is_permanent(status: &str) -> bool {
    status.starts_with('5')
}

fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(DIAGNOSTIC).collect()
}

fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

fn first_word(text: &str) -> Option<String> {
    text.split([' ', '(', ';']).find(|word| !word.is_empty()).map(str::to_owned)
}

/// RFC 3463: `class.subject.detail`.
#[must_use]
pub(super) fn is_status(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let figures =
        |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(figures) && matches!(parts[0], "2" | "4" | "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Option<Failure> {
        Letter::read(format!("From: MAILER-DAEMON@mx.example\n{message}").as_bytes()).failure()
    }

    #[test]
    fn a_report_in_words_is_a_failure_only_if_it_is_final() {
        let status = |message| failure(message).map(|failure| failure.status);
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(status("Subject: failure notice\n\n550 5.1.1 no mailbox of that name\n"), some("5.1.1"));
        assert_eq!(status("Subject: Undelivered mail\n\n<a@b.example>: user unknown\n"), Some(None));
        assert_eq!(status("X-Failed-Recipients: a@b.example\nSubject: x\n\nSorry.\n"), Some(None));
        for late in [
            "Subject: Delivery delayed\n\n550 5.1.1 user unknown\n",
            "Subject: Warning: message 1abc-0002 delayed 24 hours\n\nIt will be returned to you.\n",
            "Subject: Verzögerte Zustellung\n\n4.4.1\n",
            "Subject: Mail delivery\n\nIt could not be delivered yet, 4.4.1; we will keep trying.\n",
            "Subject: Mail delivery\n\n451 4.7.1 greylisted\n",
        ] {
            assert_eq!(failure(late), None, "{late}");
        }
    }

    #[test]
    fn the_first_failure_is_what_counts() {
        let report = Report::read(
            ReportKind::Delivery,
            "Reporting-MTA: dns; mx\n\nAction: delivered\nStatus: 2.0.0\n\nAction: failed\nStatus: 5.1.1 (bad)\n\
             Diagnostic-Code: smtp; 550\n no such user\n\nAction: delayed\nStatus: 4.4.1\n",
        );
        assert_eq!(report.action.as_deref(), Some("failed"));
        assert_eq!(report.status.as_deref(), Some("5.1.1"));
        assert_eq!(report.diagnostic.as_deref(), Some("smtp; 550 no such user"));
        assert!(!report.is_success());
    }
}
