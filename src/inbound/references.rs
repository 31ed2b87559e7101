//! The Message-IDs that a message answers or reports, and the addresses it was sent to. Must not know whose they are.

use super::addresses::all_in;
use super::read::Letter;

/// Ids that are looked up for one message.
const MAX_IDS: usize = 20;

impl Letter<'_> {
    /// Message-IDs, without brackets, the likeliest first: In-Reply-To, References, the report, the returned message,
    /// the text.
    #[must_use]
    pub fn answered_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for name in ["in-reply-to", "x-ms-exchange-parent-message-id", "original-message-id", "references"] {
            self.headers.all(name).for_each(|field| bracketed(&field, &mut ids));
        }
        if let Some(report) = &self.report {
            after_name(&report.text, &mut ids);
            bracketed(&report.text, &mut ids);
        }
        after_name(&self.returned, &mut ids);
        after_name(&self.new.text, &mut ids);
        bracketed(&self.new.text, &mut ids);
        ids.truncate(MAX_IDS);
        ids
    }

    /// Addresses that this message may have been sent to: the envelope's recipient, as far as servers wrote it down,
    /// then the header's.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        let names = ["delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to", "cc"];
        let fields = names.iter().flat_map(|name| self.headers.all(name));
        fields.flat_map(|field| all_in(&field).collect::<Vec<_>>()).take(MAX_IDS).collect()
    }
}

fn keep(id: &str, ids: &mut Vec<String>) {
    let id = id.trim();
    let is_id = id.contains('@') && id.len() <= 250 && !id.contains(char::is_whitespace);
    if is_id && !ids.iter().any(|other| other == id) && ids.len() < MAX_IDS {
        ids.push(id.to_owned());
    }
}

/// `<left@right>`, wherever it stands.
fn bracketed(text: &str, ids: &mut Vec<String>) {
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        let Some(close) = rest.find(['>', '<']) else { return };
        if rest[close..].starts_with('>') {
            keep(&rest[..close], ids);
        }
    }
}

/// What follows `Message-ID:`, also without brackets or on the next line.
fn after_name(text: &str, ids: &mut Vec<String>) {
    let lower = text.to_ascii_lowercase();
    for (at, name) in lower.match_indices("message-id:") {
        let value = text[at + name.len()..].split_whitespace().next().unwrap_or_default();
        keep(value.trim_matches(['<', '>', '"', ',', ';']), ids);
    }
}
