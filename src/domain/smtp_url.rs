//! The URL of an SMTP server: `smtp://user:secret@host:587?tls=required`, `smtps://…`, with `${NAME}` replaced.
//! Nothing here repeats what it reads: there is a password in it.

use url::{Host, Url};

/// The port for submission with STARTTLS (RFC 6409).
const SUBMISSION: u16 = 587;
/// The port for submission inside TLS (RFC 8314).
const SUBMISSIONS: u16 = 465;
/// Credentials as SASL PLAIN takes them (RFC 4616), in octets.
const LONGEST_CREDENTIAL: usize = 255;

/// What the URL says. No `Debug`: it holds the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    pub host: String,
    pub port: u16,
    /// `required` (STARTTLS), `implicit` or `none`.
    pub tls: &'static str,
    pub login: Login,
}

/// Who logs in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nothing before the host: as it is stored.
    AsStored,
    /// `smtp://@host`: nobody.
    Nobody,
    User {
        name: String,
        password: Option<String>,
    },
}

impl SmtpUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
        let is_inside_tls = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err("is neither `smtp://…` nor `smtps://…`".to_owned()),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("has a path or a fragment: write `smtp://user:password@host:port?tls=required`, \
                        and `/`, `?`, `#` of a password as `%2F`, `%3F`, `%23`"
                .to_owned());
        }
        let default = if is_inside_tls { SUBMISSIONS } else { SUBMISSION };
        let port = url.port().unwrap_or(default);
        if port == 0 {
            return Err("has port 0".to_owned());
        }
        Ok(Self { host: host(&url)?, port, tls: tls(&url, is_inside_tls)?, login: login(&url, text)? })
    }
}

/// Puts variables in the place of `${NAME}`. One that stands before the host is a user or a password as it is,
/// so what a URL would take for its own is encoded; elsewhere the variable is a part of the URL as written.
pub fn replace(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let credentials = text.find("://").map_or(0, |at| at + 3)..text.rfind('@').unwrap_or(0);
    let (mut replaced, mut from) = (String::new(), 0);
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let end = text[start..].find('}').map(|at| start + at).ok_or("has a `${` without its `}`")?;
        let name = &text[start + 2..end];
        let value = variable(name).ok_or_else(|| format!("needs the environment variable {name}"))?;
        replaced.push_str(&text[from..start]);
        replaced.push_str(&if credentials.contains(&start) { encoded(&value) } else { value });
        from = end + 1;
    }
    Ok(replaced + &text[from..])
}

/// The URL as it is shown: without a password, and with all that decides where the password goes.
pub fn shown(host: &str, port: u16, tls: &str, username: Option<&str>) -> String {
    let user = username.map_or_else(|| "@".to_owned(), |user| format!("{}@", encoded(user)));
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match tls {
        "implicit" => format!("smtps://{user}{host}:{port}"),
        tls => format!("smtp://{user}{host}:{port}?tls={tls}"),
    }
}

fn host(url: &Url) -> Result<String, String> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
    // The scheme is not one of the web's, so its host was not checked yet.
    let host = Host::parse(host).map_err(|_| "names a host that is no host name or IP address")?;
    Ok(match host {
        Host::Domain(name) => name,
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    })
}

fn tls(url: &Url, is_inside_tls: bool) -> Result<&'static str, String> {
    let mut tls = None;
    for (name, value) in url.query_pairs() {
        if name != "tls" || tls.is_some() {
            return Err("has a parameter beyond one `tls`".to_owned());
        }
        tls = Some(value.into_owned());
    }
    match (tls.as_deref(), is_inside_tls) {
        (None | Some("required"), false) => Ok("required"),
        (Some("none"), false) => Ok("none"),
        (None | Some("required"), true) => Ok("implicit"),
        (Some("none"), true) => Err("is `smtps://` with `tls=none`, which contradict each other".to_owned()),
        (Some(_), _) => Err("has a `tls` that is neither `required` nor `none`".to_owned()),
    }
}

fn login(url: &Url, text: &str) -> Result<Login, String> {
    let password = url.password().map(decoded).transpose()?.filter(|password| !password.is_empty());
    let name = decoded(url.username())?;
    if name.is_empty() {
        let nobody = text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('@'));
        return match password {
            Some(_) => Err("has a password without a user".to_owned()),
            None if nobody => Ok(Login::Nobody),
            None => Ok(Login::AsStored),
        };
    }
    Ok(Login::User { name, password })
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.extend(format!("%{byte:02X}").chars()),
        }
    }
    encoded
}

