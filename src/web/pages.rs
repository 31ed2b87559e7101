//! What each page shows: one Askama struct a page; the templates say what the fields are for.
//!
//! Must not know routes, requests, or where the data comes from.

use askama::Template;
use chrono::{DateTime, Utc};

use crate::mail::brand::Look;

/// The form behind the link of a `reset-password-confirm`. No `Debug`: it holds the token.
#[derive(Template)]
#[template(path = "hosted/reset-password.html")]
pub struct ResetPasswordPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub action: &'a str,
    pub token: &'a str,
    pub username: &'a str,
    /// The member is an administrator, whose password has to be strong.
    pub strong: bool,
    /// What was wrong with the last try, each a sentence.
    pub errors: &'a [String],
}

/// After a new password was set.
#[derive(Debug, Template)]
#[template(path = "hosted/reset-password-done.html")]
pub struct ResetPasswordDonePage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub username: &'a str,
    pub sign_in_url: Option<&'a str>,
}

/// Why a link does not work; the `reason` of `token-invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkProblem {
    Used,
    Expired,
    Replaced,
    Unknown,
}

/// What can be done about a link that does not work. No `Debug`: it may hold a token.
#[derive(Clone, Copy)]
pub enum Again<'a> {
    Nothing,
    /// A page where a mail to choose a password can be asked for.
    Page {
        url: &'a str,
        label: &'a str,
    },
    /// The same mail can be sent again, to the address that it went to.
    Mail {
        action: &'a str,
        token: &'a str,
        address: &'a str,
    },
}

/// A link whose token does not work. No `Debug`: it may hold the token.
#[derive(Template)]
#[template(path = "hosted/invalid-link.html")]
pub struct InvalidLinkPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub why: LinkProblem,
    pub again: Again<'a>,
}

/// A step that could not be done now.
#[derive(Debug, Template)]
#[template(path = "hosted/try-again.html")]
pub struct TryAgainPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
}

/// Where a member asks for a mail to choose a new password.
#[derive(Debug, Template)]
#[template(path = "hosted/forgot-password.html")]
pub struct ForgotPasswordPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub action: &'a str,
    /// What was wrong with the last try, each a sentence.
    pub errors: &'a [String],
}

/// A step that is one click. No `Debug`: it holds the token.
#[derive(Template)]
#[template(path = "hosted/button.html")]
pub struct ButtonPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub action: &'a str,
    pub token: &'a str,
    pub title: &'a str,
    pub paragraphs: &'a [String],
    pub button: &'a str,
}

/// Which notifications a member gets. No `Debug`: it holds the token.
#[derive(Template)]
#[template(path = "hosted/notifications.html")]
pub struct NotificationsPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub action: &'a str,
    pub token: &'a str,
    pub username: &'a str,
}

/// What became of a step.
#[derive(Debug, Template)]
#[template(path = "hosted/said.html")]
pub struct SaidPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub title: &'a str,
    pub paragraphs: &'a [String],
}

/// A captured mail in the list.
#[derive(Debug, Clone)]
pub struct MailRow {
    pub href: String,
    pub to: String,
    pub subject: String,
    pub template: String,
    pub at: DateTime<Utc>,
}

/// The mails that were captured instead of delivered.
#[derive(Debug, Template)]
#[template(path = "console/mailbox.html")]
pub struct MailboxPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub mails: &'a [MailRow],
    pub next_url: Option<&'a str>,
}

