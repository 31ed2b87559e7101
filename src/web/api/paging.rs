//! Lists: how many items, after which, and the answer's shape.

use serde::Serialize;

use crate::web::error::Problem;

/// Items of a page when nothing is said, and at most.
const USUAL: i64 = 50;
const MOST: i64 = 200;

/// A page of a list; `next` is the `after` of the following one.
#[derive(Serialize)]
pub(super) struct Items<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Reads `limit`.
pub(super) fn limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| Problem::invalid("limit", "is not a number from 1 to 200"))
}
