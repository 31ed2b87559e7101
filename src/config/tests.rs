//! Precedence, defaults, and every wrong value told without a secret.

use super::*;

const KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

fn environment_of(pairs: &[(&str, &str)]) -> Sources {
    let environment =
        pairs.iter().map(|(name, text)| (format!("{PREFIX}{name}"), (*text).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn problems(sources: &Sources) -> Vec<Problem> {
    Config::resolve(sources).err().unwrap_or_default()
}

#[test]
fn nothing_given_is_the_defaults_of_the_reference() {
    let Ok(config) = Config::resolve(&Sources::default()) else { panic!("the defaults are wrong") };
    assert_eq!(config.database_url.expose(), "sqlite://.signalpost/signalpost.db");
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8025");
    assert_eq!(config.public_url.unwrap().as_str(), "http://127.0.0.1:8025");
    assert!(config.amqp_url.is_none() && config.amqp_declare && config.secret_key.is_none());
    assert_eq!((config.send_concurrency, config.prefetch, config.max_due), (64, 2048, 200_000));
    assert_eq!(config.retention, Duration::from_hours(720));
    assert_eq!(config.log, "info");
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let mut sources = Sources {
        file: Some(("f.toml".into(), "prefetch = 3\nmax_due = 3\nsend_concurrency = 3".into())),
        ..environment_of(&[("PREFETCH", "2"), ("MAX_DUE", "2")])
    };
    sources.flags.insert("prefetch".into(), "1".into());
    let Ok(config) = Config::resolve(&sources) else { panic!() };
    assert_eq!((config.prefetch, config.max_due, config.send_concurrency), (1, 2, 3));
}

#[test]
fn a_list_in_the_file_is_an_array_or_comma_text() {
    for text in ["smtp_allow = ['10.0.0.0/8', 'fd00::/8']", "smtp_allow = '10.0.0.0/8, fd00::/8'"] {
        let sources = Sources { file: Some(("f".into(), text.into())), ..Sources::default() };
        assert_eq!(Config::resolve(&sources).ok().unwrap().smtp_allow.len(), 2, "{text}");
    }
}

#[test]
fn an_empty_value_counts_as_none() {
    let config = Config::resolve(&environment_of(&[("AMQP_URL", ""), ("PREFETCH", " ")])).ok().unwrap();
    assert!(config.amqp_url.is_none() && config.prefetch == 2048);
}

#[test]
fn every_wrong_value_is_told_with_its_key() {
    for (name, text) in [
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("AMQP_URL", "http://u:hunter2@h"),
        ("AMQP_URL", "amqp://u:hunter2@h:port"),
        ("AMQP_DECLARE", "maybe"),
        ("HTTP_ADDR", "localhost"),
        ("ADMIN_ADDR", ":80"),
        ("PUBLIC_URL", "http://mail.acme.example"),
        ("PUBLIC_URL", "https://u:hunter2@mail.acme.example"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,all"),
        ("SECRET_KEY", "hunter2"),
        ("SECRET_KEYS_OLD", "hunter2"),
        ("SEND_CONCURRENCY", "0"),
        ("PREFETCH", "65536"),
        ("MAX_DUE", "-1"),
        ("SMTP_ALLOW", "10.0.0.0/40"),
        ("RETENTION", "30m"),
        ("RETENTION", "30"),
        ("LOG", "signalpost=loud"),
        ("OTLP_ENDPOINT", "grpc://u:hunter2@h"),
    ] {
        let found = problems(&environment_of(&[(name, text)]));
        assert_eq!(found.len(), 1, "{name}={text}: {found:?}");
        assert_eq!(found[0].key, format!("{PREFIX}{name}"));
        let told = found[0].to_string();
        assert!(told.contains("environment") && told.contains("right is"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut sources =
        environment_of(&[("PREFETCH", "x"), ("RETENTION", "soon"), ("HTTP_ADDR", "0.0.0.0:80")]);
    sources.file = Some(("f.toml".into(), "colour = 1\nlog = { a = 1 }\nSIGNALPOST_MAX_DUE = 1".into()));
    sources.flags.insert("max-due".into(), "many".into());
    sources.needs = Needs { secret_key: true, public_url: true };
    let keys: Vec<_> = problems(&sources).into_iter().map(|problem| problem.key).collect();
    for key in [
        "`colour`",
        "`log`",
        "`SIGNALPOST_MAX_DUE`",
        "SIGNALPOST_PREFETCH",
        "SIGNALPOST_RETENTION",
        "SIGNALPOST_MAX_DUE",
        "SIGNALPOST_PUBLIC_URL",
        "SIGNALPOST_SECRET_KEY",
    ] {
        assert!(keys.iter().any(|told| told == key), "{key} in {keys:?}");
    }
    assert_eq!(keys.len(), 8);
}

#[test]
fn a_broken_file_is_told_by_its_line_and_shows_nothing_of_it() {
    let text = "log = 'info'\nsecret_key = 'hunter2\n";
    let found = problems(&Sources { file: Some(("f.toml".into(), text.into())), ..Sources::default() });
    assert_eq!((found[0].key.as_str(), found[0].origin.as_str()), ("f.toml", "line 2"));
    assert!(!found[0].to_string().contains("hunter2"));
}

#[test]
fn the_admin_address_is_another_one() {
    let same = [("HTTP_ADDR", "127.0.0.1:1"), ("ADMIN_ADDR", "127.0.0.1:1")];
    assert_eq!(problems(&environment_of(&same))[0].key, "SIGNALPOST_ADMIN_ADDR");
}

#[test]
fn what_a_command_needs_is_there_or_told() {
    let mut sources = environment_of(&[("SECRET_KEY", KEY), ("PUBLIC_URL", "https://m.example")]);
    sources.needs = Needs { secret_key: true, public_url: true };
    let config = Config::resolve(&sources).ok().unwrap();
    assert!(config.keyring().is_some());
    assert_eq!(config.public_url.unwrap().host(), "m.example");
    sources.environment.clear();
    let told = problems(&sources)[0].to_string();
    assert!(told.contains("openssl rand -base64 32"), "{told}");
}

#[test]
fn every_key_has_a_help_and_a_default_that_reads() {
    let mut config = Config::blank();
    for key in &KEYS {
        assert!(!key.help.is_empty() && !key.expected.is_empty(), "{}", key.name);
        assert_eq!(key.flag, key.in_file().replace('_', "-"));
        if let Some(text) = key.default {
            (key.set)(&mut config, text).unwrap();
        }
    }
}
