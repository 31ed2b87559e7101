//! Lists: how many items, after which, and the answer's shape.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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

/// Reads `limit`: more than a page may have counts as that.
pub(super) fn limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    let limit = text.parse::<i64>().ok().filter(|limit| *limit >= 1);
    limit.map(|limit| limit.min(MOST)).ok_or_else(|| {
        Problem::invalid("limit", "is not a whole number from 1 on (more than 200 counts as 200)")
    })
}

/// Reads a time of the query.
pub(super) fn time(field: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Problem> {
    let read = text.map(DateTime::parse_from_rfc3339).transpose();
    let read = read.map_err(|_| Problem::invalid(field, "is not a time of RFC 3339"))?;
    Ok(read.map(|time| time.with_timezone(&Utc)))
}

/// `?limit=&after=` of a list that takes nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    pub(super) limit: Option<String>,
    pub(super) after: Option<String>,
}

impl Paging {
    pub(super) fn limit(&self) -> Result<i64, Problem> {
        limit(self.limit.as_deref())
    }

    /// The id of the last item of the page before.
    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        after(self.after.as_deref())
    }
}

/// Reads `after`.
pub(super) fn after<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, Problem> {
    let read = text.map(str::parse).transpose();
    read.map_err(|_| Problem::invalid("after", "is not the `next` of a page"))
}

impl<T> Items<T> {
    /// A page of rows that were read with one more than the limit; `key` names a row for the next page.
    pub(super) fn page<R>(
        mut rows: Vec<R>,
        limit: i64,
        key: impl Fn(&R) -> String,
        shown: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = if has_more { rows.last().map(key) } else { None };
        Self { items: rows.into_iter().map(shown).collect(), next }
    }
}
