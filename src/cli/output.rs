//! Standard output and standard error: the only place that writes to them. What a command says goes to the
//! first, progress and errors to the second. A reader that went away (`| head -1`) is no failure.

use std::io::{self, Write};

/// One line that the command says.
pub fn line(text: &str) -> io::Result<()> {
    written(writeln!(io::stdout().lock(), "{text}"))
}

/// One line of progress or of a fault. Where it cannot be written there is nobody to tell.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An error on one line, with what caused it.
pub fn error(error: &anyhow::Error) {
    let causes: Vec<_> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    tell(&format!("error: {}", causes.join(": caused by ")));
}

fn written(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_pipe_is_no_failure() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(written(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
