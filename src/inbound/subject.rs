//! A subject, without what mail programs and responders put before it. Must not know what it weighs.

use super::fold::fold;
use super::phrases::{self, Hit, Kind};

/// The subject without what mail programs put before it.
#[derive(Debug, Default)]
pub(super) struct Subject {
    /// Folded, without prefixes.
    pub text: String,
    /// What stands before the first colon of that: where a responder says what it is.
    pub head: String,
    /// `Automatic reply:` and its like.
    pub automatic: Option<&'static str>,
    /// `Re:`
    pub answer: bool,
    /// `Fwd:`
    pub forward: bool,
}

const ANSWERS: [&str; 20] = [
    "re",
    "aw",
    "sv",
    "antw",
    "odp",
    "vs",
    "ynt",
    "res",
    "ref",
    "rif",
    "r",
    "bls",
    "atb",
    "答复",
    "回复",
    "回覆",
    "vá",
    "va",
    "απ",
    "תשובה",
];
const FORWARDS: [&str; 14] =
    ["fw", "fwd", "wg", "tr", "rv", "i", "enc", "pd", "vl", "doorst", "ilt", "转发", "轉寄", "fs"];
/// Words in a subject's head; a longer one is a sentence.
const HEAD_WORDS: usize = 12;

impl Subject {
    pub(super) fn read(subject: &str) -> Self {
        let mut read = Self::default();
        let folded = fold(subject);
        let mut rest = untagged(&folded);
        while let Some((prefix, after)) = rest.split_once(':') {
            let prefix = prefix.trim().split('[').next().unwrap_or_default().trim();
            if ANSWERS.contains(&prefix) {
                read.answer = true;
            } else if FORWARDS.contains(&prefix) {
                read.forward = true;
            } else {
                break;
            }
            rest = untagged(after);
        }
        let automatic = phrases::find(rest).into_iter().find(|hit| hit.kind == Kind::Auto);
        read.automatic = automatic.filter(|hit| !read.forward && leads(rest, hit)).map(|hit| hit.phrase);
        rest.clone_into(&mut read.text);
        let mut head = rest;
        if let Some(hit) = automatic.filter(|hit| hit.start == 0) {
            let after = rest[hit.end..].trim_start_matches([' ', ':', '-', ']', ')']);
            // "Auto: Away" and "Automatic reply: Reset your password" alike: only the first is an absence.
            let ends_here = rest[hit.end..].trim_start().starts_with([':', '-']) || hit.phrase.ends_with(':');
            head = if ends_here && hit.phrase != "auto:" { &rest[..hit.end] } else { after };
        }
        let head = head.split(": ").next().unwrap_or_default();
        if head.split(' ').count() <= HEAD_WORDS {
            head.clone_into(&mut read.head);
        }
        read
    }
}

/// Without the tags in brackets that filters and lists put before a subject.
fn untagged(subject: &str) -> &str {
    let subject = subject.trim_start();
    let tagged = subject.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    tagged.map_or(subject, |(_, rest)| rest.trim_start())
}

/// Whether an automatic reply's mark stands before the subject answered, not somewhere in a sentence.
fn leads(subject: &str, hit: &Hit) -> bool {
    let rest = subject[hit.end..].trim_start();
    hit.start == 0 || rest.is_empty() || rest.starts_with([':', '-', ')', ']', '('])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_up_to_the_one_it_answers() {
        let of = |text| Subject::read(text);
        assert_eq!(of("Automatic reply: Out of office policy").head, "automatic reply");
        assert_eq!(
            of("AUTO: Bob is out of the office (returning 12/05)").head,
            "bob is out of the office (returning 12/05)"
        );
        assert_eq!(of("Out of Office AutoReply: Reset your password").head, "out of office autoreply");
        assert_eq!(of("Abwesenheitsnotiz: Passwort").head, "abwesenheitsnotiz");
        assert!(of("RE: [ext] WG: Abwesend").forward && of("RE: WG: Abwesend").answer);
        assert!(of("How do I set an automatic reply in Outlook").automatic.is_none());
    }
}
