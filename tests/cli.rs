//! The program as its users meet it: what it prints, where, and how it ends. No service is needed.

#![expect(clippy::unwrap_used, reason = "what a test's own steps need is there, or the test fails")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
const ACME: &str = "[project]\nslug = 'acme'\n[[integrations]]\nname = 'main'\n\
                    url = 'smtp://u:${SMTP_PASSWORD}@mail.example.com'\nfrom = 'Acme <no-reply@acme.example>'\n";

/// A directory in which the program runs, with nothing of this process's environment.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn migrated() -> Self {
        let place = Self::new();
        let done = place.run(&["migrate"]);
        let all = std::fs::read_dir("migrations/sqlite").unwrap().count();
        assert_eq!((code(&done), out(&done)), (0, format!("{all} migrations applied\n")), "{}", err(&done));
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join(file), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalpost"));
        command.args(arguments).current_dir(self.path()).env_clear().env("SIGNALPOST_SECRET_KEY", KEY);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_help_has_an_example_and_ends_well() {
    let place = Place::new();
    for command in [
        "dev",
        "serve",
        "migrate",
        "apply",
        "explain",
        "export",
        "pause",
        "resume",
        "operator",
        "operator add",
        "operator list",
        "operator remove",
        "reseal",
        "publish",
        "api-key",
        "api-key create",
        "api-key list",
        "api-key revoke",
        "render",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = place.run(&words);
        assert_eq!(code(&help), 0, "{command}");
        assert!(
            out(&help).contains(&format!("signalpost {command}")) && out(&help).contains("Example"),
            "{command}"
        );
        assert!(out(&help).contains("SIGNALPOST_DATABASE_URL"), "{command}");
    }
    assert!(place.path().read_dir().unwrap().next().is_none(), "asking for help writes nothing");
}

#[test]
fn wrong_use_ends_with_2_and_says_so_on_standard_error() {
    let place = Place::new();
    for arguments in [
        &[] as &[&str],
        &["fly"],
        &["serve", "--only", "cook"],
        &["publish", "account.deleted"],
        &["publish", "account.deleted", "--data", "{"],
        &["api-key", "create", "acme", "--scope", "everything"],
        &["api-key", "revoke", "dsp_1"],
    ] {
        let done = place.run(arguments);
        assert_eq!(code(&done), 2, "{arguments:?}: {}", err(&done));
        assert!(out(&done).is_empty() && !err(&done).is_empty(), "{arguments:?}");
    }
}

