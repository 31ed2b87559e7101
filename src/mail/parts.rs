//! The three parts of each built-in e-mail, as compiled Askama templates: a folder of `templates/email/` each.
//!
//! Must not know what is safe to show: a [`View`] holds nothing else.

use askama::Template as _;

use super::templates::{By, Reason, Template, View};

/// Subject, text and HTML.
pub(super) fn of(template: Template, m: &View<'_>) -> askama::Result<(String, String, String)> {
    Ok(match template {
        Template::ResetPasswordConfirm => (
            ResetPasswordConfirmSubject { m }.render()?,
            ResetPasswordConfirmText { m }.render()?,
            ResetPasswordConfirmHtml { m }.render()?,
        ),
        Template::ChangePassword => (
            ChangePasswordSubject { m }.render()?,
            ChangePasswordText { m }.render()?,
            ChangePasswordHtml { m }.render()?,
        ),
        Template::ChangeEmailConfirm => (
            ChangeEmailConfirmSubject { m }.render()?,
            ChangeEmailConfirmText { m }.render()?,
            ChangeEmailConfirmHtml { m }.render()?,
        ),
        Template::ChangeEmail => (
            ChangeEmailSubject { m }.render()?,
            ChangeEmailText { m }.render()?,
            ChangeEmailHtml { m }.render()?,
        ),
        Template::OutOfOfficeWarning => (
            OutOfOfficeWarningSubject { m }.render()?,
            OutOfOfficeWarningText { m }.render()?,
            OutOfOfficeWarningHtml { m }.render()?,
        ),
        Template::OutOfOfficeChange => (
            OutOfOfficeChangeSubject { m }.render()?,
            OutOfOfficeChangeText { m }.render()?,
            OutOfOfficeChangeHtml { m }.render()?,
        ),
    })
}

#[derive(askama::Template)]
#[template(path = "email/reset-password-confirm/subject.txt", escape = "none")]
struct ResetPasswordConfirmSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/reset-password-confirm/body.txt", escape = "none")]
struct ResetPasswordConfirmText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/reset-password-confirm/body.html")]
struct ResetPasswordConfirmHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-password/subject.txt", escape = "none")]
struct ChangePasswordSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-password/body.txt", escape = "none")]
struct ChangePasswordText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-password/body.html")]
struct ChangePasswordHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email-confirm/subject.txt", escape = "none")]
struct ChangeEmailConfirmSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email-confirm/body.txt", escape = "none")]
struct ChangeEmailConfirmText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email-confirm/body.html")]
struct ChangeEmailConfirmHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email/subject.txt", escape = "none")]
struct ChangeEmailSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email/body.txt", escape = "none")]
struct ChangeEmailText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/change-email/body.html")]
struct ChangeEmailHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-warning/subject.txt", escape = "none")]
struct OutOfOfficeWarningSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-warning/body.txt", escape = "none")]
struct OutOfOfficeWarningText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-warning/body.html")]
struct OutOfOfficeWarningHtml<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-change/subject.txt", escape = "none")]
struct OutOfOfficeChangeSubject<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-change/body.txt", escape = "none")]
struct OutOfOfficeChangeText<'a> {
    m: &'a View<'a>,
}

#[derive(askama::Template)]
#[template(path = "email/out-of-office-change/body.html")]
struct OutOfOfficeChangeHtml<'a> {
    m: &'a View<'a>,
}
