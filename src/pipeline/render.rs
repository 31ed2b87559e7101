//! Step 5, pure: a dispatch becomes a mail. The token is made into text here, and stands nowhere else.

use chrono::{DateTime, TimeDelta, Utc};
use lettre::message::Mailbox;

use crate::domain::catalogue::{Catalogue, Integration, Project};
use crate::domain::change::{Change, ChangedBy, ResetReason};
use crate::domain::dispatch::{Owed, OwedToken};
use crate::domain::keys::Keyring;
use crate::domain::link;
use crate::domain::token::{Purpose, Token};
use crate::mail::capture::CapturedMail;
use crate::mail::message::{BuildError, Envelope, build};
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
    Build(#[from] BuildError),
}

/// The mail of a dispatch, as parts.
pub fn parts(desk: &Desk<'_>, owed: &Owed) -> Result<Rendered, Unrenderable> {
    let project = desk.catalogue.project(owed.project_id).ok_or(Unrenderable::Project)?;
    let template = Template::from_name(&owed.template).ok_or(Unrenderable::Template)?;
    let link = owed.token.as_ref().map(|token| token_link(desk, project, owed, token)).transpose()?;
    let (reason, by) = wording(owed);
    let forgot = format!("{}/p/{}/forgot-password", desk.public_url, project.slug);
    let brand = &project.settings.brand;
    let content = Content {
        project: Brand {
            name: &project.name,
            color: brand.color.as_deref().unwrap_or_default(),
            logo_url: brand.logo_url.as_deref(),
            footer: brand.footer.as_deref(),
        },
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
        link: link.as_deref(),
        expires_in: owed.token.as_ref().and_then(|token| TimeDelta::from_std(token.lifetime).ok()),
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
    integration: &Integration,
    now: DateTime<Utc>,
) -> Result<Vec<u8>, Unrenderable> {
    let from: Mailbox = integration.sender.parse().map_err(|_| Unrenderable::Sender)?;
    let envelope = Envelope {
        from: &from,
        reply_to: integration.reply_to.as_deref(),
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

/// The automation's own link with the token in it, else the hosted page. Never made from a request.
fn token_link(
    desk: &Desk<'_>,
    project: &Project,
    owed: &Owed,
    token: &OwedToken,
) -> Result<String, Unrenderable> {
    let made = Token::make(desk.keys, &token.key_id, token.purpose, token.id).ok_or(Unrenderable::Key)?;
    let own = desk.catalogue.automations.get(&owed.automation_id).and_then(|one| one.link.as_deref());
    if let Some(own) = own {
        return Ok(link::fill(own, made.expose()));
    }
    let page = match token.purpose {
        Purpose::ResetPassword => "reset-password",
        Purpose::ChangeEmail => "confirm-email",
        Purpose::UndoEmailChange => "undo-email-change",
        Purpose::Notifications => "notifications",
    };
    Ok(format!("{}/p/{}/{page}?token={}", desk.public_url, project.slug, made.expose()))
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
