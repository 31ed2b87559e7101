//! The wording shared by e-mails: names made safe to show, durations a person reads, wrapped text.
//!
//! Must not know which e-mails there are.

use chrono::TimeDelta;

/// Characters of a name; more is no name, and room for a stranger's message.
pub(super) const LONGEST_NAME: usize = 64;
/// The line `Username: ` with the longest name just fits.
const LINE: usize = 74;

/// A text on one line, `longest` characters at most; none if nothing is left.
///
/// Control characters and line separators become a space. Characters that turn the direction of the text
/// around are left out, since with them a name could make the words after it read otherwise.
pub(super) fn one_line(text: &str, longest: usize) -> Option<String> {
    let spaced: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_control() || c.is_whitespace() || is_separator(c) { ' ' } else { c })
        .collect();
    let line = spaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= longest {
        return Some(line).filter(|line| !line.is_empty());
    }
    let cut: String = line.chars().take(longest - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

/// A name as it may be shown: none if a mail program would make a link of it.
///
/// The member may be a stranger who signed up with somebody else's address; a link in the name would make
/// the project's own mail carry an advertisement.
pub(super) fn name(text: &str) -> Option<String> {
    one_line(text, LONGEST_NAME).filter(|name| !holds_url(name))
}

/// As [`name`], and stricter: no address and no bare domain, which a first name does not need.
pub(super) fn first_name(text: &str) -> Option<String> {
    name(text).filter(|name| !name.contains('@') && !holds_domain(name))
}

/// A text that somebody else chose, on one line and with nothing in it that a mail program would make a link of:
/// an invisible space stands where a link would be recognised. An e-mail address alone stays as it is.
pub(super) fn unlinked(text: &str, longest: usize) -> String {
    let line = one_line(text, longest).unwrap_or_default();
    if crate::domain::address::EmailAddress::parse(&line).is_ok()
        || !(holds_url(&line) || holds_domain(&line))
    {
        return line;
    }
    let line = line.replace("://", ":\u{200b}//");
    let mut out = String::with_capacity(line.len() + 8);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        let is_dot = matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
        if is_dot && chars.peek().is_some_and(|next| next.is_alphanumeric()) {
            out.push('\u{200b}');
        }
    }
    out
}

/// `30 minutes`, `1 hour and 30 minutes`, `12 hours`, `7 days`; never longer than the duration is.
pub(super) fn duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    if minutes < 1 {
        return count(seconds, "second");
    }
    if hours < 1 {
        return count(minutes, "minute");
    }
    // Up to two days in hours: "24 hours" leaves less to guess than "1 day".
    if hours < 48 {
        return with_rest(count(hours, "hour"), minutes % 60, "minute");
    }
    with_rest(count(hours / 24, "day"), hours % 24, "hour")
}

/// How many automatic replies have come, as a sentence.
pub(super) fn automatic_replies(count: u32) -> String {
    match count {
        1 => "One automatic reply has come from this address so far.".to_owned(),
        count => format!("{count} automatic replies in a row have come from this address."),
    }
}

/// Paragraphs, set apart by empty lines, with their lines joined and wrapped. A word too long for a line
/// stands alone, whole: a link that is cut is no link.
pub(super) fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.trim().is_empty() {
            paragraph.extend(line.split(' ').filter(|word| !word.is_empty()));
        } else if !paragraph.is_empty() {
            if !out.is_empty() {
                out.push('\n');
            }
            push_wrapped(&mut out, &paragraph);
            paragraph.clear();
        }
    }
    out
}

fn push_wrapped(out: &mut String, words: &[&str]) {
    let mut width = 0;
    for word in words {
        let len = word.chars().count();
        if width > 0 && width + 1 + len > LINE {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += len;
    }
    out.push('\n');
}

fn count(n: i64, unit: &str) -> String {
    if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") }
}

fn with_rest(whole: String, rest: i64, unit: &str) -> String {
    if rest == 0 { whole } else { format!("{whole} and {}", count(rest, unit)) }
}

/// Separators of lines and paragraphs, which are no control characters to Unicode.
fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Marks of direction and zero-width spaces; not the joiners, which emoji and Persian need.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn holds_url(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.contains("://") || lower.contains("www.") || lower.contains(['/', '\\'])
}

/// A dot (also one that programs read as such) with a letter or digit before it and two letters after it.
fn holds_domain(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    chars.windows(4).any(|w| {
        matches!(w[1], '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
            && w[0].is_alphanumeric()
            && w[2].is_alphabetic()
            && w[3].is_alphabetic()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(one_line("a\r\nb\u{2028}c\u{2029}d\u{85}e\0f\tg", 64).as_deref(), Some("a b c d e f g"));
        assert_eq!(one_line(" \r\n\u{200b} ", 64), None);
        assert_eq!(one_line("abc\u{202e}def", 64).as_deref(), Some("abcdef"));
    }

    #[test]
    fn a_long_name_is_cut_at_64_characters() {
        assert_eq!(name(&"é".repeat(64)).unwrap().chars().count(), 64);
        let cut = name(&"é".repeat(65)).unwrap();
        assert!(cut.chars().count() == 64 && cut.ends_with('…'));
    }

    #[test]
    fn a_name_that_would_become_a_link_is_not_shown() {
        for hostile in ["https://evil.example", "WWW.evil.example", "evil.example/win", "a\\b", "x :// y"] {
            assert_eq!(name(hostile), None, "{hostile}");
        }
        for hostile in ["evil.example", "Win at evil.com now", "me@evil", "evil\u{3002}com"] {
            assert_eq!(first_name(hostile), None, "{hostile}");
        }
        for fine in ["Elon", "J.R.R. Tolkien", "Anne-Marie O'Neil", "Иван", "Dr. Who", "李"] {
            assert_eq!(first_name(fine).as_deref(), Some(fine));
        }
        assert_eq!(name("john.doe").as_deref(), Some("john.doe"));
    }

    #[test]
    fn durations_read_as_a_person_says_them() {
        let said = [
            (45, "45 seconds"),
            (60, "1 minute"),
            (30 * 60, "30 minutes"),
            (3600, "1 hour"),
            (90 * 60, "1 hour and 30 minutes"),
            (12 * 3600, "12 hours"),
            (24 * 3600, "24 hours"),
            (48 * 3600, "2 days"),
            (60 * 3600, "2 days and 12 hours"),
            (7 * 86400, "7 days"),
            (-5, "0 seconds"),
        ];
        for (seconds, text) in said {
            assert_eq!(duration(TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn a_long_link_stands_alone_and_whole() {
        let link = format!("https://app.acme.example/{}", "x".repeat(90));
        assert_eq!(
            wrap(&format!("one\ntwo\n\n\n\n{link}\n\nthree")),
            format!("one two\n\n{link}\n\nthree\n")
        );
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word(text in "[a-z ]{0,400}") {
            let wrapped = wrap(&text);
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= LINE || !line.contains(' ')));
            prop_assert_eq!(
                wrapped.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }

        #[test]
        fn no_name_holds_a_control_character(text in "(?s).{0,200}") {
            if let Some(name) = name(&text) {
                prop_assert!(!name.contains(|c: char| c.is_control() || is_separator(c)));
                prop_assert!(name.chars().count() <= LONGEST_NAME);
            }
        }
    }
}
