//! What a mail server answers: an incremental parser of SMTP replies (RFC 5321 section 4.2) with the
//! enhanced status code of RFC 3463. It holds limits against a hostile server and makes the text harmless
//! to show. It must not know sockets, commands, or what a code means for a mail.

use std::fmt;

/// Octets in one line, its CRLF included. RFC 5321 section 4.5.3.1.5 says 512; some servers say more.
const LINE_LIMIT: usize = 1024;
/// Lines in one reply.
const LINES_LIMIT: usize = 100;
/// Octets of text kept of one reply. Further lines are read and counted, but not kept.
const TEXT_LIMIT: usize = 8 * 1024;

/// One complete reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The basic code, 200 to 599.
    pub code: u16,
    /// The enhanced code that began the text, if one did.
    pub enhanced: Option<Enhanced>,
    /// The text of all lines, joined by one space, without codes and without control characters.
    pub text: String,
    /// Where in `text` a line ended. Empty, so without an allocation, for the usual single line.
    breaks: Vec<usize>,
}

/// An enhanced status code: `5.1.1` is class 5, subject 1, detail 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced {
    pub class: u8,
    pub subject: u16,
    pub detail: u16,
}

/// Why what arrived is not a reply. The connection cannot be in step after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a line of the reply is longer than {LINE_LIMIT} octets")]
    LongLine,
    #[error("the reply has more than {LINES_LIMIT} lines")]
    ManyLines,
    #[error("a line of the reply does not begin with a code from 200 to 599")]
    NoCode,
    #[error("the lines of the reply have different codes")]
    MixedCodes,
}

/// Takes bytes as they arrive and gives complete replies.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Everything before this was taken as a line.
    taken: usize,
    /// Everything before this holds no line end that was not taken.
    searched: usize,
    partial: Option<Reply>,
    lines: usize,
}

impl Reply {
    /// A reply of one line, `text` as it follows the code on the wire.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let mut reply = Self { code, enhanced: None, text: String::new(), breaks: Vec::new() };
        reply.first_line(text);
        reply
    }

    /// 200 to 299.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 400 to 599.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.code >= 400
    }

    /// 421: the server closes the connection after this, RFC 5321 section 3.8.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.code == 421
    }

    /// Whether the enhanced code is class, subject and detail.
    #[must_use]
    pub fn is_enhanced(&self, class: u8, subject: u16, detail: u16) -> bool {
        self.enhanced == Some(Enhanced { class, subject, detail })
    }

    /// The text line by line, as EHLO's answer must be read.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.breaks.iter().map(|end| end + 1));
        let ends = self.breaks.iter().copied().chain(std::iter::once(self.text.len()));
        starts.zip(ends).map(|(start, end)| &self.text[start..end])
    }

    /// The same codes with another text.
    #[must_use]
    pub(super) fn with_text(self, text: &str) -> Self {
        Self { text: text.to_owned(), breaks: Vec::new(), ..self }
    }

    fn first_line(&mut self, line: &str) {
        let (enhanced, rest) = split_enhanced(self.code, line);
        self.enhanced = enhanced;
        push_harmless(&mut self.text, rest);
    }

    fn next_line(&mut self, line: &str) {
        if self.text.len() + line.len() > TEXT_LIMIT {
            return;
        }
        self.breaks.push(self.text.len());
        self.text.push(' ');
        let rest = if self.enhanced.is_some() { split_enhanced(self.code, line).1 } else { line };
        push_harmless(&mut self.text, rest);
    }
}

