//! `signalpost render`: every built-in e-mail in every wording, with sample data, for people who review them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta};

use super::output;
use crate::mail::templates::{AutoReplies, Brand, By, Content, Person, Reason, Template, render};

const LINK: &str = "https://app.acme.example/reset?token=c2FtcGxlLXRva2VuLXdoaWNoLWRvZXMtbm90aGluZy1hdC1hbGw";
/// The address that an account is to have.
const NEW: &str = "elon@new.example";
/// 2026-11-24 18:30 UTC: any fixed time, so that two runs write the same.
const AT: DateTime<chrono::Utc> = DateTime::from_timestamp_nanos(1_795_545_000_000_000_000);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Every built-in e-mail
    #[arg(long, required = true)]
    all: bool,
    /// Directory for html/NAME.html and text/NAME.txt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    debug_assert!(args.all, "clap requires it");
    let variants = variants();
    for (name, template, content) in &variants {
        let mail = render(*template, content).with_context(|| format!("{name} could not be rendered"))?;
        write(&args.out.join("html").join(format!("{name}.html")), &mail.html)?;
        let text = format!("Subject: {}\n\n{}", mail.subject, mail.text);
        write(&args.out.join("text").join(format!("{name}.txt")), &text)?;
    }
    output::line(&format!("{} e-mails written to {}", variants.len(), args.out.display()))?;
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("{} could not be written", file.display());
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(failed)?;
    }
    fs::write(file, text).with_context(failed)
}

/// Each e-mail under its own name, and its other wordings under that name with a word more.
fn variants() -> Vec<(&'static str, Template, Content<'static>)> {
    let reset = |reason| Content { reason, ..sample() };
    let change = |by| Content { by, link: None, expires_in: None, ..sample() };
    vec![
        ("reset-password-confirm", Template::ResetPasswordConfirm, reset(Reason::Member)),
        ("reset-password-confirm.admin", Template::ResetPasswordConfirm, reset(Reason::Admin)),
        ("reset-password-confirm.forced", Template::ResetPasswordConfirm, reset(Reason::Forced)),
        ("change-password", Template::ChangePassword, change(By::Member)),
        ("change-password.admin", Template::ChangePassword, change(By::Admin)),
        ("change-password.reset", Template::ChangePassword, change(By::Reset)),
        ("change-email-confirm", Template::ChangeEmailConfirm, moved(NEW, 60)),
        ("change-email", Template::ChangeEmail, moved("elon@example.com", 7 * 24 * 60)),
        ("change-email.new", Template::ChangeEmail, moved(NEW, 0)),
        ("out-of-office-warning", Template::OutOfOfficeWarning, away(1)),
        ("out-of-office-change", Template::OutOfOfficeChange, away(2)),
    ]
}

/// A mail about a new address, to one of the two, with a link of so many minutes.
fn moved(to: &'static str, minutes: i64) -> Content<'static> {
    let expires_in = Some(TimeDelta::minutes(minutes));
    let member = Person { email: to, ..sample().member };
    Content { member, new_email: Some(NEW), expires_in, ..sample() }
}

fn away(count: u32) -> Content<'static> {
    let auto_replies = AutoReplies { count: Some(count), limit: Some(2), matched: Some("out of the office") };
    Content { auto_replies, expires_in: Some(TimeDelta::days(30)), ..sample() }
}

fn sample() -> Content<'static> {
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
        at: AT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_e_mail_has_a_sample() {
        for template in Template::ALL {
            assert!(variants().iter().any(|(name, of, _)| *of == template && *name == template.name()));
        }
    }
}
