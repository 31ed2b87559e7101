//! The small language of conditions and stored templates: which names, filters and statements there are, where
//! a text leaves it, and the engine that runs it within limits. Must not know what a mail looks like.
//!
//! It is minijinja's with most of it left out. No operator and no filter makes a value grow, nothing is called,
//! and every instruction and every octet of output costs fuel, so that what passes the check ends soon too.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::{Environment, UndefinedBehavior};

use super::names::{Placeholder, Scope};

/// Instructions of a condition; one octet of output costs a 64th.
pub const CONDITION_FUEL: u64 = 2_000;
/// Of a template.
pub const TEMPLATE_FUEL: u64 = 2_000;
/// The deepest nesting of statements and operators.
const DEEPEST: usize = 24;

/// None of them makes its input grow without bound.
const FILTERS: [&str; 10] =
    ["default", "d", "upper", "lower", "title", "capitalize", "trim", "length", "first", "last"];
const TESTS: [&str; 16] = [
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "string",
    "number",
    "boolean",
    "startingwith",
    "endingwith",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
];

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

struct Walk<'a, 's> {
    source: &'a str,
    scope: &'s Scope<'s>,
    /// Names of loops.
    locals: Vec<&'a str>,
    pieces: Vec<Piece<'a>>,
    /// The first is told.
    wrong: Option<Wrong>,
}

impl<'a, 's> Walk<'a, 's> {
    fn new(source: &'a str, scope: &'s Scope<'s>) -> Self {
        Self { source, scope, locals: Vec::new(), pieces: Vec::new(), wrong: None }
    }