impl Reader {
    /// Where the next bytes from the server are to be appended.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            self.searched = 0;
        }
        self.buffer.reserve(LINE_LIMIT);
        &mut self.buffer
    }

    /// Whether every byte that arrived was part of a reply already given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partial.is_none() && self.taken == self.buffer.len()
    }

    /// The next complete reply, `None` while more bytes are needed.
    pub fn take_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        loop {
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                let unfinished = self.buffer.len() - self.taken;
                return if unfinished >= LINE_LIMIT { Err(Malformed::LongLine) } else { Ok(None) };
            };
            let start = self.taken;
            let end = self.searched + length;
            self.taken = end + 1;
            self.searched = end + 1;
            if self.taken - start > LINE_LIMIT {
                return Err(Malformed::LongLine);
            }
            if let Some(reply) = self.line(start, end)? {
                return Ok(Some(reply));
            }
        }
    }

    /// Adds the line at `start..end` to the reply and gives the reply if that was its last line.
    fn line(&mut self, start: usize, end: usize) -> Result<Option<Reply>, Malformed> {
        let line = &self.buffer[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, last, text) = split_code(line).ok_or(Malformed::NoCode)?;
        let text = String::from_utf8_lossy(text);
        match &mut self.partial {
            None => self.partial = Some(Reply::new(code, &text)),
            Some(partial) if partial.code != code => return Err(Malformed::MixedCodes),
            Some(partial) => partial.next_line(&text),
        }
        self.lines += 1;
        if last {
            self.lines = 0;
            return Ok(self.partial.take());
        }
        if self.lines >= LINES_LIMIT { Err(Malformed::ManyLines) } else { Ok(None) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(out, " {enhanced}")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(out, " {}", self.text) }
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// Code, whether this is the last line, and the text after the separator.
fn split_code(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9', rest @ ..] = line else {
        return None;
    };
    let code = [first, second, third].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

/// Takes an enhanced code off the front of a line. One whose class is not the code's first digit is text.
fn split_enhanced(code: u16, line: &str) -> (Option<Enhanced>, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match parse_enhanced(word) {
        Some(enhanced) if u16::from(enhanced.class) == code / 100 => (Some(enhanced), rest.trim_start()),
        _ => (None, line),
    }
}

fn parse_enhanced(word: &str) -> Option<Enhanced> {
    let mut parts = word.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || class.len() != 1 || ![class, subject, detail].into_iter().all(is_number) {
        return None;
    }
    Some(Enhanced {
        class: class.parse().ok()?,
        subject: subject.parse().ok()?,
        detail: detail.parse().ok()?,
    })
}

/// Appends `text` with everything replaced that could steer a terminal, a log or the direction of writing.
fn push_harmless(out: &mut String, text: &str) {
    let text = text.trim_end();
    out.extend(text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }));
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Reply>, Malformed> {
        let mut reader = Reader::default();
        reader.space().extend_from_slice(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = reader.take_reply()? {
            replies.push(reply);
        }
        Ok(replies)
    }

    fn one(bytes: &[u8]) -> Reply {
        let mut replies = read(bytes).unwrap();
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    #[test]
    fn a_single_line_is_a_reply() {
        let reply = one(b"250 2.1.5 Recipient <a@b> ok\r\n");
        assert_eq!((reply.code, reply.text.as_str()), (250, "Recipient <a@b> ok"));
        assert!(reply.is_enhanced(2, 1, 5));
        assert_eq!(reply.to_string(), "250 2.1.5 Recipient <a@b> ok");
    }

    #[test]
    fn lines_are_joined_and_can_be_told_apart() {
        let reply = one(b"250-mx.example\r\n250-SIZE 1000\r\n250-\r\n250 PIPELINING\r\n");
        assert_eq!(reply.text, "mx.example SIZE 1000  PIPELINING");
        assert_eq!(reply.lines().collect::<Vec<_>>(), ["mx.example", "SIZE 1000", "", "PIPELINING"]);
    }

    #[test]
    fn the_enhanced_code_is_taken_off_every_line() {
        let reply = one(b"550-5.1.1 no such\r\n550 5.1.1 user\r\n");
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
    }

    #[test]
    fn bytes_may_arrive_one_at_a_time() {
        let mut reader = Reader::default();
        let mut replies = Vec::new();
        for byte in b"250-a\r\n250 b\r\n354 go\r\n" {
            reader.space().push(*byte);
            replies.extend(reader.take_reply().unwrap());
        }
        assert_eq!(replies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["250 a b", "354 go"]);
        assert!(reader.is_empty());
    }

    #[test]
    fn an_unfinished_reply_is_not_empty() {
        let mut reader = Reader::default();
        reader.space().extend_from_slice(b"250-a\r\n");
        assert_eq!(reader.take_reply(), Ok(None));
        assert!(!reader.is_empty());
    }

    #[test]
    fn what_looks_like_an_enhanced_code_but_is_not_stays_text() {
        for text in ["5.1 x", "5.1.1.1 x", "5.1111.1 x", "4.1.1 x", "a.b.c x", "5.+1.1 x", "55.1.1 x"] {
            let reply = Reply::new(550, text);
            assert_eq!((reply.enhanced, reply.text.as_str()), (None, text));
        }
        assert!(Reply::new(550, "5.7.1").is_enhanced(5, 7, 1));
    }

    #[test]
    fn a_code_alone_and_a_bare_line_feed_are_understood() {
        assert_eq!(one(b"250\r\n"), Reply::new(250, ""));
        assert_eq!(one(b"250 ok\n"), Reply::new(250, "ok"));
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in
            [&b"hello\r\n"[..], b"\r\n", b"199 a\r\n", b"600 a\r\n", b"25 a\r\n", b"2500\r\n", b"250_a\r\n"]
        {
            assert_eq!(read(bytes), Err(Malformed::NoCode), "{bytes:?}");
        }
        assert_eq!(read(b"250-a\r\n251 b\r\n"), Err(Malformed::MixedCodes));
    }

    #[test]
    fn a_hostile_server_cannot_fill_the_memory() {
        let long = [b"250 ", vec![b'a'; LINE_LIMIT].as_slice()].concat();
        assert_eq!(read(&long), Err(Malformed::LongLine));
        assert_eq!(read(&[&long, b"\r\n".as_slice()].concat()), Err(Malformed::LongLine));
        assert_eq!(read(&b"250-a\r\n".repeat(LINES_LIMIT)), Err(Malformed::ManyLines));
        let wide = [b"250-", vec![b'a'; 1000].as_slice(), b"\r\n"].concat().repeat(90);
        assert!(one(&[wide, b"250 a\r\n".to_vec()].concat()).text.len() <= TEXT_LIMIT);
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        let reply = one(b"550 a\x1b[31m\x00\rb\xff\xe2\x80\xae\r\n");
        assert_eq!(reply.text, "a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}\u{fffd}");
    }

    #[test]
    fn ninety_nine_lines_are_read() {
        let reply = one(&[b"250-a\r\n".repeat(LINES_LIMIT - 1), b"250 b\r\n".to_vec()].concat());
        assert_eq!(reply.lines().count(), LINES_LIMIT);
    }
}
