//! A rendered e-mail with its envelope as the octets of a message (RFC 5322, MIME).
//!
//! The same input makes the same octets, so a retry repeats the mail rather than making another.
//! Must not know what the mail is about, or how it is sent.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use lettre::Address;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue, MessageId,
};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest as _, Sha256};

use super::templates::Rendered;

/// Octets of UTF-8 in one encoded word (RFC 2047) `=?utf-8?b?…?=`, which makes a line of 73.
const WORD_OCTETS: usize = 45;
/// The same in the first one, which stands after the header's name.
const FIRST_WORD_OCTETS: usize = 39;
/// Longest word that a header line takes as it is.
const LONGEST_PLAIN_WORD: usize = 60;
/// Far beyond any Message-ID made here, far below the 998 octets that end a line for good.
const LONGEST_MESSAGE_ID: usize = 250;
/// The year 9999 ends; a date beyond cannot be written.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a message says about itself, beside its content.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Sender: name and address.
    pub from: &'a Mailbox,
    /// Where a reply goes: an address.
    pub reply_to: Option<&'a str>,
    /// The one recipient: an address.
    pub to: &'a str,
    /// With or without its angle brackets.
    pub message_id: &'a str,
    pub date: DateTime<Utc>,
    /// RFC 3834; strict vacation programs answer no mail that carries it.
    pub auto_submitted: bool,
}

/// Why a message cannot be made. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("`{field}` holds a control character")]
    Control { field: &'static str },
    #[error("`{field}` is not an e-mail address that can be written in a message")]
    Address { field: &'static str },
    #[error("`message_id` is not of the form `left@right`")]
    MessageId,
    #[error("`date` is outside of the years 1970 to 9999")]
    Date,
    #[error("the message cannot be made: {0}")]
    Message(#[from] lettre::error::Error),
}

/// Writes the message, ready to be sent: lines of at most 76 octets, each ended by CR LF.
pub fn build(mail: &Rendered, envelope: &Envelope<'_>) -> Result<Vec<u8>, BuildError> {
    let message_id = message_id(envelope.message_id)?;
    let mut builder = Message::builder()
        .from(sender(envelope.from)?)
        .to(address("to", envelope.to)?.into())
        .raw_header(unstructured("Subject", checked("subject", &mail.subject)?))
        .date(date(envelope.date)?);
    if let Some(reply_to) = envelope.reply_to {
        builder = builder.reply_to(address("reply_to", reply_to)?.into());
    }
    if envelope.auto_submitted {
        builder = builder.header(AutoSubmitted);
    }
    let parts = MultiPart::alternative()
        .boundary(boundary(&message_id))
        .singlepart(part(ContentType::TEXT_PLAIN, &mail.text))
        .singlepart(part(ContentType::TEXT_HTML, &mail.html));
    let message = builder.header(MessageId::from(message_id)).multipart(parts)?;
    Ok(message.formatted())
}

/// The domain of an address: what stands after its last `@`, in lower case.
#[must_use]
pub fn domain_of(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    (!local.is_empty() && !domain.is_empty()).then(|| domain.to_ascii_lowercase())
}

/// `Auto-Submitted: auto-generated`
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn checked<'a>(field: &'static str, text: &'a str) -> Result<&'a str, BuildError> {
    let control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(control) { Err(BuildError::Control { field }) } else { Ok(text) }
}

/// One address and nothing else. ASCII, since whether the server takes other ones (RFC 6531) is not asked.
fn address(field: &'static str, text: &str) -> Result<Address, BuildError> {
    let text = checked(field, text)?;
    if !text.is_ascii() || text.contains([' ', ',', ';', '<', '>', '"', '(', ')', ':']) {
        return Err(BuildError::Address { field });
    }
    text.parse().map_err(|_| BuildError::Address { field })
}

fn sender(from: &Mailbox) -> Result<Mailbox, BuildError> {
    let name = from.name.as_deref().map(|name| checked("from", name)).transpose()?;
    let address = address("from", from.email.as_ref())?;
    Ok(Mailbox::new(name.map(str::to_owned), address))
}

/// The Message-ID within its brackets. It is also what makes the boundary, so it has to be unique.
fn message_id(id: &str) -> Result<String, BuildError> {
    let id = checked("message_id", id)?;
    let bare = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"<>@()[]\\,;:\"".contains(&b))
    };
    match bare.split_once('@') {
        Some((left, right)) if plain(left) && plain(right) && bare.len() <= LONGEST_MESSAGE_ID => {
            Ok(format!("<{bare}>"))
        }
        _ => Err(BuildError::MessageId),
    }
}

