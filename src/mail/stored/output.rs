//! The parts of a stored body made into the HTML and the text of a mail. Everything is written from what was read:
//! nothing of the body is passed through. Must not know how the body was written.

use std::fmt::Write as _;

use super::flow::Flow;
use super::html::is_empty_element;
use super::markup::{Fault, Part};
use super::text::{BLOCKS, Text};
use super::url::resolved;
use super::value::{Bit, Kind, bits, encoded, plain, would_link};

const INK: &str = "color:#1b1f24;";
const PARAGRAPH: &str = "margin:0 0 16px;color:#1b1f24;word-break:break-word;";
const HEADING: &str = "margin:0 0 16px;font-size:20px;line-height:1.25;font-weight:700;color:#1b1f24;";
const LINK: &str = "color:#0b57d0;overflow-wrap:anywhere;";
const CODE: &str = "margin:0 0 16px;white-space:pre-wrap;overflow-wrap:anywhere;";

/// The deepest nesting of elements.
const DEEPEST: usize = 60;
/// The longest part as it is written, in octets.
const LONGEST: usize = 512 * 1024;

/// The two parts of a body.
pub(super) struct Output {
    pub(super) html: String,
    pub(super) text: String,
}

/// Writes both parts. A fault names the octet of the body where its part starts.
pub(super) fn write(parts: &[Part], link_hosts: &[String]) -> Result<Output, Fault> {
    let mut writer = Writer {
        link_hosts,
        html: String::new(),
        flow: Flow::default(),
        text: Text::default(),
        links: Vec::new(),
        pre: 0,
        depth: 0,
    };
    let mut last = 0;
    for part in parts {
        if let Part::Open { at, .. } | Part::Text { at, .. } = part {
            last = *at;
        }
        writer.part(part)?;
        if writer.html.len().max(writer.text.len()) > LONGEST {
            return Err((last, format!("makes a mail of more than {LONGEST} octets")));
        }
    }
    writer.flow.check(link_hosts)?;
    writer.text.check(link_hosts)?;
    Ok(Output { html: writer.html, text: writer.text.end() })
}

struct Writer<'a> {
    link_hosts: &'a [String],
    html: String,
    /// What the HTML says.
    flow: Flow,
    text: Text,
    /// Where the links that are open lead, and where their text starts.
    links: Vec<(String, usize)>,
    pre: usize,
    depth: usize,
}

