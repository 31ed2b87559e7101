//! Stored e-mails as their attackers see them: templates that never end, values that want to be markup, tokens that
//! want to go elsewhere.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::fixture::{LINK, OWN, RESET, TOKEN, facts, faults, hosts, member, rendered, text};
use super::*;

/// Templates that pass no check, and some that do: each ends soon, with a mail or without one.
fn bombs() -> Vec<String> {
    let nested = |times: usize| {
        let (open, close) = ("{% for a in event.list %}".repeat(times), "{% endfor %}".repeat(times));
        format!("{open}{}{close}", "x".repeat(1_000))
    };
    vec![
        nested(1),
        nested(2),
        nested(5),
        nested(20),
        "{% for a in event.list %}{{ event.long }}{% endfor %}".repeat(200),
        "{% for a in range(100000000) %}x{% endfor %}".to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{% set a = 'xxxxxxxxxx' %}".to_owned() + &"{% set a = a ~ a ~ a %}".repeat(60) + "{{ a }}",
        "{{ event.long|replace('x', 'xxxxxxxxxx')|replace('x', 'xxxxxxxxxx')|replace('x', 'xxxxxxxxxx')|replace('x', 'xxxxxxxxxx') }}".to_owned(),
        "{{ [1] * 1000000000 }}".to_owned(),
        "{{ 9 ** 9 ** 9 ** 9 }}".to_owned(),
        format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
        "{% if true %}".repeat(5_000),
        "{% if true %}".repeat(100) + &"{% endif %}".repeat(100),
        "{{ event.list|join(event.long)|join(event.long)|join(event.long)|join(event.long) }}".to_owned(),
        "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}".to_owned(),
        "{% for a in event.list recursive %}{{ loop(event.list) }}{% endfor %}".to_owned(),
        "{{ event.long|upper }}".repeat(2_000),
        "[".repeat(30_000),
        "*a **b ".repeat(8_000),
        "> ".repeat(30_000),
        "<div>".repeat(10_000),
        "&".repeat(60_000),
        ">".repeat(64_000),
        "- a\n".repeat(16_000),
        "- {{ event.reason }}\n".repeat(3_000),
        "<head></head>".repeat(5_000),
        "<head>".repeat(10_000),
        format!("{{{{ token }}}}{}", "https://app.acme.example/".repeat(2_600)),
        "https://app.acme.example/{{ token }}\n".repeat(1_700),
        format!("https://app.acme.example/{}{{{{ token }}}}", "https://a/".repeat(6_000)),
        "a**b**{{ token }}".repeat(3_800),
        "{{ '%99999999d'|format(1) }}".to_owned(),
        "{{ event.deep }}".repeat(1_000),
    ]
}

/// What this thread has spent: other tests run beside this one. Where the system does not tell, the time.
fn spent() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

#[test]
fn bombs_are_stopped_within_50_ms() {
    let list: Vec<u32> = (0..100_000).collect();
    let mut deep = json!(1);
    for _ in 0..30 {
        deep = json!([deep.clone(), deep]).as_array().map_or(deep, |both| json!({ "a": both[0] }));
    }
    let event = facts(OWN, json!({ "list": list, "long": "x".repeat(200_000), "deep": deep }));
    let member = member("Elon");
    let bombs = bombs();
    assert!(bombs.len() >= 20);
    let purposes_hosts = hosts();
    let purposes = Purposes { event_type: OWN, token: true, link_hosts: &purposes_hosts };
    for (number, bomb) in bombs.iter().enumerate() {
        let text = text("x", bomb);
        let best = |work: &dyn Fn()| {
            let takes = |()| {
                let start = spent();
                work();
                spent().saturating_sub(start)
            };
            (0..3).map(|_| takes(())).min().unwrap()
        };
        let checked = best(&|| drop(check(&text, &purposes)));
        let made = best(&|| drop(rendered(&text, &member, &event)));
        let start: String = bomb.chars().take(40).collect();
        assert!(checked.max(made) < Duration::from_millis(50), "{number} {start}: {checked:?} {made:?}");
        if let Ok(mail) = rendered(&text, &member, &event) {
            let longest = mail.html.len().max(mail.text.len());
            assert!(longest < 600_000, "{number} {start}: {longest}");
        }
    }
}

const FULL: &str = "Hello {{ member.first_name }} ({{ member.username }}),\n\n- {{ event.note }}\n- `{{ event.note }}`\n\n\
                    | **{{ event.note }}** [x](https://acme.example/{{ event.note }}) {{ event.note }}\n\n\
                    > {{ event.note }}\n\n    {{ event.note }}\n\n# {{ event.note }}\n\n{{ link }}\n";
const FULL_HTML: &str = "<p title=\"{{ event.note }}\">{{ member.first_name }}<b>{{ event.note }}</b>\
                         <a href=\"https://acme.example/?a={{ event.note }}\">{{ event.note }}</a></p><pre>{{ event.note }}</pre>{{ link }}";

fn shape(html: &str) -> (usize, usize, usize, usize) {
    (
        html.matches('<').count(),
        html.matches('>').count(),
        html.matches("<a ").count(),
        html.matches(" href=\"").count(),
    )
}

/// Neither part says anything that a mail program reads as more than text.
fn is_as_harmless(body: &str, value: &str) {
    let of = |value: &str| {
        let event = facts(OWN, json!({ "note": value }));
        rendered(&text("{{ event.note }} {{ member.first_name }}", body), &member(value), &event).unwrap()
    };
    let (plain, mail) = (of("Elon"), of(value));
    assert_eq!(shape(&mail.html), shape(&plain.html), "{value:?}:\n{}", mail.html);
    assert!(!mail.subject.contains(|c: char| c.is_control()), "{:?}", mail.subject);
    assert_eq!(mail.text.matches("://").count(), plain.text.matches("://").count(), "{}", mail.text);
    let paragraphs = |text: &str| text.split("\n\n").count();
    assert!(paragraphs(&mail.text) <= paragraphs(&plain.text), "{value:?}:\n{}", mail.text);
}

