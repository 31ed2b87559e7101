//! What the writer of a message wrote: HTML as text, and without what is quoted of the mail answered. Must not know
//! what the text says.

use mail_parser::decoders::html::html_to_text;

use super::fold::fold;
use super::phrases::quotation;

/// The new text of a message, and whether there was more that is quoted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct NewText {
    pub text: String,
    pub quoted: bool,
    /// What stands below or between what is quoted, where every quoted line is marked. It says nothing of what the
    /// message is, since signatures and footers of lists stand there too.
    pub below: String,
}

/// Where mail programs put what they quote.
const QUOTED: [&str; 14] = [
    "gmail_quote",
    "gmail_attr",
    "moz-cite-prefix",
    "yahoo_quoted",
    "divrplyfwdmsg",
    "appendonsend",
    "zwchr",
    "outlookmessageheader",
    "protonmail_quote",
    "mail-editor-reference-message",
    "_replyforwardmessage",
    "border-top:solid #b5c4df",
    "border-top:solid #e1e1e1",
    "data-marker=\"__quoted_text__\"",
];
/// Lines within which the header of a quoted mail goes on.
const HEADER_LINES: usize = 5;
/// Lines over which the sentence before a quotation may be broken.
const WROTE_LINES: usize = 3;
/// Longest line that can be such a sentence, in octets.
const WROTE_LENGTH: usize = 400;

/// The new text of a part in plain text.
#[must_use]
pub(super) fn of_plain(text: &str) -> NewText {
    let lines: Vec<&str> = text.lines().collect();
    let mut new = NewText::default();
    for (place, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('>') {
            new.quoted = true;
        } else if begins_quotation(&lines[place..]) {
            new.quoted = true;
            new.below = below(&lines[place..]);
            break;
        } else if trimmed == "--" && !new.text.trim().is_empty() {
            // A signature says who the writer is, not what is now.
            break;
        } else {
            new.text.push_str(line);
            new.text.push('\n');
        }
    }
    new
}

/// What is not quoted after the beginning of a quotation. Nothing unless its lines are marked: what is quoted must
/// not be taken for what the writer wrote.
fn below(lines: &[&str]) -> String {
    let is_quoted = |line: &&&str| line.trim_start().starts_with('>');
    let mut said = lines.iter().filter(|line| !line.trim().is_empty()).take(WROTE_LINES + 1);
    if !said.any(|line| is_quoted(&line)) {
        return String::new();
    }
    let first = lines.iter().position(|line| is_quoted(&line)).unwrap_or_default();
    let kept: Vec<&str> = lines[first..].iter().filter(|line| !is_quoted(line)).copied().collect();
    kept.join("\n")
}

/// The new text of a part in HTML.
#[must_use]
pub(super) fn of_html(html: &str) -> NewText {
    let (kept, quoted) = without_quotations(html);
    let plain = of_plain(&html_to_text(&kept));
    NewText { quoted: plain.quoted || quoted, ..plain }
}

/// Leaves block quotations out once something was said, and everything after the mark of a quotation.
fn without_quotations(html: &str) -> (String, bool) {
    let mut kept = String::new();
    let (mut rest, mut depth, mut quoted, mut said) = (html, 0_usize, false, false);
    while let Some(at) = rest.find('<') {
        let (before, tag_on) = rest.split_at(at);
        let tag = &tag_on[..tag_on.find('>').map_or(tag_on.len(), |end| end + 1)];
        if depth == 0 {
            kept.push_str(before);
            said |= !before.trim().is_empty();
        }
        rest = &tag_on[tag.len()..];
        match role(tag) {
            Role::Mark if said => return (kept, true),
            Role::Opens if said || depth > 0 => (depth, quoted) = (depth + 1, true),
            Role::Closes if depth > 0 => depth -= 1,
            _ if depth == 0 => kept.push_str(tag),
            _ => {}
        }
    }
    if depth == 0 {
        kept.push_str(rest);
    }
    (kept, quoted)
}

enum Role {
    Mark,
    Opens,
    Closes,
    Other,
}

fn role(tag: &str) -> Role {
    let bytes = tag.as_bytes();
    match bytes.get(1) {
        Some(b'/') if tag.get(2..12).is_some_and(|name| name.eq_ignore_ascii_case("blockquote")) => {
            Role::Closes
        }
        Some(b'b' | b'B') if tag.get(1..11).is_some_and(|name| name.eq_ignore_ascii_case("blockquote")) => {
            Role::Opens
        }
        // A mark needs an attribute.
        Some(b'd' | b'D' | b'h' | b'H' | b'b' | b'B' | b't' | b'T' | b's' | b'S') if tag.contains('=') => {
            let lower = tag.to_ascii_lowercase();
            if QUOTED.iter().any(|mark| lower.contains(mark)) { Role::Mark } else { Role::Other }
        }
        _ => Role::Other,
    }
}

/// Whether a quotation begins with the first of these lines.
fn begins_quotation(lines: &[&str]) -> bool {
    let first = lines[0].trim();
    if first.is_empty() || first.len() > WROTE_LENGTH {
        return false;
    }
    // The sentence may begin with this line only if it does not begin with the next one.
    is_separator(first) || is_header(lines) || (is_wrote(lines) && !(wraps(first) && is_wrote(&lines[1..])))
}

