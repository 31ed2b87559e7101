//! What commands read: a file that is named, or standard input for `-`.

use std::io::{self, Read as _};

/// The whole text.
pub(super) fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
