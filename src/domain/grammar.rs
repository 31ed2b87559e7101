//! What the language of conditions and templates has, said of a text that was parsed: each name, filter, test,
//! operator and statement that is not of it is refused at its place. Must not know what a text is for.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};

use super::language::{Piece, Wrong};
use super::names::{Placeholder, Scope};

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

/// A walk over a text that was parsed.
pub(super) struct Walk<'a, 's> {
    source: &'a str,
    scope: &'s Scope<'s>,
    /// Names of loops.
    locals: Vec<&'a str>,
    pieces: Vec<Piece<'a>>,
    /// The first is told.
    wrong: Option<Wrong>,
}

impl<'a, 's> Walk<'a, 's> {
    pub(super) fn new(source: &'a str, scope: &'s Scope<'s>) -> Self {
        Self { source, scope, locals: Vec::new(), pieces: Vec::new(), wrong: None }
    }

    pub(super) fn end(self) -> Result<Vec<Piece<'a>>, Wrong> {
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

    pub(super) fn statements(&mut self, all: &[Stmt<'a>], depth: usize) {
        for one in all {
            self.statement(one, depth + 1);
        }
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
                self.parts([&each.iter], depth);
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
    pub(super) fn expression(&mut self, expression: &Expr<'a>, depth: usize) -> Option<Placeholder> {
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
