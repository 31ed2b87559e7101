//! The text part of a stored e-mail, written beside its HTML; secrets stay marked in it until its end, so that it
//! is checked as it is read. Must not know the grammar of the body.

use std::fmt::Write as _;

use super::flow::Flow;
use super::markup::Fault;
use super::value::plain;
use crate::mail::wording;

/// Elements that stand by themselves in a text.
pub(super) const BLOCKS: [&str; 21] = [
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
    flow: Flow,
    /// Numbers of the lists that are open; `None`: one with dots.
    lists: Vec<Option<usize>>,
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.flow.said.len()
    }

    /// What is said from here on comes from this octet of the body.
    pub(super) fn place(&mut self, at: usize) {
        self.flow.place(at);
    }

    pub(super) fn say(&mut self, text: &str, is_kept: bool) {
        let out = &mut self.flow.said;
        if is_kept {
            out.push_str(text);
            return;
        }
        for c in text.chars() {
            let is_space = c.is_whitespace() && c != '\u{a0}';
            if !is_space {
                out.push(c);
            } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
        }
    }

    fn paragraph(&mut self) {
        let out = &mut self.flow.said;
        let end = out.trim_end_matches([' ', '\n']).len();
        // The mark of a list's item is no paragraph yet.
        if out.ends_with("- ") || out.ends_with(". ") {
            return;
        }
        out.truncate(end);
        if !out.is_empty() {
            out.push_str("\n\n");
        }
    }

    pub(super) fn open(&mut self, name: &str, attributes: &[(String, String)]) {
        if BLOCKS.contains(&name) {
            self.paragraph();
        }
        match name {
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(0)),
            "br" => self.flow.said.push('\n'),
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
                    write!(self.flow.said, "{number}. ").ok();
                }
                _ => self.flow.said.push_str("- "),
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
        let out = &mut self.flow.said;
        let said = out.get(start..).unwrap_or_default().trim();
        let target = href.strip_prefix("mailto:").unwrap_or(href);
        if said.is_empty() {
            out.push_str(target);
        } else if said != target && !href.is_empty() {
            writeln!(out, ": {target}").ok();
        }
    }

    /// Checks every word that touches a secret.
    pub(super) fn check(&self, link_hosts: &[String]) -> Result<(), Fault> {
        self.flow.check(link_hosts)
    }

    pub(super) fn end(self) -> String {
        let out = plain(&self.flow.said);
        let lines = out.trim().lines().map(|line| match line.trim() {
            "" => String::new(),
            _ => wording::wrap(line.trim_end()).trim_end().to_owned(),
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        text.push('\n');
        text
    }
}
