//! Connects, spawns, stops.

use crate::config::Config;

/// The half of the program that `serve --only` runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Only {
    Http,
    Worker,
}

/// What the process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Dev,
    Serve { only: Option<Only>, migrate: bool },
}

/// Runs until it is told to stop.
#[expect(clippy::unused_async, reason = "the signature of what is to stand here")]
pub async fn run(_config: &Config, _role: Role) -> anyhow::Result<()> {
    anyhow::bail!("serving is not there yet")
}
