//! What may be written to a mail server: the message as it goes on the wire (CRLF only, dots stuffed, ended
//! by the final dot) and the checked arguments of commands. Nothing else in the client turns foreign text
//! into bytes of the protocol, so nothing can be injected. It must not know sockets or replies.

use std::fmt;

/// Octets in one line of a message without its CRLF: RFC 5321 section 4.5.3.1.6.
const LINE_LIMIT: usize = 998;
/// Octets in one address: a local part of 64, an `@`, a domain of 255.
const ADDRESS_LIMIT: usize = 320;

/// A message ready for the wire. Made once for a dispatch; every attempt writes the same bytes.
pub struct Wire {
    bytes: Vec<u8>,
    size: usize,
    eight_bit: bool,
}

/// Where one mail comes from and goes to, both checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    from: String,
    to: String,
}

/// Why this mail cannot be sent to any server, or not to this one. Permanent for the dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error("a line of the message is longer than {LINE_LIMIT} octets")]
    LongLine,
    #[error("the message contains a NUL")]
    Nul,
    #[error("the address is not one plain address")]
    Address,
    #[error("5.6.7 the address needs SMTPUTF8, which the server does not offer")]
    Utf8Address,
    #[error("5.6.3 the message needs 8BITMIME, which the server does not offer")]
    EightBit,
    #[error("5.3.4 the message is larger than the server accepts")]
    TooLarge,
}

impl Wire {
    /// Copies `message` once, in one pass. A bare CR and a bare LF become CRLF, so no server can see another
    /// end of the message than the one written here.
    pub fn encode(message: &[u8]) -> Result<Self, Unsendable> {
        let mut bytes = Vec::with_capacity(message.len() + message.len() / 32 + 8);
        let mut stuffed = 0;
        let mut eight_bit = false;
        let mut rest = message;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            if line.len() > LINE_LIMIT {
                return Err(Unsendable::LongLine);
            }
            if line.contains(&0) {
                return Err(Unsendable::Nul);
            }
            eight_bit |= !line.is_ascii();
            if line.first() == Some(&b'.') {
                bytes.push(b'.');
                stuffed += 1;
            }
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
            rest = match after {
                [b'\r', b'\n', rest @ ..] | [b'\r' | b'\n', rest @ ..] => rest,
                _ => &[],
            };
        }
        let size = bytes.len() - stuffed;
        bytes.extend_from_slice(b".\r\n");
        Ok(Self { bytes, size, eight_bit })
    }

    /// Everything that follows the 354: the stuffed message and the final dot.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets of the message as RFC 1870 counts them: without stuffing and the final dot.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the message needs 8BITMIME.
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }
}

impl Envelope {
    /// `from` may be empty: the null sender. A domain in another script is turned into its ASCII form.
    pub fn new(from: &str, to: &str) -> Result<Self, Unsendable> {
        let from = if from.is_empty() { String::new() } else { checked_address(from)? };
        Ok(Self { from, to: checked_address(to)? })
    }

    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Whether a local part is not ASCII, so that only a server that offers SMTPUTF8 can take it.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.from.is_ascii() || !self.to.is_ascii()
    }
}

/// Whether `text` can stand as one argument of a command: nothing in it ends a line, a word or a path.
#[must_use]
pub fn is_argument(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'))
}

fn checked_address(address: &str) -> Result<String, Unsendable> {
    let (local, domain) = address.rsplit_once('@').ok_or(Unsendable::Address)?;
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let plain = !local.is_empty() && !local.contains(['@', '"', ',', ';', ':', '(', ')', '[', ']', '\\']);
    if address.len() > ADDRESS_LIMIT || !is_argument(address) || domain.is_empty() || !(quoted || plain) {
        return Err(Unsendable::Address);
    }
    if domain.is_ascii() {
        return Ok(address.to_owned());
    }
    match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) => Ok(format!("{local}@{ascii}")),
        _ => Err(Unsendable::Address),
    }
}

