//! A message taken apart, within bounds: what its writer wrote, what is reported and what is returned with it.
//!
//! Only what is looked at is decoded, so a message of the largest size costs little more than itself. What is beyond
//! a bound is not looked at; there is always a letter. Must not know what a message means.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::decoders::charsets::map::charset_decoder;

use super::headers::Headers;
use super::report::{Report, ReportKind};
use super::text::{self, NewText};

/// Largest message, in octets. What is beyond is not looked at.
pub const MAX_MESSAGE: usize = 25 * 1024 * 1024;
/// Parts that are looked at.
const MAX_PARTS: usize = 10_000;
/// Multiparts within each other.
const MAX_DEPTH: usize = 20;
/// Octets looked through for boundaries, over all depths.
const MAX_SEARCH: usize = 4 * MAX_MESSAGE;
/// Octets of one text that are decoded.
const MAX_TEXT: usize = 128 * 1024;
/// Octets kept of a returned message and of a report.
const MAX_RETURNED: usize = 16 * 1024;

/// A message, as far as it is looked at.
#[derive(Debug, Default)]
pub struct Letter<'a> {
    pub(super) headers: Headers<'a>,
    pub(super) subject: String,
    pub(super) new: NewText,
    pub(super) report: Option<Report>,
    /// The type of a `multipart/report` without its part.
    pub(super) report_type: Option<String>,
    /// The header of a returned or attached message.
    pub(super) returned: String,
    /// Has a part that is a calendar's.
    pub(super) calendar: bool,
    /// Has a part in Outlook's own format.
    pub(super) tnef: bool,
    /// A bound was reached.
    pub(super) cut: bool,
}

impl<'a> Letter<'a> {
    /// Reads a message. Anything is one, if need be an empty one.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Self {
        let whole = &octets[..octets.len().min(MAX_MESSAGE)];
        let (headers, body) = Headers::read(beginning(whole));
        let content = Content::of(&headers);
        let mut reader = Reader { search: MAX_SEARCH, cut: octets.len() > MAX_MESSAGE, ..Reader::default() };
        reader.part(&content, body, 0);
        let report_type = content.parameter("report-type").map(str::to_ascii_lowercase);
        Self {
            subject: headers.first("subject").unwrap_or_default(),
            new: reader.new_text(),
            report: reader.report,
            report_type: report_type.filter(|_| content.kind == "multipart/report"),
            returned: reader.returned,
            calendar: reader.calendar,
            tnef: reader.tnef,
            cut: reader.cut,
            headers,
        }
    }
}

/// Leaves out what mailbox files and pipes put before a message.
fn beginning(mut octets: &[u8]) -> &[u8] {
    while let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
        let line = &octets[..end];
        if !(line.trim_ascii().is_empty() || line.starts_with(b"From ") || line.starts_with(b">From ")) {
            break;
        }
        octets = &octets[end + 1..];
    }
    octets
}

/// The type of a part.
struct Content {
    kind: String,
    parameters: Vec<(String, String)>,
    encoding: String,
    attachment: bool,
}

impl Content {
    fn of(headers: &Headers<'_>) -> Self {
        let field = headers.first("content-type").unwrap_or_default();
        let mut pieces = pieces(&field).into_iter();
        let kind = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let parameters = pieces.filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        });
        let lower = |name| headers.first(name).unwrap_or_default().to_ascii_lowercase();
        Self {
            kind: if kind.contains('/') { kind } else { "text/plain".to_owned() },
            parameters: parameters.collect(),
            encoding: lower("content-transfer-encoding"),
            attachment: lower("content-disposition").starts_with("attachment"),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, octets: &[u8]) -> String {
        let octets = &octets[..octets.len().min(MAX_TEXT)];
        let decoded = match self.encoding.trim() {
            "base64" => base64_of(octets),
            "quoted-printable" => quoted_printable_of(octets),
            _ => octets.to_vec(),
        };
        decode_charset(&decoded, self.parameter("charset").unwrap_or_default())
    }
}

