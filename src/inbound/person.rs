//! What a person's reply is made of when it is passed on, and the mark of a mail that was. Must not know to whom it
//! goes.

use super::addresses::address_in;
use super::read::Letter;

/// The header of a mail that was passed on. What carries it is never passed on again.
pub const PASSED_ON: &str = "X-Signalpost-Passed-On";
/// Characters of a subject that are kept.
const SUBJECT: usize = 500;

/// A person's reply, without what it quotes. No `Debug`: people wrote it.
pub struct Reply {
    /// Where an answer to it goes: an address.
    pub writer: Option<String>,
    /// On one line.
    pub subject: String,
    /// What the person wrote, above and below what is quoted; empty if that could not be told.
    pub text: String,
    pub message_id: Option<String>,
}

impl Letter<'_> {
    /// What is passed on of it, if a person wrote it.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let address = |name| self.headers.first(name).and_then(|field| address_in(&field));
        let is_address = |address: &String| address.contains('@');
        let writer = address("reply-to").filter(is_address).or_else(|| address("from").filter(is_address));
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let subject = self.subject.chars().map(|c| if breaks(c) { ' ' } else { c }).take(SUBJECT).collect();
        let written = [self.new.text.trim(), self.new.below.trim()];
        let written: Vec<&str> = written.into_iter().filter(|text| !text.is_empty()).collect();
        Reply { writer, subject, text: written.join("\n\n"), message_id: self.headers.first("message-id") }
    }

    /// Whether it went out as a person's reply already.
    pub(super) fn was_passed_on(&self) -> bool {
        self.headers.has(&PASSED_ON.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, judge};
    use super::*;

    fn reply(message: &str) -> Reply {
        Letter::read(message.as_bytes()).reply()
    }

    #[test]
    fn what_the_person_wrote_is_kept_without_what_is_quoted() {
        let above = reply(
            "From: Ada <Ada@example.com>\nSubject: =?utf-8?Q?R=C3=A9?=\n\nIt worked.\n\nOn 3 Mar 2026, Acme <x@y.example> \
             wrote:\n> https://acme.example/reset?token=secret\n",
        );
        assert_eq!(above.writer.as_deref(), Some("ada@example.com"));
        assert_eq!(above.subject, "Ré");
        assert!(above.text.starts_with("It worked.") && !above.text.contains("secret"), "{}", above.text);
        let below = reply(
            "From: a@example.com\nReply-To: b@example.com\n\nOn 3 Mar 2026, Acme <x@y.example> wrote:\n\n\
             > https://acme.example/reset?token=secret\n\nThe link is dead.\n",
        );
        assert_eq!(below.writer.as_deref(), Some("b@example.com"));
        assert!(below.text.contains("The link is dead.") && !below.text.contains("secret"), "{}", below.text);
        let outlook = reply(
            "From: a@example.com\n\nNo.\n\n-----Original Message-----\nFrom: Acme\nSent: today\nTo: a\n\n\
             https://acme.example/reset?token=secret\n> older\n",
        );
        assert_eq!(outlook.text, "No.");
    }

    #[test]
    fn what_was_passed_on_is_no_persons_reply() {
        let passed =
            format!("{PASSED_ON}: yes\nFrom: help@acme.example\nSubject: Re: x\n\nI am out of the office.\n");
        assert_eq!(judge(&Letter::read(passed.as_bytes()), &[]).verdict, Verdict::AutoOther);
    }
}
