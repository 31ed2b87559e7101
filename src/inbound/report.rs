//! Reports: delivery status (RFC 3464), disposition, feedback. Must not know what is done about them.

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
