//! `docs/reference.md` says what the program does: its commands, configuration keys, routes, metrics and event
//! types are held against the code.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use signalpost::config::KEYS;
use signalpost::domain::change::Change;
use signalpost::domain::event::Reason;
use signalpost::web::api::ROUTES;

fn reference() -> String {
    std::fs::read_to_string("docs/reference.md").unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Words of a text that start so, as long as they have the characters of a name.
fn names<'a>(text: &'a str, start: &str, more: &str) -> BTreeSet<&'a str> {
    let found = text.match_indices(start).map(|(at, _)| {
        let rest = &text[at..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    });
    found.collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_configuration_key_has_its_line_and_its_default() {
    let text = reference();
    for key in &KEYS {
        let start = format!("| `{}` |", key.variable());
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{start} has no line"));
        let default = key.default.unwrap_or("none");
        let said = line.split('|').nth(2).unwrap().replace('`', "");
        let is_said = said.trim().replace(' ', "").starts_with(&default.replace(' ', ""));
        assert!(is_said || key.name == "PUBLIC_URL", "{default} in {line}");
    }
    let known: BTreeSet<String> = KEYS.iter().map(signalpost::config::Key::variable).collect();
    let told = text.lines().filter_map(|line| line.strip_prefix("| `SIGNALPOST_")?.split('`').next());
    for name in told.map(|name| format!("SIGNALPOST_{name}")) {
        assert!(known.contains(&name), "{name} is no key");
    }
}

#[test]
fn every_command_is_there() {
    let text = reference();
    let help = Command::new(env!("CARGO_BIN_EXE_signalpost")).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 8, "{help}");
    let told: BTreeSet<String> = quoted(&text)
        .into_iter()
        .filter_map(|part| part.strip_prefix("signalpost "))
        .filter_map(|part| part.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    for command in commands {
        let is_told = told.contains(command) || (command == "resume" && text.contains("`resume`"));
        assert!(is_told, "`signalpost {command}` is not in docs/reference.md");
    }
}

#[test]
fn every_route_stands_with_its_scope() {
    let text = reference();
    for route in ROUTES {
        let wanted = format!("`{} {}`", route.method.to_uppercase(), route.path);
        let start = format!("| `{}` |", route.scope.name());
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
        assert!(line.contains(&wanted), "{wanted} is not in the line of {start} of docs/reference.md");
    }
}

#[test]
fn every_metric_is_there() {
    let text = reference();
    let mut code = String::new();
    sources(Path::new("src"), &mut code);
    let told = names(&text, "signalpost_", "_");
    for name in names(&code, "\"signalpost_", "_\"") {
        let name = name.trim_matches('"');
        // The name of a channel, and the series of a histogram, are no metrics of their own.
        let is_series = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        if is_series || ["signalpost_", "signalpost_due"].contains(&name) {
            continue;
        }
        assert!(told.contains(name), "{name} is not in docs/reference.md");
    }
}

#[test]
fn every_event_type_is_there_and_is_known() {
    let text = reference();
    let code = std::fs::read_to_string("src/domain/change.rs").unwrap();
    for name in names(&code, "\"account.", "\".-") {
        let name = name.trim_matches('"');
        assert!(
            name.ends_with('.') || name == "account" || text.contains(name),
            "{name} is not in docs/reference.md"
        );
    }
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `account.")).collect::<Vec<_>>();
    assert!(rows.len() >= 9, "the table of event types");
    for row in rows {
        let kinds = row.split('|').next().unwrap();
        for word in kinds.split('`').next().unwrap().split('/') {
            let kind = format!("account.{word}");
            let refused = Change::read(&kind, &json!({})).err();
            let is_known = refused.is_none_or(|refusal| refusal.reason != Reason::UnknownType);
            assert!(is_known, "{kind} is no event type");
        }
    }
}
