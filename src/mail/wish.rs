//! What somebody wants an automation to be, whoever asks: the API or a file. Checked whole, every fault named by
//! its field, and within a text by line and column. Must not know who asks, or how an integration is named.

use std::time::Duration;

use super::stored::{self, Purposes};
use crate::domain::catalogue::{
    Automation, BUILT_IN, BuiltIn, MAX_AGE, MAX_AGE_WITH_TOKEN, STORED, Text, TokenPlan,
};
use crate::domain::condition::Condition;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::domain::names::event_fields;
use crate::domain::token::Purpose;
use crate::domain::{duration, link};

const SHORTEST: Duration = Duration::from_mins(1);
/// The longest time for which a mail is tried.
const LONGEST_AGE: Duration = Duration::from_hours(24 * 30);
/// The most texts of one automation.
const MOST_TEXTS: usize = 50;

/// What is given; the rest stays as it is stored, or has its default. An empty condition or link takes it away.
#[derive(Default)]
pub struct Wish {
    pub name: String,
    pub event: Option<String>,
    pub integration: Option<IntegrationId>,
    pub template: Option<String>,
    pub subject: Option<String>,
    pub body: Option<String>,
    pub texts: Option<Vec<Text>>,
    pub condition: Option<String>,
    pub link: Option<String>,
    pub token: Option<TokenWish>,
    pub max_age: Option<Duration>,
    pub enabled: Option<bool>,
}

/// The token that is wanted.
#[derive(Clone, Copy)]
pub enum TokenWish {
    /// None, though the event is usually answered with one.
    None,
    Some {
        purpose: Option<Purpose>,
        lifetime: Option<Duration>,
    },
}

/// What a wish is checked against.
pub struct Ground<'a> {
    pub id: AutomationId,
    /// Whether the project registered an event type of that name.
    pub is_registered: &'a dyn Fn(&str) -> bool,
    pub link_hosts: &'a [String],
}

/// A field that is wrong, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub field: String,
    pub what: String,
    /// Line and column, from 1.
    pub at: Option<(usize, usize)>,
}

/// What the mail says.
enum Content {
    BuiltIn(&'static BuiltIn),
    Own(Vec<Text>),
}

struct Checking<'a> {
    wish: &'a Wish,
    ground: &'a Ground<'a>,
    stored: Option<&'a Automation>,
    wrong: Vec<Wrong>,
}

impl Wish {
    /// The automation as it shall be.
    pub fn over(&self, ground: &Ground<'_>, stored: Option<&Automation>) -> Result<Automation, Vec<Wrong>> {
        let mut checking = Checking { wish: self, ground, stored, wrong: Vec::new() };
        let made = checking.automation();
        match made {
            Some(made) if checking.wrong.is_empty() => Ok(made),
            _ => Err(checking.wrong),
        }
    }
}

