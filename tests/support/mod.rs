//! What integration tests need around the program. It must not know how the program works inside.
#![expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test binary uses a part of the support, and a test whose support fails has failed"
)]

pub mod ledger;
pub mod program;
pub mod proxy;
pub mod services;
pub mod sink;
