//! How a project's settings are changed, whoever asks: a file, the API, the console. Must not know who asks.

use url::Url;

use super::link::is_loopback;
use super::settings::{Rate, Settings};

/// The longest name of a project, an integration or an automation, in characters.
const LONGEST_NAME: usize = 128;
/// The longest footer and phrase, in characters.
const LONGEST_TEXT: usize = 300;
/// The most automatic replies that are waited for.
pub const MOST_REPLIES: u16 = 100;
/// What Signalpost tells of itself (section 3 of the reference).
pub const NOTICES: [&str; 8] = [
    "account.password-changed",
    "account.email-changed",
    "account.on-vacation",
    "event.refused",
    "event.settled",
    "dispatch.dead",
    "dispatch.bounced",
    "dispatch.sent",
];

/// The settings that somebody gives. `None` is not given; an optional text is taken away by an empty one.
#[derive(Default)]
pub struct SettingsWish {
    pub link_hosts: Option<Vec<String>>,
    pub origins: Option<Vec<String>>,
    pub jexia_calls: Option<bool>,
    pub notices: Option<Vec<String>>,
    pub builtin_automations: Option<bool>,
    pub limit: Option<u16>,
    pub phrases: Option<Vec<String>>,
    pub recipient: Option<Rate>,
    pub client: Option<Rate>,
    pub color: Option<String>,
    pub logo_url: Option<String>,
    pub footer: Option<String>,
}

impl SettingsWish {
    /// What is stored, with what is given in its place.
    pub fn over(&self, stored: &Settings) -> Settings {
        let mut settings = stored.clone();
        put(&mut settings.link_hosts, self.link_hosts.as_ref());
        put(&mut settings.origins, self.origins.as_ref());
        put(&mut settings.jexia_calls, self.jexia_calls.as_ref());
        put(&mut settings.notices, self.notices.as_ref());
        put(&mut settings.builtin_automations, self.builtin_automations.as_ref());
        put(&mut settings.out_of_office.limit, self.limit.map(u32::from).as_ref());
        put(&mut settings.out_of_office.phrases, self.phrases.as_ref());
        put(&mut settings.throttle.recipient, self.recipient.as_ref());
        put(&mut settings.throttle.client, self.client.as_ref());
        put_text(&mut settings.brand.color, self.color.as_ref());
        put_text(&mut settings.brand.logo_url, self.logo_url.as_ref());
        put_text(&mut settings.brand.footer, self.footer.as_ref());
        settings
    }
}

/// What differs, by the names that people use.
pub fn changed(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let pairs = [
        ("link_hosts", old.link_hosts != new.link_hosts),
        ("brand", old.brand != new.brand),
        ("origins", old.origins != new.origins),
        ("jexia_calls", old.jexia_calls != new.jexia_calls),
        ("out_of_office", old.out_of_office != new.out_of_office),
        ("throttle", old.throttle != new.throttle),
        ("notices", old.notices != new.notices),
        ("builtin_automations", old.builtin_automations != new.builtin_automations),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

fn put<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        given.clone_into(place);
    }
}

/// An empty text takes the stored one away.
pub fn put_text(place: &mut Option<String>, given: Option<&String>) {
    if let Some(given) = given {
        *place = Some(given.clone()).filter(|text| !text.is_empty());
    }
}

/// A name to be shown on one line.
pub fn check_name(text: &str) -> Result<String, String> {
    if text.trim() != text || text.is_empty() || text.chars().count() > LONGEST_NAME {
        return Err(format!("is not 1 to {LONGEST_NAME} characters without white space at an end"));
    }
    check_line(text)
}

/// Lets an empty text through, which takes a stored one away.
pub fn or_none<'a, E: Into<String>>(
    check: impl Fn(&str) -> Result<String, E> + 'a,
) -> impl Fn(&str) -> Result<String, String> + 'a {
    move |text| if text.is_empty() { Ok(String::new()) } else { check(text).map_err(Into::into) }
}

/// Text to be shown on one line.
pub fn check_line(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(format!("is not 1 to {LONGEST_TEXT} characters without a control character"));
    }
    Ok(text.to_owned())
}

pub fn check_slug(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_slug = (1..=63).contains(&text.len()) && text.bytes().all(plain);
    if is_slug { Ok(text.to_owned()) } else { Err("is not 1 to 63 of a-z, 0-9 and `-`") }
}

/// Checks an origin that may call (CORS).
pub fn check_origin(text: &str) -> Result<(), String> {
    const WRONG: &str = "is not an origin such as `https://app.acme.example`";
    let url = Url::parse(text).map_err(|_| WRONG)?;
    let is_safe = url.scheme() == "https" || url.host().is_some_and(|host| is_loopback(&host));
    if url.origin().ascii_serialization() != text || !is_safe {
        return Err(WRONG.to_owned());
    }
    Ok(())
}

/// Checks what may be told on the exchange of notices: a type, or `account.*`.
pub fn check_notice(text: &str) -> Result<(), String> {
    let is_told = match text.strip_suffix('*') {
        Some(start) => {
            (start.is_empty() || start.ends_with('.'))
                && NOTICES.iter().any(|notice| notice.starts_with(start))
        }
        None => NOTICES.contains(&text),
    };
    if is_told {
        Ok(())
    } else {
        Err(format!("is none of {}, or `account.*` and the like", NOTICES.join(", ")))
    }
}

pub fn check_color(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let is_color = matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_color { Ok(text.to_owned()) } else { Err("is not a colour such as `#0b5fff`") }
}

pub fn check_logo(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https");
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
    url.filter(|_| is_plain).map(|_| text.to_owned()).ok_or("is not an https:// URL")
}
