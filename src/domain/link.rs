//! The link of a mail as somebody stores it: `https://app.acme.example/reset?token={{ token }}`. Checked when it
//! is stored, so that no event and no template can send a token elsewhere. Must not know who stores it.

use url::{Host, Url};

/// The placeholder as it is stored.
pub const TOKEN: &str = "{{ token }}";
/// The longest link, in octets: what an e-mail still shows on a line of its own.
pub const LONGEST: usize = 600;

/// What people write for it, Jexia's form last.
const WRITTEN: [&str; 4] = [TOKEN, "{{token}}", "{{.token}}", "{{ .token }}"];

/// A stored link with the token in it.
pub fn fill(link: &str, token: &str) -> String {
    link.replace(TOKEN, token)
}

/// Checks a link, and gives it with its placeholder as it is stored.
pub fn check<S: AsRef<str>>(text: &str, hosts: &[S]) -> Result<String, String> {
    let link = WRITTEN.iter().fold(text.to_owned(), |link, written| link.replace(written, TOKEN));
    if link.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} octets"));
    }
    if !link.contains(TOKEN) {
        return Err(format!("does not contain `{TOKEN}`"));
    }
    let rest = link.replace(TOKEN, "");
    if rest.contains(['{', '}']) {
        return Err(format!("has another placeholder than `{TOKEN}`"));
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "\\<>\"".contains(c)) {
        return Err("has a character that no URL has".to_owned());
    }
    let authority =
        link.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    if authority.is_some_and(|authority| authority.contains(['{', '@', '%'])) {
        return Err("has more than a host and a port before its path".to_owned());
    }
    let url = Url::parse(&link.replace(TOKEN, "TOKEN")).map_err(|error| format!("is not a URL ({error})"))?;
    let host = url.host().ok_or("names no host")?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&host)) {
        return Err("is not https".to_owned());
    }
    let host = host.to_string();
    if !hosts.iter().any(|allowed| allowed.as_ref().eq_ignore_ascii_case(&host)) {
        let all: Vec<_> = hosts.iter().map(AsRef::as_ref).collect();
        return Err(format!("goes to `{host}`, which is none of the link hosts ({})", all.join(", ")));
    }
    Ok(link)
}

/// Checks a host that links may go to.
pub fn check_host(text: &str) -> Result<(), String> {
    match Host::parse(text) {
        Ok(host) if host.to_string().eq_ignore_ascii_case(text) && !text.contains('*') => Ok(()),
        _ => Err("is not a host name alone, such as `app.acme.example`".to_owned()),
    }
}

/// Whether only this machine answers under that host.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 3] = ["app.acme.example", "127.0.0.1", "localhost"];

    #[test]
    fn a_link_is_stored_with_one_form_of_its_placeholder() {
        for text in ["https://app.acme.example/r?t={{token}}", "https://app.acme.example/r?t={{.token}}"] {
            assert_eq!(check(text, &HOSTS).unwrap(), "https://app.acme.example/r?t={{ token }}");
        }
        assert!(check("http://127.0.0.1:3000/#/reset/{{ token }}", &HOSTS).is_ok());
        assert!(check("https://APP.acme.example:8443/{{ token }}", &HOSTS).is_ok());
    }

    #[test]
    fn no_link_takes_a_token_elsewhere() {
        for text in [
            "https://app.acme.example/reset",
            "http://app.acme.example/{{ token }}",
            "https://evil.example/{{ token }}",
            "https://app.acme.example.evil.example/{{ token }}",
            "https://app.acme.example@evil.example/{{ token }}",
            "https://{{ token }}.evil.example/",
            "https://{{ token }}/",
            "https://app.acme.example\\@evil.example/{{ token }}",
            "https://app.acme.example/{{ token }}?next={{ event.next }}",
            "https://app.acme.example/{{ token }} x",
            "https:///evil.example/{{ token }}",
            "javascript:{{ token }}",
            "//app.acme.example/{{ token }}",
            "{{ token }}",
            "",
        ] {
            assert!(check(text, &HOSTS).is_err(), "{text}");
        }
        assert!(check(&format!("https://app.acme.example/{}{TOKEN}", "x".repeat(LONGEST)), &HOSTS).is_err());
    }

    #[test]
    fn a_link_host_is_a_host_alone() {
        for host in ["app.acme.example", "127.0.0.1", "[::1]", "localhost", "App.Acme.example"] {
            assert!(check_host(host).is_ok(), "{host}");
        }
        for host in ["", "https://app.acme.example", "app.acme.example:443", "a/b", "*.acme.example", "a b"] {
            assert!(check_host(host).is_err(), "{host}");
        }
    }
}
