//! Replies to our mails: what a message is, and which dispatch it answers. Pure: octets in, a judgement out.
//!
//! Structure before words: a report says what it is by its type, an automatic mail by its headers, and only then do
//! words count, and of these only the ones that the writer wrote. Must not know members, events or the database.

mod addresses;
mod bounce;
mod classify;
mod evidence;
mod fold;
mod headers;
mod marks;
mod person;
mod phrases;
mod read;
mod references;
mod report;
mod subject;
mod text;
mod words;

pub use classify::{Judgement, Verdict, judge};
pub use person::{PASSED_ON, Reply};
pub use read::{Letter, MAX_MESSAGE};
pub use report::Failure;
