//! The parts of a stored body made into the HTML and the text of a mail. Everything is written from what was read:
//! nothing of the body is passed through. Must not know how the body was written.

use std::fmt::Write as _;

use super::html::is_empty_element;
use super::markup::{Fault, Part};
use super::text::Text;
use super::url::resolved;
use super::value::{Bit, Kind, bits, plain};

const INK: &str = "color:#1b1f24;";
const PARAGRAPH: &str = "margin:0 0 16px;color:#1b1f24;word-break:break-word;";
const HEADING: &str = "margin:0 0 16px;font-size:20px;line-height:1.25;font-weight:700;color:#1b1f24;";
const LINK: &str = "color:#0b57d0;overflow-wrap:anywhere;";
const CODE: &str = "margin:0 0 16px;white-space:pre-wrap;overflow-wrap:anywhere;";

/// The deepest nesting of elements.
const DEEPEST: usize = 60;

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
        text: Text::default(),
        links: Vec::new(),
        pre: 0,
        depth: 0,
    };
    for part in parts {
        writer.part(part)?;
    }
    Ok(Output { html: writer.html, text: writer.text.end() })
}

struct Writer<'a> {
    link_hosts: &'a [String],
    html: String,
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
            Part::Open { name, attributes, at } => self
                .open(name, attributes)
                .map_err(|(attribute, what)| (*at, format!("`{attribute}` {what}"))),
            Part::Close { name } => {
                self.close(name);
                Ok(())
            }
            Part::Text { text, at } => self.words(text).map_err(|(offset, what)| (at + offset, what)),
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
            write!(written, " {attribute}=\"{}\"", escaped(&value)).ok();
        }
        if !attributes.iter().any(|(attribute, _)| attribute == "style") {
            written.push_str(&style(name));
        }
        if name == "a" {
            written.push_str(" target=\"_blank\" rel=\"noopener noreferrer\"");
        }
        write!(self.html, "<{name}{written}>").ok();
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

    /// A text; a URL in it becomes a link, and no token stands in one that leads elsewhere.
    fn words(&mut self, text: &str) -> Result<(), (usize, String)> {
        let mut from = 0;
        while from < text.len() {
            let rest = &text[from..];
            let space: usize = rest.chars().take_while(|c| c.is_whitespace()).map(char::len_utf8).sum();
            self.plain(&rest[..space]);
            let word: usize =
                rest[space..].chars().take_while(|c| !c.is_whitespace()).map(char::len_utf8).sum();
            self.word(&rest[space..space + word]).map_err(|what| (from + space, what))?;
            from += space + word;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let has_secret = bits(word).iter().any(|bit| matches!(bit, Bit::Value(kind, _) if kind.is_secret()));
        let start = ["https://", "http://"].iter().filter_map(|scheme| word.find(scheme)).min();
        if let Some(start) = start {
            let end = word
                .trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'', '"', '*'])
                .len()
                .max(start);
            return match resolved(&word[start..end], self.link_hosts) {
                Ok(_) if !self.links.is_empty() => {
                    self.plain(word);
                    Ok(())
                }
                Ok(url) => {
                    self.plain(&word[..start]);
                    self.anchor(&url);
                    self.plain(&word[end..]);
                    Ok(())
                }
                Err(what) if has_secret => Err(format!("the URL {what}")),
                Err(_) => {
                    self.plain(word);
                    Ok(())
                }
            };
        }
        self.lone(word, has_secret)
    }

    /// A word without a scheme: the link is one by itself, and a token has no host beside it.
    fn lone(&mut self, word: &str, has_secret: bool) -> Result<(), String> {
        if !has_secret {
            self.plain(word);
            return Ok(());
        }
        for (place, bit) in bits(word).into_iter().enumerate() {
            match bit {
                Bit::Value(Kind::Link, link) if self.links.is_empty() => self.anchor(&link),
                Bit::Value(_, text) => self.shown(&text),
                Bit::Written(text) if place == 0 && text.contains(['.', '/', '\\', '@']) => {
                    resolved(&format!("https://{word}"), self.link_hosts)
                        .map_err(|what| format!("the URL {what}"))?;
                    self.shown(text);
                }
                Bit::Written(text) => self.shown(text),
            }
        }
        Ok(())
    }

    fn anchor(&mut self, url: &str) {
        let (style, shown) = (style("a"), escaped(url));
        write!(
            self.html,
            "<a href=\"{shown}\"{style} target=\"_blank\" rel=\"noopener noreferrer\">{shown}</a>"
        )
        .ok();
        self.text.say(url, false);
    }

    fn plain(&mut self, text: &str) {
        self.shown(&plain(text));
    }

    fn shown(&mut self, text: &str) {
        self.html.push_str(&escaped(text));
        self.text.say(text, self.pre > 0);
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
