//! A mail as the ledger needs it: who got it, its Message-ID and the token in its body.

use base64::Engine as _;

/// A mail that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address in the envelope.
    pub recipient: String,
    pub message_id: String,
    /// The first thing in the body that looks like a token.
    pub token: Option<String>,
    /// The body's parts, one after the other, on one line.
    pub text: String,
}

impl Letter {
    /// Reads a raw message. `recipient` is the envelope's, which the headers need not tell.
    pub fn read(recipient: &str, raw: &[u8]) -> Self {
        let raw = String::from_utf8_lossy(raw).replace("\r\n", "\n");
        let (headers, body) = halves(&raw);
        let text = decoded(headers, body);
        Self {
            recipient: recipient.to_lowercase(),
            message_id: header(headers, "message-id").unwrap_or_default(),
            token: token(&text),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// The same from a delivered file, whose recipient the server wrote into a header.
    pub fn delivered(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw).replace("\r\n", "\n");
        let recipient = header(halves(&text).0, "x-original-to").unwrap_or_default();
        Self::read(&recipient, raw)
    }
}

fn halves(part: &str) -> (&str, &str) {
    part.split_once("\n\n").unwrap_or((part, ""))
}

/// The unfolded value of a header.
fn header(headers: &str, name: &str) -> Option<String> {
    let unfolded = headers.replace("\n ", " ").replace("\n\t", " ");
    let value = unfolded.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    value
}

/// The text of a message or part, and of the parts in it.
fn decoded(headers: &str, body: &str) -> String {
    let kind = header(headers, "content-type").unwrap_or_default();
    if let Some(boundary) = kind.split_once("boundary=").map(|(_, rest)| rest) {
        let boundary = boundary.trim_start_matches('"').split(['"', ';']).next().unwrap_or_default().trim();
        let line = format!("--{boundary}");
        let parts = body.split(&line).skip(1);
        return parts
            .map(|part| halves(part.trim_start_matches('\n')))
            .map(|(headers, body)| decoded(headers, body))
            .collect();
    }
    match header(headers, "content-transfer-encoding").unwrap_or_default().to_lowercase().as_str() {
        // What a token is made of needs no more of quoted-printable than its line breaks and equals signs.
        // One pass: a token that begins with `3d` follows an equals sign too.
        "quoted-printable" => {
            let joined = body.replace("=\n", "");
            let pieces: Vec<_> = joined.split("=3D").map(|piece| piece.replace("=3d", "=")).collect();
            pieces.join("=")
        }
        "base64" => {
            let packed: String = body.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => body.to_owned(),
    }
}

/// 43 characters of base64url, alone or after `token=`.
fn token(text: &str) -> Option<String> {
    const LENGTH: usize = 43;
    let outside = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut linked = text.split("token=").skip(1).filter_map(|rest| rest.split(outside).next());
    let mut words = text.split(outside);
    let is_token = |word: &&str| word.len() == LENGTH;
    linked.find(is_token).or_else(|| words.find(is_token)).map(str::to_owned)
}
