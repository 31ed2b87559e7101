//! The invariants of `lib.rs` that can be read off the source: who knows whom, and that each thing has its one
//! home. A failure names the file and the line.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests.
const LONGEST_FILE: usize = 350;
/// Folders below `src`.
const DEEPEST: usize = 2;

/// Who may know whom: `domain ← store, mail ← pipeline ← broker, web ← app ← main`. Files beside the folders are
/// named by their stem.
const KNOWS: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("mail", &["domain"]),
    ("inbound", &[]),
    ("pipeline", &["domain", "store", "mail", "inbound"]),
    ("broker", &["domain", "pipeline"]),
    ("web", &["domain", "store", "mail", "inbound", "pipeline"]),
    ("project_file", &["domain", "store", "mail"]),
    ("config", &["domain", "mail"]),
    ("telemetry", &[]),
    ("upkeep", &["domain", "store", "pipeline", "broker", "web"]),
    ("app", &["domain", "store", "mail", "pipeline", "broker", "web", "upkeep"]),
    (
        "cli",
        &[
            "domain",
            "store",
            "mail",
            "inbound",
            "pipeline",
            "broker",
            "web",
            "project_file",
            "config",
            "telemetry",
            "app",
        ],
    ),
    ("main", &["cli", "config", "telemetry"]),
];

struct Source {
    path: PathBuf,
    /// The part before `#[cfg(test)]`.
    lines: Vec<String>,
}

impl Source {
    /// The first folder below `src`, or the file's stem.
    fn part(&self) -> &str {
        let below =
            self.path.strip_prefix("src").unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
        below.strip_suffix(".rs").unwrap_or(below)
    }

    fn is(&self, path: &str) -> bool {
        self.path == Path::new(path)
    }

    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.lines.iter().enumerate().map(|(place, line)| (place + 1, line.as_str()));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && path.file_stem().unwrap() != "tests"
            {
                let text = fs::read_to_string(&path).unwrap();
                let lines =
                    text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::to_owned).collect();
                found.push(Source { path, lines });
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found
}

fn offenders(offends: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if offends(&source, line) {
                found.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn nobody(offenders: &[String]) {
    assert!(offenders.is_empty(), "\n{}", offenders.join("\n"));
}

#[test]
fn knowledge_has_one_direction() {
    nobody(&offenders(|source, line| {
        let Some(at) = line.find("crate::") else { return false };
        if line[..at].ends_with('$') || source.part() == "lib" {
            return false;
        }
        let other: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let known = KNOWS.iter().find(|(part, _)| *part == source.part()).map(|(_, known)| *known);
        let known = known.unwrap_or_else(|| panic!("{} is in no line of KNOWS", source.path.display()));
        other != source.part() && !other.is_empty() && !known.contains(&other.as_str())
    }));
}

#[test]
fn only_the_configuration_reads_the_environment() {
    nobody(&offenders(|source, line| line.contains("env::var") && source.part() != "config"));
}

#[test]
fn only_the_clock_reads_the_time() {
    nobody(&offenders(|source, line| {
        (line.contains("Utc::now()") || line.contains("SystemTime::now")) && !source.is("src/domain/clock.rs")
    }));
}

#[test]
fn only_the_topology_names_a_queue_or_an_exchange() {
    let names = ["\"signalpost.events\"", "\"signalpost.dead\"", "\"signalpost.notices\""];
    nobody(&offenders(|source, line| {
        names.iter().any(|name| line.contains(name)) && !source.is("src/broker/topology.rs")
    }));
}

#[test]
fn only_the_publisher_publishes() {
    nobody(&offenders(|source, line| {
        line.contains("basic_publish") && !source.is("src/broker/publisher.rs")
    }));
}

#[test]
fn only_the_store_holds_sql() {
    let verbs = ["\"select ", "\"insert into ", "\"update ", "\"delete from ", "sqlx::query"];
    nobody(&offenders(|source, line| {
        source.part() != "store"
            && verbs.iter().any(|verb| line.to_lowercase().contains(verb))
            && !line.contains("starts_with")
    }));
}

#[test]
fn secrets_have_no_debug() {
    let secrets =
        ["struct Token(", "struct SecretKey(", "struct Keyring", "struct Password(", "struct ApiKey("];
    for source in sources().iter().filter(|source| source.part() == "domain") {
        for (number, line) in
            source.code().filter(|(_, line)| secrets.iter().any(|secret| line.contains(secret)))
        {
            let above =
                source.lines[..number - 1].iter().rev().take_while(|line| line.starts_with("#[derive"));
            for derive in above {
                assert!(
                    !derive.contains("Debug") && !derive.contains(" Serialize"),
                    "{}:{number}: {line}",
                    source.path.display()
                );
            }
        }
    }
}

#[test]
fn files_are_short_say_what_they_hold_and_lie_flat() {
    for source in sources() {
        let path = source.path.display();
        assert!(
            source.lines.len() <= LONGEST_FILE,
            "{path} has {} lines before its tests",
            source.lines.len()
        );
        assert!(source.lines[0].starts_with("//!"), "{path} does not say first what it holds");
        assert!(source.path.components().count() - 1 <= DEEPEST + 1, "{path} lies too deep");
        let name = source.path.file_stem().unwrap().to_str().unwrap();
        assert!(!["utils", "common", "helpers"].contains(&name), "{path} says nothing by its name");
    }
}

#[test]
fn every_built_in_email_is_a_folder_of_three_parts() {
    for entry in fs::read_dir("templates/email").unwrap() {
        let folder = entry.unwrap().path();
        let mut parts: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|part| part.unwrap().file_name()).collect();
        parts.sort();
        assert_eq!(parts, ["body.html", "body.txt", "subject.txt"], "{}", folder.display());
    }
}
