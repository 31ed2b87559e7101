//! Step 5, pure: a dispatch becomes a mail. The token is made into text here, and stands nowhere else.

use chrono::{DateTime, TimeDelta, Utc};
use lettre::message::Mailbox;

use crate::domain::catalogue::{Automation, Catalogue, Integration, Project, STORED};
use crate::domain::change::{Change, ChangedBy, ResetReason};
use crate::domain::dispatch::{Owed, OwedToken};
use crate::domain::keys::Keyring;
use crate::domain::link;
use crate::domain::token::{Purpose, Token};
use crate::mail::capture::CapturedMail;
use crate::mail::message::{BuildError, Envelope, build};
use crate::mail::return_path;
use crate::mail::stored::{self, StoredError, Values};
use crate::mail::templates::{
    AutoReplies, Brand, By, Content, Person, Reason, RenderError, Rendered, Template, render,
};

/// What rendering goes by.
pub struct Desk<'a> {
    pub catalogue: &'a Catalogue,
    pub keys: &'a Keyring,
    /// The base of every link to a hosted page.
    pub public_url: &'a str,
    pub now: DateTime<Utc>,
}

/// A dispatch that cannot become a mail. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum Unrenderable {
    #[error("its project is gone")]
    Project,
    #[error("handling it fails each time")]
    Panic,
    #[error("there is no built-in e-mail of this name")]
    Template,
    #[error("the key that its token was issued under is gone")]
    Key,
    #[error("the integration's From is not a mailbox")]
    Sender,
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The mail of a dispatch, as parts.
pub fn parts(desk: &Desk<'_>, owed: &Owed, edition: Option<&Automation>) -> Result<Rendered, Unrenderable> {
    let project = desk.catalogue.project(owed.project_id).ok_or(Unrenderable::Project)?;
    let token = owed.token.as_ref().map(|token| made(desk, token)).transpose()?;
    let token = token.as_ref().map(Token::expose);
    let purpose = owed.token.as_ref().map(|token| token.purpose);
    let link = purpose.zip(token).map(|carried| token_link(desk.public_url, project, carried, edition));
    let shown = Shown { token, link: link.as_deref() };
    as_told(desk, project, owed, (edition, shown))
}

/// What carries the token, as text. No `Debug`.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) token: Option<&'a str>,
    pub(super) link: Option<&'a str>,
}

/// The mail with the token and the link that are given.
pub(super) fn as_told(
    desk: &Desk<'_>,
    project: &Project,
    owed: &Owed,
    (edition, shown): (Option<&Automation>, Shown<'_>),
) -> Result<Rendered, Unrenderable> {
    if owed.template == STORED {
        return own(desk, project, owed, (edition.ok_or(Unrenderable::Template)?, shown));
    }
    built_in(desk, project, owed, shown.link)
}

fn own(
    desk: &Desk<'_>,
    project: &Project,
    owed: &Owed,
    (edition, shown): (&Automation, Shown<'_>),
) -> Result<Rendered, Unrenderable> {
    let text = edition.text(owed.member.locale.as_deref()).ok_or(Unrenderable::Template)?;
    let values = Values {
        project: brand(project),
        slug: &project.slug,
        member: &owed.member,
        event: &owed.event,
        event_type: &edition.event_type,
        email: &owed.recipient,
        token: shown.token,
        link: shown.link,
        expires_in: expires_in(owed),
        link_hosts: &project.link_hosts(desk.public_url),
    };
    Ok(stored::render(text, &values)?)
}

fn built_in(
    desk: &Desk<'_>,
    project: &Project,
    owed: &Owed,
    link: Option<&str>,
) -> Result<Rendered, Unrenderable> {
    let template = Template::from_name(&owed.template).ok_or(Unrenderable::Template)?;
    let (reason, by) = wording(owed);
    let forgot = format!("{}/p/{}/forgot-password", desk.public_url, project.slug);
    let content = Content {
        project: brand(project),
        member: Person {
            first_name: owed.member.first_name.as_deref(),
            username: &owed.member.username,
            email: &owed.recipient,
        },
        reason,
        by,
        new_email: text_of(owed, "new_email").or_else(|| text_of(owed, "email")),
        auto_replies: AutoReplies {
            count: number_of(owed, "count"),
            limit: number_of(owed, "limit"),
            matched: text_of(owed, "matched"),
        },
        link,
        expires_in: expires_in(owed),
        forgot_link: Some(&forgot),
        at: owed.event.time,
    };
    Ok(render(template, &content)?)
}

/// A field of the event, for the mail to show: no mail goes to an address that stands there.
fn text_of<'a>(owed: &'a Owed, field: &str) -> Option<&'a str> {
    owed.event.data.get(field)?.as_str()
}

