//! Values on their way through a markup: each is a run of hexadecimal digits between two marks, which no grammar
//! reads, and is turned into what is shown at the very end. Must not know any grammar.

use minijinja::Value;

use crate::domain::names::{LINK_MARK, MARKS, TOKEN_MARK};
use crate::mail::wording;

/// Around a value.
pub(super) const START: char = '\u{e000}';
pub(super) const END: char = '\u{e001}';

/// The longest value that is shown, in characters.
const LONGEST: usize = 1_000;

/// What a value is, which decides where it may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Token,
    Link,
    Other,
}

impl Kind {
    pub(super) fn is_secret(self) -> bool {
        self != Self::Other
    }

    fn letter(self) -> char {
        match self {
            Self::Token => 't',
            Self::Link => 'l',
            Self::Other => 'v',
        }
    }
}

/// A piece of a text that was rendered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bit<'a> {
    Written(&'a str),
    Value(Kind, String),
}

/// A value as it goes through the markup.
pub(super) fn encoded(kind: Kind, text: &str) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut out = String::with_capacity(text.len() * 2 + 8);
    out.extend([START, kind.letter()]);
    for byte in text.bytes() {
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out.push(END);
    out
}

/// What the engine shows: a value of a template, encoded.
pub(super) fn of(value: &Value) -> String {
    if value.is_none() || value.is_undefined() {
        return String::new();
    }
    let text = value.to_string();
    if let Some(link) = text.strip_prefix(LINK_MARK) {
        return encoded(Kind::Link, link);
    }
    match text.strip_prefix(TOKEN_MARK) {
        Some(token) => encoded(Kind::Token, token),
        None => encoded(Kind::Other, &wording::unlinked(&text.replace(|c| MARKS.contains(&c), ""), LONGEST)),
    }
}

/// A rendered text in its bits.
pub(super) fn bits(text: &str) -> Vec<Bit<'_>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(START) {
        if start > 0 {
            all.push(Bit::Written(&rest[..start]));
        }
        let inner = &rest[start + START.len_utf8()..];
        let Some(end) = inner.find(END) else { break };
        all.extend(decoded(&inner[..end]));
        rest = &inner[end + END.len_utf8()..];
    }
    if !rest.is_empty() {
        all.push(Bit::Written(rest));
    }
    all
}

fn decoded(run: &str) -> Option<Bit<'static>> {
    let kind = match run.chars().next()? {
        't' => Kind::Token,
        'l' => Kind::Link,
        _ => Kind::Other,
    };
    let digits = run.get(1..)?.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
    Some(Bit::Value(kind, text))
}

/// Whether a value and what is said before it would read as one URL or host that neither of them is.
pub(super) fn would_link(before: Option<char>, value: &str) -> bool {
    let is_dot = |c| matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    match (before, value.chars().next()) {
        (Some(':' | '/'), Some('/')) => true,
        (Some(before), Some(first)) => {
            is_dot(before) && first.is_alphanumeric() || before.is_alphanumeric() && is_dot(first)
        }
        _ => false,
    }
}

/// A rendered text as it is read.
pub(super) fn plain(text: &str) -> String {
    let bits = bits(text).into_iter();
    bits.map(|bit| match bit {
        Bit::Written(text) => text.to_owned(),
        Bit::Value(_, text) => text,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_through_and_comes_out_whole() {
        let text = format!("a {}b{}", encoded(Kind::Other, "x <é> y"), encoded(Kind::Token, "T"));
        let all = bits(&text);
        assert_eq!(all[1], Bit::Value(Kind::Other, "x <é> y".to_owned()));
        assert_eq!(all[3], Bit::Value(Kind::Token, "T".to_owned()));
        assert_eq!(plain(&text), "a x <é> ybT");
        assert_eq!(of(&Value::from(())), "");
    }

    #[test]
    fn nobody_else_marks_a_value() {
        let forged = format!("{LINK_MARK}https://evil.example");
        assert_eq!(
            bits(&of(&Value::from(format!("x{forged}"))))[0],
            Bit::Value(Kind::Other, "xhttps:\u{200b}//evil.\u{200b}example".to_owned())
        );
    }

    #[test]
    fn what_would_be_one_url_or_host_with_what_is_before_it_is_told() {
        for (before, value) in
            [(':', "//x"), ('/', "/x"), ('l', ".example"), ('.', "example"), ('l', "\u{3002}x")]
        {
            assert!(would_link(Some(before), value), "{before}{value}");
        }
        for (before, value) in [(' ', "//x"), (':', "x"), ('.', " x"), ('(', ".x"), ('l', "x")] {
            assert!(!would_link(Some(before), value), "{before}{value}");
        }
        assert!(!would_link(None, "//x"));
    }
}
