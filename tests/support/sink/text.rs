//! Reading what a client sent: paths of commands, the end of a message, stuffed dots. It must not know
//! sockets.

/// What stands between `<` and `>` in MAIL and RCPT.
pub(super) fn path(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(":<")?;
    rest.split_once('>').map(|(path, _)| path)
}

/// Octets before the dot that ends the message, looking from `from` on.
pub(super) fn end_of_message(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.starts_with(b".\r\n") {
        return Some(0);
    }
    let mut from = from;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let next = from + found + 1;
        if bytes[next..].starts_with(b".\r\n") && bytes[..next].ends_with(b"\r\n") {
            return Some(next);
        }
        from = next;
    }
    None
}

pub(super) fn unstuffed(raw: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let is_line_start = data.is_empty() || data.ends_with(b"\r\n");
        data.extend_from_slice(if is_line_start && line.starts_with(b".") { &line[1..] } else { line });
    }
    data
}
