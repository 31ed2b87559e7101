//! The body of a stored e-mail that is HTML: a strict part of it is read, so that nothing loads what it should not
//! or leaves the layout. Must not know how it is written out again.

use super::markup::{Fault, Part};

/// Elements that a body may have. What is not here could load something, hide something or leave the layout.
const ELEMENTS: [&str; 44] = [
    "a",
    "abbr",
    "address",
    "article",
    "b",
    "blockquote",
    "br",
    "center",
    "code",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "section",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "u",
];
/// Of a list, written by hand often enough.
const MORE: [&str; 3] = ["ul", "caption", "mark"];
const ATTRIBUTES: [&str; 22] = [
    "href",
    "src",
    "alt",
    "title",
    "style",
    "class",
    "width",
    "height",
    "align",
    "valign",
    "bgcolor",
    "color",
    "border",
    "cellpadding",
    "cellspacing",
    "colspan",
    "rowspan",
    "dir",
    "lang",
    "role",
    "target",
    "rel",
];
const EMPTY: [&str; 3] = ["br", "hr", "img"];
/// Around a whole document: left out, since the layout has them.
const AROUND: [&str; 2] = ["html", "body"];

/// A body with a tag of HTML in it is HTML; Markdown has none here.
pub(super) fn is_html(body: &str) -> bool {
    body.match_indices('<').any(|(at, _)| {
        let rest = body[at + 1..].strip_prefix('/').unwrap_or(&body[at + 1..]);
        let name: String =
            rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let after = rest[name.len()..].chars().next();
        let is_tag = is_element(&name)
            || ["html", "body", "head", "script", "style", "form", "iframe", "svg"].contains(&name.as_str());
        (is_tag && after.is_none_or(|c| c.is_whitespace() || matches!(c, '>' | '/')))
            || rest.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("!doctype"))
    })
}

fn is_element(name: &str) -> bool {
    ELEMENTS.contains(&name) || MORE.contains(&name)
}

pub(super) fn is_empty_element(name: &str) -> bool {
    EMPTY.contains(&name)
}

/// Reads HTML: a strict part of it, whose every tag is known and closed where it was opened.
pub(super) fn read(body: &str) -> Result<Vec<Part>, Fault> {
    let mut reader = Reader { body, at: 0, open: Vec::new(), parts: Vec::new() };
    while reader.at < body.len() {
        reader.step()?;
    }
    match reader.open.pop() {
        Some((name, at)) => Err((at, format!("`<{name}>` is not closed"))),
        None => Ok(reader.parts),
    }
}

