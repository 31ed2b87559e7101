//! The built-in e-mails: compiled Askama templates with a subject, a text and an HTML part each.
//!
//! Must not know where a link comes from, to whom a mail goes, or how it is sent.

use chrono::{DateTime, TimeDelta, Utc};

pub use super::brand::Brand;
use super::brand::Look;
use super::{parts, wording};

/// Octets of an address (RFC 5321, 4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;

/// A built-in e-mail; `templates/email/` has a folder of each one's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Template {
    ResetPasswordConfirm,
    ChangePassword,
    /// To the new address.
    ChangeEmailConfirm,
    /// To the former and to the new address.
    ChangeEmail,
    OutOfOfficeWarning,
    OutOfOfficeChange,
}

impl Template {
    pub const ALL: [Self; 6] = [
        Self::ResetPasswordConfirm,
        Self::ChangePassword,
        Self::ChangeEmailConfirm,
        Self::ChangeEmail,
        Self::OutOfOfficeWarning,
        Self::OutOfOfficeChange,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResetPasswordConfirm => "reset-password-confirm",
            Self::ChangePassword => "change-password",
            Self::ChangeEmailConfirm => "change-email-confirm",
            Self::ChangeEmail => "change-email",
            Self::OutOfOfficeWarning => "out-of-office-warning",
            Self::OutOfOfficeChange => "out-of-office-change",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.name() == name)
    }
}

/// Why a password is to be updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reason {
    #[default]
    Member,
    Admin,
    Forced,
}

/// Who changed a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    #[default]
    Member,
    Admin,
    /// Whoever had the link of a `reset-password-confirm`.
    Reset,
}

/// The member a mail is about. Chosen by the member, so not to be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub first_name: Option<&'a str>,
    pub username: &'a str,
    /// Where the mail goes: of two that tell of a changed address, one goes to the former.
    pub email: &'a str,
}

/// The automatic replies that came from a member, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct AutoReplies<'a> {
    pub count: Option<u32>,
    /// With so many the member is taken to be on vacation.
    pub limit: Option<u32>,
    /// What the last one was known by. Out of a stranger's mail, so not to be trusted.
    pub matched: Option<&'a str>,
}

/// Everything a built-in e-mail may show.
///
/// No `Debug`: `link` carries a token.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    pub project: Brand<'a>,
    pub member: Person<'a>,
    pub reason: Reason,
    pub by: By,
    /// The address that the account is to have, or has now.
    pub new_email: Option<&'a str>,
    pub auto_replies: AutoReplies<'a>,
    /// The link with the token, for e-mails that carry one.
    pub link: Option<&'a str>,
    /// How long the token is valid, counted from the attempt.
    pub expires_in: Option<TimeDelta>,
    /// Where the member can ask for another mail.
    pub forgot_link: Option<&'a str>,
    /// When that happened which the mail tells of.
    pub at: DateTime<Utc>,
}

/// A rendered e-mail. The subject is one line; the text ends its lines with `\n`.
///
/// No `Debug`: the parts carry a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Why an e-mail cannot be made. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("the e-mail `{0}` needs a link")]
    MissingLink(&'static str),
    /// A link that is not http(s), or holds what would end it early in a text.
    #[error("`{0}` is not a link that an e-mail can carry")]
    BadLink(&'static str),
    #[error("the template failed: {0}")]
    Template(#[from] askama::Error),
}

/// Renders all parts of a built-in e-mail.
pub fn render(template: Template, content: &Content<'_>) -> Result<Rendered, RenderError> {
    let view = View::new(template, content)?;
    let (subject, text, html) = parts::of(template, &view)?;
    Ok(Rendered { subject: subject.trim().to_owned(), text: wording::wrap(&text), html })
}

/// What the templates see, as `m`: the content with everything that a stranger chose made safe to show.
pub(super) struct View<'a> {
    pub(super) look: Look<'a>,
    pub(super) greeting: Option<String>,
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) new_email: Option<String>,
    /// The mail goes to the address that the account had before.
    pub(super) to_former: bool,
    pub(super) reason: Reason,
    pub(super) by: By,
    /// Empty for an e-mail that carries no token.
    pub(super) link: &'a str,
    pub(super) expires: Option<String>,
    pub(super) forgot_link: Option<&'a str>,
    pub(super) at: String,
    /// How many automatic replies have come, as a sentence, and after how many more there are too many.
    pub(super) so_far: Option<String>,
    pub(super) left: Option<u32>,
    pub(super) matched: Option<String>,
}

