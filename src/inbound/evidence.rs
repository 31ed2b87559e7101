//! Evidence: points, each with what was seen. Must not know which verdict it leads to.

/// Points for or against one verdict, each with what was seen.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub points: i32,
    pub seen: Vec<String>,
}

impl Evidence {
    pub(super) fn add(&mut self, points: i32, seen: impl Into<String>) {
        self.points += points;
        self.seen.push(format!("{points:+} {}", seen.into()));
    }
}
