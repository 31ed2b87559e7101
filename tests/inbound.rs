//! What a reply is judged to be: the cases of `inbound/cases.txt`, and how often the judgement is right.

#![expect(clippy::unwrap_used, reason = "what a test's own steps need is there, or the test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use signalpost::inbound::{Letter, judge};

const CASES: &str = include_str!("inbound/cases.txt");

/// Judged right of all that were judged an absence, and found of all that are one.
const PRECISION: f64 = 0.98;
const RECALL: f64 = 0.95;

struct Case {
    verdict: &'static str,
    language: &'static str,
    subject: &'static str,
    message: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let lines = CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.splitn(5, " | ").collect();
            let [verdict, language, headers, subject, text] = parts[..] else { panic!("{line}") };
            let message = message(headers, subject, &text.replace("\\n", "\n"));
            Case { verdict, language, subject, message }
        })
        .collect()
}

/// The headers that a short name stands for.
fn headers(name: &str) -> &'static str {
    match name {
        "rfc" => "Auto-Submitted: auto-replied\nReturn-Path: <>\nIn-Reply-To: <dsp_1@acme.example>\n",
        "sieve" => {
            "Auto-Submitted: auto-replied (vacation)\nPrecedence: bulk\nX-Auto-Response-Suppress: All\n"
        }
        "zimbra" => "Auto-Submitted: auto-replied (zimbra; vacation)\nPrecedence: bulk\n",
        "apple" => "X-Apple-Action: VACATION/elon@example.com\nPrecedence: junk\n",
        "exchange" => {
            "Return-Path: <>\nX-Auto-Response-Suppress: All\nX-MS-Exchange-Inbox-Rules-Loop: elon@example.com\n\
             Auto-Submitted: auto-generated\n"
        }
        "exchangehuman" => "X-MS-Has-Attach:\nX-MS-Exchange-Organization-SCL: -1\nThread-Index: AcmK80zS\n",
        "gmail" => "Precedence: bulk\nX-Autoreply: yes\nAuto-Submitted: auto-replied\n",
        "bulk" => "Precedence: bulk\nX-Autorespond: yes\n",
        "empty" => "Return-Path: <>\n",
        "list" => "Precedence: list\nList-Id: <users.example.com>\nList-Post: <mailto:users@example.com>\n",
        "listpost" => {
            "Precedence: list\nList-Id: <users.example.com>\nList-Unsubscribe: <mailto:leave@example.com>\n\
             List-Post: <mailto:users@example.com>\n"
        }
        "re" => "In-Reply-To: <dsp_1@acme.example>\nReferences: <dsp_1@acme.example>\n",
        "client" => "User-Agent: Mozilla Thunderbird\nReturn-Path: <elon@example.com>\n",
        "phone" => "X-Mailer: iPhone Mail (23A1)\nReturn-Path: <elon@example.com>\n",
        "newsletter" => "Precedence: bulk\nList-Unsubscribe: <https://example.com/leave>\n",
        "noreply" => "From: HR <no-reply@hr.example>\n",
        "generated" => "Auto-Submitted: auto-generated\n",
        "tracker" => "X-Bugzilla-Reason: CC\n",
        "failed" => "X-Failed-Recipients: elon@example.com\n",
        "challenge" => "X-Mailer: challenger\n",
        "daemon" => "From: Mail Delivery System <MAILER-DAEMON@mx.example>\nReturn-Path: <>\n",
        // None, and the types of the body and its charsets: `message` makes them.
        _ => "",
    }
}

fn message(names: &str, subject: &str, text: &str) -> Vec<u8> {
    let names: Vec<&str> = names.split(' ').collect();
    let mut head: String = names.iter().map(|name| headers(name)).collect();
    if !head.contains("From:") {
        head.push_str("From: Elon <elon@example.com>\n");
    }
    let encoded = BASE64_STANDARD.encode(subject);
    head += "To: bounces@acme.example\nMessage-ID: <1@example.com>\nMIME-Version: 1.0\n";
    head.extend(["Subject: =?utf-8?B?", &encoded, "?=\n"]);
    let (kind, body) = body(&names, text);
    [head.as_bytes(), b"Content-Type: ", kind.as_bytes(), b"\n", &body].concat()
}

