//! Where a stored e-mail may lead: https and mailto, the host written out, and for anything that carries a token
//! a host of the project's. Must not know where in a mail the URL stands.

use ::url::{Host, Url};

use super::value::{Bit, Kind, bits, encoded};
use crate::domain::link::is_loopback;

/// Checks a URL as it was rendered, and gives it with its values in it; secrets are still marked.
pub(super) fn resolved(url: &str, link_hosts: &[String]) -> Result<String, String> {
    let url = url.trim();
    let bits = bits(url);
    if let [Bit::Value(Kind::Link, link)] = bits.as_slice() {
        return Ok(encoded(Kind::Link, link));
    }
    if bits.is_empty() {
        // Of a mail that carries no link: it leads nowhere.
        return Ok(String::new());
    }
    let Some(Bit::Written(start)) = bits.first() else {
        return Err("starts with a placeholder; only `{{ link }}` alone does".to_owned());
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"\\".contains(c)) {
        return Err("has a character that no URL has".to_owned());
    }
    let is_secret = bits.iter().any(|bit| matches!(bit, Bit::Value(kind, _) if kind.is_secret()));
    let scheme = start.split(':').next().unwrap_or_default().to_ascii_lowercase();
    match scheme.as_str() {
        _ if !start.contains(':') => return Err("has no scheme: write it whole, with `https://`".to_owned()),
        "mailto" if is_secret => return Err("sends the token to somebody".to_owned()),
        "mailto" => {}
        "https" | "http" => host(start, bits.len() == 1, is_secret.then_some(link_hosts))?,
        _ => return Err(format!("is neither https nor mailto but `{scheme}`")),
    }
    if bits.iter().any(|bit| matches!(bit, Bit::Value(Kind::Link, _))) {
        return Err("has the link inside another URL".to_owned());
    }
    Ok(bits.iter().map(filled).collect())
}

fn filled(bit: &Bit<'_>) -> String {
    match bit {
        Bit::Written(text) => (*text).to_owned(),
        Bit::Value(Kind::Other, text) => percent_encoded(text),
        Bit::Value(kind, text) => encoded(*kind, text),
    }
}

/// Every octet that could end a part of a URL.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.replace('\u{200b}', "").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The host stands in what was written, whole, before any value.
fn host(start: &str, is_all: bool, allowed: Option<&[String]>) -> Result<(), String> {
    let rest = start.split_once("://").map(|(_, rest)| rest).ok_or("has no `//` after its scheme")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.len() == rest.len() && !is_all {
        return Err("has a placeholder in its host".to_owned());
    }
    if authority.is_empty() {
        return Err("names no host".to_owned());
    }
    if authority.contains(['@', '%']) {
        return Err("has more than a host and a port before its path".to_owned());
    }
    let url = Url::parse(start).map_err(|error| format!("is not a URL ({error})"))?;
    let host: Host<&str> = url.host().ok_or("names no host")?;
    if url.scheme() != "https" && !is_loopback(&host) {
        return Err("is not https".to_owned());
    }
    let host = host.to_string();
    match allowed {
        Some(hosts) if !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host)) => {
            let all = hosts.join(", ");
            Err(format!("takes the token to `{host}`, which is none of the link hosts ({all})"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::plain;
    use super::*;

    fn of(text: &str) -> Result<String, String> {
        let token = encoded(Kind::Token, "TOKEN");
        let value = encoded(Kind::Other, "a/b?c @");
        let link = encoded(Kind::Link, "https://app.acme.example/r?token=TOKEN");
        let text = text.replace("{t}", &token).replace("{v}", &value).replace("{l}", &link);
        resolved(&text, &["app.acme.example".to_owned()]).map(|url| plain(&url))
    }

    #[test]
    fn a_url_has_its_values_percent_encoded() {
        assert_eq!(of("{l}").unwrap(), "https://app.acme.example/r?token=TOKEN");
        assert_eq!(of("https://app.acme.example/r?t={t}").unwrap(), "https://app.acme.example/r?t=TOKEN");
        assert_eq!(of("https://x.example/{v}").unwrap(), "https://x.example/a%2Fb%3Fc%20@");
        assert_eq!(of("mailto:help@acme.example").unwrap(), "mailto:help@acme.example");
    }

    #[test]
    fn no_url_leads_elsewhere() {
        for text in [
            "javascript:alert(1)",
            "http://acme.example/",
            "https://evil.example/{t}",
            "https://app.acme.example.evil.example/{t}",
            "https://app.acme.example@evil.example/{t}",
            "https://{v}/x",
            "https://x{v}",
            "https://app.acme.example{t}",
            "{v}",
            "{v}://x",
            "{t}",
            "/reset?t={t}",
            "mailto:{t}@x.example",
            "data:text/html,x",
            "https://app.acme.example/?n={l}",
            "https://a b/",
            "https:////app.acme.example/{t}",
            // Marks that somebody wrote.
            "%EE%80%80l6a6176617363726970743a616c6572742831293b%EE%80%81",
            "%ee%80%80l687474703a2f2f6576696c2e6578616d706c65%ee%80%81",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