struct Reader<'a> {
    body: &'a str,
    at: usize,
    open: Vec<(String, usize)>,
    parts: Vec<Part>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.body[self.at..]
    }

    fn step(&mut self) -> Result<(), Fault> {
        let at = self.at;
        let rest = self.rest();
        if rest.starts_with("<!--") {
            let end = rest.find("-->").ok_or((at, "the comment does not end".to_owned()))?;
            self.at += end + 3;
            return Ok(());
        }
        let is_tag = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?');
        if rest.starts_with('<') && rest[1..].starts_with(is_tag) {
            return self.tag();
        }
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == '<').map_or(rest.len(), |(end, _)| end);
        let text = decoded(&rest[..end]);
        self.parts.push(Part::Text { text, at });
        self.at += end;
        Ok(())
    }

    fn tag(&mut self) -> Result<(), Fault> {
        let at = self.at;
        self.at += 1;
        if self.rest().get(..8).is_some_and(|start| start.eq_ignore_ascii_case("!doctype")) {
            let end = self.rest().find('>').ok_or((at, "the tag does not end".to_owned()))?;
            self.at += end + 1;
            return Ok(());
        }
        let is_closing = self.rest().starts_with('/');
        self.at += usize::from(is_closing);
        let name = self.word().to_ascii_lowercase();
        if name == "head" && !is_closing {
            let mut ends = self.rest().as_bytes().windows(7);
            let end = ends.position(|end| end.eq_ignore_ascii_case(b"</head>"));
            self.at += end.ok_or((at, "`<head>` is not closed".to_owned()))? + 7;
            return Ok(());
        }
        if !is_element(&name) && !AROUND.contains(&name.as_str()) {
            return Err((at, format!("`<{name}>` has no place in an e-mail")));
        }
        let attributes = self.attributes(at)?;
        if AROUND.contains(&name.as_str()) {
            return Ok(());
        }
        if is_closing { self.close(name, at) } else { self.open(name, attributes, at) }
    }

    fn open(&mut self, name: String, attributes: Vec<(String, String)>, at: usize) -> Result<(), Fault> {
        if !is_empty_element(&name) {
            if self.open.len() > 60 {
                return Err((at, "elements are nested more than 60 deep".to_owned()));
            }
            self.open.push((name.clone(), at));
        }
        self.parts.push(Part::Open { name, attributes, at });
        Ok(())
    }

    fn close(&mut self, name: String, at: usize) -> Result<(), Fault> {
        match self.open.pop() {
            Some((open, _)) if open == name => {
                self.parts.push(Part::Close { name });
                Ok(())
            }
            Some((open, _)) => Err((at, format!("`</{name}>` stands where `</{open}>` is due"))),
            None => Err((at, format!("`</{name}>` closes nothing"))),
        }
    }

    fn word(&mut self) -> String {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let word: String = self.rest().chars().take_while(is_name).collect();
        self.at += word.len();
        word
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Up to the end of the tag.
    fn attributes(&mut self, tag: usize) -> Result<Vec<(String, String)>, Fault> {
        let mut all = Vec::new();
        loop {
            self.skip_space();
            let at = self.at;
            if self.rest().is_empty() {
                return Err((tag, "the tag does not end".to_owned()));
            }
            if self.rest().starts_with("/>") || self.rest().starts_with('>') {
                self.at += if self.rest().starts_with('/') { 2 } else { 1 };
                return Ok(all);
            }
            let name = self.word().to_ascii_lowercase();
            if !ATTRIBUTES.contains(&name.as_str()) {
                let what = if name.is_empty() {
                    "what stands in the tag".to_owned()
                } else {
                    format!("the attribute `{name}`")
                };
                return Err((at, format!("{what} has no place in an e-mail")));
            }
            self.skip_space();
            let value = if self.rest().starts_with('=') { self.value()? } else { String::new() };
            all.push((name, value));
        }
    }

    fn value(&mut self) -> Result<String, Fault> {
        self.at += 1;
        self.skip_space();
        let at = self.at;
        let quote = self.rest().chars().next().filter(|c| matches!(c, '"' | '\''));
        let quote = quote.ok_or((at, "the value of an attribute stands in quotes".to_owned()))?;
        self.at += 1;
        let end = self.rest().find(quote).ok_or((at, "the quotes do not end".to_owned()))?;
        let value = decoded(&self.rest()[..end]);
        self.at += end + 1;
        Ok(value)
    }
}

/// Text with its character references read; one that is not known stays as it is written.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        if let Some((c, end)) = end.and_then(|end| Some((reference(&rest[1..end])?, end))) {
            out.push(c);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| !c.is_control() && !crate::domain::names::MARKS.contains(c));
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "mdash" => '—',
        "ndash" => '–',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "bull" => '•',
        "middot" => '·',
        "rarr" => '→',
        "larr" => '←',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_a_tag_is_html_and_any_other_is_markdown() {
        for body in [
            "<p>x</p>",
            "Hello <a href=\"x\">y</a>",
            "a<br/>b",
            "<!DOCTYPE html><p>x</p>",
            "<script>x</script>",
        ] {
            assert!(is_html(body), "{body}");
        }
        for body in ["a < b and b > a", "<https://a.example>", "# x", "1<2", "<3", ""] {
            assert!(!is_html(body), "{body}");
        }
    }

    #[test]
    fn html_that_leaves_the_layout_is_refused_at_its_place() {
        for (body, at) in [
            ("<p>x", 0),
            ("x</p>", 1),
            ("<p><b>x</p></b>", 7),
            ("<p onclick=\"x\">x</p>", 3),
            ("<script>x</script>", 0),
            ("<p><iframe></iframe></p>", 3),
            ("<a href=x>x</a>", 8),
            ("<a href=\"x>x</a>", 8),
            ("<!-- x", 0),
            ("<p", 0),
        ] {
            assert_eq!(read(body).unwrap_err().0, at, "{body}");
        }
        assert_eq!(read("<HEAD>é<title>x</title></Head>x").unwrap().len(), 1);
        assert_eq!(
            read("<html><head><title>x</title></head><body><p>x &amp; y</p></body></html>").unwrap().len(),
            3
        );
    }
}