/// The body's type, and what follows it.
fn body(names: &[&str], text: &str) -> (String, Vec<u8>) {
    let charset = [
        ("latin1", encoding_rs::WINDOWS_1252),
        ("latin2", encoding_rs::ISO_8859_2),
        ("koi8", encoding_rs::KOI8_R),
        ("gb", encoding_rs::GBK),
        ("big5", encoding_rs::BIG5),
        ("jis", encoding_rs::ISO_2022_JP),
        ("euckr", encoding_rs::EUC_KR),
    ];
    let plain = |octets: &[u8]| [b"\n", octets].concat();
    if let Some((_, charset)) = charset.iter().find(|(name, _)| names.contains(name)) {
        return (format!("text/plain; charset={}", charset.name()), plain(&charset.encode(text).0));
    }
    let parts = |kind: &str, second: &str| {
        let body =
            format!("\n--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n--b\n{second}\n--b--\n");
        (kind.to_owned(), body.into_bytes())
    };
    for name in names {
        match *name {
            "html" => return ("text/html; charset=utf-8".to_owned(), plain(text.as_bytes())),
            "b64" => {
                let body = format!("Content-Transfer-Encoding: base64\n\n{}", BASE64_STANDARD.encode(text));
                return ("text/plain; charset=utf-8".to_owned(), body.into_bytes());
            }
            "qp" => {
                let octets: Vec<String> = text.bytes().map(|octet| format!("={octet:02X}")).collect();
                let body = format!("Content-Transfer-Encoding: quoted-printable\n\n{}", octets.concat());
                return ("text/plain; charset=utf-8".to_owned(), body.into_bytes());
            }
            "report" => {
                let status = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n\
                              Final-Recipient: rfc822; elon@example.com\nAction: failed\nStatus: 5.1.1";
                return parts("multipart/report; report-type=delivery-status; boundary=b", status);
            }
            "receipt" => {
                let read =
                    "Content-Type: message/disposition-notification\n\nDisposition: manual-action; displayed";
                return parts("multipart/report; report-type=disposition-notification; boundary=b", read);
            }
            "dovecot" => {
                let deleted = "Content-Type: message/disposition-notification\n\n\
                               Disposition: automatic-action/MDN-sent-automatically; deleted";
                return parts("multipart/report; report-type=disposition-notification; boundary=b", deleted);
            }
            "feedback" => {
                let abuse = "Content-Type: message/feedback-report\n\nFeedback-Type: abuse";
                return parts("multipart/report; report-type=feedback-report; boundary=b", abuse);
            }
            "calendar" => {
                let event = "Content-Type: text/calendar; method=REPLY\n\nBEGIN:VCALENDAR";
                return parts("multipart/alternative; boundary=b", event);
            }
            _ => {}
        }
    }
    ("text/plain; charset=utf-8".to_owned(), plain(text.as_bytes()))
}

fn verdict(octets: &[u8], phrases: &[String]) -> (String, Vec<String>) {
    let judged = judge(&Letter::read(octets), phrases);
    (serde_json::to_value(judged.verdict).unwrap().as_str().unwrap().to_owned(), judged.because)
}

#[test]
fn the_cases_are_many_and_of_many_languages() {
    let cases = cases();
    let languages: BTreeSet<_> = cases.iter().map(|case| case.language).collect();
    assert!(cases.len() >= 150 && languages.len() >= 12, "{} in {}", cases.len(), languages.len());
}

#[test]
fn absences_are_found_and_nothing_else_is_taken_for_one() {
    let (mut right, mut wrong, mut missed, mut told) = (0.0, 0.0, 0.0, Vec::new());
    for case in cases() {
        let (judged, because) = verdict(&case.message, &[]);
        match (case.verdict, judged.as_str()) {
            ("ooo", "ooo") => right += 1.0,
            ("ooo", _) => missed += 1.0,
            (_, "ooo") => wrong += 1.0,
            _ => {}
        }
        if judged != case.verdict {
            told.push(format!("{} {:?} is {judged}: {because:?}", case.verdict, case.subject));
        }
    }
    println!("{right} right, {wrong} wrong, {missed} missed\n{}", told.join("\n"));
    let (precision, recall) = (right / (right + wrong), right / (right + missed));
    assert!(precision >= PRECISION && recall >= RECALL, "{precision} {recall}\n{}", told.join("\n"));
    assert!(told.len() <= cases().len() / 20, "{}", told.join("\n"));
}

#[test]
fn a_projects_own_phrase_is_always_honoured() {
    let phrases = ["gone fishing".to_owned(), "Out of Office".to_owned()];
    let judged = |subject: &str, text: &str| verdict(&message("none", subject, text), &phrases).0;
    assert_eq!(judged("Gone Fishing!", "See you"), "ooo");
    assert_eq!(judged("Re: x", "I have gone\nfishing."), "ooo");
    assert_eq!(judged("Re: x", "No.\n> I have gone fishing."), "human");
    // The default's words are weighed with their sentence.
    assert_eq!(judged("Re: x", "I was out of office last week, sorry. What did you need?"), "human");
    assert_eq!(verdict(&message("report", "Undelivered", "gone fishing"), &phrases).0, "bounce");
}

