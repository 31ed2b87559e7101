//! What the words of a message say about an absence, and what they weigh. Must not know its headers.

use super::evidence::Evidence;
use super::phrases::{self, Hit, Kind};
use super::subject::Subject;

/// Octets of folded text in which words count. What matters is said first; disclaimers come last.
pub(super) const TEXT_SEEN: usize = 6000;
/// Octets within which a responder has said it.
const SAID_FIRST: usize = 700;
const CONDITIONS: [&str; 16] = [
    "if", "whether", "unless", "suppose", "falls", "wenn", "ob", "si", "se", "als", "jesli", "jezeli",
    "pokud", "om", "hvis", "если",
];

/// What the words of the subject and the new text say.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub evidence: Evidence,
    /// Something that is an absence, with its phrase.
    pub absence: Option<&'static str>,
    /// In a sentence of the writer about themself.
    pub first_person: bool,
    pub ticket: bool,
    pub left: bool,
}

impl Words {
    pub(super) fn weigh(subject: &Subject, text: &str) -> Self {
        let mut words = Self::default();
        let hits = phrases::find(text);
        words.of_subject(subject);
        words.of_sentences(text, &hits);
        words.of_hints(&hits);
        words.against(subject, &hits);
        words
    }

    fn of_subject(&mut self, subject: &Subject) {
        if subject.forward || subject.head.contains('?') {
            return;
        }
        let Some(hit) = phrases::find(&subject.head).into_iter().find(|hit| hit.kind == Kind::Subject) else {
            return;
        };
        let points = match (
            subject.answer,
            hit.start < 3 || hit.end == subject.head.len() || subject.head.contains(" is "),
        ) {
            (true, _) => 1,
            (false, true) => 4,
            (false, false) => 2,
        };
        self.evidence.add(points, format!("subject says {:?}", hit.phrase));
        self.absence = Some(hit.phrase);
    }

    fn of_sentences(&mut self, text: &str, hits: &[Hit]) {
        let said = hits.iter().filter(|hit| hit.kind == Kind::Absent && !is_supposed(text, hit));
        let Some(hit) = said.min_by_key(|hit| hit.start) else { return };
        // Somebody else may be meant: `Bob is out of the office`.
        let third = ["is ", "ist ", "est "].iter().any(|verb| hit.phrase.starts_with(verb));
        let points = if hit.start <= SAID_FIRST && !third { 4 } else { 3 };
        self.evidence.add(points, format!("text says {:?}", hit.phrase));
        self.absence = self.absence.or(Some(hit.phrase));
        self.first_person = true;
    }

    fn of_hints(&mut self, hits: &[Hit]) {
        let of = |kind: Kind| {
            let mut phrases: Vec<&str> =
                hits.iter().filter(|hit| hit.kind == kind).map(|hit| hit.phrase).collect();
            phrases.sort_unstable();
            phrases.dedup();
            phrases
        };
        if let (false, Some(hint)) = (self.first_person, of(Kind::Hint).first()) {
            self.evidence.add(2, format!("text mentions {hint:?}"));
            self.absence = self.absence.or(Some(hint));
        }
        let support = of(Kind::Support);
        if self.absence.is_some() && !support.is_empty() {
            let points = i32::try_from(support.len().min(3)).unwrap_or_default();
            self.evidence.add(points, format!("text says {:?}", support[0]));
        }
    }

    fn against(&mut self, subject: &Subject, hits: &[Hit]) {
        let first = |kind: Kind| hits.iter().find(|hit| hit.kind == kind).map(|hit| hit.phrase);
        if let Some(phrase) = first(Kind::Left) {
            self.left = true;
            self.evidence.add(if self.first_person { -3 } else { -6 }, format!("text says {phrase:?}"));
        }
        let subject_hits = phrases::find(&subject.text);
        let in_subject = |kind: Kind| subject_hits.iter().find(|hit| hit.kind == kind).map(|hit| hit.phrase);
        if let Some(phrase) = first(Kind::Ticket).or(in_subject(Kind::Ticket)) {
            self.ticket = true;
            self.evidence.add(if self.first_person { -1 } else { -4 }, format!("says {phrase:?}"));
        }
        if let Some(phrase) = in_subject(Kind::Topic) {
            self.evidence
                .add(if self.first_person { -2 } else { -4 }, format!("subject is about {phrase:?}"));
        } else if let Some(phrase) = first(Kind::Topic) {
            self.evidence.add(-3, format!("text is about {phrase:?}"));
        }
    }
}

/// Whether the sentence only supposes or cites what it says: `if I am away`, `"I am away"`, a question.
fn is_supposed(text: &str, hit: &Hit) -> bool {
    let before = &text[..hit.start];
    let trimmed = before.trim_end();
    let word = trimmed.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if CONDITIONS.contains(&word) || before.ends_with(['"', '\'']) {
        return true;
    }
    let rest = &text[hit.end..];
    let end = rest.find(['.', '?', '!', '\n', '؟']).unwrap_or(rest.len());
    rest[end..].starts_with(['?', '؟'])
}
