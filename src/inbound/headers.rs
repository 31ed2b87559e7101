//! The header of a message or a part: names and decoded values, within bounds. Must not know what any header means.

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::read::decode_charset;

/// Fields that are read of one header.
const MAX_FIELDS: usize = 1000;
/// Octets that are read of one header.
const MAX_OCTETS: usize = 256 * 1024;
/// Octets that are read of one field.
const MAX_FIELD: usize = 16 * 1024;

/// The fields of a header, names in lower case, values as they came.
#[derive(Debug, Default)]
pub(super) struct Headers<'a> {
    fields: Vec<(String, &'a [u8])>,
}

impl<'a> Headers<'a> {
    /// Reads a header; gives what follows it too.
    pub(super) fn read(octets: &'a [u8]) -> (Self, &'a [u8]) {
        let mut headers = Self::default();
        let mut place = 0;
        while place < octets.len() {
            let end = end_of_field(octets, place);
            let field = &octets[place..end];
            if field.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
                return (headers, &octets[end..]);
            }
            // What has no name is text, for which the blank line was forgotten.
            let Some((name, value)) = split(field) else { return (headers, &octets[place..]) };
            if headers.fields.len() < MAX_FIELDS && end < MAX_OCTETS {
                headers.fields.push((name, &value[..value.len().min(MAX_FIELD)]));
            }
            place = end;
        }
        (headers, &[])
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, _)| other == name)
    }

    pub(super) fn any(&self, is: impl Fn(&str) -> bool) -> Option<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).find(|name| is(name))
    }

    /// The first field of this name, decoded and on one line.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| decoded(value))
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = String> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| decoded(value))
    }
}

/// Where the field ends that begins at `place`: with the first line that no folded line follows.
fn end_of_field(octets: &[u8], place: usize) -> usize {
    let mut at = place;
    loop {
        let line = octets[at..].iter().position(|octet| *octet == b'\n');
        let Some(line) = line else { return octets.len() };
        let blank = octets[at..at + line].iter().all(|octet| *octet == b'\r');
        at += line + 1;
        if blank || !matches!(octets.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

fn split(field: &[u8]) -> Option<(String, &[u8])> {
    let colon = field.iter().position(|octet| *octet == b':')?;
    let (name, value) = field.split_at(colon);
    let name = name.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), &value[1..]))
}

fn decoded(value: &[u8]) -> String {
    let text = if value.is_ascii() && value.windows(2).any(|pair| pair == b"=?") {
        encoded_words(value)
    } else {
        decode_charset(value, "utf-8")
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// RFC 2047.
fn encoded_words(value: &[u8]) -> String {
    let mut line: Vec<u8> = value.trim_ascii().to_vec();
    line.push(b'\n');
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unfolded_and_decoded() {
        let (headers, body) = Headers::read(
            b"Subject: =?utf-8?Q?R=C3=A9ponse?=\r\n =?utf-8?Q?_automatique?=\r\nX-A : b\r\n\tc\r\n\r\nBody\r\n",
        );
        assert_eq!(headers.first("subject").unwrap(), "Réponse automatique");
        assert_eq!(headers.first("x-a").unwrap(), "b c");
        assert_eq!(body, b"Body\r\n");
    }

    #[test]
    fn a_header_in_octets_of_no_charset_is_read_all_the_same() {
        let (headers, _) = Headers::read(b"Subject: Abwesenheit: B\xfcro\n\n");
        assert_eq!(headers.first("subject").unwrap(), "Abwesenheit: Büro");
    }

    #[test]
    fn a_forgotten_blank_line_loses_no_text() {
        let (headers, body) = Headers::read(b"Subject: x\nI am away\n");
        assert!(headers.has("subject"));
        assert_eq!(body, b"I am away\n");
    }
}
