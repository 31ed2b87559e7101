//! Integrations of a file: read, and laid over what is stored by the rules that hold for everybody.

use super::fields::Fields;
use super::plan::Planning;
use super::read::{name, or_none};
use crate::domain::catalogue::{Integration, Rate};
use crate::domain::id::IntegrationId;
use crate::domain::integration::{Kind, MOST_CONNECTIONS, Maker, Making, Wish, address, mailbox, path};
use crate::domain::smtp_url::{self, SmtpUrl};

/// What the file says of one.
pub(super) struct IntegrationEntry {
    pub(super) place: String,
    pub(super) name: String,
    wish: Wish,
}

impl IntegrationEntry {
    /// `None`: it has no name under which it could be stored.
    pub(super) fn read(mut fields: Fields<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let named = fields.checked("name", name);
        if named.is_none() {
            fields.wrong("name", "is missing");
        }
        let name = named.unwrap_or_default();
        let wish = Wish {
            name: name.clone(),
            kind: fields.checked("kind", Kind::from_name),
            url: fields.checked("url", |text| SmtpUrl::parse(&smtp_url::replace(text, variable)?)),
            from: fields.checked("from", mailbox),
            reply_to: fields.checked("reply_to", or_none(address)),
            connections: fields.whole("connections", 1, MOST_CONNECTIONS),
            rate: fields.checked("rate", rate),
            auto_submitted: fields.boolean("auto_submitted"),
            return_path: fields.checked("return_path", or_none(path)),
            reply_path: fields.checked("reply_path", or_none(path)),
        };
        let place = fields.place.clone();
        fields.end();
        Some(Self { place, name, wish }).filter(|entry| !entry.name.is_empty())
    }

    /// The integration as it shall be.
    pub(super) fn over(&self, planning: &Planning<'_>, stored: Option<&Integration>) -> Option<Integration> {
        let applying = planning.applying;
        let making = Making {
            keys: applying.keys,
            project: planning.project,
            id: IntegrationId::new_at(applying.now),
            maker: Maker::Operator,
        };
        let made = self.wish.over(&making, stored);
        made.map_err(|wrong| {
            for (field, what) in wrong {
                planning.wrong(&self.place, field, what);
            }
        })
        .ok()
    }
}

fn rate(text: &str) -> Result<Option<Rate>, &'static str> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}