impl<'a> View<'a> {
    fn new(template: Template, content: &Content<'a>) -> Result<Self, RenderError> {
        let member = &content.member;
        let to_former =
            content.new_email.map_or(content.link.is_some(), |new| !new.eq_ignore_ascii_case(member.email));
        let link = match template {
            Template::ResetPasswordConfirm | Template::ChangeEmailConfirm => {
                let link = content.link.ok_or(RenderError::MissingLink(template.name()))?;
                checked("link", link)?
            }
            Template::OutOfOfficeWarning | Template::OutOfOfficeChange => given(content.link)?,
            // Whoever has the new address now must not be able to undo what is undone to be rid of them.
            Template::ChangeEmail if to_former => given(content.link)?,
            // Even when one is given: a notice of a change must never hand out a token.
            Template::ChangeEmail | Template::ChangePassword => "",
        };
        let AutoReplies { count, limit, matched } = content.auto_replies;
        Ok(Self {
            look: Look::of(&content.project),
            greeting: member.first_name.and_then(wording::first_name),
            username: wording::name(member.username),
            email: address(member.email),
            new_email: content.new_email.and_then(address),
            to_former,
            reason: content.reason,
            by: content.by,
            link,
            expires: content.expires_in.map(wording::duration),
            forgot_link: content.forgot_link.map(|link| checked("forgot_link", link)).transpose()?,
            at: content.at.format("%-d %B %Y at %H:%M UTC").to_string(),
            so_far: count.map(wording::automatic_replies),
            left: limit.zip(count).map(|(limit, count)| limit.saturating_sub(count)).filter(|left| *left > 0),
            matched: matched.and_then(wording::name),
        })
    }
}

fn address(text: &str) -> Option<String> {
    wording::one_line(text, LONGEST_ADDRESS).filter(|email| !email.contains(['/', ' ']))
}

/// The link of an e-mail that also reads without one.
fn given(link: Option<&str>) -> Result<&str, RenderError> {
    link.map_or(Ok(""), |link| checked("link", link))
}