fn date(date: DateTime<Utc>) -> Result<SystemTime, BuildError> {
    if (0..=LAST_SECOND).contains(&date.timestamp()) { Ok(date.into()) } else { Err(BuildError::Date) }
}

/// From the Message-ID, for the same octets at each attempt. `=_` cannot occur in quoted-printable text,
/// so no content can hold a boundary.
fn boundary(message_id: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(message_id.as_bytes());
    digest.iter().take(16).fold("=_".to_owned(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Always quoted-printable: it keeps lines short, and survives servers that change octets or long lines.
fn part(kind: ContentType, text: &str) -> SinglePart {
    let encoding = ContentTransferEncoding::QuotedPrintable;
    // A bare CR would otherwise be kept, and read as a line end by some.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let body = Body::new_with_encoding(text, encoding)
        .unwrap_or_else(|raw| Body::dangerous_pre_encoded(raw, encoding));
    SinglePart::builder().header(kind).body(body)
}

/// A header of free text. Encoded words are written here, since lettre leaves long words and text that
/// looks like an encoded word as they are; the latter would be decoded into something else.
fn unstructured(name: &'static str, text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    let plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !text.contains("=?")
        && !text.contains("  ")
        && text.trim() == text
        && text.split(' ').all(|word| word.len() <= LONGEST_PLAIN_WORD);
    if plain {
        return HeaderValue::new(name, text.to_owned());
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let longest = if words.is_empty() { FIRST_WORD_OCTETS } else { WORD_OCTETS };
        let mut end = rest.len().min(longest);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        words.push(format!("=?utf-8?b?{}?=", STANDARD.encode(&rest[..end])));
        rest = &rest[end..];
    }
    // The space between two encoded words is not part of the text (RFC 2047, section 6.2).
    HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), words.join("\r\n "))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "dsp_01jd8x5t3v@mail.acme.example";

    fn mail(subject: &str) -> Rendered {
        Rendered {
            subject: subject.to_owned(),
            text: "Hello Zoë,\n\n.\nFrom here\n--=_\nhttps://app.acme.example/reset?token=abc\n".to_owned(),
            html: format!("<p>Zoë</p>{}", "<span>é</span>".repeat(40)),
        }
    }

    fn acme() -> Mailbox {
        Mailbox::new(Some("Acme".to_owned()), "no-reply@acme.example".parse().unwrap())
    }

    fn envelope(from: &Mailbox) -> Envelope<'_> {
        Envelope {
            from,
            reply_to: Some("help@acme.example"),
            to: "elon@example.com",
            message_id: ID,
            date: Utc.with_ymd_and_hms(2026, 11, 24, 17, 50, 0).unwrap(),
            auto_submitted: true,
        }
    }

    fn lines(octets: &[u8]) -> Vec<&str> {
        std::str::from_utf8(octets).unwrap().split("\r\n").collect()
    }

    /// Header names in the order they are written, of the message itself.
    fn header_names(octets: &[u8]) -> Vec<String> {
        lines(octets)
            .into_iter()
            .take_while(|line| !line.is_empty())
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect()
    }

    const HEADERS: [&str; 9] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Reply-To",
        "Auto-Submitted",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
    ];

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let from = acme();
        let octets = build(&mail("Update your password for Acme"), &envelope(&from)).unwrap();
        let read = MessageParser::default().parse(&octets).unwrap();
        assert_eq!(read.subject(), Some("Update your password for Acme"));
        assert_eq!(read.from().unwrap().first().unwrap().name(), Some("Acme"));
        assert_eq!(read.from().unwrap().first().unwrap().address(), Some("no-reply@acme.example"));
        assert_eq!(read.to().unwrap().first().unwrap().address(), Some("elon@example.com"));
        assert_eq!(read.reply_to().unwrap().first().unwrap().address(), Some("help@acme.example"));
        assert_eq!(read.message_id(), Some(ID));
        assert_eq!(read.date().unwrap().to_rfc3339(), "2026-11-24T17:50:00Z");
        assert_eq!(read.header("Auto-Submitted").unwrap().as_text(), Some("auto-generated"));
        assert_eq!((read.text_body_count(), read.html_body_count(), read.attachment_count()), (1, 1, 0));
        let written = mail("");
        assert_eq!(read.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), written.text.trim_end());
        assert_eq!(read.body_html(0).unwrap().trim_end(), written.html);
        assert_eq!(header_names(&octets), HEADERS);
    }

    #[test]
    fn lines_are_short_ascii_and_end_in_cr_lf() {
        let from = acme();
        let subject = format!("{} {}", "x".repeat(200), "Zoë ".repeat(40).trim());
        let octets = build(&mail(&subject), &envelope(&from)).unwrap();
        assert!(octets.is_ascii() && octets.ends_with(b"\r\n"));
        for line in lines(&octets) {
            assert!(line.len() <= 76 && !line.contains(['\r', '\n']), "{line:?}");
        }
    }

    #[test]
    fn the_same_input_makes_the_same_octets() {
        let from = acme();
        let of = |id| build(&mail("x"), &Envelope { message_id: id, ..envelope(&from) }).unwrap();
        assert_eq!(of(ID), of(ID));
        assert_eq!(of(ID), of("<dsp_01jd8x5t3v@mail.acme.example>"));
        assert_ne!(of(ID), of("other@mail.acme.example"));
    }

    #[test]
    fn without_the_options_their_headers_are_missing() {
        let from = acme();
        let plain = Envelope { reply_to: None, auto_submitted: false, ..envelope(&from) };
        let names = header_names(&build(&mail("x"), &plain).unwrap());
        let rest: Vec<_> =
            HEADERS.into_iter().filter(|n| !["Reply-To", "Auto-Submitted"].contains(n)).collect();
        assert_eq!(names, rest);
    }

    #[test]
    fn a_control_character_is_refused_with_its_field() {
        let from = acme();
        let field_of = |result: Result<Vec<u8>, BuildError>| match result {
            Err(BuildError::Control { field }) => field,
            other => panic!("{other:?}"),
        };
        for evil in ["x\r\nBcc: all@example.com", "x\n", "x\0", "x\u{2028}y", "\u{85}"] {
            let evil_from = Mailbox::new(Some(evil.to_owned()), from.email.clone());
            assert_eq!(field_of(build(&mail(evil), &envelope(&from))), "subject");
            assert_eq!(field_of(build(&mail("x"), &envelope(&evil_from))), "from");
            assert_eq!(field_of(build(&mail("x"), &Envelope { to: evil, ..envelope(&from) })), "to");
            let reply_to = Some(evil);
            assert_eq!(field_of(build(&mail("x"), &Envelope { reply_to, ..envelope(&from) })), "reply_to");
            let message_id = evil;
            assert_eq!(
                field_of(build(&mail("x"), &Envelope { message_id, ..envelope(&from) })),
                "message_id"
            );
        }
    }

    #[test]
    fn only_one_bare_address_is_a_recipient() {
        let from = acme();
        for to in [
            "a@example.com, b@example.com",
            "a@example.com,b@example.com",
            "A <a@example.com>",
            "<a@example.com>",
            "a@example.com;b@example.com",
            "\"a@b.example, c\"@example.com",
            "a b@example.com",
            "zoë@example.com",
            "a@exämple.com",
            "example.com",
            "",
        ] {
            let result = build(&mail("x"), &Envelope { to, ..envelope(&from) });
            assert!(matches!(result, Err(BuildError::Address { field: "to" })), "{to}");
        }
    }

    #[test]
    fn a_message_id_that_is_none_is_refused() {
        let from = acme();
        for message_id in ["", "x", "@x", "x@", "a@b@c", "a b@c", "<a@b", "a@b>", "<a@b> <c@d>", "é@x"] {
            let result = build(&mail("x"), &Envelope { message_id, ..envelope(&from) });
            assert!(matches!(result, Err(BuildError::MessageId)), "{message_id}");
        }
    }

    #[test]
    fn a_date_that_cannot_be_written_is_refused() {
        let from = acme();
        for date in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let result = build(&mail("x"), &Envelope { date, ..envelope(&from) });
            assert!(matches!(result, Err(BuildError::Date)));
        }
    }

    #[test]
    fn text_that_looks_like_an_encoded_word_stays_as_it_is() {
        let from = acme();
        let tricky = "=?utf-8?q?Bcc=3A_all?= paid";
        let octets = build(&mail(tricky), &envelope(&from)).unwrap();
        assert_eq!(MessageParser::default().parse(&octets).unwrap().subject(), Some(tricky));
    }

    #[test]
    fn a_name_of_any_language_reads_back() {
        for name in
            ["Zoë & Söhne, GmbH", "Acme \"Post\" <a@b>", "Почта Акме", "郵便🚀", "Acme, b@evil.example"]
        {
            let from = Mailbox::new(Some(name.to_owned()), acme().email);
            let octets = build(&mail("x"), &envelope(&from)).unwrap();
            let read = MessageParser::default().parse(&octets).unwrap();
            let sender = read.from().unwrap().first().unwrap();
            assert_eq!((sender.name(), sender.address()), (Some(name), Some("no-reply@acme.example")));
        }
    }

    #[test]
    fn the_domain_is_what_follows_the_last_at() {
        assert_eq!(domain_of("no-reply@Acme.Example").as_deref(), Some("acme.example"));
        for none in ["", "acme", "@acme.example", "x@"] {
            assert_eq!(domain_of(none), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_with_line_breaks_is_written(text in "(?s).{0,40}[\r\n].{0,40}") {
            let from = Mailbox::new(Some(text.clone()), acme().email);
            prop_assert!(build(&mail("x"), &envelope(&from)).is_err());
            prop_assert!(build(&mail(&text), &envelope(&acme())).is_err());
        }

        #[test]
        fn no_name_or_subject_adds_a_header_or_a_recipient(
            name in "[^\\p{Cc}\u{2028}\u{2029}]{0,120}",
            subject in "[^\\p{Cc}\u{2028}\u{2029}]{0,200}",
        ) {
            let from = Mailbox::new(Some(name.clone()), acme().email);
            let octets = build(&mail(&subject), &envelope(&from)).unwrap();
            prop_assert_eq!(header_names(&octets), HEADERS);
            let read = MessageParser::default().parse(&octets).unwrap();
            prop_assert_eq!(read.subject().unwrap_or_default().trim(), subject.trim());
            let from = read.from().unwrap();
            prop_assert_eq!(from.as_list().map(<[_]>::len), Some(1));
            prop_assert_eq!(from.first().unwrap().address(), Some("no-reply@acme.example"));
            let to = read.to().unwrap();
            prop_assert_eq!(to.as_list().map(<[_]>::len), Some(1));
            prop_assert_eq!(to.first().unwrap().address(), Some("elon@example.com"));
            prop_assert!(read.cc().is_none() && read.bcc().is_none());
            prop_assert!(lines(&octets).into_iter().all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        }
    }
}
