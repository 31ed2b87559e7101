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

#[cfg(test)]
mod tests {
    use lapin::protocol::basic::parse_properties;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &size[..], payload, &[FRAME_END]].concat()
    }

    fn header(properties: &[u8]) -> Vec<u8> {
        frame(HEADER, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], properties].concat())
    }

    fn passed(octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Screen::new(None).pass(octets, &mut out);
        out
    }

    /// As lapin reads it.
    fn read(header: &[u8]) -> Option<BasicProperties> {
        let properties = &header[HEAD + BEFORE_PROPERTIES..header.len() - 1];
        parse_properties(properties).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, read)| read)
    }

    fn told(octets: &[u8]) -> Option<String> {
        refusal(&read(&passed(octets)).unwrap()).map(|refusal| refusal.detail)
    }

    #[test]
    fn a_routing_key_that_is_not_utf8_is_told_with_the_header_that_follows() {
        let good = header(&[0, 0]);
        for method in [
            [&DELIVER[..], b"\x03tag", &[0; 9], b"\x01e\x03a.\xff"].concat(),
            [&GET_OK[..], &[0; 9], b"\x01e\x03a.\xff", &[0; 4]].concat(),
            [&RETURN[..], &[0; 2], b"\x02no", b"\x01e\x03a.\xff"].concat(),
        ] {
            let out = passed(&[frame(METHOD, &method), good.clone(), good.clone()].concat());
            let key = "a.\u{fffd}".as_bytes();
            assert!(out.windows(key.len()).any(|octets| octets == key));
            let (rest, last) = out.split_at(out.len() - good.len());
            assert_eq!(last, good, "only the message itself is marked");
            let marked = &rest[HEAD + method.len() + 2 + 1..];
            assert_eq!(refusal(&read(marked).unwrap()).unwrap().field.unwrap(), "routing_key");
        }
    }

    #[test]
    fn the_first_fault_is_told_and_what_can_be_read_is_kept() {
        // `headers`, `message_id` and `type`.
        let octets = header(b"\x20\xa0\0\0\0\x06\x01\xffV\x01aV\x01\xff\x01t");
        assert_eq!(told(&octets).unwrap(), "`headers` has a name that is not UTF-8");
        let kept = read(&passed(&octets)).unwrap();
        assert!(kept.message_id().is_none() && kept.headers().as_ref().unwrap().contains_key("a"));
        assert_eq!(kept.kind().as_ref().unwrap().as_str(), "t");
    }

    #[test]
    fn what_is_too_long_for_a_frame_goes_without_headers() {
        let tune = frame(METHOD, &[&TUNE[..], &[0, 1], &4096_u32.to_be_bytes(), &[0; 2]].concat());
        let long = header(&[&b"\x20\x00\0\0\x0f\x07\x01xS\0\0\x0f\0"[..], &[b'y'; 3840]].concat());
        assert_eq!(passed(&long), long);
        let of_4097 = header(&[&b"\x20\x00\0\0\x0f\xe8\x01xS\0\0\x0f\xe1"[..], &[b'y'; 4065]].concat());
        let out = passed(&[tune.clone(), of_4097].concat());
        let read = read(&out[tune.len()..]).unwrap();
        assert_eq!(refusal(&read).unwrap().detail, "`headers` is too long for a frame");
        assert_eq!(read.headers().as_ref().unwrap().inner().len(), 1);
    }

    #[test]
    fn what_is_no_amqp_is_passed_on_as_it_is() {
        for octets in [&b"AMQP\0\0\x09\x01"[..], b"\x01\0\0\0\0\0\0x..", b"\x01\0\0\xff\xff\xff\xffx"] {
            assert_eq!(passed(octets), octets);
        }
    }

    /// Something like properties: short texts, tables, numbers, cut or not.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let short = prop_oneof![3 => "[a-z]{0,3}".prop_map(String::into_bytes), 1 => Just(vec![0xff])]
            .prop_map(|text| [&[u8::try_from(text.len()).unwrap()], &text[..]].concat());
        let value =
            prop_oneof![Just(b"V".to_vec()), Just(b"tx".to_vec()), any::<Vec<u8>>().prop_map(long(b'S'))];
        let value = value.prop_recursive(40, 60, 2, |inner| {
            let items = proptest::collection::vec(inner.clone(), 0..2);
            let entries = inner.prop_map(|value| [b"\x01k", &value[..]].concat());
            prop_oneof![
                items.prop_map(|items| items.concat()).prop_map(long(b'A')),
                entries.prop_map(long(b'F'))
            ]
        });
        let entry = (short.clone(), value).prop_map(|(name, value)| [name, value].concat());
        let table = proptest::collection::vec(entry, 0..3)
            .prop_map(|entries| long(b'F')(entries.concat())[1..].to_vec());
        let flags = prop_oneof![Just(0x2080_u16), Just(0x20a0), Just(0xa080), any::<u16>()];
        let rest = proptest::collection::vec(short.clone(), 0..3).prop_map(|texts| texts.concat());
        (flags, table, rest, any::<prop::sample::Index>(), 0..4).prop_map(|(flags, table, rest, at, cut)| {
            let mut octets = [&flags.to_be_bytes()[..], &table, &rest].concat();
            octets.truncate(if cut == 0 { at.index(octets.len()) } else { octets.len() });
            octets
        })
    }

    fn long(kind: u8) -> impl Fn(Vec<u8>) -> Vec<u8> + Clone {
        move |octets| [&[kind], &u32::try_from(octets.len()).unwrap().to_be_bytes()[..], &octets].concat()
    }

    proptest! {
        #[test]
        fn lapin_reads_all_that_is_passed_and_what_it_reads_is_as_it_was(properties in octets()) {
            let octets = header(&properties);
            let out = passed(&octets);
            let read_now = read(&out);
            prop_assert!(read_now.is_some());
            let refusal = refusal(&read_now.unwrap());
            prop_assert_eq!(refusal.is_none(), out == octets);
            let is_deep = refusal.is_some_and(|refusal| refusal.detail.contains("nested"));
            prop_assert!(is_deep || (out == octets) == read(&octets).is_some());
        }

        #[test]
        fn no_octets_panic_it_and_it_does_not_matter_how_they_come(
            frames in proptest::collection::vec((octets(), 1_u8..4, any::<bool>()), 0..4),
            noise in proptest::collection::vec(any::<u8>(), 0..20),
            size in 1_usize..40,
        ) {
            let frames = frames.iter().map(|(octets, kind, is_header)| match is_header {
                true => header(octets),
                false => frame(*kind, &[&DELIVER[..], octets].concat()),
            });
            let octets = [frames.collect::<Vec<_>>().concat(), noise].concat();
            let (mut screen, mut out) = (Screen::new(Some(4096)), Vec::new());
            octets.chunks(size).for_each(|chunk| screen.pass(chunk, &mut out));
            let mut whole = Vec::new();
            Screen::new(Some(4096)).pass(&octets, &mut whole);
            prop_assert_eq!(out, whole);
        }
    }
}