/// `-----Original Message-----`, `Begin forwarded message:`
fn is_separator(line: &str) -> bool {
    let bare = line.trim_matches(['-', '_', '*', '=', ':', ' ', '.', '<', '>']);
    if bare.is_empty() || bare.len() > 80 {
        return false;
    }
    let framed =
        line.starts_with("--") || line.starts_with("__") || line.starts_with("==") || line.starts_with("**");
    let folded = fold(bare);
    let is = |word: &String| if framed { folded.contains(word.as_str()) } else { folded == *word };
    let begins = |word: &String| line.ends_with(':') && folded.starts_with(word.as_str());
    quotation().original.iter().any(|word| is(word) || begins(word))
}

/// `From:`, soon followed by `Sent:`, `To:` or `Subject:`, in any language.
fn is_header(lines: &[&str]) -> bool {
    let Some(from) = field(lines[0]) else { return false };
    if !quotation().from.contains(&from) {
        return false;
    }
    let following = lines[1..].iter().filter(|line| !line.trim().is_empty()).take(HEADER_LINES);
    let others = following.filter_map(|line| field(line)).filter(|name| quotation().sent.contains(name));
    others.take(2).count() == 2
}

/// The name before the colon of a line, folded.
fn field(line: &str) -> Option<String> {
    let (name, _) = line.trim_start_matches(['*', ' ', '\t', '|']).split_once([':', '：'])?;
    (name.len() <= 60).then(|| fold(name.trim_matches(['*', ' ', '\u{a0}'])))
}

/// `On …, somebody wrote:`, with a figure or an address in it.
fn is_wrote(lines: &[&str]) -> bool {
    let mut sentence = String::new();
    for line in lines.iter().take(WROTE_LINES) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('>') || sentence.len() > WROTE_LENGTH {
            return false;
        }
        sentence.push_str(line);
        sentence.push(' ');
        if line.ends_with([':', '：']) {
            let folded = fold(&sentence);
            let named = folded.contains('@') || folded.chars().any(|c| c.is_ascii_digit());
            return named && quotation().wrote.iter().any(|word| has_word(&folded, word));
        }
    }
    false
}

/// Goes on in the next line.
fn wraps(line: &str) -> bool {
    !line.ends_with([':', '：'])
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let after = text[at + word.len()..].chars().next().unwrap_or(' ');
        !word.is_ascii() || (!before.is_alphanumeric() && !after.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn leaves(text: &str, new: &str) {
        let read = of_plain(text);
        assert_eq!((read.text.trim(), read.quoted), (new, true));
    }

    #[test]
    fn a_quotation_is_not_what_the_writer_wrote() {
        leaves("Yes.\n> I am out of the office\n", "Yes.");
        leaves("Yes.\nOn Tue, 3 Mar 2026 at 10:00, Bob <b@x.example> wrote:\nI am away", "Yes.");
        leaves("Ja.\nAm 03.03.2026 um 10:00 schrieb Bob\n<b@x.example>:\nIch bin weg", "Ja.");
        leaves("Oui.\nLe mar. 3 mars 2026 à 10:00, Bob <b@x.example> a\nécrit :\n\nabsent", "Oui.");
        leaves("Yes.\n\n-----Original Message-----\nFrom: Bob\nI am away", "Yes.");
        leaves("Tak.\n\nOd: Bob\nWysłano: wtorek\nDo: Anna\nTemat: Nieobecność\n\nUrlop", "Tak.");
        leaves("はい。\n\n差出人: Bob\n送信日時: 2026年3月3日\n宛先: Anna\n件名: 不在\n\n不在", "はい。");
        leaves("FYI\n\nBegin forwarded message:\n\nI am away", "FYI");
        leaves("FYI\n---------- Forwarded message ---------\nI am away", "FYI");
        leaves(
            "Да.\nвт, 3 мар. 2026 г. в 10:00, Bob <b@x.example>:\n> нет",
            "Да.\nвт, 3 мар. 2026 г. в 10:00, Bob <b@x.example>:",
        );
    }

    #[test]
    fn a_text_with_colons_is_no_quotation() {
        for text in [
            "I am away.\nContact: Anna\nPhone: 12",
            "From: next week I am away.\n\nBye",
            "She wrote: ok",
            "Hallo",
        ] {
            let read = of_plain(text);
            assert_eq!((read.text.trim(), read.quoted), (text, false));
        }
    }

    #[test]
    fn html_loses_its_quotations() {
        let gmail = "<div>Yes</div><div class=\"gmail_quote\"><div>On 3 Mar Bob wrote:</div><blockquote>away</blockquote></div>";
        assert_eq!(of_html(gmail), NewText { text: "Yes\n".into(), quoted: true, ..NewText::default() });
        let mail = of_html(
            "<p>Yes</p><blockquote type=cite>I am <blockquote>out</blockquote> away</blockquote><p>No</p>",
        );
        assert!(
            mail.quoted
                && mail.text.contains("Yes")
                && mail.text.contains("No")
                && !mail.text.contains("away")
        );
        let only = of_html("<html><blockquote>I am away</blockquote></html>");
        assert!(only.text.contains("I am away") && !only.quoted);
    }
}
