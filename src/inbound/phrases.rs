//! The phrases of `phrases.txt`, in all languages at once, found in a folded text in one pass. Must not know what
//! a phrase is worth.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::fold::{fold, is_spaceless};

/// What a phrase says; the file tells more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Auto,
    Subject,
    Absent,
    Hint,
    Support,
    Left,
    Ticket,
    Topic,
}

/// A phrase that was found, with where it begins and ends in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub kind: Kind,
    pub phrase: &'static str,
    pub start: usize,
    pub end: usize,
}

/// The words that begin a quotation.
pub(super) struct Quotation {
    pub wrote: Vec<String>,
    pub from: HashSet<String>,
    pub sent: HashSet<String>,
    pub original: Vec<String>,
}

/// Octets that `…` may stand for.
const GAP: usize = 90;
/// In place of the second letter, where a piece has but one.
const ALONE: char = '\0';
const TEXT: &str = include_str!("phrases.txt");

struct Phrase {
    kind: Kind,
    /// As the file has it.
    written: &'static str,
    /// The pieces between the gaps, folded.
    pieces: Vec<String>,
}

struct Book {
    phrases: Vec<Phrase>,
    /// By the first two letters of the first piece.
    index: HashMap<[char; 2], Vec<usize>>,
    quotation: Quotation,
}

static BOOK: LazyLock<Book> = LazyLock::new(Book::read);

/// How a quotation begins, in any language.
#[must_use]
pub(super) fn quotation() -> &'static Quotation {
    &BOOK.quotation
}

/// Every phrase in a folded text, by its beginning.
#[must_use]
pub(super) fn find(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut before = ' ';
    let mut letters = text.char_indices().peekable();
    while let Some((start, first)) = letters.next() {
        let begins = !before.is_alphanumeric() || is_spaceless(first) || is_spaceless(before);
        before = first;
        let Some((_, second)) = letters.peek().filter(|_| begins) else { continue };
        let by = |second: char| BOOK.index.get(&[first, second]).into_iter().flatten();
        for place in by(*second).chain(by(ALONE)) {
            let phrase = &BOOK.phrases[*place];
            if let Some(length) = phrase.length_at(&text[start..]) {
                hits.push(Hit { kind: phrase.kind, phrase: phrase.written, start, end: start + length });
            }
        }
    }
    hits
}

impl Phrase {
    /// How long the phrase is where the text begins with it.
    fn length_at(&self, text: &str) -> Option<usize> {
        let (first, others) = self.pieces.split_first()?;
        let mut length = text.starts_with(first.as_str()).then_some(first.len())?;
        for piece in others {
            let rest = &text[length..];
            let window = &rest[..rest.floor_char_boundary(GAP + piece.len())];
            let at = window.find(piece.as_str())?;
            if ends_sentence(&window[..at]) {
                return None;
            }
            length += at + piece.len();
        }
        Some(length)
    }
}

/// Whether a sentence ends within: a stop and a space, but not one after a figure (`3. August`).
#[must_use]
pub(super) fn ends_sentence(text: &str) -> bool {
    let mut before = ' ';
    let mut stop = false;
    for c in text.chars() {
        if c == '\n' || (stop && c == ' ') {
            return true;
        }
        stop = matches!(c, '!' | '?') || (c == '.' && !before.is_ascii_digit());
        before = c;
    }
    false
}

impl Book {
    fn read() -> Self {
        let mut phrases = Vec::new();
        let mut lines: HashMap<&str, Vec<&'static str>> = HashMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let Some((kind, written)) = line.split_once(" = ") else { continue };
            let written = written.split('|').map(str::trim).filter(|written| !written.is_empty());
            match kind_named(kind) {
                Some(kind) => phrases.extend(written.map(|written| Phrase::new(kind, written))),
                None => lines.entry(kind).or_default().extend(written),
            }
        }
        let mut index: HashMap<[char; 2], Vec<usize>> = HashMap::new();
        for (place, phrase) in phrases.iter().enumerate() {
            let mut letters = phrase.pieces[0].chars();
            if let Some(first) = letters.next() {
                index.entry([first, letters.next().unwrap_or(ALONE)]).or_default().push(place);
            }
        }
        Self { phrases, index, quotation: Quotation::new(&lines) }
    }
}

impl Quotation {
    fn new(lines: &HashMap<&str, Vec<&'static str>>) -> Self {
        let words = |kind: &str| lines.get(kind).into_iter().flatten().map(|word| fold(word));
        Self {
            wrote: words("wrote").collect(),
            from: words("from").collect(),
            sent: words("sent").collect(),
            original: words("original").collect(),
        }
    }
}

impl Phrase {
    fn new(kind: Kind, written: &'static str) -> Self {
        Self { kind, written, pieces: written.split('…').map(fold).collect() }
    }
}

fn kind_named(name: &str) -> Option<Kind> {
    Some(match name {
        "auto" => Kind::Auto,
        "subject" => Kind::Subject,
        "absent" => Kind::Absent,
        "hint" => Kind::Hint,
        "support" => Kind::Support,
        "left" => Kind::Left,
        "ticket" => Kind::Ticket,
        "topic" => Kind::Topic,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, text: &str) -> bool {
        find(&fold(text)).iter().any(|hit| hit.kind == kind)
    }

    #[test]
    fn every_line_of_the_file_is_of_a_known_kind_and_language() {
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
            let (kind, _) = line.split_once(" = ").unwrap();
            assert!(
                kind_named(kind).is_some() || ["wrote", "from", "sent", "original"].contains(&kind),
                "{line}"
            );
        }
        assert!(TEXT.lines().filter(|line| line.starts_with('[')).count() >= 25);
        assert!(BOOK.phrases.iter().all(|phrase| phrase.pieces.iter().all(|piece| !piece.trim().is_empty())));
    }

    #[test]
    fn a_gap_is_a_few_words_of_one_sentence() {
        assert!(found(Kind::Absent, "Ich bin vom 3. August bis zum 14.8. nicht im Büro."));
        assert!(!found(Kind::Absent, "Ich bin Peter. Heute bleibt er nicht im Büro."));
    }

    #[test]
    fn a_phrase_begins_a_word() {
        assert!(!found(Kind::Hint, "covacations"));
        assert!(found(Kind::Hint, "本日は不在です"));
    }
}
