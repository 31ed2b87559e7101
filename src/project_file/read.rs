//! Step 1, pure: the text of a file becomes values, each checked by itself. Must not know what is stored.

use toml::Table;
use url::Url;

use super::automations::AutomationEntry;
use super::fields::{Fields, Problems};
use super::integrations::IntegrationEntry;
use super::members::MemberEntry;
use crate::domain::catalogue::Settings;
use crate::domain::link::{check_host, is_loopback};
use crate::domain::settings::Rate;

/// The longest name of a project, an integration or an automation, in characters.
const LONGEST_NAME: usize = 128;
/// The longest footer and phrase, in characters.
const LONGEST_TEXT: usize = 300;
/// What Signalpost tells of itself (section 3 of the reference).
const NOTICES: [&str; 8] = [
    "account.password-changed",
    "account.email-changed",
    "account.on-vacation",
    "event.refused",
    "event.settled",
    "dispatch.dead",
    "dispatch.bounced",
    "dispatch.sent",
];

/// What the file says. What it omits, or says wrongly, is `None`.
#[derive(Default)]
pub(super) struct ProjectFile {
    pub(super) slug: Option<String>,
    pub(super) name: Option<String>,
    pub(super) settings: SettingsEntry,
    pub(super) integrations: Vec<IntegrationEntry>,
    pub(super) automations: Vec<AutomationEntry>,
    pub(super) members: Vec<MemberEntry>,
}

/// The settings that the file gives.
#[derive(Default)]
pub(super) struct SettingsEntry {
    link_hosts: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    jexia_calls: Option<bool>,
    notices: Option<Vec<String>>,
    builtin_automations: Option<bool>,
    limit: Option<u16>,
    phrases: Option<Vec<String>>,
    recipient: Option<Rate>,
    client: Option<Rate>,
    color: Option<String>,
    logo_url: Option<String>,
    footer: Option<String>,
}

impl ProjectFile {
    /// `None`: it is not TOML, and nothing else can be said of it.
    pub(super) fn read(
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        problems: &Problems,
    ) -> Option<Self> {
        let table: Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                // Its `Display` shows the line, which may hold a password.
                let start = error.span().map_or(0, |span| span.start);
                let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
                problems.add(&format!("line {line}"), format!("is not TOML: {}", error.message()));
                return None;
            }
        };
        let mut top = Fields::new(table, String::new(), problems);
        let mut file = Self::default();
        match top.table("project") {
            Some(project) => file.read_project(project),
            None => top.wrong("project", "is missing"),
        }
        let integrations = top.tables("integrations").into_iter();
        file.integrations = integrations.filter_map(|one| IntegrationEntry::read(one, variable)).collect();
        file.automations = top.tables("automations").into_iter().filter_map(AutomationEntry::read).collect();
        file.members = top.tables("members").into_iter().filter_map(MemberEntry::read).collect();
        top.unsupported(&["event_types"]);
        top.end();
        once_each(problems, file.integrations.iter().map(|one| (&one.place, "name", one.name.clone())));
        once_each(problems, file.automations.iter().map(|one| (&one.place, "name", one.name.clone())));
        once_each(problems, file.members.iter().map(|one| (&one.place, "username", one.key())));
        Some(file)
    }

    fn read_project(&mut self, mut project: Fields<'_>) {
        self.slug = project.checked("slug", check_slug);
        if self.slug.is_none() {
            project.wrong("slug", "is missing");
        }
        self.name = project.checked("name", name);
        let settings = &mut self.settings;
        settings.link_hosts = project.texts("link_hosts", check_host);
        settings.origins = project.texts("origins", check_origin);
        settings.jexia_calls = project.boolean("jexia_calls");
        settings.notices = project.texts("notices", check_notice);
        settings.builtin_automations = project.boolean("builtin_automations");
        if let Some(mut table) = project.table("out_of_office") {
            settings.limit = table.whole("limit", 1, 100);
            settings.phrases = table.texts("phrases", |text| shown(text).map(drop));
            table.end();
        }
        if let Some(mut table) = project.table("throttle") {
            settings.recipient = table.checked("recipient", str::parse);
            settings.client = table.checked("client", str::parse);
            table.end();
        }
        if let Some(mut table) = project.table("brand") {
            settings.color = table.checked("color", or_none(color));
            settings.logo_url = table.checked("logo_url", or_none(logo));
            settings.footer = table.checked("footer", or_none(shown));
            table.end();
        }
        project.end();
    }
}

impl SettingsEntry {
    /// What is stored, with what the file gives in its place.
    pub(super) fn over(&self, stored: &Settings) -> Settings {
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

fn put<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        given.clone_into(place);
    }
}

/// An empty text takes the stored one away.
pub(super) fn put_text(place: &mut Option<String>, given: Option<&String>) {
    if let Some(given) = given {
        *place = Some(given.clone()).filter(|text| !text.is_empty());
    }
}

fn once_each<'a>(problems: &Problems, names: impl Iterator<Item = (&'a String, &'static str, String)>) {
    let mut seen = std::collections::HashSet::new();
    for (place, field, name) in names {
        if !seen.insert(name) {
            problems.add(&format!("{place}.{field}"), "stands in the file twice");
        }
    }
}

/// A name to be shown on one line.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim() != text || text.is_empty() || text.chars().count() > LONGEST_NAME {
        return Err(format!("is not 1 to {LONGEST_NAME} characters without white space at an end"));
    }
    shown(text)
}

/// Lets an empty text through, which takes a stored one away.
pub(super) fn or_none<'a, E: Into<String>>(
    check: impl Fn(&str) -> Result<String, E> + 'a,
) -> impl Fn(&str) -> Result<String, String> + 'a {
    move |text| if text.is_empty() { Ok(String::new()) } else { check(text).map_err(Into::into) }
}

fn shown(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(format!("is not 1 to {LONGEST_TEXT} characters without a control character"));
    }
    Ok(text.to_owned())
}

fn check_slug(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_slug = (1..=63).contains(&text.len()) && text.bytes().all(plain);
    if is_slug { Ok(text.to_owned()) } else { Err("is not 1 to 63 of a-z, 0-9 and `-`") }
}

fn check_origin(text: &str) -> Result<(), String> {
    const WRONG: &str = "is not an origin such as `https://app.acme.example`";
    let url = Url::parse(text).map_err(|_| WRONG)?;
    let is_safe = url.scheme() == "https" || url.host().is_some_and(|host| is_loopback(&host));
    if url.origin().ascii_serialization() != text || !is_safe {
        return Err(WRONG.to_owned());
    }
    Ok(())
}

fn check_notice(text: &str) -> Result<(), String> {
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

fn color(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let is_color = matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_color { Ok(text.to_owned()) } else { Err("is not a colour such as `#0b5fff`") }
}

fn logo(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https");
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
    url.filter(|_| is_plain).map(|_| text.to_owned()).ok_or("is not an https:// URL")
}
