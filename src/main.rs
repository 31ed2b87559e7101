//! The program: arguments, configuration, telemetry, run, exit code; nothing else.

fn main() {}
