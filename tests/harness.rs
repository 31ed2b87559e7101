//! The harness proves itself: the proxy does each fault, and the ledger catches each planted bug.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helper functions too")]

mod support;

#[path = "harness/ledger.rs"]
mod ledger;
#[path = "harness/letter.rs"]
mod letter;
#[path = "harness/proxy.rs"]
mod proxy;