impl Checking<'_> {
    fn wrong(&mut self, field: &str, what: impl Into<String>) {
        self.wrong.push(Wrong { field: field.to_owned(), what: what.into(), at: None });
    }

    fn automation(&mut self) -> Option<Automation> {
        let (wish, stored) = (self.wish, self.stored);
        let event_type = self.event();
        let content = self.content();
        let integration_id = wish.integration.or(stored.map(|stored| stored.integration_id));
        if integration_id.is_none() {
            self.wrong("integration", "is required: the name of an integration");
        }
        if wish.max_age.is_some_and(|age| !(SHORTEST..=LONGEST_AGE).contains(&age)) {
            self.wrong("max_age", "is not from `1m` to `30d`");
        }
        let (event_type, content) = (event_type?, content?);
        let token = self.token(&event_type, &content);
        let link = self.link(&content, token);
        let condition = self.condition(&event_type);
        if let Content::Own(texts) = &content {
            self.texts(texts, &event_type, token.is_some());
        }
        let default_age = if token.is_some() { MAX_AGE_WITH_TOKEN } else { MAX_AGE };
        let (template, texts) = match content {
            Content::BuiltIn(one) => (one.template, Vec::new()),
            Content::Own(texts) => (STORED, texts),
        };
        Some(Automation {
            id: stored.map_or(self.ground.id, |stored| stored.id),
            version: stored.map_or(1, |stored| stored.version),
            name: wish.name.clone(),
            event_type,
            integration_id: integration_id?,
            template: template.to_owned(),
            texts,
            condition,
            token,
            max_age: wish.max_age.or(stored.map(|stored| stored.max_age)).unwrap_or(default_age),
            link,
            enabled: wish.enabled.or(stored.map(|stored| stored.enabled)).unwrap_or(true),
            paused: stored.is_some_and(|stored| stored.paused),
        })
    }

    fn event(&mut self) -> Option<String> {
        let Some(given) = &self.wish.event else {
            let stored = self.stored.map(|stored| stored.event_type.clone());
            if stored.is_none() {
                self.wrong("event", "is required: the type of an event");
            }
            return stored;
        };
        let kind = if given.contains('.') { given.clone() } else { format!("account.{given}") };
        if event_fields(&kind).is_none() && !(self.ground.is_registered)(&kind) {
            self.wrong("event", format!("there is no event type `{kind}`"));
            return None;
        }
        Some(kind)
    }

    fn content(&mut self) -> Option<Content> {
        let wish = self.wish;
        let has_own = wish.subject.is_some() || wish.body.is_some();
        let kinds = [wish.template.is_some(), has_own, wish.texts.is_some()];
        if kinds.iter().filter(|given| **given).count() > 1 {
            let field = if wish.template.is_some() { "template" } else { "texts" };
            self.wrong(field, "stands beside others: give a template, or a subject and a body, or texts");
            return None;
        }
        if let Some(template) = &wish.template {
            let found = BUILT_IN.iter().find(|one| one.template == template);
            if found.is_none() {
                let mut all: Vec<_> = BUILT_IN.iter().map(|one| one.template).collect();
                all.dedup();
                self.wrong("template", format!("is none of the built-in e-mails {}", all.join(", ")));
            }
            return found.map(Content::BuiltIn);
        }
        if has_own {
            return self.own().map(Content::Own);
        }
        if let Some(texts) = &wish.texts {
            return self.locales(texts).map(Content::Own);
        }
        let stored =
            self.stored.map(|stored| match BUILT_IN.iter().find(|one| one.template == stored.template) {
                Some(built_in) => Content::BuiltIn(built_in),
                None => Content::Own(stored.texts.clone()),
            });
        if stored.is_none() {
            self.wrong("template", "is required: the name of a built-in e-mail; or a subject and a body");
        }
        stored
    }

    /// Subject and body; one of them alone changes that of the only text that is stored.
    fn own(&mut self) -> Option<Vec<Text>> {
        let old = self.stored.and_then(|stored| match stored.texts.as_slice() {
            [one] => Some(one),
            _ => None,
        });
        let subject = self.wish.subject.clone().or_else(|| old.map(|old| old.subject.clone()));
        let body = self.wish.body.clone().or_else(|| old.map(|old| old.body.clone()));
        for (field, text) in [("subject", &subject), ("body", &body)] {
            if text.is_none() {
                self.wrong(field, "is missing");
            }
        }
        Some(vec![Text { locale: None, subject: subject?, body: body? }])
    }

    fn locales(&mut self, texts: &[Text]) -> Option<Vec<Text>> {
        if texts.is_empty() || texts.len() > MOST_TEXTS {
            self.wrong("texts", format!("are not 1 to {MOST_TEXTS} texts"));
            return None;
        }
        let before = self.wrong.len();
        for (number, text) in texts.iter().enumerate() {
            let field = format!("texts[{number}].locale");
            if texts[..number].iter().any(|other| other.locale == text.locale) {
                self.wrong(&field, "stands there twice");
            }
            if text.locale.as_deref().is_some_and(|locale| !is_locale(locale)) {
                self.wrong(&field, "is no locale such as `en` or `pt-BR`");
            }
        }
        (self.wrong.len() == before).then(|| texts.to_vec())
    }

    fn texts(&mut self, texts: &[Text], event_type: &str, token: bool) {
        let purposes = Purposes { event_type, token, link_hosts: self.ground.link_hosts };
        for (number, text) in texts.iter().enumerate() {
            for (field, wrong) in stored::check(text, &purposes) {
                let field = match &self.wish.texts {
                    Some(_) => format!("texts[{number}].{field}"),
                    None => field.to_owned(),
                };
                self.wrong.push(Wrong { field, what: wrong.what, at: Some((wrong.line, wrong.column)) });
            }
        }
    }

    fn condition(&mut self, event_type: &str) -> Option<Condition> {
        let stored = self.stored.and_then(|stored| stored.condition.as_ref());
        let given = self.wish.condition.as_deref().or(stored.map(Condition::source))?;
        if given.is_empty() {
            return None;
        }
        let checked = Condition::parse(given, event_type);
        checked
            .map_err(|wrong| {
                let at = Some((wrong.line, wrong.column));
                self.wrong.push(Wrong { field: "condition".to_owned(), what: wrong.what, at });
            })
            .ok()
    }

    fn token(&mut self, event_type: &str, content: &Content) -> Option<TokenPlan> {
        let purpose = match content {
            Content::BuiltIn(one) => self.built_in_purpose(one),
            Content::Own(texts) => self.own_purpose(event_type, texts),
        }?;
        self.fits(event_type, content, purpose);
        let given = match self.wish.token {
            Some(TokenWish::Some { lifetime, .. }) => lifetime,
            _ => None,
        };
        let stored = self.stored.and_then(|stored| stored.token).filter(|token| token.purpose == purpose);
        let lifetime =
            given.or(stored.map(|token| token.lifetime)).unwrap_or_else(|| purpose.default_lifetime());
        if !(SHORTEST..=purpose.longest_lifetime()).contains(&lifetime) {
            let longest = duration::text(purpose.longest_lifetime());
            let what = format!("is not from `1m` to `{longest}`, the longest for `{}`", purpose.name());
            self.wrong("token.lifetime", what);
        }
        Some(TokenPlan { purpose, lifetime })
    }

    /// A built-in e-mail says itself what it carries.
    fn built_in_purpose(&mut self, one: &BuiltIn) -> Option<Purpose> {
        match (self.wish.token, one.purpose) {
            (Some(TokenWish::Some { .. }), None) => {
                self.wrong("token", format!("has no meaning: the e-mail `{}` carries none", one.template));
            }
            (Some(TokenWish::None), Some(purpose)) => {
                let what = format!("is needed by the e-mail `{}`: `{}`", one.template, purpose.name());
                self.wrong("token", what);
            }
            (Some(TokenWish::Some { purpose: Some(given), .. }), Some(purpose)) if given != purpose => {
                let what = format!("is not `{}`, which the e-mail `{}` needs", purpose.name(), one.template);
                self.wrong("token.purpose", what);
            }
            _ => {}
        }
        one.purpose
    }

    /// As given; else the usual one of the event, which the ways back and the settings do without if no text
    /// shows it.
    fn own_purpose(&mut self, event_type: &str, texts: &[Text]) -> Option<Purpose> {
        let usual = BUILT_IN.iter().find(|one| one.event_type == event_type).and_then(|one| one.purpose);
        let stored = self.stored.and_then(|stored| stored.token).map(|token| token.purpose);
        let purpose = match self.wish.token {
            Some(TokenWish::None) => return None,
            Some(TokenWish::Some { purpose, .. }) => purpose.or(stored).or(usual),
            None => stored.or(usual).filter(|purpose| {
                let is_asked_for = matches!(purpose, Purpose::ResetPassword | Purpose::ChangeEmail);
                is_asked_for || stored.is_some() || texts.iter().any(|text| stored::carries(text, event_type))
            }),
        };
        if purpose.is_none() && self.wish.token.is_some() {
            self.wrong("token.purpose", "is required: what the token is for");
        }
        purpose
    }

    fn fits(&mut self, event_type: &str, content: &Content, purpose: Purpose) {
        let is_given = self.wish.token.is_some() || matches!(content, Content::Own(_));
        let field = if is_given { "token.purpose" } else { "template" };
        let (only, its_event) = (Purpose::only_of(event_type), purpose.only_event());
        if let Some(only) = only.filter(|only| *only != purpose) {
            let what =
                format!("is for `{}`: with `{event_type}` goes only `{}`", purpose.name(), only.name());
            self.wrong(field, what);
        } else if let Some(needs) = its_event.filter(|needs| *needs != event_type) {
            self.wrong(field, format!("has no meaning but for the event `{needs}`"));
        }
    }

    fn link(&mut self, content: &Content, token: Option<TokenPlan>) -> Option<String> {
        let Some(given) = &self.wish.link else {
            return self.stored.and_then(|stored| stored.link.clone()).filter(|_| token.is_some());
        };
        if given.is_empty() {
            return None;
        }
        if token.is_none() {
            let what = match content {
                Content::BuiltIn(one) => format!("the e-mail `{}` carries none", one.template),
                Content::Own(_) => "the automation issues no token".to_owned(),
            };
            self.wrong("link", format!("has no meaning: {what}"));
            return None;
        }
        link::check(given, self.ground.link_hosts).map_err(|what| self.wrong("link", what)).ok()
    }
}

fn is_locale(text: &str) -> bool {
    let mut parts = text.split(['-', '_']);
    let is_language = parts.next().is_some_and(|part| {
        matches!(part.len(), 2 | 3) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    });
    let is_part =
        |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_language && parts.all(is_part) && text.len() <= 35
}
