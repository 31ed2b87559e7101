//! How much processor time this process, PostgreSQL and RabbitMQ took, as Linux counts it. Knows nothing of
//! what they did.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::Result;

/// Ticks a second, which Linux fixes for what it tells programs.
const TICKS: u64 = 100;
/// Fields of `/proc/PID/stat` after the name: user and system time, and those of children that ended.
const TIMES: [usize; 4] = [11, 12, 13, 14];

/// Hundredths of a second by the name of a program.
pub(crate) struct Usage(BTreeMap<&'static str, u64>);

impl Usage {
    pub(crate) fn now() -> Result<Self> {
        let mut usage = BTreeMap::from([("this process", ticks("self").unwrap_or_default().1)]);
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some((program, spent)) = name.to_str().and_then(ticks) else { continue };
            let program = match program.as_str() {
                "postgres" => "PostgreSQL",
                "beam.smp" => "RabbitMQ",
                _ => continue,
            };
            *usage.entry(program).or_default() += spent;
        }
        Ok(Self(usage))
    }

    pub(crate) fn since(self, before: &Self) -> Self {
        let spent = |(name, now): (&'static str, u64)| {
            (name, now.saturating_sub(before.0.get(name).copied().unwrap_or_default()))
        };
        Self(self.0.into_iter().map(spent).collect())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, spent)) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(out, "{comma}{name} {}.{:02} s", spent / TICKS, spent % TICKS)?;
        }
        Ok(())
    }
}

/// The name of a process and the ticks that it and its ended children took.
fn ticks(process: &str) -> Option<(String, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let spent = TIMES.iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum();
    Some((name.to_owned(), spent))
}
