//! What lapin cannot read is taken out of the broker's octets before lapin sees them, pure. A publisher may send
//! properties that the broker takes and lapin does not: a text that is not UTF-8, headers nested so deep that
//! reading them overflows the stack, headers that fill a frame, so that the broker's own make it too long. Each
//! would close the connection, or end the process, again with every delivery. Such a message is delivered with
//! what can be read of it and one header more, [`MARK`], by which it is refused.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::AMQPValue;

use super::properties::{Properties, Unreadable, short};
use crate::domain::event::Refusal;

/// Names the property that could not be read. Taken out where a publisher set it.
pub(super) const MARK: &str = "x-signalpost-unreadable";

/// Type, channel and size; the payload and one octet follow.
const HEAD: usize = 7;
const FRAME_END: u8 = 0xce;
/// No frame is longer: what says so is no AMQP.
const LONGEST: usize = 16 * 1024 * 1024;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Class and method of `connection.tune`.
const TUNE: [u8; 4] = [0, 10, 0, 30];
const RETURN: [u8; 4] = [0, 60, 0, 50];
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const GET_OK: [u8; 4] = [0, 60, 0, 71];
/// Class, weight and size of the body, before the properties.
const BEFORE_PROPERTIES: usize = 12;

/// The octets of one connection, frame by frame.
pub(super) struct Screen {
    /// The start of a frame that is not all there yet.
    pending: Vec<u8>,
    /// The longest frame that lapin takes.
    frame_max: usize,
    /// By channel: what is wrong with the method whose header comes next.
    wrong: BTreeMap<[u8; 2], Unreadable>,
    /// This is no AMQP: lapin is to say so.
    gave_up: bool,
}

impl Screen {
    /// `frame_max` as asked for in the URL; the broker may set less.
    pub(super) fn new(frame_max: Option<u32>) -> Self {
        let frame_max = frame_max.filter(|max| *max > 0).and_then(|max| usize::try_from(max).ok());
        let frame_max = frame_max.unwrap_or(usize::MAX);
        Self { pending: Vec::new(), frame_max, wrong: BTreeMap::new(), gave_up: false }
    }

    /// Takes octets as they came, and adds to `out` what lapin may have of them.
    pub(super) fn pass(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.pending.extend_from_slice(octets);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(size) = self.frame_size(rest) {
            let (frame, after) = rest.split_at(size);
            self.frame(frame, out);
            rest = after;
        }
        if self.gave_up {
            out.extend_from_slice(rest);
        } else {
            self.pending = rest.to_vec();
        }
    }

    /// Of the first frame, if it is all there.
    fn frame_size(&mut self, octets: &[u8]) -> Option<usize> {
        if self.gave_up {
            return None;
        }
        let kind = *octets.first()?;
        let [_, _, _, size @ ..] = *octets.first_chunk::<HEAD>()?;
        let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        let end = octets.get(HEAD.saturating_add(size));
        let is_kind = matches!(kind, METHOD | HEADER | BODY | HEARTBEAT);
        self.gave_up = !is_kind || size > LONGEST || end.is_some_and(|end| *end != FRAME_END);
        end.filter(|_| !self.gave_up).map(|_| HEAD + size + 1)
    }

    fn frame(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let (head, payload) = (&frame[..HEAD], &frame[HEAD..frame.len() - 1]);
        let channel = [head[1], head[2]];
        let changed = match head[0] {
            METHOD => self.method(channel, payload),
            HEADER => self.header(channel, payload),
            _ => None,
        };
        let Some(changed) = changed else { return out.extend_from_slice(frame) };
        out.extend_from_slice(&head[..3]);
        out.extend(u32::try_from(changed.len()).unwrap_or_default().to_be_bytes());
        out.extend(changed);
        out.push(FRAME_END);
    }

    fn method(&mut self, channel: [u8; 2], payload: &[u8]) -> Option<Vec<u8>> {
        let (method, arguments) = payload.split_first_chunk::<4>()?;
        // Octets before exchange and routing key.
        let before = match *method {
            TUNE => {
                let [_, _, max @ ..] = *arguments.first_chunk::<6>()?;
                let max = usize::try_from(u32::from_be_bytes(max)).ok().filter(|max| *max > 0);
                self.frame_max = max.map_or(self.frame_max, |max| max.min(self.frame_max));
                return None;
            }
            // The consumer's tag, ours; the delivery's tag and a flag.
            DELIVER => 1 + usize::from(*arguments.first()?) + 9,
            GET_OK => 9,
            // A code and a text of the broker's.
            RETURN => 3 + usize::from(*arguments.get(2)?),
            _ => return None,
        };
        let (before, rest) = payload.split_at_checked(4 + before)?;
        let (exchange, rest) = short(rest)?;
        let (routing_key, rest) = short(rest)?;
        let field = match (std::str::from_utf8(exchange), std::str::from_utf8(routing_key)) {
            (Ok(_), Ok(_)) => return None,
            (Err(_), _) => "exchange",
            (_, Err(_)) => "routing_key",
        };
        self.wrong.insert(channel, Unreadable { field, what: "is not UTF-8" });
        Some([before, &lossy(exchange), &lossy(routing_key), rest].concat())
    }

    fn header(&mut self, channel: [u8; 2], payload: &[u8]) -> Option<Vec<u8>> {
        let (before, properties) = payload.split_at_checked(BEFORE_PROPERTIES)?;
        let mut properties = Properties::read(properties, MARK);
        properties.wrong = self.wrong.remove(&channel).or(properties.wrong);
        if HEAD + payload.len() + 1 > self.frame_max {
            properties.leave_headers_out();
        }
        let mut written = properties.write(MARK)?;
        if HEAD + BEFORE_PROPERTIES + written.len() + 1 > self.frame_max {
            properties.leave_headers_out();
            written = properties.write(MARK)?;
        }
        Some([before, &written].concat())
    }
}

/// As a short text with its length, made readable and cut where it becomes too long.
fn lossy(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let text = &text[..text.floor_char_boundary(u8::MAX.into())];
    let length = u8::try_from(text.len()).unwrap_or_default();
    [&[length], text.as_bytes()].concat()
}

/// Why a message is refused of which something was taken out.
pub(super) fn refusal(properties: &BasicProperties) -> Option<Refusal> {
    let Some(AMQPValue::LongString(mark)) = properties.headers().as_ref()?.inner().get(MARK) else {
        return None;
    };
    let (field, what) = std::str::from_utf8(mark.as_bytes()).ok()?.split_once(' ')?;
    Some(Refusal::invalid(field, what))
}
