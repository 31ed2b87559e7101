//! Stored e-mails: checked when they are saved, rendered within limits into the compiled layout.
//!
//! 1. The engine makes text of the template; each value goes through as letters between two marks
//!    (`value`). 2. Markdown or HTML is read into parts (`markup`). 3. The parts are written anew,
//!    every URL checked (`output`, `url`), and at the end every word that touches a secret (`flow`). 4. The layout goes around them.
//!
//! Must not know which automation a text is of, or how it is sent.

mod flow;
mod html;
mod markup;
mod output;
mod text;
mod url;
mod value;

use std::sync::LazyLock;

use askama::Template as _;
use chrono::TimeDelta;
use minijinja::{Environment, Value};

use crate::domain::catalogue::Text;
use crate::domain::dispatch::{Addressee, Facts};
use crate::domain::language::{self, Piece, Places, TEMPLATE_FUEL, Wrong, check_template};
use crate::domain::names::{
    LINK_MARK, MARKS, Place, Placeholder, Scope, TOKEN_MARK, event_value, member_value, project_value,
};
use crate::mail::brand::{Brand, Look};
use crate::mail::templates::Rendered;
use crate::mail::wording;
use html::is_html;
use markup::Part;
use output::Output;
use value::{Kind, encoded, plain};

/// The longest subject and body as they are stored, in octets.
const LONGEST_SUBJECT: usize = 500;
const LONGEST_BODY: usize = 64 * 1024;
/// The longest subject as it is sent, in characters.
const LONGEST_SENT_SUBJECT: usize = 200;
/// The longest body as it is rendered, in octets.
const LONGEST_RENDERED: usize = 128 * 1024;
/// Stands for the body in the layout's text while that is wrapped.
const BODY: &str = "\u{e000}";

/// What a text is checked for.
#[derive(Clone, Copy)]
pub struct Purposes<'a> {
    pub event_type: &'a str,
    /// Whether the automation issues a token.
    pub token: bool,
    pub link_hosts: &'a [String],
}

/// What is wrong with which of the fields `subject` and `body`.
pub type Fault = (&'static str, Wrong);

/// What a mail is made from. No `Debug`: token and link are secrets.
pub struct Values<'a> {
    pub project: Brand<'a>,
    pub slug: &'a str,
    pub member: &'a Addressee,
    pub event: &'a Facts,
    /// Of the automation.
    pub event_type: &'a str,
    /// Whom the mail goes to.
    pub email: &'a str,
    pub token: Option<&'a str>,
    pub link: Option<&'a str>,
    pub expires_in: Option<TimeDelta>,
    pub link_hosts: &'a [String],
}

/// Why a stored e-mail cannot be made. Trying again does not help. Names no value.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("the {0} of the stored e-mail failed in line {1}: {2}")]
    Failed(&'static str, usize, String),
    #[error("the body of the stored e-mail is too long once it is rendered")]
    TooLong,
    #[error("the body of the stored e-mail is wrong: {0}")]
    Body(String),
    #[error("the layout failed: {0}")]
    Layout(#[from] askama::Error),
}

/// Conditions have an engine of their own: this one shows values only encoded.
static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = language::engine(TEMPLATE_FUEL);
    engine.set_formatter(|out, _, value| out.write_str(&value::of(value)).map_err(minijinja::Error::from));
    engine
});

/// Whether a text shows the token or the link.
pub fn carries(text: &Text, event_type: &str) -> bool {
    let source = language::plain(&text.body);
    let pieces = check_template(&source, &Scope { event_type, place: Place::Body, token: true });
    let is_secret = |piece: &Piece<'_>| matches!(piece, Piece::Value { of: Some(of), .. } if of.is_secret());
    pieces.is_ok_and(|pieces| pieces.iter().any(is_secret))
}

/// Checks a text before it is stored.
pub fn check(text: &Text, purposes: &Purposes<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Err(wrong) = check_subject(&text.subject, purposes) {
        faults.push(("subject", wrong));
    }
    if let Err(wrong) = check_body(&text.body, purposes) {
        faults.push(("body", wrong));
    }
    faults
}

fn check_subject(subject: &str, purposes: &Purposes<'_>) -> Result<(), Wrong> {
    sound(subject, LONGEST_SUBJECT)?;
    if let Some(at) = subject.find(char::is_control) {
        return Err(Wrong::at(subject, at, "is not one line"));
    }
    let scope = Scope { event_type: purposes.event_type, place: Place::Subject, token: purposes.token };
    check_template(&language::plain(subject), &scope).map(drop)
}

