//! The words of a part as its reader's program sees them, one after another across all tags: there a token stands
//! alone, or in a URL that it may stand in, so that no program makes a link that takes it elsewhere. Must not
//! know which part it is, or how its words came about.

use super::markup::Fault;
use super::url::resolved;
use super::value::{Bit, END, START, bits};

/// The longest URL with a secret in it, in octets.
const LONGEST_URL: usize = 4_000;
/// The most words of a part with a secret in them.
const MOST_WORDS: usize = 200;
/// The most starts of a URL in one word.
const MOST_SCHEMES: usize = 8;

/// The finished words of a part; secrets are still marked in it, other values are not.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) said: String,
    /// From which octet of the words on they came from which octet of the body.
    places: Vec<(usize, usize)>,
}

impl Flow {
    /// What is said from here on comes from this octet of the body.
    pub(super) fn place(&mut self, at: usize) {
        self.places.push((self.said.len(), at));
    }

    /// Checks every word that touches a secret.
    pub(super) fn check(&self, link_hosts: &[String]) -> Result<(), Fault> {
        let (mut from, mut words) = (0, 0);
        for word in self.said.split(char::is_whitespace) {
            if word.contains(START) {
                words += 1;
                if words > MOST_WORDS {
                    let what = format!("shows the token more than {MOST_WORDS} times");
                    return Err((self.place_of(from), what));
                }
                checked(word, link_hosts).map_err(|what| (self.place_of(from), what))?;
            }
            from += word.len();
            from += self.said[from..].chars().next().map_or(0, char::len_utf8);
        }
        Ok(())
    }

    fn place_of(&self, said: usize) -> usize {
        self.places.iter().rev().find(|(start, _)| *start <= said).map_or(0, |(_, at)| *at)
    }
}

fn checked(word: &str, link_hosts: &[String]) -> Result<(), String> {
    let is_alone = bits(word).iter().all(|bit| match bit {
        Bit::Written(text) => text.chars().all(is_around),
        Bit::Value(..) => true,
    });
    if is_alone {
        return Ok(());
    }
    let url = word.trim_start_matches(|c| is_around(c) && c != START);
    let url = url.trim_end_matches(|c| is_around(c) && c != END);
    if url.starts_with(START) {
        return Err("the token stands in one word with something else: put spaces around it".to_owned());
    }
    if url.len() > LONGEST_URL || url.matches("://").count() > MOST_SCHEMES {
        return Err("the URL with the token is too long".to_owned());
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#!&=%+$@".contains(c);
    let odd = |bit: &Bit<'_>| matches!(bit, Bit::Written(text) if !text.chars().all(is_part));
    if bits(url).iter().any(odd) {
        return Err("the URL with the token has a character where a mail program may end it".to_owned());
    }
    let wrong = |what: String| format!("the URL {what}");
    // A program may see a URL at every scheme, and before the first one without any.
    let schemes = url.match_indices("://").map(|(colon, _)| {
        let before = url[..colon].rfind(|c: char| !c.is_ascii_alphanumeric());
        before.map_or(0, |last| last + url[last..].chars().next().map_or(0, char::len_utf8))
    });
    let starts: Vec<usize> = schemes.collect();
    if starts.first() != Some(&0) {
        resolved(&format!("https://{url}"), link_hosts).map_err(wrong)?;
    }
    for start in starts {
        if url[start..].contains(START) {
            resolved(&url[start..], link_hosts).map_err(wrong)?;
        }
    }
    Ok(())
}

/// Whether it may stand beside a token: no name of a host is made of such.
fn is_around(c: char) -> bool {
    !c.is_alphanumeric() && !matches!(c, '@' | '/' | '\\')
}

#[cfg(test)]
mod tests {
    use super::super::value::{Kind, encoded};
    use super::*;

    fn of(words: &str) -> Result<(), Fault> {
        let words = words
            .replace("{t}", &encoded(Kind::Token, "TOKEN"))
            .replace("{l}", &encoded(Kind::Link, "https://app.acme.example/r?token=TOKEN"));
        let mut flow = Flow::default();
        flow.place(7);
        flow.said = words;
        flow.check(&["app.acme.example".to_owned(), "b.acme.example".to_owned()])
    }

    #[test]
    fn a_token_stands_alone_or_in_a_url_to_a_link_host() {
        for words in [
            "{t}",
            "Hi {t}, and ({l}).",
            "**{t}** „{l}“ →{t}",
            "{t}{l}",
            "evil.example {t} x@evil.example",
            "https://app.acme.example/r?t={t}.",
            "(https://app.acme.example/r/{t}/x)",
            "app.acme.example/{t}",
            "https://app.acme.example/{t}https://b.acme.example/{t}",
            "https://app.acme.example/{t}?next=https://b.acme.example/",
        ] {
            assert!(of(words).is_ok(), "{words}: {:?}", of(words));
        }
    }

    #[test]
    fn no_word_takes_a_token_elsewhere() {
        for words in [
            "evil.example/?t={t}",
            "https://evil.example/?t={t}",
            "HTTPS://evil.example/?t={t}",
            "//evil.example/{t}",
            "{t}@evil.example",
            "{t}.evil.example",
            "x{l}",
            "{l}x",
            "evil.example/?t={t}&u=https://app.acme.example/",
            "https://app.acme.example/?u=https://evil.example/?t={t}",
            "https://app.acme.example/),evil.example/?t={t}",
            "https://app.acme.example/|www.evil.example/?t={t}",
            "https://app.acme.example.evil.example/{t}",
            "https://app.acme.example@evil.example/{t}",
            "https://app.acme.example{t}",
            "mailto:x@evil.example?body={t}",
            "mailto:{t}@evil.example",
            "tel:{t}",
            "\u{200b}evil.example/{t}",
            "evil.example\u{200b}/{t}",
            "https://app.acme.example/{l}",
        ] {
            assert_eq!(of(words).unwrap_err().0, 7, "{words}");
        }
        let long = format!("https://app.acme.example/{}{{t}}", "https://app.acme.example/".repeat(100));
        assert!(of(&long).is_err());
    }
}