#[test]
fn a_hostile_value_stays_text() {
    let mut hostile = vec![
        "[Verify](https://evil.example)",
        "<b>",
        "<a href=\"https://evil.example\">x</a>",
        "\"><script>alert(1)</script>",
        "' onmouseover='x",
        "**bold** _x_ `y` # z",
        "\n\n# Heading\n\n- list",
        "![x](https://evil.example/x.png)",
        "<https://evil.example>",
        "https://evil.example/{{ token }}",
        "{{ token }}{% for %}",
        "\u{e000}l68747470733a2f2f6576696c2e6578616d706c65\u{e001}",
        "\u{e002}https://evil.example",
        "&lt;b&gt; &#60;",
        "\\[x\\](y)",
        "| a | b |\n|---|---|",
        "x\r\nBcc: all@example.com\r\n\r\nbody",
        "\u{202e}nolE",
        // Twice side by side, they would be a URL, or the name of a host.
        "//evil:",
        "/evil:/",
        ".evil",
        "evil.",
    ];
    let long = "x".repeat(5_000);
    hostile.push(&long);
    for value in hostile {
        is_as_harmless(FULL, value);
        is_as_harmless(FULL_HTML, value);
    }
    let mail = rendered(
        &text("x", "Hello {{ member.first_name }}, {{ link }}"),
        &member("[Verify](https://evil.example) <b>"),
        &facts(RESET, json!({})),
    )
    .unwrap();
    assert!(mail.html.contains("[Verify](https:") && mail.html.contains("&#60;b&#62;"), "{}", mail.html);
    assert!(
        mail.text.contains("[Verify](https:") && !mail.text.contains("https://evil.example"),
        "{}",
        mail.text
    );
}

/// Every run of characters around a token is that alone, or a URL to where the token may go.
fn keeps_its_token(body: &str, mail: &Rendered) {
    let ends = |c: char| c.is_whitespace() || "<>\"".contains(c);
    // Tags inside a line join what they stand between.
    let joined = |html: &str| {
        let mut html = html.to_owned();
        for tag in ["b", "i", "em", "strong", "code"] {
            html = html.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), "");
        }
        html
    };
    for part in [mail.text.clone(), mail.html.clone(), joined(&mail.html)] {
        for run in part.split(ends).filter(|run| run.contains(TOKEN)) {
            let alone = |rest: &str| !rest.contains(char::is_alphanumeric) && !rest.contains(['/', '@']);
            let rest = run.replace(LINK, "").replace(&LINK.replace('&', "&#38;"), "").replace(TOKEN, "");
            let around = rest.replace("&#39;", "").replace("&#38;", "").replace("&#34;", "");
            let url = run.trim_start_matches(|c: char| !c.is_alphanumeric());
            let url = url.strip_prefix("https://").unwrap_or(url);
            let is_theirs = url.split("://evil").skip(1).any(|rest| rest.contains(TOKEN));
            let is_ours = url.starts_with("app.acme.example/") && !is_theirs;
            assert!(alone(&around) || is_ours, "{body:?}: {run}");
        }
    }
}

#[test]
fn no_branch_takes_the_token_elsewhere() {
    let body = "{% if event.reason == 'x' %}[a](https://evil.example/{{ token }}){% endif %}{{ link }}";
    assert_eq!(faults("x", body), [("body", 1, 29)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_value_changes_the_shape_of_a_mail(value in "(?s).{1,60}") {
        is_as_harmless(FULL, &value);
        is_as_harmless(FULL_HTML, &value);
    }

    #[test]
    fn no_value_of_markup_changes_the_shape_of_a_mail(value in r#"([<>\[\]()!*_`#|~\\&;:/"'= \n.-]|https|www|b|a|\{\{|\}\}|\u{e000}|\u{e001}){1,40}"#) {
        is_as_harmless(FULL, &value);
        is_as_harmless(FULL_HTML, &value);
    }

    #[test]
    fn no_template_takes_the_token_elsewhere(body in r"(\{\{ token \}\}|\{\{ token \}\}|\{\{ link \}\}|\{\{ '' \}\}|\{\{ email \}\}|\{% for c in token %\}|\{\{ c \}\}|\{% endfor %\}|\*\*|_|`|<b>|</b>|<i>|</i>|<br>|\[|\]\(|\)|!|@|\.|/|\?t=|&|,|evil\.example|https://evil\.example/|https://app\.acme\.example/|%EE%80%80l|%EE%80%81|&#xE000;|&#57345;|6a61|\n| ){1,16}") {
        let body = format!("{body}\n\n{{{{ token }}}}");
        assert!(!body.contains("for c in token") || !faults("x", &body).is_empty(), "{body:?}");
        // What is refused when it is saved is rendered here too.
        if let Ok(mail) = rendered(&text("x", &body), &member("Elon"), &facts(RESET, json!({}))) {
            keeps_its_token(&body, &mail);
        }
    }

    #[test]
    fn no_template_panics(body in r#"(\{\{|\}\}|\{%|%\}|if|for|in|token|link|member|\.|<p>|</p>|<a href="|">|\[|\]|\(|\)|https://|é|\n| ){0,40}"#) {
        let _ = faults(&body, &body);
        let _ = rendered(&text(&body, &body), &member("Elon"), &facts(RESET, json!({})));
    }
}
