//! Any octets are a message: they get a verdict, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signalpost::inbound::{Letter, judge};

fuzz_target!(|octets: &[u8]| {
    let letter = Letter::read(octets);
    let judged = judge(&letter, &["gone fishing".to_owned()]);
    assert!(!judged.because.is_empty());
    let _ = (letter.answered_ids(), letter.recipients(), letter.failure());
});
