//! The text part of a stored e-mail, written beside its HTML. Must not know the grammar of the body.

use std::fmt::Write as _;

use super::value::plain;
use crate::mail::wording;

/// Elements that stand by themselves in a text.
const BLOCKS: [&str; 21] = [
    "p",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "table",
    "tr",
    "blockquote",
    "pre",
    "hr",
    "section",
    "article",
    "address",
    "center",
    "dl",
];

/// The text part while it is written: lines, with an empty one between paragraphs.
#[derive(Default)]
pub(super) struct Text {
    out: String,
    /// Numbers of the lists that are open; `None`: one with dots.
    lists: Vec<Option<usize>>,
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn say(&mut self, text: &str, is_kept: bool) {
        if is_kept {
            self.out.push_str(text);
            return;
        }
        for c in text.chars() {
            let is_space = c.is_whitespace() && c != '\u{a0}';
            if !is_space {
                self.out.push(c);
            } else if !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
                self.out.push(' ');
            }
        }
    }

    fn paragraph(&mut self) {
        let end = self.out.trim_end_matches([' ', '\n']).len();
        // The mark of a list's item is no paragraph yet.
        if self.out.ends_with("- ") || self.out.ends_with(". ") {
            return;
        }
        self.out.truncate(end);
        if !self.out.is_empty() {
            self.out.push_str("\n\n");
        }
    }

    pub(super) fn open(&mut self, name: &str, attributes: &[(String, String)]) {
        if BLOCKS.contains(&name) {
            self.paragraph();
        }
        match name {
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(0)),
            "br" => self.out.push('\n'),
            "td" | "th" => self.say(" ", false),
            "img" => {
                let alt = attributes.iter().find(|(attribute, _)| attribute == "alt");
                if let Some((_, alt)) = alt {
                    self.say(&plain(alt), false);
                }
            }
            "li" => match self.lists.last_mut() {
                Some(Some(number)) => {
                    *number += 1;
                    write!(self.out, "{number}. ").ok();
                }
                _ => self.out.push_str("- "),
            },
            _ => {}
        }
    }

    pub(super) fn close(&mut self, name: &str) {
        if matches!(name, "ul" | "ol") {
            self.lists.pop();
        }
        if BLOCKS.contains(&name) {
            self.paragraph();
        }
    }

    /// Where the link leads, after its text, unless that says so.
    pub(super) fn link(&mut self, href: &str, start: usize) {
        let said = self.out.get(start..).unwrap_or_default().trim();
        let target = href.strip_prefix("mailto:").unwrap_or(href);
        if said.is_empty() {
            self.out.push_str(target);
        } else if said != target && !href.is_empty() {
            write!(self.out, ": {target}").ok();
            self.out.push('\n');
        }
    }

    pub(super) fn end(self) -> String {
        let lines = self.out.trim().lines().map(|line| match line.trim() {
            "" => String::new(),
            _ => wording::wrap(line.trim_end()).trim_end().to_owned(),
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        text.push('\n');
        text
    }
}
