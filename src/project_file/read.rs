//! Step 1, pure: the text of a file becomes values, each checked by itself. Must not know what is stored.

use toml::Table;

use super::automations::AutomationEntry;
use super::event_types::EventTypeEntry;
use super::fields::{Fields, Problems};
use super::integrations::IntegrationEntry;
use super::members::MemberEntry;
use crate::domain::link::check_host;
use crate::domain::project::{
    MOST_REPLIES, SettingsWish, check_color, check_line, check_logo, check_notice, check_origin, check_slug,
};

pub(super) use crate::domain::project::{check_name as name, or_none, put_text};

/// What the file says. What it omits, or says wrongly, is `None`.
#[derive(Default)]
pub(super) struct ProjectFile {
    pub(super) slug: Option<String>,
    pub(super) name: Option<String>,
    pub(super) settings: SettingsWish,
    pub(super) integrations: Vec<IntegrationEntry>,
    pub(super) automations: Vec<AutomationEntry>,
    pub(super) event_types: Vec<EventTypeEntry>,
    pub(super) members: Vec<MemberEntry>,
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
        file.event_types = top.tables("event_types").into_iter().filter_map(EventTypeEntry::read).collect();
        top.end();
        once_each(problems, file.integrations.iter().map(|one| (&one.place, "name", one.name.clone())));
        once_each(problems, file.automations.iter().map(|one| (&one.place, "name", one.name.clone())));
        once_each(problems, file.event_types.iter().map(|one| (&one.place, "type", one.name.clone())));
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
            settings.limit = table.whole("limit", 1, MOST_REPLIES);
            settings.phrases = table.texts("phrases", |text| check_line(text).map(drop));
            table.end();
        }
        if let Some(mut table) = project.table("throttle") {
            settings.recipient = table.checked("recipient", str::parse);
            settings.client = table.checked("client", str::parse);
            table.end();
        }
        if let Some(mut table) = project.table("brand") {
            settings.color = table.checked("color", or_none(check_color));
            settings.logo_url = table.checked("logo_url", or_none(check_logo));
            settings.footer = table.checked("footer", or_none(check_line));
            table.end();
        }
        project.end();
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