/// One captured mail. No `Debug`: its parts hold a token.
#[derive(Template)]
#[template(path = "console/mail.html")]
pub struct MailPage<'a> {
    pub look: &'a Look<'a>,
    pub nonce: &'a str,
    pub mailbox_url: &'a str,
    pub subject: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub template: &'a str,
    pub at: DateTime<Utc>,
    pub text: &'a str,
    pub html: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::brand::Brand;

    const EVIL: &str = "\"><script>alert(1)</script>";
    const NONCE: &str = "bm9uY2U";

    fn look() -> Look<'static> {
        Look::of(&Brand { name: "Acme", color: "#0b5fff", ..Brand::default() })
    }

    fn reset<'a>(look: &'a Look<'a>, errors: &'a [String]) -> ResetPasswordPage<'a> {
        let action = "/p/acme/reset-password";
        ResetPasswordPage { look, nonce: NONCE, action, token: EVIL, username: EVIL, strong: false, errors }
    }

    fn mail(look: &Look<'_>) -> String {
        let at = DateTime::from_timestamp(1_795_542_600, 0).unwrap();
        let page = MailPage {
            look,
            nonce: NONCE,
            mailbox_url: "/console/mailbox",
            subject: EVIL,
            from: "Acme <no-reply@acme.example>",
            to: EVIL,
            template: "change-password",
            at,
            text: EVIL,
            html: "<p title=\"a\">Hello</p><script>alert(1)</script>",
        };
        page.render().unwrap()
    }

    #[test]
    fn a_reset_form_posts_what_a_password_manager_understands() {
        let look = look();
        let page = reset(&look, &[]).render().unwrap();
        for part in [
            "<form method=\"post\" action=\"/p/acme/reset-password\">",
            "type=\"hidden\" name=\"token\"",
            "autocomplete=\"username\"",
            "name=\"new_password\" type=\"password\" autocomplete=\"new-password\" minlength=\"8\" maxlength=\"128\"",
            "aria-describedby=\"policy\"",
            "<html lang=\"en\"",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("role=\"alert\""));
    }

    #[test]
    fn an_error_is_announced_and_leads_to_its_field() {
        let look = look();
        let errors = ["This password is too easy to guess.".to_owned()];
        let page = reset(&look, &errors).render().unwrap();
        assert!(page.contains("<title>Error: Choose a new password – Acme</title>"));
        assert!(page.contains("role=\"alert\""));
        assert!(page.contains("<a href=\"#new_password\">This password is too easy to guess.</a>"));
        assert!(page.contains("aria-invalid=\"true\" aria-describedby=\"errors policy\""));
    }

    #[test]
    fn each_reason_of_a_dead_link_has_its_own_sentence() {
        let look = look();
        let said = [LinkProblem::Used, LinkProblem::Expired, LinkProblem::Replaced, LinkProblem::Unknown]
            .map(|why| InvalidLinkPage {
                look: &look,
                nonce: NONCE,
                why,
                again: Again::Page { url: "/p/acme/forgot-password", label: "Ask for a new mail" },
            })
            .map(|page| page.render().unwrap());
        for (page, word) in said.iter().zip(["used already", "has expired", "replaced by", "not a link"]) {
            assert!(page.contains(word) && page.contains("href=\"/p/acme/forgot-password\""));
            assert_eq!(said.iter().filter(|other| other.contains(word)).count(), 1, "{word}");
        }
    }

    #[test]
    fn no_page_runs_a_script_or_has_a_style_attribute() {
        let look = look();
        let done = ResetPasswordDonePage { look: &look, nonce: NONCE, username: EVIL, sign_in_url: None };
        let row = MailRow {
            href: "/console/mailbox/1".to_owned(),
            to: EVIL.to_owned(),
            subject: EVIL.to_owned(),
            template: EVIL.to_owned(),
            at: DateTime::from_timestamp(1_795_542_600, 0).unwrap(),
        };
        let list = MailboxPage { look: &look, nonce: NONCE, mails: &[row], next_url: None };
        let errors = [EVIL.to_owned()];
        let (nonce, token, action) = (NONCE, EVIL, "confirm-email");
        let button = ButtonPage {
            look: &look,
            nonce,
            action,
            token,
            title: EVIL,
            paragraphs: &errors,
            button: "Confirm this address",
        };
        let notifications = NotificationsPage { look: &look, nonce, action, token, username: EVIL };
        let said = SaidPage { look: &look, nonce, title: EVIL, paragraphs: &errors };
        let forgot = ForgotPasswordPage { look: &look, nonce, action, errors: &errors };
        for page in [
            button.render().unwrap(),
            notifications.render().unwrap(),
            said.render().unwrap(),
            forgot.render().unwrap(),
            reset(&look, &errors).render().unwrap(),
            done.render().unwrap(),
            list.render().unwrap(),
            mail(&look),
        ] {
            assert!(!page.contains("<script") && !page.contains(" style="), "{page}");
            assert_eq!(page.matches("<style").count(), 1);
            assert!(page.contains("<style nonce=\"bm9uY2U\">"));
            assert_eq!(page.matches("<h1>").count(), 1);
        }
    }

    #[test]
    fn a_mail_is_shown_in_a_frame_that_can_do_nothing() {
        let look = look();
        let page = mail(&look);
        assert!(page.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""));
        assert!(page.contains("srcdoc=\"&#60;p title=&#34;a&#34;&#62;Hello"));
        assert!(!page.contains("allow-scripts") && !page.contains("allow-same-origin"));
    }
}
