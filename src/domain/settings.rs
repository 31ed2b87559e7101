//! What a project may set, as it is stored: JSON in which everything may be absent. Must not know who set it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a project may set.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Settings {
    /// Hosts that a link with a token may go to; the public URL's host if there is none.
    pub link_hosts: Vec<String>,
    pub brand: Brand,
    /// Front ends that may call the hosted routes and Jexia's calls (CORS).
    pub origins: Vec<String>,
    pub jexia_calls: bool,
    pub out_of_office: OutOfOffice,
    pub throttle: Throttle,
    /// What is told on the exchange of notices: types, or `account.*`.
    pub notices: Vec<String>,
    /// Whether `apply` makes the built-in automations that are missing.
    pub builtin_automations: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let notices = ["account.*", "event.refused", "dispatch.dead", "dispatch.bounced"];
        Self {
            link_hosts: Vec::new(),
            brand: Brand::default(),
            origins: Vec::new(),
            jexia_calls: false,
            out_of_office: OutOfOffice::default(),
            throttle: Throttle::default(),
            notices: notices.map(str::to_owned).into(),
            builtin_automations: true,
        }
    }
}

impl Settings {
    /// Whether the project wants to be told of what is of that type.
    pub fn wants_notice(&self, kind: &str) -> bool {
        self.notices.iter().any(|wish| match wish.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => wish == kind,
        })
    }
}

/// How the project's mails and pages look.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Brand {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
}

/// When a member's automatic replies make them be on vacation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct OutOfOffice {
    /// So many replies.
    pub limit: u32,
    /// What tells an automatic reply that says so nowhere else.
    pub phrases: Vec<String>,
}

impl Default for OutOfOffice {
    fn default() -> Self {
        Self { limit: 2, phrases: ["out of office", "out of the office"].map(str::to_owned).into() }
    }
}

/// How much mail a stranger can cause.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Throttle {
    /// For each recipient and type.
    pub recipient: Rate,
    /// For each client address on public routes.
    pub client: Rate,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { recipient: Rate { count: 5, seconds: 3_600 }, client: Rate { count: 20, seconds: 3_600 } }
    }
}

/// So many in so long: `5/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    pub count: u32,
    pub seconds: u64,
}

impl Rate {
    const UNITS: [(&'static str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    const MOST: u32 = 1_000_000;
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a rate such as `5/h` (1 to 1000000 per `s`, `m`, `h` or `d`)";
        let (count, unit) = text.split_once('/').ok_or(WRONG)?;
        let (_, seconds) = Self::UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(WRONG)?;
        let count = count.parse().ok().filter(|count| (1..=Self::MOST).contains(count)).ok_or(WRONG)?;
        Ok(Self { count, seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.into_iter().find(|(_, seconds)| *seconds == self.seconds);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

impl TryFrom<String> for Rate {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stored_has_its_default() {
        let read: Settings = serde_json::from_str(r#"{"throttle":{"client":"9/m"}}"#).unwrap();
        assert_eq!(read.throttle.recipient, "5/h".parse().unwrap());
        assert_eq!(read.throttle.client, Rate { count: 9, seconds: 60 });
        assert_eq!(read.notices.len(), 4);
        assert!(read.builtin_automations && !read.jexia_calls);
        let text = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), read);
    }

    #[test]
    fn a_notice_is_wanted_by_its_type_or_by_how_it_starts() {
        let wants = |wishes: &[&str], kind: &str| {
            let notices = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            Settings { notices, ..Settings::default() }.wants_notice(kind)
        };
        assert!(wants(&["account.*"], "account.on-vacation") && wants(&["*"], "dispatch.sent"));
        assert!(wants(&["event.refused", "dispatch.dead"], "dispatch.dead"));
        assert!(!wants(&["account.*"], "dispatch.dead") && !wants(&["dispatch.dead"], "dispatch.deadly"));
        assert!(!wants(&[], "dispatch.dead"));
        let usual = Settings::default();
        assert!(usual.wants_notice("dispatch.bounced") && !usual.wants_notice("dispatch.sent"));
    }

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for wrong in ["5", "5/", "/h", "0/h", "5/w", "-5/h", "5 / h", "1000001/h", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
