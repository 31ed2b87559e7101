//! Reports: delivery status (RFC 3464), disposition, feedback. Must not know what is done about them.

use super::read::Letter;

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
            let is_final = matches!(report.action.as_deref(), Some("failed") | None);
            let (status, diagnostic) = (report.status.clone(), report.diagnostic.as_deref().map(clipped));
            return is_final.then_some(Failure { status, diagnostic });
        }
        let apart = |c: char| !(c.is_ascii_digit() || c == '.');
        let mut words = self.new.text.split(apart).map(|word| word.trim_matches('.'));
        Some(Failure { status: words.find(|word| is_status(word)).map(str::to_owned), diagnostic: None })
    }
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