#[test]
fn whatever_comes_gets_a_verdict() {
    let messages: [&[u8]; 8] = [
        b"",
        b"\n",
        b"\0\xff\xfe",
        b"Subject",
        b"Subject: =?utf-8?B?",
        b"Content-Type: multipart/mixed\n\n--\n--\n----\n",
        b"Content-Type: multipart/mixed; boundary=\"b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n--b",
        b"Content-Type: text/plain; charset=nonsense\nContent-Transfer-Encoding: base64\n\n=====A",
    ];
    for octets in messages {
        assert!(!verdict(octets, &[]).1.is_empty(), "{octets:?}");
    }
}

#[test]
fn a_message_of_the_largest_size_is_judged_by_its_beginning() {
    let mut parts = b"Subject: Out of office\nAuto-Submitted: auto-replied\nContent-Type: multipart/mixed; boundary=b\n\n\
                      --b\n\nI am on vacation.\n"
        .to_vec();
    for _ in 0..20_000 {
        parts.extend_from_slice(b"--b\nContent-Type: text/html\n\n");
        parts.extend_from_slice(&[b'x'; 1300]);
        parts.push(b'\n');
    }
    assert_eq!(verdict(&parts, &[]).0, "ooo");
    let mut nested = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
    for _ in 0..100_000 {
        nested.extend_from_slice(b"--b\nContent-Type: multipart/mixed; boundary=b\n\n");
    }
    assert_eq!(verdict(&nested, &[]).0, "human");
    let header = "X: y\n".repeat(5_000_000);
    assert_eq!(verdict(header.as_bytes(), &[]).0, "human");
}

/// One of the cases, with some octets replaced, taken out or doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let harm = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (0..cases().len(), prop::collection::vec(harm, 0..30)).prop_map(|(place, harms)| {
        let mut octets = cases().swap_remove(place).message;
        for (at, octet, how) in harms {
            if octets.is_empty() {
                break;
            }
            let at = at.index(octets.len());
            match how {
                0 => octets[at] = octet,
                1 => _ = octets.remove(at),
                2 => octets.insert(at, octet),
                _ => octets.truncate(at + 1),
            }
        }
        octets
    })
}

fn read_whole(octets: &[u8]) {
    let letter = Letter::read(octets);
    assert!(!judge(&letter, &["gone fishing".to_owned()]).because.is_empty());
    let _ = (letter.answered_ids(), letter.recipients(), letter.failure());
}

proptest! {
    #[test]
    fn a_damaged_message_gets_a_verdict(octets in damaged()) {
        read_whole(&octets);
    }

    #[test]
    fn any_octets_get_a_verdict(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_whole(&octets);
    }
}

/// By hand, with `--release`: how long a message of 20 kB takes.
#[test]
#[ignore = "measures"]
fn a_message_of_20_kb_is_judged_within_a_millisecond() {
    let text =
        "Thank you for your message about the order of last week, to which we will come back. ".repeat(240);
    let octets = message("rfc", "Re: Update your password", &format!("I am out of the office.\n{text}"));
    let start = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(verdict(&octets, &[]).0, "ooo");
    }
    let each = start.elapsed() / 200;
    println!("{} octets: {each:?}", octets.len());
    assert!(each < std::time::Duration::from_millis(1), "{each:?}");
}

/// By hand: `SIGNALPOST_TEST_MAILS=DIR cargo test --test inbound -- --ignored --nocapture`, where DIR has a folder
/// for each verdict (`ooo`, `human`, `bounce`, `auto-other`) with messages in it.
#[test]
#[ignore = "needs a directory of labelled mails"]
#[expect(clippy::disallowed_methods, reason = "a variable of the test's own; no configuration")]
fn a_directory_of_labelled_mails_is_measured() {
    let root = std::env::var("SIGNALPOST_TEST_MAILS").unwrap();
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    for label in ["ooo", "human", "bounce", "auto-other"] {
        let Ok(folder) = fs::read_dir(Path::new(&root).join(label)) else { continue };
        for entry in folder {
            let path = entry.unwrap().path();
            let octets = fs::read(&path).unwrap();
            let judged = judge(&Letter::read(&octets), &[]);
            let verdict = serde_json::to_value(judged.verdict).unwrap().as_str().unwrap().to_owned();
            if verdict != label {
                println!("{}: {verdict} because {:?}", path.display(), judged.because);
            }
            *table.entry((label.to_owned(), verdict)).or_default() += 1;
        }
    }
    for ((label, verdict), count) in &table {
        println!("{label:>10} judged {verdict:>10}: {count}");
    }
}
