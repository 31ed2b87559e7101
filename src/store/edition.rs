//! An automation as it is written: the columns of its row, and the JSON of each version. Must not know how either
//! is read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use crate::domain::catalogue::{Automation, TokenPlan};
use crate::domain::condition::Condition;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::domain::token::Purpose;

/// A version as stored.
#[derive(sqlx::FromRow)]
pub struct StoredVersion {
    pub version: i32,
    pub at: DateTime<Utc>,
    pub content: String,
}

impl StoredVersion {
    pub fn automation(&self, id: AutomationId) -> Result<Automation, StoreError> {
        Edition::from_json(&self.content).map(|edition| edition.into_automation(id, self.version))
    }
}

/// All of an automation that makes a new version when it changes.
#[derive(Serialize, Deserialize, sqlx::FromRow)]
pub struct Edition {
    pub name: String,
    pub event_type: String,
    pub integration_id: Uuid,
    pub template: String,
    /// JSON.
    #[serde(default)]
    pub texts: Option<String>,
    #[serde(default)]
    pub condition: Option<String>,
    pub purpose: Option<String>,
    pub lifetime_s: i64,
    pub max_age_s: i64,
    pub link: Option<String>,
    /// A number in versions that a migration wrote.
    #[serde(deserialize_with = "truth")]
    pub enabled: bool,
}

fn truth<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(reader)?;
    Ok(value.as_bool().unwrap_or_else(|| value.as_i64() != Some(0)))
}

impl Edition {
    pub fn of(automation: &Automation) -> Self {
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        // Texts have only texts in them, so they become JSON.
        let texts = || serde_json::to_string(&automation.texts).unwrap_or_default();
        Self {
            name: automation.name.clone(),
            event_type: automation.event_type.clone(),
            integration_id: automation.integration_id.0,
            template: automation.template.clone(),
            texts: (!automation.texts.is_empty()).then(texts),
            condition: automation.condition.as_ref().map(|condition| condition.source().to_owned()),
            purpose: automation.token.map(|token| token.purpose.name().to_owned()),
            lifetime_s: automation.token.map_or(0, |token| seconds(token.lifetime)),
            max_age_s: seconds(automation.max_age),
            link: automation.link.clone(),
            enabled: automation.enabled,
        }
    }

    pub fn into_automation(self, id: AutomationId, version: i32) -> Automation {
        let seconds = |s: i64| Duration::from_secs(s.unsigned_abs());
        let purpose = self.purpose.as_deref().and_then(Purpose::from_name);
        Automation {
            id,
            version,
            name: self.name,
            event_type: self.event_type,
            integration_id: IntegrationId(self.integration_id),
            template: self.template,
            texts: self.texts.and_then(|texts| serde_json::from_str(&texts).ok()).unwrap_or_default(),
            condition: self.condition.as_deref().map(Condition::stored),
            token: purpose.map(|purpose| TokenPlan { purpose, lifetime: seconds(self.lifetime_s) }),
            max_age: seconds(self.max_age_s),
            link: self.link,
            enabled: self.enabled,
            paused: false,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn from_json(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text).map_err(|_| StoreError::Unreadable("a version of an automation"))
    }
}