/// The link as it was given. It was validated where it was made; here only what would break a mail counts.
fn checked<'a>(field: &'static str, link: &'a str) -> Result<&'a str, RenderError> {
    let http = link.starts_with("https://") || link.starts_with("http://");
    let whole = !link.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
    if http && whole { Ok(link) } else { Err(RenderError::BadLink(field)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LINK: &str =
        "https://app.acme.example/reset?token=Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx5d2FsZG8&lang=en";

    fn content<'a>() -> Content<'a> {
        Content {
            project: Brand {
                name: "Acme",
                color: "#0b5fff",
                logo_url: None,
                footer: Some("Acme Ltd, 1 Main Street"),
            },
            member: Person { first_name: Some("Elon"), username: "elon", email: "elon@example.com" },
            reason: Reason::Member,
            by: By::Member,
            new_email: None,
            auto_replies: AutoReplies::default(),
            link: Some(LINK),
            expires_in: Some(TimeDelta::minutes(30)),
            forgot_link: Some("https://mail.acme.example/p/acme/forgot-password"),
            at: DateTime::from_timestamp(1_795_542_600, 0).unwrap(),
        }
    }

    /// Every e-mail in every wording, and once with nothing but what is required.
    fn variants() -> Vec<(&'static str, Template, Content<'static>)> {
        let with = |change: fn(&mut Content<'static>)| {
            let mut content = content();
            change(&mut content);
            content
        };
        let reset = Template::ResetPasswordConfirm;
        let change = Template::ChangePassword;
        let bare = with(|c| {
            c.project = Brand { name: "Acme", ..Brand::default() };
            c.member = Person { first_name: None, username: "", email: "" };
            c.expires_in = None;
            c.forgot_link = None;
        });
        let logo = with(|c| {
            c.project.color = "#ffcc00";
            c.project.logo_url = Some("https://app.acme.example/logo.png?a=1&b=2");
        });
        vec![
            ("reset-member", reset, content()),
            ("reset-admin", reset, with(|c| c.reason = Reason::Admin)),
            ("reset-forced", reset, with(|c| c.reason = Reason::Forced)),
            ("reset-bare", reset, bare),
            ("reset-logo", reset, logo),
            ("change-member", change, content()),
            ("change-admin", change, with(|c| c.by = By::Admin)),
            ("change-reset", change, with(|c| c.by = By::Reset)),
            ("change-bare", change, bare),
            ("email-confirm", Template::ChangeEmailConfirm, moved("elon@new.example")),
            ("email-confirm-bare", Template::ChangeEmailConfirm, bare),
            ("email-former", Template::ChangeEmail, moved("elon@example.com")),
            (
                "email-former-no-link",
                Template::ChangeEmail,
                Content { link: None, ..moved("elon@example.com") },
            ),
            ("email-new", Template::ChangeEmail, moved("elon@new.example")),
            ("email-bare", Template::ChangeEmail, Content { link: None, ..bare }),
            ("away-warning", Template::OutOfOfficeWarning, away(1)),
            ("away-warning-bare", Template::OutOfOfficeWarning, Content { link: None, ..bare }),
            ("away-change", Template::OutOfOfficeChange, away(2)),
            ("away-change-bare", Template::OutOfOfficeChange, Content { link: None, ..bare }),
        ]
    }

    /// What the two mails about a new address show, when they go to that one.
    fn moved(to: &'static str) -> Content<'static> {
        let member = Person { email: to, ..content().member };
        Content { member, new_email: Some("elon@new.example"), forgot_link: None, ..content() }
    }

    fn away(count: u32) -> Content<'static> {
        let matched = Some("Out of the office");
        let auto_replies = AutoReplies { count: Some(count), limit: Some(2), matched };
        Content { auto_replies, expires_in: Some(TimeDelta::days(30)), ..content() }
    }

    fn named<'a>(first_name: &'a str, username: &'a str) -> Content<'a> {
        Content { member: Person { first_name: Some(first_name), username, ..content().member }, ..content() }
    }

    fn elements(html: &str) -> usize {
        html.matches('<').count()
    }

    #[test]
    fn every_part_of_every_variant_reads_as_reviewed() {
        for (name, template, content) in variants() {
            let mail = render(template, &content).unwrap();
            insta::assert_snapshot!(
                format!("{name}.txt"),
                format!("Subject: {}\n\n{}", mail.subject, mail.text)
            );
            insta::assert_snapshot!(format!("{name}.html"), mail.html);
        }
    }

    #[test]
    fn every_folder_has_three_parts_and_a_variant() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/email");
        let mut folders = BTreeSet::new();
        for folder in std::fs::read_dir(root).unwrap() {
            let folder = folder.unwrap();
            let parts: BTreeSet<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|part| part.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(parts, ["body.html", "body.txt", "subject.txt"].map(str::to_owned).into());
            folders.insert(folder.file_name().into_string().unwrap());
        }
        assert_eq!(folders, Template::ALL.map(|template| template.name().to_owned()).into());
    }

    #[test]
    fn a_name_finds_its_template() {
        for template in Template::ALL {
            assert_eq!(Template::from_name(template.name()), Some(template));
        }
        assert_eq!(Template::from_name("ResetPasswordConfirm"), None);
    }

    #[test]
    fn the_link_stands_alone_and_whole_in_the_text() {
        let mail = render(Template::ResetPasswordConfirm, &content()).unwrap();
        assert_eq!(mail.text.lines().filter(|line| *line == LINK).count(), 1);
        assert_eq!(mail.text.matches(LINK).count(), 1);
        assert!(mail.text.lines().all(|line| line.chars().count() <= 74 || line == LINK));
        let escaped = LINK.replace('&', "&#38;");
        assert_eq!(mail.html.matches(&format!("href=\"{escaped}\"")).count(), 2, "the button and the URL");
        assert!(mail.html.contains(&format!(">{escaped}</a>")), "shown in full");
    }

    #[test]
    fn a_notice_never_carries_a_token() {
        let mail = render(Template::ChangePassword, &content()).unwrap();
        assert!(!mail.text.contains("token") && !mail.html.contains("token"));
    }

    #[test]
    fn only_the_former_address_can_undo_a_change() {
        let render = |to| render(Template::ChangeEmail, &moved(to)).unwrap();
        for new in ["elon@new.example", "ELON@NEW.example"] {
            let mail = render(new);
            assert!(!mail.text.contains("token") && !mail.html.contains("token"), "{new}");
        }
        let former = render("elon@example.com");
        assert!(former.text.contains(LINK) && former.html.contains("Undo the change"));
    }

    #[test]
    fn what_an_automatic_reply_said_adds_no_link_and_no_line() {
        for matched in ["see https://evil.example", "<a href=x>", "out\r\nof\r\noffice", &"x".repeat(500)] {
            let auto_replies = AutoReplies { matched: Some(matched), ..away(1).auto_replies };
            let hostile = Content { auto_replies, ..away(1) };
            let plain = render(Template::OutOfOfficeWarning, &away(1)).unwrap();
            let mail = render(Template::OutOfOfficeWarning, &hostile).unwrap();
            assert_eq!(mail.subject, plain.subject);
            assert!(elements(&mail.html) <= elements(&plain.html), "{matched}");
            assert_eq!(mail.text.split("\n\n").count(), plain.text.split("\n\n").count(), "{matched}");
            assert!(!mail.html.contains("evil.example") && !mail.text.contains("evil.example"));
        }
    }

    #[test]
    fn a_reset_without_a_usable_link_is_refused() {
        let with = |link| render(Template::ResetPasswordConfirm, &Content { link, ..content() }).err();
        assert!(matches!(with(None), Some(RenderError::MissingLink("reset-password-confirm"))));
        for link in ["javascript:alert(1)", "https://a.example/ x", "https://a\r\nb", "https://a\">", ""] {
            assert!(matches!(with(Some(link)), Some(RenderError::BadLink("link"))), "{link}");
        }
    }

    #[test]
    fn a_hostile_name_adds_no_element_no_link_and_no_line() {
        let plain = render(Template::ResetPasswordConfirm, &named("Elon", "elon")).unwrap();
        let hostile = [
            "<a href=\"https://evil.example\">Click</a>",
            "<img src=x onerror=alert(1)>",
            "\"><script>",
            "Elon\r\nBcc: all@example.com\r\n\r\nhttps://evil.example",
            "Elon\u{2028}\u{2029}\u{85}You won",
            "{{ m.link }}{% raw %}",
            "\u{202e}nolE",
            &"x".repeat(5000),
            &"spend money ".repeat(50),
        ];
        for name in hostile {
            let mail = render(Template::ResetPasswordConfirm, &named(name, name)).unwrap();
            assert_eq!(mail.subject, plain.subject);
            assert!(mail.text.lines().count() <= plain.text.lines().count(), "{name:?}:\n{}", mail.text);
            assert!(elements(&mail.html) <= elements(&plain.html), "{name:?}");
            assert!(mail.html.matches("<a ").count() == plain.html.matches("<a ").count());
            assert!(!mail.text.contains("evil.example") && !mail.html.contains("evil.example"), "{name:?}");
        }
    }

    #[test]
    fn a_name_that_is_a_link_is_greeted_without_one() {
        let mail = render(Template::ResetPasswordConfirm, &named("www.evil.example", "win/now")).unwrap();
        assert!(mail.text.starts_with("Hello,\n") && !mail.text.contains("Username"));
    }

    proptest! {
        #[test]
        fn no_name_changes_the_shape_of_a_mail(name in "(?s).{0,120}", project in "(?s).{0,120}") {
            let content = Content { project: Brand { name: &project, ..content().project }, ..named(&name, &name) };
            let plain = render(Template::ResetPasswordConfirm, &named("Elon", "elon")).unwrap();
            let mail = render(Template::ResetPasswordConfirm, &content).unwrap();
            prop_assert!(!mail.subject.is_empty() && !mail.subject.contains(|c: char| c.is_control()));
            prop_assert!(elements(&mail.html) <= elements(&plain.html));
            let paragraphs = |text: &str| text.split("\n\n").count();
            prop_assert!(paragraphs(&mail.text) <= paragraphs(&plain.text));
        }
    }
}
