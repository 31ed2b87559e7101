//! The properties of a message octet by octet, pure: which of them lapin can read, written anew without the others.
//! Reads all that the broker delivers; what it cannot read either is left out to the end. Knows no frames.

use crate::domain::event::MAX_NESTING;

/// What could not be read, and why, as a refusal says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable {
    pub(super) field: &'static str,
    pub(super) what: &'static str,
}

const NOT_UTF8: &str = "is not UTF-8";
const NAME_NOT_UTF8: &str = "has a name that is not UTF-8";
const TOO_DEEP: &str = "is nested deeper than 32";
const TOO_LONG: &str = "is too long for a frame";
const BROKEN: &str = "is not well-formed";

#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Octet,
    Timestamp,
}

/// In the order of their flags, from the highest bit down, and of their octets.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Short),
    ("content_encoding", Kind::Short),
    ("headers", Kind::Table),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Short),
    ("reply_to", Kind::Short),
    ("expiration", Kind::Short),
    ("message_id", Kind::Short),
    ("timestamp", Kind::Timestamp),
    ("type", Kind::Short),
    ("user_id", Kind::Short),
    ("app_id", Kind::Short),
    ("cluster_id", Kind::Short),
];
const HIGHEST: u16 = 1 << 15;
const HEADERS: u16 = HIGHEST >> 2;

/// What can be read, in its three parts.
#[derive(Default)]
pub(super) struct Properties {
    flags: u16,
    before_headers: Vec<u8>,
    headers: Vec<u8>,
    after_headers: Vec<u8>,
    /// The first that could not be read.
    pub(super) wrong: Option<Unreadable>,
    /// The mark was there already.
    forged: bool,
}

impl Properties {
    /// Reads them, without the header `mark`.
    pub(super) fn read(octets: &[u8], mark: &str) -> Self {
        let mut read = Self::default();
        let mut rest = Octets(octets);
        let flags = rest.take(2).map_or(0, |flags| u16::from_be_bytes([flags[0], flags[1]]));
        for (place, (field, kind)) in PROPERTIES.into_iter().enumerate() {
            let flag = HIGHEST >> place;
            if flags & flag == 0 {
                continue;
            }
            let whole = rest.0;
            let checked = match kind {
                Kind::Short => rest.short().and_then(|text| utf8(text, NOT_UTF8)),
                Kind::Table => rest.long().map(|table| read.read_headers(table, mark)),
                Kind::Octet => rest.take(1).map(drop),
                Kind::Timestamp => rest.take(8).map(drop),
            };
            if let Err(what) = checked {
                read.note(field, what);
                continue;
            }
            read.flags |= flag;
            let part = if flag > HEADERS { &mut read.before_headers } else { &mut read.after_headers };
            if flag != HEADERS {
                part.extend_from_slice(&whole[..whole.len() - rest.0.len()]);
            }
        }
        if octets.len() < 2 || !rest.0.is_empty() {
            read.note("properties", BROKEN);
        }
        read
    }

    fn read_headers(&mut self, table: &[u8], mark: &str) {
        let mut rest = Octets(table);
        while !rest.0.is_empty() {
            let whole = rest.0;
            let name = rest.short();
            // First stepped over, that the next one is found.
            let value = rest.value(MAX_NESTING);
            match name.and_then(|name| utf8(name, NAME_NOT_UTF8).and(value).map(|()| name)) {
                Err(what) => self.note("headers", what),
                Ok(name) if name == mark.as_bytes() => self.forged = true,
                Ok(_) => self.headers.extend_from_slice(&whole[..whole.len() - rest.0.len()]),
            }
        }
    }

    fn note(&mut self, field: &'static str, what: &'static str) {
        self.wrong.get_or_insert(Unreadable { field, what });
    }

    pub(super) fn leave_headers_out(&mut self) {
        self.headers.clear();
        self.note("headers", TOO_LONG);
    }

    /// What can be read, and as header `mark` what cannot. `None`: they may stay as they are.
    pub(super) fn write(&self, mark: &str) -> Option<Vec<u8>> {
        if self.wrong.is_none() && !self.forged {
            return None;
        }
        let mut headers = self.headers.clone();
        if let Some(Unreadable { field, what }) = self.wrong {
            headers.push(u8::try_from(mark.len()).unwrap_or_default());
            headers.extend_from_slice(mark.as_bytes());
            headers.push(b'S');
            extend_long(&mut headers, format!("{field} {what}").as_bytes());
        }
        let mut octets = (self.flags | HEADERS).to_be_bytes().to_vec();
        octets.extend_from_slice(&self.before_headers);
        extend_long(&mut octets, &headers);
        octets.extend_from_slice(&self.after_headers);
        Some(octets)
    }
}

fn extend_long(octets: &mut Vec<u8>, long: &[u8]) {
    octets.extend(u32::try_from(long.len()).unwrap_or_default().to_be_bytes());
    octets.extend_from_slice(long);
}

/// A short text, and what follows it.
pub(super) fn short(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn utf8(text: &[u8], what: &'static str) -> Result<(), &'static str> {
    std::str::from_utf8(text).map(drop).map_err(|_| what)
}

/// Octets still to be read. Where they end too early, none are left.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BROKEN).inspect_err(|_| self.0 = &[])?;
        self.0 = rest;
        Ok(taken)
    }

    fn short(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn long(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.take(4)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        self.take(length)
    }

    /// Steps over a value with its type. Says whether lapin can read it.
    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        let size = match self.take(1)?[0] {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => return self.long().map(drop),
            b'F' => return self.nested(depth, true),
            b'A' => return self.nested(depth, false),
            _ => usize::MAX,
        };
        self.take(size).map(drop)
    }

    fn nested(&mut self, depth: usize, is_table: bool) -> Result<(), &'static str> {
        let mut items = Octets(self.long()?);
        let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
        while !items.0.is_empty() {
            if is_table {
                items.short().and_then(|name| utf8(name, NAME_NOT_UTF8))?;
            }
            items.value(depth)?;
        }
        Ok(())
    }
}
