//! A publisher that says what no library would: it writes its frames itself, octet by octet.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use url::Url;

/// Properties by flag, in the order of their flags.
pub(crate) const HEADERS: u16 = 1 << 13;
pub(crate) const CORRELATION_ID: u16 = 1 << 10;
pub(crate) const REPLY_TO: u16 = 1 << 9;
pub(crate) const MESSAGE_ID: u16 = 1 << 7;
pub(crate) const TYPE: u16 = 1 << 5;
pub(crate) const APP_ID: u16 = 1 << 3;
pub(crate) const CLUSTER_ID: u16 = 1 << 2;
pub(crate) const CONTENT_TYPE: u16 = 1 << 15;

const FRAME_MAX: usize = 131_072;

/// A connection with one channel, its publishes confirmed.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// To the vhost that is the path of the URL.
    pub(crate) fn connect(url: &str) -> Self {
        let url = Url::parse(url).unwrap();
        let address = (url.host_str().unwrap(), url.port().unwrap_or(5672));
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut raw = Self(stream);
        raw.0.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
        raw.until(10, 10);
        let login = format!("\0{}\0{}", url.username(), url.password().unwrap_or_default());
        let start = [&[0; 4], &short(b"PLAIN")[..], &long(login.as_bytes()), &short(b"en_US")].concat();
        raw.method(0, 10, 11, &start);
        raw.until(10, 30);
        let tune = [&10_u16.to_be_bytes()[..], &u32::try_from(FRAME_MAX).unwrap().to_be_bytes(), &[0; 2]];
        raw.method(0, 10, 31, &tune.concat());
        raw.method(0, 10, 40, &[&short(url.path().trim_start_matches('/').as_bytes())[..], &[0; 2]].concat());
        raw.until(10, 41);
        raw.method(1, 20, 10, &[0]);
        raw.until(20, 11);
        raw.method(1, 85, 10, &[0]);
        raw.until(85, 11);
        raw
    }

    /// Publishes and waits for the confirm.
    pub(crate) fn publish(&mut self, exchange: &str, key: &[u8], properties: &[u8], body: &[u8]) {
        let to = [&[0; 2], &short(exchange.as_bytes())[..], &short(key), &[0]].concat();
        self.method(1, 60, 40, &to);
        let size = (body.len() as u64).to_be_bytes();
        self.frame(2, 1, &[&[0, 60, 0, 0], &size[..], properties].concat());
        self.frame(3, 1, body);
        self.until(60, 80);
    }

    /// Takes the first message of a queue and goes, so that it comes again.
    pub(crate) fn get_and_leave(mut self, queue: &str) {
        self.method(1, 60, 70, &[&[0; 2], &short(queue.as_bytes())[..], &[0]].concat());
        self.until(60, 71);
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        self.frame(1, channel, &[&class.to_be_bytes(), &method.to_be_bytes(), arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&[kind], &channel.to_be_bytes()[..], &size, payload, &[0xce]].concat();
        self.0.write_all(&frame).unwrap();
    }

    /// The next frame is that method.
    fn until(&mut self, class: u16, method: u16) {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).unwrap();
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
        self.0.read_exact(&mut payload).unwrap();
        let expected = [&class.to_be_bytes()[..], &method.to_be_bytes()].concat();
        assert_eq!((head[0], &payload[..4]), (1, &expected[..]), "{}", String::from_utf8_lossy(&payload));
    }
}

pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

pub(crate) fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// Properties in the order of their flags, each as its octets.
pub(crate) fn properties(given: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let flags = given.iter().fold(0, |flags, (flag, _)| flags | flag);
    given.iter().fold(flags.to_be_bytes().to_vec(), |octets, (_, one)| [&octets[..], one].concat())
}

/// A header: its name, and its value with its type.
pub(crate) fn header(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[kind], value].concat()
}

/// So many arrays in each other, or tables.
pub(crate) fn nested(depth: usize, kind: u8) -> Vec<u8> {
    let name: &[u8] = if kind == b'F' { &[0] } else { &[] };
    let inner = (1..depth).fold(Vec::new(), |inner, _| [name, &[kind], &long(&inner)].concat());
    header(b"deep", kind, &long(&inner))
}

/// A header that fills its frame: the count that the broker adds with the second delivery makes it too long.
pub(crate) fn full_frame() -> Vec<u8> {
    // The frame itself, what stands before the properties, their flags, the table, this header but for its text,
    // and the property `message_id`: `bad-headers`.
    let others = 8 + 12 + 2 + 4 + 7 + 12;
    header(b"x", b'S', &long(&vec![b'y'; FRAME_MAX - others]))
}