fn check_body(body: &str, purposes: &Purposes<'_>) -> Result<(), Wrong> {
    sound(body, LONGEST_BODY)?;
    let source = language::plain(body);
    let scope = Scope { event_type: purposes.event_type, place: Place::Body, token: purposes.token };
    let pieces = check_template(&source, &scope)?;
    let is_carried =
        pieces.iter().any(|piece| matches!(piece, Piece::Value { of: Some(of), .. } if of.is_secret()));
    if purposes.token && !is_carried {
        return Err(Wrong::at(
            body,
            0,
            "shows neither `{{ token }}` nor `{{ link }}`, though a token is issued",
        ));
    }
    let (flat, places) = flat(&pieces);
    let wrong = |(at, what): markup::Fault| Wrong::at(&source, places.of(at), what);
    let parts = read(&flat, is_html(body)).map_err(wrong)?;
    output::write(&parts, purposes.link_hosts).map(drop).map_err(wrong)
}

fn sound(text: &str, longest: usize) -> Result<(), Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::at(text, 0, "is empty"));
    }
    if text.len() > longest {
        return Err(Wrong::at(text, longest, format!("is longer than {longest} octets")));
    }
    let odd = |c: char| MARKS.contains(&c) || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match text.find(odd) {
        Some(at) => Err(Wrong::at(text, at, "has a control character, or one of U+E000 to U+E003")),
        None => Ok(()),
    }
}

/// All pieces one after another, each value a sample, and where each stands in the source.
fn flat(pieces: &[Piece<'_>]) -> (String, Places) {
    let (mut flat, mut places) = (String::new(), Places::new());
    for piece in pieces {
        let start = flat.len();
        match piece {
            Piece::Text { text, at } => {
                flat.push_str(text);
                places.add(start..flat.len(), *at, true);
            }
            Piece::Value { of, at } => {
                flat.push_str(&match of {
                    Some(Placeholder::Token) => encoded(Kind::Token, "TOKEN"),
                    Some(Placeholder::Link) => encoded(Kind::Link, "https://link.invalid/"),
                    _ => encoded(Kind::Other, "value"),
                });
                places.add(start..flat.len(), *at, false);
            }
        }
    }
    (flat, places)
}

fn read(body: &str, is_html: bool) -> Result<Vec<Part>, markup::Fault> {
    if is_html { html::read(body) } else { markup::markdown(body) }
}

/// Renders both parts of a stored e-mail.
pub fn render(text: &Text, values: &Values<'_>) -> Result<Rendered, StoredError> {
    let context = values.context();
    let subject = filled("subject", &text.subject, &context)?;
    let body = filled("body", &text.body, &context)?;
    if body.len() > LONGEST_RENDERED {
        return Err(StoredError::TooLong);
    }
    let parts = read(&body, is_html(&text.body)).map_err(|(_, what)| StoredError::Body(what))?;
    let output = output::write(&parts, values.link_hosts).map_err(|(_, what)| StoredError::Body(what))?;
    let look = Look::of(&values.project);
    let subject =
        wording::one_line(&plain(&subject), LONGEST_SENT_SUBJECT).unwrap_or_else(|| look.name.clone());
    laid_out(subject, &output, look, values.email)
}

fn filled(field: &'static str, source: &str, context: &Value) -> Result<String, StoredError> {
    let source: String = language::plain(source).chars().filter(|c| !MARKS.contains(c)).collect();
    ENGINE.render_str(&source, context.clone()).map_err(|error| {
        let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        StoredError::Failed(field, error.line().unwrap_or(1), what)
    })
}

impl Values<'_> {
    fn context(&self) -> Value {
        let email = crate::domain::names::shown(self.email);
        let mut all = vec![
            ("event", event_value(self.event, self.event_type)),
            ("member", member_value(self.member)),
            ("project", project_value(self.project.name, self.slug)),
            ("email", Value::from(email)),
        ];
        // Of two mails of one event perhaps one carries no token: there these are empty.
        let marked = |mark: char, text: Option<&str>| {
            text.map_or_else(|| Value::from(()), |text| Value::from(format!("{mark}{text}")))
        };
        let left =
            self.expires_in.map_or_else(|| Value::from(()), |left| Value::from(wording::duration(left)));
        all.extend([
            ("token", marked(TOKEN_MARK, self.token)),
            ("link", marked(LINK_MARK, self.link)),
            ("expires_in", left),
        ]);
        Value::from_pairs(all)
    }
}

/// What the layout sees, as `m`.
struct View<'a> {
    look: Look<'a>,
    email: Option<String>,
    subject: String,
    body: &'a str,
}

#[derive(askama::Template)]
#[template(path = "layout/stored.html")]
struct StoredHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "layout/stored.txt", escape = "none")]
struct StoredText<'a> {
    m: &'a View<'a>,
}

fn laid_out(subject: String, output: &Output, look: Look<'_>, email: &str) -> Result<Rendered, StoredError> {
    let email = wording::one_line(email, 254).filter(|email| !email.contains(['/', ' ']));
    let view = View { look, email, subject, body: &output.html };
    let html = StoredHtml { m: &view }.render()?;
    let view = View { body: BODY, ..view };
    // The lines of the body are wrapped already, and stay as they are.
    let text = wording::wrap(&StoredText { m: &view }.render()?).replacen(BODY, output.text.trim_end(), 1);
    Ok(Rendered { subject: view.subject, text, html })
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