    fn end(self) -> Result<Vec<Piece<'a>>, Wrong> {
        self.wrong.map_or(Ok(self.pieces), Err)
    }

    fn wrong(&mut self, offset: usize, what: impl Into<String>) {
        let wrong = Wrong::at(self.source, offset, what);
        let is_first =
            self.wrong.as_ref().is_none_or(|first| (wrong.line, wrong.column) < (first.line, first.column));
        if is_first {
            self.wrong = Some(wrong);
        }
    }

    fn statements(&mut self, all: &[Stmt<'a>], depth: usize) {
        all.iter().for_each(|one| self.statement(one, depth + 1));
    }

    fn statement(&mut self, statement: &Stmt<'a>, depth: usize) {
        match statement {
            Stmt::EmitRaw(raw) => {
                let at = (raw.raw.as_ptr() as usize).wrapping_sub(self.source.as_ptr() as usize);
                let at = if at < self.source.len() { at } else { raw.span().start_offset as usize };
                self.pieces.push(Piece::Text { text: raw.raw, at });
            }
            Stmt::EmitExpr(emit) => {
                let of = self.expression(&emit.expr, depth);
                let at = emit.expr.span().start_offset as usize;
                self.pieces.push(Piece::Value { of, at });
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr, depth);
                self.nested(condition.span().start_offset as usize, depth);
                self.statements(&condition.true_body, depth);
                self.statements(&condition.false_body, depth);
            }
            Stmt::ForLoop(each) => {
                let at = each.span().start_offset as usize;
                self.nested(at, depth);
                self.expression(&each.iter, depth);
                let Expr::Var(name) = &each.target else {
                    return self.wrong(at, "a loop has one name: `{% for one in event.list %}`");
                };
                if each.recursive {
                    self.wrong(at, "a loop cannot be recursive");
                }
                self.locals.push(name.id);
                if let Some(filter) = &each.filter_expr {
                    self.expression(filter, depth);
                }
                self.statements(&each.body, depth);
                self.locals.pop();
                self.statements(&each.else_body, depth);
            }
            other => {
                let (at, name) = unknown(other);
                self.wrong(
                    at,
                    format!("`{name}` is no statement of stored templates; there are `if` and `for`"),
                );
            }
        }
    }

    fn nested(&mut self, at: usize, depth: usize) {
        if depth > DEEPEST {
            self.wrong(at, format!("is nested more than {DEEPEST} deep"));
        }
    }

    /// The placeholder, if the expression is one alone.
    fn expression(&mut self, expression: &Expr<'a>, depth: usize) -> Option<Placeholder> {
        let at = expression.span().start_offset as usize;
        if depth > DEEPEST {
            self.nested(at, depth);
            return None;
        }
        let deeper = depth + 1;
        match expression {
            Expr::Const(_) => None,
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.name(expression),
            Expr::UnaryOp(one) => self.parts([&one.expr], deeper),
            Expr::BinOp(two) => {
                if let Some(operator) = arithmetic(two.op) {
                    self.wrong(
                        at,
                        format!("`{operator}` is no operator here; compare, `and`, `or`, `not`, `in`"),
                    );
                }
                self.parts([&two.left, &two.right], deeper)
            }
            Expr::Compare(chain) => {
                self.parts([&chain.expr], deeper);
                self.parts(chain.ops.iter().map(|one| &one.expr), deeper)
            }
            Expr::IfExpr(choice) => {
                self.parts([&choice.test_expr, &choice.true_expr], deeper);
                self.parts(choice.false_expr.iter(), deeper)
            }
            Expr::Filter(filter) => {
                self.known(at, ("filter", filter.name), &FILTERS);
                let of = filter.expr.as_ref().and_then(|inner| self.expression(inner, deeper));
                if of.is_some_and(Placeholder::is_secret) {
                    self.wrong(at, "the token and the link take no filter");
                }
                self.arguments(at, &filter.args, deeper)
            }
            Expr::Test(test) => {
                self.known(at, ("test", test.name), &TESTS);
                self.parts([&test.expr], deeper);
                self.arguments(at, &test.args, deeper)
            }
            Expr::List(list) => self.parts(list.items.iter(), deeper),
            Expr::Tuple(tuple) => self.parts(tuple.items.iter(), deeper),
            Expr::Call(_) | Expr::Slice(_) | Expr::Map(_) => {
                self.wrong(at, format!("a {} has no place here", expression.description()));
                None
            }
        }
    }

    fn parts<'e>(&mut self, all: impl IntoIterator<Item = &'e Expr<'a>>, depth: usize) -> Option<Placeholder>
    where
        'a: 'e,
    {
        for one in all {
            let at = one.span().start_offset as usize;
            let is_bare = matches!(one, Expr::Var(_));
            let of = self.expression(one, depth);
            if is_bare && of.is_some_and(Placeholder::is_secret) {
                self.wrong(at, "the token and the link are shown alone: `{{ token }}`, `{{ link }}`");
            }
        }
        None
    }

    fn arguments(&mut self, at: usize, all: &[CallArg<'a>], depth: usize) -> Option<Placeholder> {
        for one in all {
            match one {
                CallArg::Pos(expression) | CallArg::Kwarg(_, expression) => {
                    self.parts([expression], depth);
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => self.wrong(at, "arguments are written out"),
            }
        }
        None
    }

    fn known(&mut self, at: usize, (what, name): (&str, &str), all: &[&str]) {
        if !all.contains(&name) {
            self.wrong(at, format!("`{name}` is no {what} of this language; there are {}", all.join(", ")));
        }
    }

    fn name(&mut self, expression: &Expr<'a>) -> Option<Placeholder> {
        let (root, path) = self.path(expression)?;
        let (root, at) = root;
        if self.locals.contains(&root) || (root == "loop" && !self.locals.is_empty()) {
            return None;
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match self.scope.find(root, &path) {
            Ok(found) => Some(found),
            Err(what) => {
                self.wrong(at, what);
                None
            }
        }
    }

    /// `event.a.b` as `event` and `["a", "b"]`.
    fn path(&mut self, expression: &Expr<'a>) -> Option<((&'a str, usize), Vec<String>)> {
        let at = expression.span().start_offset as usize;
        match expression {
            Expr::Var(variable) => Some(((variable.id, at), Vec::new())),
            Expr::GetAttr(attribute) => {
                let (root, mut path) = self.path(&attribute.expr)?;
                path.push(attribute.name.to_owned());
                Some((root, path))
            }
            Expr::GetItem(item) => {
                let (root, mut path) = self.path(&item.expr)?;
                match item.subscript_expr.as_const() {
                    Some(constant) => path.push(constant.to_string()),
                    None => self.wrong(at, "what stands in brackets is a constant here"),
                }
                Some((root, path))
            }
            _ => {
                self.wrong(at, "only a name has fields");
                None
            }
        }
    }
}

fn arithmetic(operator: BinOpKind) -> Option<&'static str> {
    Some(match operator {
        BinOpKind::Add => "+",
        BinOpKind::Sub => "-",
        BinOpKind::Mul => "*",
        BinOpKind::Div => "/",
        BinOpKind::FloorDiv => "//",
        BinOpKind::Rem => "%",
        BinOpKind::Pow => "**",
        BinOpKind::Concat => "~",
        _ => return None,
    })
}

fn unknown(statement: &Stmt<'_>) -> (usize, &'static str) {
    let (span, name) = match statement {
        Stmt::WithBlock(one) => (one.span(), "with"),
        Stmt::Set(one) => (one.span(), "set"),
        Stmt::SetBlock(one) => (one.span(), "set"),
        Stmt::AutoEscape(one) => (one.span(), "autoescape"),
        Stmt::FilterBlock(one) => (one.span(), "filter"),
        Stmt::Do(one) => (one.span(), "do"),
        Stmt::Template(one) => (one.span(), "template"),
        Stmt::EmitExpr(one) => (one.span(), "{{"),
        Stmt::EmitRaw(one) => (one.span(), "raw"),
        Stmt::ForLoop(one) => (one.span(), "for"),
        Stmt::IfCond(one) => (one.span(), "if"),
    };
    (span.start_offset as usize, name)
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