fn decoded(text: &str) -> Result<String, String> {
    const WRONG: &str = "has a user or a password that is not percent-encoded UTF-8";
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(WRONG)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| WRONG)?);
        rest = &tail[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| WRONG)?;
    if text.len() > LONGEST_CREDENTIAL || text.chars().any(char::is_control) {
        return Err("has a user or a password that is too long or has a control character".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SmtpUrl {
        SmtpUrl::parse(text).unwrap_or_else(|what| panic!("{text} {what}"))
    }

    #[test]
    fn scheme_and_parameter_decide_port_and_tls() {
        for (text, port, tls) in [
            ("smtp://mail.example.com", 587, "required"),
            ("smtp://mail.example.com:25?tls=none", 25, "none"),
            ("smtp://mail.example.com/?tls=required", 587, "required"),
            ("smtps://mail.example.com", 465, "implicit"),
            ("smtps://mail.example.com:2465?tls=required", 2465, "implicit"),
        ] {
            let url = parse(text);
            assert_eq!((url.host.as_str(), url.port, url.tls), ("mail.example.com", port, tls), "{text}");
        }
        assert_eq!(parse("smtp://MAIL.Example.com").host, "mail.example.com");
        assert_eq!(parse("smtp://[::1]:25").host, "::1");
    }

    #[test]
    fn a_shown_url_reads_back_and_asks_for_the_stored_password() {
        for (host, port, tls, user) in [
            ("mail.example.com", 587, "required", Some("me@x")),
            ("::1", 465, "implicit", Some("u:p")),
            ("10.0.0.1", 25, "none", None),
        ] {
            let url = parse(&shown(host, port, tls, user));
            assert_eq!((url.host.as_str(), url.port, url.tls), (host, port, tls));
            let login = user.map_or(Login::Nobody, |name| Login::User { name: name.into(), password: None });
            assert!(url.login == login);
        }
    }

    #[test]
    fn a_variable_before_the_host_may_hold_anything() {
        let variable =
            |name: &str| Some(if name == "PW" { "p@ss/w#rd?%41:" } else { "mail.example.com" }.to_owned());
        let text = replace("smtp://me%40x:${PW}@${HOST}:25", &variable).unwrap();
        let url = parse(&text);
        assert_eq!(url.host, "mail.example.com");
        let login = Login::User { name: "me@x".into(), password: Some("p@ss/w#rd?%41:".into()) };
        assert!(url.login == login, "{text}");
    }

    #[test]
    fn a_variable_can_be_the_whole() {
        let variable = |_: &str| Some("smtps://u:p%40w@h.example".to_owned());
        let url = parse(&replace("${SMTP_URL}", &variable).unwrap());
        assert!(url.login == Login::User { name: "u".into(), password: Some("p@w".into()) });
        assert_eq!(replace("${A", &variable).unwrap_err(), "has a `${` without its `}`");
        assert!(replace("${GONE}", &|_| None).unwrap_err().contains("GONE"));
    }

    #[test]
    fn nothing_before_the_host_is_as_stored_and_an_empty_user_nobody() {
        assert!(parse("smtp://h.example").login == Login::AsStored);
        assert!(parse("smtp://@h.example").login == Login::Nobody);
        assert!(parse("smtp://u@h.example").login == Login::User { name: "u".into(), password: None });
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for text in [
            "",
            "mail.example.com",
            "http://u:hunter2@h",
            "smtp://u:hunter2@",
            "smtp://u:hunter2@h:99999",
            "smtp://u:hunter2@h:0",
            "smtp://u:hunter2@h/path",
            "smtp://u:hunter2/x@h",
            "smtp://u:hunter2@h#x",
            "smtp://u:hunter2@h?tls=maybe",
            "smtp://u:hunter2@h?timeout=1",
            "smtps://u:hunter2@h?tls=none",
            "smtp://:hunter2@h",
            "smtp://u:hunter2%0d@h",
            "smtp://u:hunter2%ff@h",
            "smtp://u:hunter2%zz@h",
            "smtp://u:hunter2@a%20b",
        ] {
            let what = SmtpUrl::parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!what.contains("hunter2"), "{what}");
        }
    }
}