fn number_of(owed: &Owed, field: &str) -> Option<u32> {
    owed.event.data.get(field)?.as_u64()?.try_into().ok()
}

/// The mail of a dispatch, as octets.
pub fn octets(
    owed: &Owed,
    mail: &Rendered,
    (integration, keys): (&Integration, &Keyring),
    now: DateTime<Utc>,
) -> Result<Vec<u8>, Unrenderable> {
    let reply_path = integration.reply_path.as_deref().map(|path| return_path::signed(keys, path, owed.id));
    let from: Mailbox = integration.sender.parse().map_err(|_| Unrenderable::Sender)?;
    let envelope = Envelope {
        from: &from,
        reply_to: reply_path.as_deref().or(integration.reply_to.as_deref()),
        to: &owed.recipient,
        message_id: &owed.message_id,
        date: now,
        auto_submitted: integration.auto_submitted,
    };
    Ok(build(mail, &envelope)?)
}

/// The mail of a dispatch, to be kept instead of sent.
pub fn captured(owed: &Owed, mail: Rendered, integration: &Integration) -> CapturedMail {
    CapturedMail {
        project_id: owed.project_id,
        template: owed.template.clone(),
        from: integration.sender.clone(),
        to: owed.recipient.clone(),
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
    }
}

fn made(desk: &Desk<'_>, token: &OwedToken) -> Result<Token, Unrenderable> {
    Token::make(desk.keys, &token.key_id, token.purpose, token.id).ok_or(Unrenderable::Key)
}

/// The automation's own link with the token in it, else the hosted page. Never made from a request.
pub(super) fn token_link(
    public_url: &str,
    project: &Project,
    (purpose, token): (Purpose, &str),
    edition: Option<&Automation>,
) -> String {
    if let Some(own) = edition.and_then(|edition| edition.link.as_deref()) {
        return link::fill(own, token);
    }
    let page = match purpose {
        Purpose::ResetPassword => "reset-password",
        Purpose::ChangeEmail => "confirm-email",
        Purpose::UndoEmailChange => "undo-email-change",
        Purpose::Notifications => "notifications",
    };
    format!("{public_url}/p/{}/{page}?token={token}", project.slug)
}

fn brand(project: &Project) -> Brand<'_> {
    let brand = &project.settings.brand;
    Brand {
        name: &project.name,
        color: brand.color.as_deref().unwrap_or_default(),
        logo_url: brand.logo_url.as_deref(),
        footer: brand.footer.as_deref(),
    }
}

fn expires_in(owed: &Owed) -> Option<TimeDelta> {
    owed.token.as_ref().and_then(|token| TimeDelta::from_std(token.lifetime).ok())
}

fn wording(owed: &Owed) -> (Reason, By) {
    let (mut reason, mut by) = (Reason::default(), By::default());
    match Change::read(&owed.event.kind, &owed.event.data) {
        Ok(Change::ResetRequested(_, asked)) => {
            reason = match asked {
                ResetReason::Member => Reason::Member,
                ResetReason::Admin => Reason::Admin,
                ResetReason::Forced => Reason::Forced,
            }
        }
        // Whoever becomes an administrator needs a stronger password.
        Ok(Change::AdministratorGranted(_)) => reason = Reason::Forced,
        Ok(Change::PasswordChanged(_, changed)) => {
            by = match changed {
                ChangedBy::Member => By::Member,
                ChangedBy::Admin => By::Admin,
                ChangedBy::Reset => By::Reset,
            }
        }
        _ => {}
    }
    (reason, by)
}
