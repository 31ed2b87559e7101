//! What a message is, and why: the one place that turns evidence into a verdict. Must not know what is done then.

use serde::Serialize;

use super::bounce::{self, Machine};
use super::evidence::Evidence;
use super::fold::fold;
use super::marks;
use super::read::Letter;
use super::subject::Subject;
use super::words::{TEXT_SEEN, Words};

/// Points from which a message is an absence.
const ENOUGH: i32 = 5;
/// The phrases of a project that has set none; these are weighed with their sentence, as all that are known here.
const COMMON: [&str; 2] = ["out of office", "out of the office"];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// An automatic reply: the member is out of office.
    Ooo,
    Human,
    Bounce,
    /// A receipt, a ticket, a newsletter, a calendar, a notice.
    AutoOther,
}

/// A verdict, with the evidence that led to it.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// `+3 header Auto-Submitted: auto-replied`, the evidence that decided first.
    pub because: Vec<String>,
    /// The phrase by which an absence was known.
    #[serde(skip)]
    pub matched: Option<String>,
}

/// Judges a message. `phrases` are the project's own: they are always honoured in the subject and in the new text,
/// except in a report or a bounce.
#[must_use]
pub fn judge(letter: &Letter<'_>, phrases: &[String]) -> Judgement {
    if letter.was_passed_on() {
        let seen = "-10 was passed on by this program already".to_owned();
        return Judgement { verdict: Verdict::AutoOther, because: vec![seen], matched: None };
    }
    let subject = Subject::read(&letter.subject);
    let text = fold(&letter.new.text);
    let text = &text[..text.floor_char_boundary(TEXT_SEEN)];
    if let Some((machine, evidence)) = bounce::machine(letter, &subject, text) {
        let verdict = if machine == Machine::Bounce { Verdict::Bounce } else { Verdict::AutoOther };
        return Judgement { verdict, because: evidence.seen, matched: None };
    }
    if let Some(phrase) = own_phrase(&subject, text, phrases) {
        let because = vec![format!("the project's phrase {phrase:?}")];
        return Judgement { verdict: Verdict::Ooo, because, matched: Some(phrase) };
    }
    weigh(letter, &subject, text)
}

fn own_phrase(subject: &Subject, text: &str, phrases: &[String]) -> Option<String> {
    let own = phrases.iter().filter(|phrase| !COMMON.contains(&fold(phrase).as_str()));
    own.map(|phrase| (phrase, fold(phrase.trim())))
        .find(|(_, folded)| {
            !folded.is_empty() && (subject.text.contains(folded.as_str()) || text.contains(folded.as_str()))
        })
        .map(|(phrase, _)| phrase.clone())
}

fn weigh(letter: &Letter<'_>, subject: &Subject, text: &str) -> Judgement {
    let automatic = marks::automatic_marks(letter, subject);
    let bulk = marks::bulk_marks(letter, subject);
    let mark = marks::absence_mark(letter);
    let Words { evidence: words, absence, ticket, left, .. } = Words::weigh(subject, text);
    let mut sum = Evidence::default();
    let marked = mark.is_some();
    for (points, seen) in mark.into_iter().chain(automatic.first().cloned()) {
        sum.add(points, seen);
    }
    if let Some((_, seen)) = automatic.get(1) {
        sum.add(1, seen.clone());
    }
    sum.points += words.points;
    sum.seen.extend(words.seen);
    for (points, seen) in &bulk {
        sum.add(*points, seen.clone());
    }
    if automatic.is_empty() && !marked {
        for (points, seen) in marks::person_marks(letter, subject, text) {
            sum.add(points, seen);
        }
    }
    if letter.cut {
        sum.add(0, "too large to be looked at as a whole");
    }
    let verdict = if (absence.is_some() || marked) && sum.points >= ENOUGH {
        Verdict::Ooo
    } else if !automatic.is_empty() || marked || !bulk.is_empty() || is_notice(subject, ticket, left) {
        Verdict::AutoOther
    } else {
        Verdict::Human
    };
    if sum.seen.is_empty() {
        sum.seen.push("+0 nothing says that it is automatic".to_owned());
    }
    let matched = (verdict == Verdict::Ooo).then(|| absence.map(str::to_owned)).flatten();
    Judgement { verdict, because: sum.seen, matched }
}

/// A desk's answer or a retired address, without any mark.
fn is_notice(subject: &Subject, ticket: bool, left: bool) -> bool {
    (ticket || left) && !subject.answer && !subject.forward
}
