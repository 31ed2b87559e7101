//! Files that were exported, and such that prune.

use super::fixture::{ACME, Place};
use super::*;

const MORE: &str = r#"
[[integrations]]
name = "second"
kind = "capture"
from = "second@acme.example"
rate = "50/s"
return_path = "bounces@acme.example"
reply_path = "replies@acme.example"

[[event_types]]
type = "billing.card-expiring"
schema = { type = "object", required = ["member", "last4"] }

[[event_types]]
type = "billing.paid"
schema = '{"enum": [null, 1]}'

[[members]]
email = "nobody@example.com"
"#;

impl Place {
    async fn prune(&self, text: &str) -> Vec<String> {
        let options = Options { dry_run: false, prune: true };
        let changes = apply(&self.applying(), text, options).await.unwrap_or_else(|_| panic!("{text}"));
        changes.iter().filter(|one| one.verdict != Verdict::Unchanged).map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn what_is_exported_applies_to_the_same_and_holds_no_secret() {
    let place = Place::new().await;
    place.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let exported = export(&place.store, "acme").await.unwrap();
    assert!(!exported.contains("p@ss") && !exported.contains("p%40ss"), "{exported}");
    let again = place.apply(&exported, false).await.unwrap_or_else(|wrong| panic!("{wrong:?}\n{exported}"));
    assert!(again.iter().all(|line| line.ends_with(": unchanged")), "{again:?}\n{exported}");
    assert_eq!(export(&place.store, "acme").await.unwrap(), exported);
    for part in ["builtin_automations", "rate = \"50/s\"", "billing.card-expiring", "nobody@example.com"] {
        assert!(exported.contains(part), "{part} in {exported}");
    }
    assert!(matches!(export(&place.store, "gone").await, Err(ExportError::NoProject)));
}

#[tokio::test]
async fn an_export_makes_the_same_project_elsewhere_once_it_has_its_passwords() {
    let here = Place::new().await;
    here.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let exported = export(&here.store, "acme").await.unwrap();
    let there = Place::new().await;
    let problems = there.apply(&exported, false).await.unwrap_err();
    assert!(problems.iter().all(|problem| problem.place == "integrations[0].url"), "{problems:?}");
    let with = exported.replace("smtp://user@", "smtp://user:${SMTP_PASSWORD}@");
    there.apply(&with, false).await.unwrap();
    assert_eq!(export(&there.store, "acme").await.unwrap(), exported);
}

#[tokio::test]
async fn pruning_takes_away_what_the_file_omits_but_no_member_and_no_built_in_automation() {
    let place = Place::new().await;
    place.apply(&format!("{ACME}{MORE}"), false).await.unwrap();
    let own = "[[automations]]\nname = 'Mine'\nevent = 'account.password-changed'\nintegration = 'second'\n\
               template = 'change-password'\n";
    place.apply(&format!("{ACME}{MORE}{own}"), false).await.unwrap();
    let bare = "[project]\nslug = 'acme'\n[[integrations]]\nname = 'fresh'\nkind = 'capture'\n\
                from = 'fresh@acme.example'\n";
    let changed = place.prune(bare).await;
    for line in [
        "integration fresh: created",
        "integration main: retired",
        "integration second: retired",
        "automation Mine: retired",
        "automation \"Our reset\": retired",
        "automation \"Reset password\": created",
        "event-type billing.card-expiring: retired",
    ] {
        assert!(changed.contains(&line.to_owned()), "{line} in {changed:?}");
    }
    assert!(place.prune(bare).await.is_empty(), "the second time nothing is left to do");
    let exported = export(&place.store, "acme").await.unwrap();
    assert!(exported.contains("elon@example.com") && exported.contains("Password changed"), "{exported}");
    assert!(!exported.contains("second") && !exported.contains("billing"), "{exported}");
}