/// An address is personal and the message may hold a token: neither is shown.
impl fmt::Debug for Envelope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Envelope").finish_non_exhaustive()
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Wire").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(message: &[u8]) -> Vec<u8> {
        Wire::encode(message).unwrap().bytes().to_vec()
    }

    #[test]
    fn a_leading_dot_is_doubled_and_the_message_ended() {
        assert_eq!(encoded(b".a\r\nb.c\r\n..\r\n"), b"..a\r\nb.c\r\n...\r\n.\r\n");
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(encoded(b"a\rb\nc\r\nd\n\re"), b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n.\r\n");
    }

    #[test]
    fn a_hidden_end_of_message_is_stuffed() {
        for smuggled in [&b"a\n.\nMAIL"[..], b"a\r.\rMAIL", b"a\n.\r\nMAIL", b"a\r\n.\nMAIL", b"a\r\n.\rMAIL"]
        {
            assert_eq!(encoded(smuggled), b"a\r\n..\r\nMAIL\r\n.\r\n");
        }
    }

    #[test]
    fn an_empty_message_is_the_dot_alone() {
        assert_eq!(encoded(b""), b".\r\n");
    }

    #[test]
    fn the_size_counts_neither_stuffing_nor_the_final_dot() {
        let wire = Wire::encode(b".a\nb").unwrap();
        assert_eq!((wire.size(), wire.bytes().len()), (7, 11));
    }

    #[test]
    fn what_no_server_must_take_is_refused() {
        assert!(Wire::encode(&[b'a'; 998]).is_ok());
        assert_eq!(Wire::encode(&[b'a'; 999]).unwrap_err(), Unsendable::LongLine);
        assert_eq!(Wire::encode(b"a\0b").unwrap_err(), Unsendable::Nul);
    }

    #[test]
    fn octets_over_127_need_eight_bit_transport() {
        assert!(Wire::encode("é".as_bytes()).unwrap().is_eight_bit());
        assert!(!Wire::encode(b"e").unwrap().is_eight_bit());
    }

    #[test]
    fn an_address_cannot_carry_a_command() {
        let bad = [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b\r\nRCPT TO:<x@y>",
            "a@b\n",
            "a@b>",
            "<a@b",
            "a@b\0",
            "a@b\u{85}",
            "a,b@c",
            "a@x,b@y",
            "a@b@c",
            "g:a@b;",
            "a@b SIZE=1",
            "\"a\r\n\"@b",
            "a@b\u{2028}c",
            "a\"b@c",
        ];
        for address in bad {
            assert_eq!(Envelope::new("", address).unwrap_err(), Unsendable::Address, "{address:?}");
        }
    }

    #[test]
    fn usual_addresses_and_the_null_sender_are_taken() {
        for address in ["a@b.example", "a+tag.x@b", "\"a,b\"@c", "a@[192.0.2.1]", "o'neil@x"] {
            assert_eq!(Envelope::new("", address).unwrap().to(), address);
        }
    }

    #[test]
    fn only_a_local_part_needs_smtputf8() {
        let envelope = Envelope::new("", "a@münchen.example").unwrap();
        assert_eq!((envelope.to(), envelope.needs_utf8()), ("a@xn--mnchen-3ya.example", false));
        assert!(Envelope::new("", "ä@münchen.example").unwrap().needs_utf8());
    }

    #[test]
    fn neither_address_nor_message_is_shown() {
        let shown = format!("{:?} {:?}", Envelope::new("", "a@b").unwrap(), Wire::encode(b"token").unwrap());
        assert!(!shown.contains("a@b") && !shown.contains("token"));
    }

    proptest! {
        #[test]
        fn the_wire_has_one_end_and_only_crlf(message in "[a.\r\n]{0,60}") {
            let bytes = encoded(message.as_bytes());
            let text = String::from_utf8(bytes).unwrap();
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
            let lines: Vec<_> = text.split("\r\n").collect();
            prop_assert_eq!(lines.iter().position(|line| *line == "."), Some(lines.len() - 2));
        }
    }
}
