//! Mails are read whatever their encoding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::ledger::Letter;

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_";

fn token_in(encoding: &str, body: &str) -> Option<String> {
    let raw = format!(
        "X-Original-To: Elon@example.com\r\nContent-Type: multipart/alternative;\r\n boundary=\"b1\"\r\n\
         Message-ID: <m1@x>\r\n\r\n--b1\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n--b1--\r\n"
    );
    let letter = Letter::delivered(raw.as_bytes());
    assert_eq!((letter.recipient.as_str(), letter.message_id.as_str()), ("elon@example.com", "<m1@x>"));
    letter.token
}

#[test]
fn a_token_is_found_in_every_encoding() {
    let plain = format!("Open https://app.example/reset?token={TOKEN} now");
    let (start, end) = TOKEN.split_at(20);
    let quoted = format!("Open https://app.example/reset?token=3D{start}=\r\n{end} now");
    let packed = STANDARD.encode(&plain);
    assert_eq!(token_in("7bit", &plain).as_deref(), Some(TOKEN));
    assert_eq!(token_in("quoted-printable", &quoted).as_deref(), Some(TOKEN));
    assert_eq!(token_in("base64", &packed).as_deref(), Some(TOKEN));
    assert_eq!(token_in("7bit", "no link here"), None);
    let like_a_code = format!("3d{}", &TOKEN[2..]);
    let quoted = format!("Open https://app.example/reset?token=3D{like_a_code} now");
    assert_eq!(token_in("quoted-printable", &quoted), Some(like_a_code));
}
