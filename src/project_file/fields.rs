//! Reading a TOML table field by field: every wrong one is noted with its place, and reading goes on. What is
//! left at the end is no field. Must not know what a project is.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use toml::{Table, Value};

use super::places;
use crate::domain::duration;

/// What is wrong, and where: `automations[1].link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: String,
    pub what: String,
    /// Line and column within a text, and then of the file.
    pub at: Option<(usize, usize)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        self.at.map_or(Ok(()), |(line, column)| write!(f, " (line {line}, column {column})"))
    }
}

/// Everything that was found wrong.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes one; the first at a place stands, for it causes the others.
    pub(super) fn add(&self, place: &str, what: impl Into<String>) {
        self.add_at(place, what, None);
    }

    /// As [`Problems::add`], at a line and a column within the text that stands there.
    pub(super) fn add_at(&self, place: &str, what: impl Into<String>, at: Option<(usize, usize)>) {
        let mut all = self.0.borrow_mut();
        if all.iter().all(|problem| problem.place != place) {
            all.push(Problem { place: place.to_owned(), what: what.into(), at });
        }
    }

    /// All, each placed in the file that was read.
    pub(super) fn take(self, file: &str) -> Vec<Problem> {
        let mut all = self.0.into_inner();
        for problem in &mut all {
            problem.at = problem.at.and_then(|at| places::within(file, &problem.place, at));
        }
        all
    }
}

/// A table that is being read.
pub(super) struct Fields<'a> {
    table: Table,
    pub(super) place: String,
    problems: &'a Problems,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(table: Table, place: String, problems: &'a Problems) -> Self {
        Self { table, place, problems, known: Vec::new() }
    }

    /// Where a field of this table is.
    pub(super) fn at(&self, field: &str) -> String {
        if self.place.is_empty() { field.to_owned() } else { format!("{}.{field}", self.place) }
    }

    pub(super) fn wrong(&self, field: &str, what: impl Into<String>) {
        self.problems.add(&self.at(field), what);
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.table.remove(field)
    }

    fn typed<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(field)?;
        let result = read(&value);
        if result.is_none() {
            self.wrong(field, format!("is not {expected}"));
        }
        result
    }

    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        self.typed(field, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A text that passes a check, or becomes something by it.
    pub(super) fn checked<T, E: Into<String>>(
        &mut self,
        field: &'static str,
        check: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(field)?;
        check(&text).map_err(|what| self.wrong(field, what)).ok()
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Option<bool> {
        self.typed(field, "`true` or `false`", Value::as_bool)
    }

    pub(super) fn whole(&mut self, field: &'static str, least: u16, most: u16) -> Option<u16> {
        let range = least..=most;
        let expected = format!("a whole number from {least} to {most}");
        self.typed(field, &expected, |value| {
            value.as_integer().and_then(|n| u16::try_from(n).ok()).filter(|n| range.contains(n))
        })
    }

    pub(super) fn duration(&mut self, field: &'static str) -> Option<Duration> {
        self.typed(field, duration::EXPECTED, |value| value.as_str().and_then(duration::parse))
    }

    /// Texts that all pass a check; a wrong one is named by its number.
    pub(super) fn texts<E: Into<String>>(
        &mut self,
        field: &'static str,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Option<Vec<String>> {
        let values = self.typed(field, "a list of texts", |value| {
            let values = value.as_array()?;
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        })?;
        for (number, text) in values.iter().enumerate() {
            if let Err(what) = check(text) {
                self.wrong(&format!("{field}[{number}]"), what);
            }
        }
        Some(values)
    }

    pub(super) fn table(&mut self, field: &'static str) -> Option<Fields<'a>> {
        let table = self.typed(field, "a table", |value| value.as_table().cloned())?;
        Some(Fields::new(table, self.at(field), self.problems))
    }

    /// `[[field]]`
    pub(super) fn tables(&mut self, field: &'static str) -> Vec<Fields<'a>> {
        let tables = self.typed(field, "a list of tables", |value| {
            let values = value.as_array()?;
            values.iter().map(|value| value.as_table().cloned()).collect::<Option<Vec<_>>>()
        });
        let tables = tables.unwrap_or_default().into_iter().enumerate();
        tables
            .map(|(n, table)| Fields::new(table, self.at(&format!("{field}[{n}]")), self.problems))
            .collect()
    }

    /// As [`Fields::tables`], and `None` if the field is not there.
    pub(super) fn given_tables(&mut self, field: &'static str) -> Option<Vec<Fields<'a>>> {
        if self.table.contains_key(field) {
            return Some(self.tables(field));
        }
        self.known.push(field);
        None
    }

    /// What was not asked for is a mistake.
    pub(super) fn end(self) {
        for field in self.table.keys() {
            let known: Vec<_> = self.known.iter().map(|field| format!("`{field}`")).collect();
            self.wrong(field, format!("is no field; there are {}", known.join(", ")));
        }
    }

    /// Everything that is left, for a reader of another kind.
    pub(super) fn rest(&mut self, fields: &[&'static str]) -> serde_json::Map<String, serde_json::Value> {
        let mut taken = serde_json::Map::new();
        for field in fields {
            if let Some(value) = self.take(field) {
                taken.insert((*field).to_owned(), serde_json::to_value(value).unwrap_or_default());
            }
        }
        taken
    }
}
