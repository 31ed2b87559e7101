//! The small language of conditions and stored templates: which names, filters and statements there are, where
//! a text leaves it, and the engine that runs it within limits. Must not know what a mail looks like.
//!
//! It is minijinja's with most of it left out. No operator and no filter makes a value grow, nothing is called,
//! and every instruction and every octet of output costs fuel, so that what passes the check ends soon too.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::machinery::ast::Stmt;
use minijinja::{Environment, UndefinedBehavior};

use super::grammar::Walk;
use super::names::{Placeholder, Scope};

/// Instructions of a condition; one octet of output costs a 64th.
pub const CONDITION_FUEL: u64 = 2_000;
/// Of a template.
pub const TEMPLATE_FUEL: u64 = 2_000;
/// What is wrong in a text, and where: both count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl Wrong {
    /// At an octet of the source.
    pub fn at(source: &str, offset: usize, what: impl Into<String>) -> Self {
        let mut end = offset.min(source.len());
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source[..end];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[start..].chars().count() + 1, what: what.into() }
    }
}

/// A part of a template, in the order of the source; both arms of a condition are there.
pub enum Piece<'a> {
    Text {
        text: &'a str,
        at: usize,
    },
    /// What is shown: a placeholder alone, or a value made from some.
    Value {
        of: Option<Placeholder>,
        at: usize,
    },
}

/// The source with Jexia's `{{.token}}` written as `{{ token}}`; every octet stays where it is.
pub fn plain(source: &str) -> Cow<'_, str> {
    let mut bytes: Option<Vec<u8>> = None;
    let mut from = 0;
    while let Some(found) = source[from..].find("{{") {
        let inner = from + found + 2;
        let rest = source[inner..].trim_start_matches(['-', ' ', '\t']);
        let dot = source.len() - rest.len();
        let is_name = rest.as_bytes().get(1).is_some_and(u8::is_ascii_alphabetic);
        if rest.starts_with('.') && is_name {
            bytes.get_or_insert_with(|| source.as_bytes().to_vec())[dot] = b' ';
        }
        from = inner;
    }
    // An ASCII dot became an ASCII space.
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Cow::Borrowed(source), Cow::Owned)
}

/// The engine of conditions, and what those of templates are made from.
pub fn engine(fuel: u64) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(fuel));
    engine.set_recursion_limit(64);
    engine
}

pub(super) static CONDITIONS: LazyLock<Environment<'static>> = LazyLock::new(|| engine(CONDITION_FUEL));

/// Checks an expression.
pub fn check_expression(source: &str, scope: &Scope<'_>) -> Result<(), Wrong> {
    let parsed = minijinja::machinery::parse_expr(source).map_err(|error| syntax(source, &error))?;
    let mut walk = Walk::new(source, scope);
    walk.expression(&parsed, 0);
    walk.end().map(drop)
}

/// Checks a template, and gives its pieces.
pub fn check_template<'a>(source: &'a str, scope: &Scope<'_>) -> Result<Vec<Piece<'a>>, Wrong> {
    let parsed = minijinja::machinery::parse(source, "template", minijinja::syntax::SyntaxConfig::default());
    let parsed = parsed.map_err(|error| syntax(source, &error))?;
    let mut walk = Walk::new(source, scope);
    if let Stmt::Template(template) = &parsed {
        walk.statements(&template.children, 0);
    }
    walk.end()
}

fn syntax(source: &str, error: &minijinja::Error) -> Wrong {
    let detail = error.detail().unwrap_or("it cannot be read").to_owned();
    match (error.range(), error.line()) {
        (Some(range), _) => Wrong::at(source, range.start, detail),
        (None, line) => Wrong { line: line.unwrap_or(1), column: 1, what: detail },
    }
}

/// Where a piece of a flat text stands in the source.
pub struct Places(Vec<(Range<usize>, usize, bool)>);

impl Places {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// These octets of the flat text came from there; `is_text`: octet by octet.
    pub fn add(&mut self, flat: Range<usize>, source: usize, is_text: bool) {
        self.0.push((flat, source, is_text));
    }

    pub fn of(&self, flat: usize) -> usize {
        let found = self.0.iter().rev().find(|(range, ..)| range.start <= flat);
        found.map_or(
            0,
            |(range, source, is_text)| {
                if *is_text { source + (flat - range.start).min(range.len()) } else { *source }
            },
        )
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}