/// A field at its semicolons, but not at those within quotes.
fn pieces(field: &str) -> Vec<String> {
    let (mut pieces, mut quoted) = (vec![String::new()], false);
    for c in field.chars() {
        match c {
            ';' if !quoted => pieces.push(String::new()),
            _ => {
                quoted ^= c == '"';
                if let Some(last) = pieces.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    pieces.into_iter().map(|piece| piece.trim().to_owned()).collect()
}

#[derive(Default)]
struct Reader {
    plain: String,
    html: String,
    report: Option<Report>,
    returned: String,
    calendar: bool,
    tnef: bool,
    cut: bool,
    parts: usize,
    search: usize,
}

impl Reader {
    fn part(&mut self, content: &Content, body: &[u8], depth: usize) {
        if self.parts >= MAX_PARTS || depth > MAX_DEPTH {
            self.cut = true;
            return;
        }
        self.parts += 1;
        match content.kind.as_str() {
            "message/delivery-status" | "message/global-delivery-status" => {
                self.reported(ReportKind::Delivery, content, body);
            }
            "message/disposition-notification" => self.reported(ReportKind::Disposition, content, body),
            "message/feedback-report" => self.reported(ReportKind::Feedback, content, body),
            "text/calendar" => self.calendar = true,
            "application/ms-tnef" => self.tnef = true,
            "text/html" if !content.attachment => add(&mut self.html, &content.text(body)),
            kind if kind.starts_with("multipart/") => self.multipart(content, body, depth),
            kind if kind.starts_with("message/") || kind.contains("rfc822") => self.returned(content, body),
            kind if kind.starts_with("text/") && !content.attachment => {
                add(&mut self.plain, &content.text(body));
            }
            _ => {}
        }
    }

    fn multipart(&mut self, content: &Content, body: &[u8], depth: usize) {
        let boundary = content.parameter("boundary").unwrap_or_default().as_bytes();
        let (mut start, mut place, mut found) = (None, 0, false);
        while place < body.len() {
            let end = body[place..].iter().position(|octet| *octet == b'\n');
            let end = end.map_or(body.len(), |length| place + length + 1);
            if self.search < end - place || self.parts >= MAX_PARTS {
                self.cut = true;
                return;
            }
            self.search -= end - place;
            if let Some(last) = is_boundary(&body[place..end], boundary) {
                found = true;
                if let Some(start) = start.replace(end) {
                    self.section(&body[start..place], depth);
                }
                if last {
                    return;
                }
            }
            place = end;
        }
        match start {
            Some(start) => self.section(&body[start..], depth),
            // The boundary is missing or another one: better all of it than nothing.
            None if !found => add(&mut self.plain, &content.text(body)),
            None => {}
        }
    }

    fn section(&mut self, octets: &[u8], depth: usize) {
        let (headers, body) = Headers::read(octets);
        self.part(&Content::of(&headers), body, depth + 1);
    }

    fn reported(&mut self, kind: ReportKind, content: &Content, body: &[u8]) {
        if self.report.is_none() {
            let text = content.text(&body[..body.len().min(MAX_RETURNED)]);
            self.report = Some(Report::read(kind, &text));
        }
    }

    fn returned(&mut self, content: &Content, body: &[u8]) {
        if self.returned.is_empty() {
            self.returned = content.text(&body[..body.len().min(MAX_RETURNED)]);
        }
    }

    /// Of the plain text, or of the HTML if that is all there is.
    fn new_text(&self) -> NewText {
        let plain = text::of_plain(&self.plain);
        if self.html.is_empty() || !plain.text.trim().is_empty() {
            return plain;
        }
        let html = text::of_html(&self.html);
        let below = if plain.below.is_empty() { html.below } else { plain.below };
        NewText { quoted: html.quoted || plain.quoted, below, text: html.text }
    }
}

fn add(text: &mut String, more: &str) {
    if text.len() < MAX_TEXT {
        text.push_str(more);
        text.push('\n');
    }
}

/// Whether the line is this boundary, and the last one.
fn is_boundary(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary).filter(|_| !boundary.is_empty())?;
    match rest.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// Base64, whatever else stands between its letters.
fn base64_of(octets: &[u8]) -> Vec<u8> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
    let mut letters: Vec<u8> = octets.iter().copied().filter(is_letter).collect();
    // One letter alone is six bits of nothing.
    letters.truncate(letters.len() - usize::from(letters.len() % 4 == 1));
    GeneralPurpose::new(&STANDARD, config).decode(letters).unwrap_or_default()
}

/// Quoted-printable; what is none stays as it is.
fn quoted_printable_of(octets: &[u8]) -> Vec<u8> {
    let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
    let (mut decoded, mut place) = (Vec::with_capacity(octets.len()), 0);
    while place < octets.len() {
        let rest = &octets[place..];
        place += match rest {
            [b'=', b'\r', b'\n', ..] => 3,
            [b'=', b'\n', ..] => 2,
            [b'=', ..] => match (digit(rest.get(1)), digit(rest.get(2))) {
                (Some(high), Some(low)) => {
                    decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                    3
                }
                _ => push(&mut decoded, b'='),
            },
            [octet, ..] => push(&mut decoded, *octet),
            [] => 1,
        };
    }
    decoded
}

fn push(decoded: &mut Vec<u8>, octet: u8) -> usize {
    decoded.push(octet);
    1
}

/// Text in the named charset; what is no text in it, or of no known one, as UTF-8 or else as Windows' Latin.
pub(super) fn decode_charset(octets: &[u8], charset: &str) -> String {
    let charset = charset.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let escapes = octets.windows(2).any(|pair| pair == b"\x1b$");
    let charset = match charset.as_str() {
        "" | "us-ascii" | "ascii" | "utf-8" | "utf8" | "unknown" | "x-unknown" if escapes => "iso-2022-jp",
        "" | "us-ascii" | "ascii" | "utf-8" | "utf8" => "windows-1252",
        "iso-8859-8-i" | "iso-8859-8-e" => "iso-8859-8",
        "tis-620" | "iso-8859-11" => "windows-874",
        "x-gbk" | "gb_2312-80" => "gbk",
        "cp932" | "windows-31j" | "ms932" => "shift_jis",
        "ks_c_5601-1987" | "cp949" | "windows-949" | "uhc" => "euc-kr",
        other => other,
    };
    if charset == "windows-1252"
        && let Ok(text) = std::str::from_utf8(octets)
    {
        return text.to_owned();
    }
    if let Some(decoder) = charset_decoder(charset.as_bytes()) {
        return decoder(octets);
    }
    let latin = || charset_decoder(b"windows-1252").map(|decoder| decoder(octets)).unwrap_or_default();
    std::str::from_utf8(octets).map_or_else(|_| latin(), str::to_owned)
}