#[test]
fn wrong_configuration_ends_with_64_and_names_every_key_at_once() {
    let place = Place::new();
    place.write(
        "signalpost.toml",
        "prefetch = 'many'\ncolour = 'blue'\namqp_url = 'http://u:hunter2@broker'\n",
    );
    let mut command = place.command(&["serve", "--retention", "soon", "--http-addr", "0.0.0.0:8025"]);
    let done =
        command.env("SIGNALPOST_SECRET_KEY", "hunter2").env("SIGNALPOST_MAX_DUE", "-1").output().unwrap();
    assert_eq!(code(&done), 64);
    let told = err(&done);
    for part in [
        "SIGNALPOST_PREFETCH (`prefetch` in signalpost.toml)",
        "`colour` (signalpost.toml)",
        "SIGNALPOST_AMQP_URL (`amqp_url` in signalpost.toml)",
        "SIGNALPOST_RETENTION (flag --retention)",
        "SIGNALPOST_MAX_DUE (environment)",
        "SIGNALPOST_SECRET_KEY (environment)",
        "SIGNALPOST_PUBLIC_URL (not given)",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(told.lines().count(), 8, "{told}");
}

#[test]
fn a_secret_key_is_asked_for_with_the_way_to_make_one() {
    let place = Place::new();
    let done = place.command(&["serve"]).env_remove("SIGNALPOST_SECRET_KEY").output().unwrap();
    assert_eq!(code(&done), 64);
    assert!(err(&done).contains("openssl rand -base64 32"));
}

#[test]
fn publishing_needs_a_broker_or_a_key() {
    let place = Place::new();
    let mut command = place.command(&["publish", "account.deleted", "--data", "{}"]);
    let done = command.env_remove("SIGNALPOST_SECRET_KEY").output().unwrap();
    assert_eq!(code(&done), 64, "{}", err(&done));
}

#[test]
fn a_file_that_was_named_and_is_not_there_is_wrong_configuration() {
    let done = Place::new().run(&["migrate", "--config", "gone.toml"]);
    assert_eq!(code(&done), 64);
    assert!(err(&done).contains("gone.toml (flag --config)"));
}

#[test]
fn migrate_brings_the_schema_up_once() {
    let place = Place::migrated();
    assert_eq!(out(&place.run(&["migrate"])), "nothing to apply: the schema is up to date\n");
}

#[test]
fn a_command_on_an_older_schema_says_what_to_do() {
    let done = Place::new().run(&["api-key", "list", "acme"]);
    assert_eq!(code(&done), 1);
    assert!(err(&done).contains("error: ") && err(&done).contains("signalpost migrate"), "{}", err(&done));
}

#[test]
fn a_failure_is_one_line_with_its_causes() {
    let place = Place::new();
    let done = place.run(&["migrate", "--database-url", "postgres://u:hunter2@127.0.0.1:1/d"]);
    assert_eq!((code(&done), out(&done).as_str()), (1, ""));
    let told = err(&done);
    let line = told.lines().last().unwrap();
    assert!(
        line.starts_with("error: the database postgres://127.0.0.1:1/d") && line.contains(": caused by "),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn apply_tells_each_change_and_the_second_time_none() {
    let place = Place::migrated();
    place.write("acme.toml", ACME);
    let apply = |arguments: &[&str]| {
        let words = [&["apply", "acme.toml"], arguments].concat();
        place.command(&words).env("SMTP_PASSWORD", "hunter2").output().unwrap()
    };
    let created = "project acme: created\nintegration main: created\nautomation \"Reset password\": created\n\
                   automation \"Password changed\": created\nautomation \"Confirm e-mail address\": created\n\
                   automation \"E-mail address changed\": created\nautomation \"Administrator granted\": created\n\
                   automation \"Out of office\": created\nautomation \"On vacation\": created\n";
    for arguments in [&["--dry-run"] as &[&str], &[]] {
        let done = apply(arguments);
        assert_eq!((code(&done), out(&done).as_str()), (0, created), "{}", err(&done));
    }
    assert_eq!(out(&apply(&[])), "project acme: unchanged\nintegration main: unchanged\n");
}

#[test]
fn apply_tells_all_that_is_wrong_with_its_places() {
    let place = Place::migrated();
    place.write("acme.toml", &format!("{ACME}rate = 'fast'\n[[members]]\nusername = 'a@b'\n"));
    let done = place.run(&["apply", "acme.toml"]);
    assert_eq!((code(&done), out(&done).as_str()), (1, ""));
    for part in [
        "integrations[0].url: needs the environment variable SMTP_PASSWORD",
        "integrations[0].rate: is not a rate such as",
        "members[0].username: ",
        "error: acme.toml was not applied",
    ] {
        assert!(err(&done).contains(part), "{part} in {}", err(&done));
    }
}

#[test]
fn a_wrong_text_of_a_file_is_told_with_the_line_of_the_file() {
    let place = Place::migrated();
    let automation = "[[automations]]\nname = 'Own'\nevent = 'account.password-reset-requested'\nintegration = 'main'\n\
                      condition = 'event.reson == 1'\nsubject = 'S'\nbody = \"\"\"\nHello\n{{ tokn }}\"\"\"\n";
    place.write("acme.toml", &format!("{ACME}{automation}"));
    let done = place.command(&["apply", "acme.toml"]).env("SMTP_PASSWORD", "hunter2").output().unwrap();
    assert_eq!(code(&done), 1);
    for part in [
        "automations[0].condition: ",
        "(line 11, column 14)",
        "automations[0].body: `tokn`",
        "(line 15, column 4)",
    ] {
        assert!(err(&done).contains(part), "{part} in {}", err(&done));
    }
}

#[test]
fn explain_tells_every_automation_and_the_mail_and_stores_nothing() {
    let place = Place::migrated();
    let own = "[[automations]]\nname = 'Own'\nevent = 'account.password-reset-requested'\nintegration = 'main'\n\
               condition = \"event.reason == 'admin'\"\nsubject = 'For {{.email}}'\nbody = 'Token {{.token}}'\n\
               [[automations]]\nname = 'Off'\nevent = 'account.password-reset-requested'\nintegration = 'main'\n\
               template = 'reset-password-confirm'\nenabled = false\n[[members]]\nusername = 'elon'\nemail = 'elon@example.com'\n";
    place.write("acme.toml", &format!("{ACME}{own}"));
    let done = place.command(&["apply", "acme.toml"]).env("SMTP_PASSWORD", "hunter2").output().unwrap();
    assert_eq!(code(&done), 0, "{}", err(&done));
    place.write(
        "e.json",
        r#"{"type":"account.password-reset-requested","data":{"member":"elon","reason":"admin"}}"#,
    );
    let done = place.run(&["explain", "e.json"]);
    assert_eq!(code(&done), 0, "{}", err(&done));
    for part in [
        "account.password-reset-requested: dispatched\n",
        "automation \"Off\": does not match: it is switched off\n",
        "automation \"Own\": matches\n",
        "Subject: For elon@example.com\n\nToken SAMPLE-token",
    ] {
        assert!(out(&done).contains(part), "{part} in {}", out(&done));
    }
    let json = place.run(&["explain", "e.json", "--json", "--project", "acme"]);
    let told: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!((&told["outcome"], told["mails"].as_array().unwrap().len()), (&"dispatched".into(), 1));
    let registered = "[[event_types]]\ntype = 'billing.card'\nschema = '{\"required\": [\"last4\"]}'\n\
                      [[automations]]\nname = 'Card'\nevent = 'billing.card'\nintegration = 'main'\n\
                      subject = 'Card'\nbody = 'It ends in {{ event.last4 }}.'\n";
    place.write("acme.toml", &format!("{ACME}{own}{registered}"));
    let done = place.command(&["apply", "acme.toml"]).env("SMTP_PASSWORD", "hunter2").output().unwrap();
    assert_eq!(code(&done), 0, "{}", err(&done));
    place.write("e.json", r#"{"type":"billing.card","data":{"member":"elon","last4":"4242"}}"#);
    let card = place.run(&["explain", "e.json"]);
    assert!(out(&card).contains("\n\nIt ends in 4242."), "{}{}", out(&card), err(&card));
    place.write("e.json", r#"{"type":"billing.card","data":{"member":"elon"}}"#);
    let card = place.run(&["explain", "e.json"]);
    assert_eq!(code(&card), 1);
    assert!(err(&card).contains("refused as invalid"), "{}", err(&card));
    place.write("e.json", r#"{"type":"account.password-reset-requested","data":{"member":"nobody"}}"#);
    let unknown = place.run(&["explain", "e.json"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("unknown-member"), "{}", err(&unknown));
}

#[test]
fn an_api_key_stands_alone_on_the_last_line_and_is_shown_once() {
    let place = Place::migrated();
    place.write("acme.toml", "[project]\nslug = 'acme'\nbuiltin_automations = false\n");
    assert_eq!(code(&place.run(&["apply", "acme.toml"])), 0);
    let made = place.run(&["api-key", "create", "acme", "--scope", "events:write", "--name", "shop"]);
    let text = out(&made);
    let key = text.lines().last().unwrap();
    assert!(key.starts_with("sp_") && key.len() == 46, "{text}");
    let list = out(&place.run(&["api-key", "list", "acme", "--json"]));
    let shown: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&shown["name"], &shown["scopes"][0]), (&"shop".into(), &"events:write".into()));
    assert!(!list.contains(key));
    let id = shown["id"].as_str().unwrap();
    assert_eq!(code(&place.run(&["api-key", "revoke", id])), 0);
    assert!(out(&place.run(&["api-key", "list", "acme"])).contains("revoked"));
    let unknown = place.run(&["api-key", "revoke", "key_00000000000000000000000000000000"]);
    assert_eq!(code(&unknown), 1);
    let nowhere = place.run(&["api-key", "create", "shop"]);
    assert_eq!((code(&nowhere), err(&nowhere).as_str()), (1, "error: there is no project `shop`\n"));
}

#[test]
fn render_writes_every_e_mail_twice() {
    let place = Place::new();
    let done = place.run(&["render", "--all", "--out", "mails"]);
    assert_eq!(code(&done), 0, "{}", err(&done));
    for name in ["reset-password-confirm", "reset-password-confirm.forced", "change-password"] {
        let html = std::fs::read_to_string(place.path().join(format!("mails/html/{name}.html"))).unwrap();
        let text = std::fs::read_to_string(place.path().join(format!("mails/text/{name}.txt"))).unwrap();
        assert!(html.contains("<html") && text.starts_with("Subject: "), "{name}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::migrated();
    let mut command = place.command(&["migrate"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((code(&done), err(&done).as_str()), (0, ""));
}

#[test]
fn the_database_of_a_fresh_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::migrated();
    let directory = place.path().join(".signalpost").metadata().unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_wrong_line_of_a_file_of_events_is_told_by_its_number() {
    let place = Place::migrated();
    let mut command = place.command(&["publish", "--file", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\n{\"specversion\":\"1.0\",\"id\":\"7\"}\nnot json\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(code(&done), 1);
    assert!(err(&done).contains("line 2: `type` is missing") && err(&done).contains("line 3: is not JSON"));
    assert!(err(&done).contains("0 published, 2 refused"), "{}", err(&done));
}

#[test]
fn check_tells_what_is_not_well_and_changes_nothing() {
    let place = Place::new();
    let checked = place.command(&["check"]).env_remove("SIGNALPOST_SECRET_KEY").output().unwrap();
    assert_eq!(code(&checked), 1);
    let said = out(&checked);
    assert!(said.contains("WRONG  configuration") && said.contains("there is no such file"), "{said}");
    assert!(said.contains("ok     broker -: none is configured"), "{said}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "check made a file");
}

#[test]
fn check_tells_each_step_with_a_mail_server_and_no_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            stream.write_all(b"220 mx\r\n").unwrap();
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            while std::io::BufRead::read_line(&mut reader, &mut line).unwrap_or(0) > 0 {
                let answer: &[u8] = match line.split_whitespace().next() {
                    Some("EHLO") => b"250-mx\r\n250 AUTH PLAIN\r\n",
                    Some("AUTH") => b"535 5.7.8 hunter2 is wrong\r\n",
                    _ => b"221 bye\r\n",
                };
                line.clear();
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    let file = |login: &str| {
        format!(
            "[project]\nslug = 'acme'\n[[integrations]]\nname = 'main'\nfrom = 'Acme <no-reply@acme.example>'\n\
             url = 'smtp://{login}127.0.0.1:{port}?tls=none'\n"
        )
    };
    for (login, wanted, steps) in [
        ("u:hunter2@", "AUTH failed after connect, greeting, EHLO", vec!["connect", "greeting", "EHLO"]),
        ("", "connect, greeting, EHLO, QUIT", vec!["connect", "greeting", "EHLO", "QUIT"]),
    ] {
        let place = Place::migrated();
        place.write("acme.toml", &file(login));
        let applied = place.run(&["apply", "acme.toml"]);
        assert_eq!(code(&applied), 0, "{}", err(&applied));
        let checked = place.run(&["check"]);
        assert_eq!(code(&checked), i32::from(!login.is_empty()), "{}", out(&checked));
        assert!(out(&checked).contains(wanted), "{}", out(&checked));
        assert!(!out(&checked).contains("hunter2") && !err(&checked).contains("hunter2"));
        let json = out(&place.run(&["check", "--json"]));
        let lines = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let integration = lines.into_iter().find(|line| line["part"] == "integration").unwrap();
        assert_eq!(integration["steps"], serde_json::json!(steps));
        assert_eq!(integration["well"], login.is_empty());
    }
}

/// Gives the command a message, as a mail server's pipe does.
fn pipe(place: &Place, arguments: &[&str], message: &[u8]) -> Output {
    let mut command = place.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that ends at once, since its use is wrong, does not read.
    let _ = child.stdin.take().unwrap().write_all(message);
    child.wait_with_output().unwrap()
}

#[test]
fn a_piped_message_gets_a_verdict_without_a_database() {
    let place = Place::new();
    let message = b"Subject: Automatic reply: Reset your password\nAuto-Submitted: auto-replied\n\n\
                    I am out of the office until Monday.\n";
    let done = pipe(&place, &["inbound", "--dry-run"], message);
    let said: serde_json::Value = serde_json::from_str(&out(&done)).unwrap();
    assert_eq!((code(&done), said["verdict"].as_str().unwrap()), (0, "ooo"), "{}", err(&done));
    assert!(!said["because"].as_array().unwrap().is_empty());
    assert_eq!(out(&done).lines().count(), 1);
    assert!(!place.path().join(".signalpost").exists());
    assert_eq!(code(&pipe(&place, &["inbound", "--dry-run"], b"\0\xff")), 0);
}

#[test]
fn a_mail_server_is_told_to_try_again_whatever_is_wrong() {
    let place = Place::new();
    for arguments in [
        &["inbound", "--fly"][..],
        &["--prefetch", "many", "inbound", "--dry-run"],
        &["inbound", "--dry-run", "--config", "missing.toml"],
        &["inbound", "--dry-run", "--log", "=;="],
    ] {
        assert_eq!(code(&pipe(&place, arguments, b"Subject: x\n\nx")), 75, "{arguments:?}");
    }
    assert_eq!(code(&place.run(&["inbound", "--help"])), 0);
}

/// A place with the project `acme`.
fn with_acme() -> Place {
    let place = Place::migrated();
    place.write("acme.toml", ACME);
    let applied = place
        .command(&["apply", "acme.toml", "--public-url", "https://mail.acme.example"])
        .env("SMTP_PASSWORD", "hunter2")
        .output()
        .unwrap();
    assert_eq!(code(&applied), 0, "{}", err(&applied));
    place
}

#[test]
fn a_project_is_exported_without_its_password() {
    let place = with_acme();
    let exported = place.run(&["export", "acme"]);
    assert_eq!(code(&exported), 0, "{}", err(&exported));
    assert!(out(&exported).contains("smtp://u@mail.example.com") && !out(&exported).contains("hunter2"));
    assert_eq!(code(&place.run(&["export", "nobody"])), 1);
}

#[test]
fn what_is_to_be_paused_is_named_and_must_be_there() {
    let place = with_acme();
    for (arguments, told) in [
        (&["pause", "--project", "acme"] as &[&str], "project acme of project acme is paused\n"),
        (&["resume", "--project", "acme"], "project acme of project acme is resumed\n"),
        (
            &["pause", "--project", "acme", "--integration", "main"],
            "integration main of project acme is paused\n",
        ),
        (
            &["pause", "--project", "acme", "--automation", "Reset password"],
            "automation Reset password of project acme is paused\n",
        ),
    ] {
        let done = place.run(arguments);
        assert_eq!((code(&done), out(&done).as_str()), (0, told), "{}", err(&done));
    }
    for arguments in [
        &["pause", "--project", "nobody"] as &[&str],
        &["pause", "--project", "acme", "--integration", "gone"],
        &["resume", "--project", "acme", "--automation", "gone"],
    ] {
        assert_eq!(code(&place.run(arguments)), 1, "{arguments:?}");
    }
    assert_eq!(code(&place.run(&["pause"])), 2);
}

#[test]
fn an_operator_is_added_with_a_strong_password_listed_and_removed() {
    let place = Place::migrated();
    let add = |password: &str| {
        let mut command = place.command(&["operator", "add", "ops@acme.example"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let weak = add("password");
    assert_eq!(code(&weak), 1);
    assert!(err(&weak).contains("the password"), "{}", err(&weak));
    let done = add("correct horse battery staple");
    assert_eq!(code(&done), 0, "{}", err(&done));
    assert_eq!(code(&add("correct horse battery staple")), 1, "there is one already");
    let list = place.run(&["operator", "list", "--json"]);
    let one: serde_json::Value = serde_json::from_str(out(&list).trim()).unwrap();
    assert_eq!((&one["email"], &one["role"]), (&"ops@acme.example".into(), &"owner".into()));
    assert!(!out(&list).contains("argon2"));
    assert_eq!(code(&place.run(&["operator", "remove", "OPS@acme.example"])), 0);
    assert_eq!(code(&place.run(&["operator", "remove", "ops@acme.example"])), 1);
    assert_eq!(code(&place.run(&["operator", "add", "nobody"])), 2);
}

#[test]
fn after_the_secret_key_was_changed_a_command_seals_passwords_anew() {
    const NEW: &str = "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
    let place = with_acme();
    let with = |old: &str, dry_run: bool| {
        let mut command = place.command(&["reseal"]);
        command.env("SIGNALPOST_SECRET_KEY", NEW);
        if !old.is_empty() {
            command.env("SIGNALPOST_SECRET_KEYS_OLD", old);
        }
        if dry_run {
            command.arg("--dry-run");
        }
        command.output().unwrap()
    };
    let missing = with("", false);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("SIGNALPOST_SECRET_KEYS_OLD"), "{}", err(&missing));
    assert!(out(&with(KEY, true)).contains("passwords: 1 would be sealed anew"));
    assert!(out(&with(KEY, false)).contains("passwords: 1 sealed anew, 0 were current"));
    let alone = with("", false);
    assert_eq!(code(&alone), 0, "the old key is needed no more: {}", err(&alone));
    assert!(out(&alone).contains("passwords: 0 sealed anew, 1 were current"));
}

fn lines_of_json(output: &Output) -> Vec<serde_json::Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_address_of_a_file_is_changed_as_by_an_event_and_once() {
    let place = with_acme();
    let apply = |email: &str, more: &[&str]| {
        let member = format!("[[members]]\nusername = 'elon'\nemail = '{email}'\n");
        place.write("members.toml", &format!("[project]\nslug = 'acme'\n{member}"));
        let file: &[&str] = &["apply", "members.toml", "--public-url", "https://mail.acme.example"];
        let words = [file, more].concat();
        let done = place.run(&words);
        assert_eq!(code(&done), 0, "{}", err(&done));
        done
    };
    assert!(out(&apply("elon@example.com", &[])).ends_with("member elon: created\n"));
    for more in [&["--dry-run"] as &[&str], &[]] {
        let moved = out(&apply("elon@new.example", more));
        assert!(moved.ends_with("member elon: changed (email)\n"), "{moved}");
    }
    let again = lines_of_json(&apply("elon@new.example", &["--json"]));
    let wanted = serde_json::json!({"kind": "member", "name": "elon", "verdict": "unchanged", "fields": []});
    assert_eq!(again.last().unwrap(), &wanted);
    let back = lines_of_json(&apply("elon@example.com", &["--json", "--dry-run"]));
    assert_eq!(back.last().unwrap()["fields"], serde_json::json!(["email"]));
}

#[test]
fn what_is_published_and_paused_is_told_in_json() {
    let place = with_acme();
    let data = r#"{"username":"elon","email":"elon@example.com"}"#;
    let words = ["publish", "account.created", "--data", data, "--project", "acme", "--id", "1", "--json"];
    for is_known in [false, true] {
        let done = place.run(&words);
        assert_eq!(code(&done), 0, "{}", err(&done));
        let told = &lines_of_json(&done)[0];
        assert_eq!((&told["id"], &told["outcome"]), (&"1".into(), &"applied".into()));
        assert_eq!(told["duplicate"], is_known);
        assert!(told["event_id"].as_str().unwrap().starts_with("evt_"));
    }
    let paused =
        lines_of_json(&place.run(&["pause", "--project", "acme", "--integration", "main", "--json"]));
    let wanted =
        serde_json::json!({"project": "acme", "kind": "integration", "name": "main", "paused": true});
    assert_eq!(paused, [wanted]);
}

#[test]
fn a_file_of_events_is_tried_without_publishing_any() {
    let place = Place::new();
    let right = r#"{"specversion":"1.0","type":"deleted","id":"7","data":{"member":"elon"}}"#;
    place.write("events.jsonl", &format!("{right}\nnot json\n"));
    let tried = place.run(&["publish", "--file", "events.jsonl", "--dry-run", "--json"]);
    assert_eq!(code(&tried), 1);
    let told = lines_of_json(&tried);
    assert_eq!(told[0], serde_json::json!({"id": "7", "line": 1}));
    assert_eq!(told[1]["line"], 2);
    assert!(told[1]["refused"].as_str().unwrap().contains("is not JSON"));
    assert!(err(&tried).contains("1 right, 1 refused"), "{}", err(&tried));
    assert!(!place.path().join(".signalpost").exists());
}

#[test]
fn a_public_url_is_asked_for_wherever_links_go_beyond_this_machine() {
    let place = Place::new();
    for command in [&["dev"] as &[&str], &["serve"], &["explain", "e.json"], &["apply", "acme.toml"]] {
        let done = place.run(&[command, &["--http-addr", "0.0.0.0:0"]].concat());
        assert_eq!(code(&done), 64, "{command:?}: {}", err(&done));
        assert!(err(&done).contains("SIGNALPOST_PUBLIC_URL (not given)"), "{}", err(&done));
    }
}

/// `dev` at work.
struct Dev {
    child: std::process::Child,
    /// What it printed up to its last line.
    lines: Vec<String>,
}

impl Dev {
    fn start(place: &Place, arguments: &[&str], last: &str) -> Self {
        let mut command = place.command(&[&["dev"] as &[&str], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = Vec::new();
        let mut printed = std::io::BufReader::new(child.stdout.take().unwrap());
        while lines.last().is_none_or(|line: &String| !line.starts_with(last)) {
            let mut line = String::new();
            let length = std::io::BufRead::read_line(&mut printed, &mut line).unwrap();
            assert!(length > 0, "it ended after {lines:?}");
            lines.push(line.trim_end().to_owned());
        }
        Self { child, lines }
    }

    /// What it said of the rest.
    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        err(&self.child.wait_with_output().unwrap())
    }
}

#[test]
fn dev_knows_its_operator_its_port_and_no_broker() {
    let place = Place::new();
    let dev =
        Dev::start(&place, &["--http-addr", "127.0.0.1:0", "--amqp-url", "amqp://127.0.0.1:1"], "mailbox: ");
    let lines = dev.lines.clone();
    let [console, operator, key, mailbox] = lines.as_slice() else { panic!("{:?}", dev.lines) };
    let address = console.strip_prefix("console: http://").unwrap().strip_suffix("/console").unwrap();
    assert!(!address.ends_with(":0"), "{address}");
    assert_eq!(mailbox, &format!("mailbox: http://{address}/console/mailbox"));
    let key = key.strip_prefix("api key: ").unwrap();
    let body = r#"{"event":"account.password-reset-requested","template":"reset-password-confirm",
                   "token":{"purpose":"reset-password"}}"#;
    let request = format!(
        "POST /v1/automations/preview HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.contains(&format!("http://{address}/p/default/reset-password?token=")), "{answer}");
    assert!(dev.stop().contains("SIGNALPOST_AMQP_URL is left alone"));
    let list = lines_of_json(&place.run(&["operator", "list", "--json"]));
    let [known] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!(operator.split(' ').nth(1), known["email"].as_str());
    assert_eq!(known["role"], "owner");
    let again = Dev::start(&place, &["--http-addr", "127.0.0.1:0"], "mailbox: ");
    assert_eq!(again.lines[1], *operator, "the password stays");
    again.stop();
    assert_eq!(lines_of_json(&place.run(&["operator", "list", "--json"])), list);
}

#[test]
fn dev_beyond_this_machine_prints_no_address_that_is_not_served() {
    let place = Place::new();
    let arguments = ["--http-addr", "0.0.0.0:0", "--public-url", "https://mail.acme.example"];
    let dev = Dev::start(&place, &arguments, "api key: ");
    assert_eq!(dev.lines.len(), 2, "{:?}", dev.lines);
    assert!(dev.stop().contains("console and mailbox are not served"));
}