impl Writer<'_> {
    fn part(&mut self, part: &Part) -> Result<(), Fault> {
        match part {
            Part::Open { at, .. } if self.depth >= DEEPEST => {
                Err((*at, format!("elements are nested more than {DEEPEST} deep")))
            }
            Part::Open { name, attributes, at } => {
                self.flow.place(*at);
                self.text.place(*at);
                self.open(name, attributes)
                    .map_err(|(attribute, what)| (*at, format!("`{attribute}` {what}")))
            }
            Part::Close { name } => {
                self.close(name);
                Ok(())
            }
            Part::Text { text, at } => {
                self.words(text, *at);
                Ok(())
            }
        }
    }

    fn open(&mut self, name: &str, attributes: &[(String, String)]) -> Result<(), (String, String)> {
        let mut written = String::new();
        let mut href = String::new();
        for (attribute, value) in attributes {
            let value = match attribute.as_str() {
                "href" | "src" => {
                    let url = resolved(value, self.link_hosts).map_err(|what| (attribute.clone(), what))?;
                    if attribute == "src" && !url.starts_with("https://") {
                        return Err((attribute.clone(), "is not https".to_owned()));
                    }
                    href.clone_from(&url);
                    url
                }
                "target" | "rel" => continue,
                "alt" | "title" => shown(attribute, value)?,
                _ => literal(attribute, value)?,
            };
            write!(written, " {attribute}=\"{}\"", escaped(&plain(&value))).ok();
        }
        if !attributes.iter().any(|(attribute, _)| attribute == "style") {
            written.push_str(&style(name));
        }
        if name == "a" {
            written.push_str(" target=\"_blank\" rel=\"noopener noreferrer\"");
        }
        write!(self.html, "<{name}{written}>").ok();
        self.apart(name);
        match name {
            "a" => self.links.push((href, self.text.len())),
            "pre" => self.pre += 1,
            _ => {}
        }
        self.depth += usize::from(!is_empty_element(name));
        self.text.open(name, attributes);
        Ok(())
    }

    fn close(&mut self, name: &str) {
        write!(self.html, "</{name}>").ok();
        self.apart(name);
        match name {
            "a" => {
                if let Some((href, start)) = self.links.pop() {
                    self.text.link(&href, start);
                }
            }
            "pre" => self.pre = self.pre.saturating_sub(1),
            _ => {}
        }
        self.depth = self.depth.saturating_sub(1);
        self.text.close(name);
    }

    /// What stands before and after such an element is not one word.
    fn apart(&mut self, name: &str) {
        if BLOCKS.contains(&name) || matches!(name, "br" | "td" | "th") {
            self.flow.said.push('\n');
        }
    }

    /// A text; a URL in it becomes a link.
    fn words(&mut self, text: &str, at: usize) {
        let mut from = 0;
        while from < text.len() {
            let rest = &text[from..];
            let space: usize = rest.chars().take_while(|c| c.is_whitespace()).map(char::len_utf8).sum();
            self.shown(&rest[..space]);
            let word: usize =
                rest[space..].chars().take_while(|c| !c.is_whitespace()).map(char::len_utf8).sum();
            self.flow.place(at + from + space);
            self.text.place(at + from + space);
            self.word(&rest[space..space + word]);
            from += space + word;
        }
    }

    fn word(&mut self, word: &str) {
        let Some(start) = ["https://", "http://"].iter().filter_map(|scheme| word.find(scheme)).min() else {
            return self.lone(word);
        };
        let end =
            word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'', '"', '*']).len().max(start);
        // Where the token would go elsewhere, the finished words are refused.
        let Ok(url) = resolved(&word[start..end], self.link_hosts) else { return self.shown(word) };
        self.shown(&word[..start]);
        self.anchor(&url);
        self.shown(&word[end..]);
    }

    /// A word without a scheme; the link is a URL by itself.
    fn lone(&mut self, word: &str) {
        for bit in bits(word) {
            match bit {
                Bit::Value(Kind::Link, link) => self.anchor(&encoded(Kind::Link, &link)),
                Bit::Value(kind, text) => self.shown(&encoded(kind, &text)),
                Bit::Written(text) => self.shown(text),
            }
        }
    }

    fn anchor(&mut self, url: &str) {
        if !self.links.is_empty() {
            return self.shown(url);
        }
        let (style, shown) = (style("a"), escaped(&plain(url)));
        write!(
            self.html,
            "<a href=\"{shown}\"{style} target=\"_blank\" rel=\"noopener noreferrer\">{shown}</a>"
        )
        .ok();
        self.flow.said.push_str(url);
        self.text.say(url, false);
    }

    /// Secrets stay marked in what is said; an invisible space keeps values from making a link together.
    fn shown(&mut self, text: &str) {
        let said = self.flow.said.len();
        for bit in bits(text) {
            match bit {
                Bit::Value(Kind::Other, value) => {
                    if would_link(self.flow.said.chars().next_back(), &value) {
                        self.flow.said.push('\u{200b}');
                    }
                    self.flow.said.push_str(&value);
                }
                Bit::Value(kind, secret) => self.flow.said.push_str(&encoded(kind, &secret)),
                Bit::Written(text) => self.flow.said.push_str(text),
            }
        }
        let text = self.flow.said[said..].to_owned();
        self.html.push_str(&escaped(&plain(&text)));
        self.text.say(&text, self.pre > 0);
    }
}

/// An attribute that people read may show values, and none that is secret.
fn shown(attribute: &str, value: &str) -> Result<String, (String, String)> {
    let is_secret = |bit: &Bit<'_>| matches!(bit, Bit::Value(kind, _) if kind.is_secret());
    if bits(value).iter().any(is_secret) {
        return Err((attribute.to_owned(), "has no place for the token".to_owned()));
    }
    Ok(plain(value))
}

/// An attribute that a program reads is written out, and loads nothing.
fn literal(attribute: &str, value: &str) -> Result<String, (String, String)> {
    let lower = value.to_ascii_lowercase();
    if bits(value).iter().any(|bit| matches!(bit, Bit::Value(..))) {
        return Err((attribute.to_owned(), "has no place for a placeholder".to_owned()));
    }
    let loads = ["url(", "url (", "expression", "@import", "javascript:", "\\", "/*", "position"];
    if loads.iter().any(|word| lower.contains(word)) {
        return Err((attribute.to_owned(), "could load something or leave its place".to_owned()));
    }
    Ok(value.to_owned())
}

fn style(name: &str) -> String {
    let (class, style) = match name {
        "p" | "blockquote" | "ul" | "ol" => ("ink", PARAGRAPH),
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => ("ink", HEADING),
        "li" | "td" | "th" | "div" => ("ink", INK),
        "pre" => ("ink", CODE),
        "a" => ("link", LINK),
        _ => return String::new(),
    };
    format!(" class=\"{class}\" style=\"{style}\"")
}

/// As text or as the value of an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&#38;"),
            '<' => out.push_str("&#60;"),
            '>' => out.push_str("&#62;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
